//! A real network between the relay and its next hop: a narrow link that drops what it cannot queue, and one that is cut
//! while sessions run. Each end is a network namespace of its own, made without any privilege; where the system allows none, the
//! scenario says so and is skipped.

use spool_tests::process::{Running, spool_binary, until};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// Sessions to the next hop: as many may be in doubt when the link is cut.
const SESSIONS: usize = 4;

/// A network namespace, for as long as a process lives in it.
struct Space {
    holder: Child,
}

impl Space {
    /// One made by `command`, which gets a shell to run in it. `None`: the system does not allow it.
    fn hold(mut command: Command) -> Option<Self> {
        let script = "ip link set lo up && echo up && exec sleep 600";
        let mut holder = command
            .args(["sh", "-c", script])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut line = String::new();
        BufReader::new(holder.stdout.take()?).read_line(&mut line).ok()?;
        let space = Self { holder };
        (line == "up\n").then_some(space)
    }

    /// `program`, to be run in here.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        let target = self.holder.id().to_string();
        command
            .args(["-t", &target, "-U", "-n", "--preserve-credentials"])
            .arg(program);
        command
    }

    fn run(&self, program: impl AsRef<std::ffi::OsStr>, args: &str) -> Output {
        self.command(program).args(args.split(' ')).output().unwrap()
    }

    /// Whether a tool did what it was asked to.
    fn does(&self, line: &str) -> bool {
        let (program, args) = line.split_once(' ').unwrap();
        self.run(program, args).status.success()
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Two namespaces with a link between them: `192.0.2.1` here, `192.0.2.2` there.
fn link() -> Option<(Space, Space)> {
    let mut unshare = Command::new("unshare");
    unshare.arg("-rn");
    let here = Space::hold(unshare)?;
    let mut unshare = here.command("unshare");
    unshare.arg("-n");
    let there = Space::hold(unshare)?;
    let peer = there.holder.id();
    let made = here.does(&format!(
        "ip link add near mtu 1500 type veth peer name far mtu 1500 netns {peer}"
    )) && here.does("ip addr add 192.0.2.1/24 dev near")
        && there.does("ip addr add 192.0.2.2/24 dev far")
        && here.does("ip link set near up")
        && there.does("ip link set far up");
    made.then_some((here, there))
}

/// The messages in the sink's ledger, and how often each has come.
fn arrived(ledger: &Path) -> BTreeMap<String, usize> {
    let mut times = BTreeMap::new();
    for line in std::fs::read_to_string(ledger).unwrap_or_default().lines() {
        let taken: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
        if let Some(tag) = taken["tag"].as_str() {
            *times.entry(tag.to_owned()).or_default() += 1;
        }
    }
    times
}

#[test]
fn a_narrow_link_and_one_that_is_cut_lose_nothing() {
    let Some((here, there)) = link() else {
        println!("skipped: no network namespaces for users, or no iproute2 on this machine");
        return;
    };
    // A hundredth of a second of queue: what comes on top is dropped, and sent again by TCP.
    let narrow = "root tbf rate 4mbit burst 3kb limit 6kb";
    if !here.does(&format!("tc qdisc add dev near {narrow}"))
        || !there.does(&format!("tc qdisc add dev far {narrow}"))
    {
        println!("skipped: no token bucket in this kernel");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let name = |name: &str| at(name).display().to_string();
    let sink = Running::spawn(there.command(spool_binary()).args([
        "sink",
        "--listen",
        "192.0.2.2:0",
        "--ledger",
        &name("sink.jsonl"),
    ]));
    let hop = sink.field("smtp");
    std::fs::write(
        at("spool.toml"),
        format!(
            "spool_dir = {:?}\n[listen]\nsmtp = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\n\
             [route]\nnext_hops = [{hop:?}]\n[retry]\nintervals = [\"1s\"]\n\
             [client]\nconnections_per_destination = {SESSIONS}\nconnect_timeout = \"1s\"\ngreeting_timeout = \"2s\"\n\
             command_timeout = \"2s\"\ndata_timeout = \"2s\"\nfinal_reply_timeout = \"2s\"\n",
            at("spool")
        ),
    )
    .unwrap();
    let relay = Running::spawn(
        here.command(spool_binary())
            .args(["serve", "--config", &name("spool.toml")]),
    );
    let (to, admin) = (relay.smtp(), relay.field("admin").to_owned());
    let load = |ledger: &str, messages: usize| {
        let args = format!(
            "load --to {to} --messages {messages} --connections 4 --size 3000 --ledger {}",
            name(ledger)
        );
        let done = here.run(spool_binary(), &args);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    let ask = |args: &str| {
        let done = here.run(spool_binary(), &format!("{args} --admin http://{admin}"));
        String::from_utf8(done.stdout).unwrap()
    };

    load("narrow.jsonl", 200);
    until("some have passed", || {
        (arrived(&at("sink.jsonl")).len() > 20).then_some(())
    });
    let told = here.run("tc", "-s qdisc show dev near");
    let dropped = String::from_utf8(told.stdout).unwrap();
    assert!(!dropped.contains("dropped 0,"), "nothing was dropped: {dropped}");
    assert!(here.does("ip link set near down"));
    load("cut.jsonl", 50);
    until("the relay has noticed", || {
        let told = ask("destinations --format json");
        let state: serde_json::Value = serde_json::from_str(&told).ok()?;
        state["last_error"].is_array().then_some(())
    });
    let stopped = arrived(&at("sink.jsonl")).len();
    assert!(stopped < 200, "the link was cut too late");
    assert!(here.does("ip link set near up"));
    until("all has gone out", || (ask("count").trim() == "0").then_some(()));

    let times = arrived(&at("sink.jsonl"));
    let again: usize = times.values().map(|times| times - 1).sum();
    println!(
        "{stopped} before the cut, {} in all, {again} twice; the link: {dropped}",
        times.len()
    );
    for ledger in ["narrow.jsonl", "cut.jsonl"] {
        let answered = arrived(&at(ledger));
        assert!(answered.keys().all(|tag| times.contains_key(tag)), "{ledger}");
    }
    assert_eq!(times.len(), 250);
    assert!(again <= SESSIONS, "{again} came twice");
}
