//! `spool events`: the stream as a follower sees it, through restarts, interrupts and closed pipes.

use crate::queue_commands::{Service, text};
use serde_json::Value;
use spool_tests::process::{PATIENCE, Running, run, signal, until};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};

/// `spool events` as a child.
pub(crate) struct Follower {
    child: Child,
    out: Receiver<String>,
    err: Receiver<String>,
}

fn lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if tell.send(line).is_err() {
                break;
            }
        }
    });
    told
}

impl Follower {
    pub(crate) fn start(admin: &str, more: &[&str]) -> Self {
        let mut child = Command::new(spool_tests::process::spool_binary())
            .args([&["events", "--admin", admin, "--format", "json"], more].concat())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (out, err) = (
            lines(child.stdout.take().unwrap()),
            lines(child.stderr.take().unwrap()),
        );
        Self { child, out, err }
    }

    /// The next event that is no ping.
    pub(crate) fn event(&self) -> Value {
        loop {
            let line = self.out.recv_timeout(PATIENCE).expect("an event");
            let event: Value = serde_json::from_str(&line).unwrap();
            if event["kind"] != "ping" {
                return event;
            }
        }
    }

    /// Whatever the kind is called, with its content or without.
    fn until(&self, kind: &str, id: &str) -> Value {
        loop {
            let event = self.event();
            let named = event["kind"] == kind || event["kind"].get(kind).is_some();
            if named && event["id"] == id {
                return event;
            }
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

fn serve_at(spool: &Path, admin: &str) -> Running {
    let spool = spool.to_str().unwrap();
    let args = [
        "serve",
        "--spool",
        spool,
        "--listen",
        "127.0.0.1:0",
        "--admin",
        admin,
        "--next-hop",
        "127.0.0.1:9",
    ];
    Running::start(&args)
}

#[test]
fn events_go_on_where_they_were_through_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, admin) = (dir.path().join("spool"), free_port());
    let url = format!("http://{admin}");
    let submit = |frozen: &str| {
        let file = dir.path().join("mail.eml");
        std::fs::write(&file, "x\n").unwrap();
        let file = file.to_str().unwrap();
        let args = [
            "submit",
            "--from",
            "a@example.org",
            "--to",
            "b@example.net",
            "--admin",
            &url,
            frozen,
            file,
        ];
        let output = run(&args);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout).trim().to_owned()
    };
    let service = serve_at(&spool, &admin);
    let follower = Follower::start(&url, &["--since", "0"]);
    let first = submit("--frozen");
    let seen = follower.until("spooled", &first)["seq"].as_u64().unwrap();
    assert!(service.terminate().success());
    let said = follower.err.recv_timeout(PATIENCE).unwrap();
    assert!(said.contains("has gone"), "{said}");
    let service = serve_at(&spool, &admin);
    let second = submit("--frozen");
    let event = follower.until("spooled", &second);
    assert!(event["seq"].as_u64().unwrap() > seen, "{event}");
    assert!(follower.err.recv_timeout(PATIENCE).unwrap().contains("is back"));
    // Whoever comes late hears it all again, in order and without a gap.
    let late = Follower::start(&url, &["--since", "0"]);
    let numbers: Vec<u64> = std::iter::from_fn(|| Some(late.event()))
        .map(|event| event["seq"].as_u64().unwrap())
        .take_while(|seq| *seq <= event["seq"].as_u64().unwrap())
        .take(usize::try_from(event["seq"].as_u64().unwrap()).unwrap())
        .collect();
    assert_eq!(numbers, (1..=event["seq"].as_u64().unwrap()).collect::<Vec<_>>());
    drop(service);
}

#[test]
fn following_ends_cleanly() {
    let service = Service::paused("127.0.0.1:9");
    let mut follower = Follower::start(&service.admin(), &[]);
    // The subscription is established once an event arrives.
    let id = until("an event", || {
        service.mail("ada@example.org", "bob@example.net", b"x\r\n");
        follower.out.try_recv().ok()
    });
    assert!(id.starts_with('{'));
    signal(follower.child.id(), "INT");
    assert_eq!(follower.child.wait().unwrap().code(), Some(0));
    // A closed pipe: `head` has what it wants.
    let mut child = Command::new(spool_tests::process::spool_binary())
        .args(["events", "--since", "0", "--admin", &service.admin()])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut String::new()).unwrap();
    drop(out);
    let status = until("the end", || {
        service.mail("ada@example.org", "bob@example.net", b"x\r\n");
        child.try_wait().unwrap()
    });
    assert_eq!(status.code(), Some(0));
}
