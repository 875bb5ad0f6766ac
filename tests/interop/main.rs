//! A campaign against Postfix and Exim: everything is delivered to them over verified TLS and after a login, and is in their
//! mailboxes once, with the same bytes. And against proxies and clients of others, which name clients, log in and hand mail in.
//!
//! It needs their packages and root, so it runs only when it is asked to: see `prepare.sh` beside this file.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests panic")]

mod exim;
mod logins;
mod postfix;
mod proxies;
mod submitters;

use spool_tests::authority::Authority;
use spool_tests::mails::{Named, own};
use spool_tests::process::{Running, run, serve};
use spool_tests::raw::RawClient;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const USER: &str = "ada";
const PASSWORD: &str = "a-secret-of-ada";
/// Recipients of the message that has many.
const MANY: usize = 150;
/// How long all may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// A running mail server of another author.
struct Mta {
    /// Name and version, in its own words.
    version: String,
    next_hop: String,
    /// Where each message becomes a file, for each recipient one.
    mail: PathBuf,
    log: PathBuf,
    /// What its log says of a message that came over TLS and after a login.
    proof: &'static str,
    /// What its log says of a message that came by BDAT, or of a session with such.
    by_bdat: &'static str,
    /// Messages that it alters, and how: what it is to be told is another thing.
    alters: &'static [(&'static str, &'static str)],
    _process: Ends,
}

/// A program that ends with the test, by this command.
struct Ends {
    child: Child,
    stop: Command,
}

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.stop.stderr(Stdio::null()).status();
        let _ = self.child.wait();
    }
}

/// Where the packages are, or why there is nothing to run.
fn prepared() -> Result<PathBuf, &'static str> {
    let dir =
        std::env::var_os("SPOOL_INTEROP").ok_or("SPOOL_INTEROP is not set: see tests/interop/prepare.sh")?;
    // Both servers want to begin as root.
    let uid = run_text("id", &["-u"]);
    if uid.trim() != "0" {
        return Err("not root");
    }
    Ok(dir.into())
}

fn run_text(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    output.map_or(String::new(), |output| {
        String::from_utf8_lossy(&output.stdout).into_owned()
    })
}

/// A port of loopback that is free now.
fn port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// The campaign's messages: those of every kind, and as many small ones as `SPOOL_INTEROP_MESSAGES` says.
fn messages() -> Vec<Named> {
    let small = std::env::var("SPOOL_INTEROP_MESSAGES").map_or(1000, |text| text.parse().unwrap());
    let small = (0..small).map(|n| {
        let text = format!("Subject: small {n}\r\n\r\n.{n}\r\n..\r\nGr\u{fc}\u{df}e\r\n");
        (format!("small {n}"), text.into_bytes())
    });
    own().into_iter().chain(small).collect()
}

fn relay(dir: &Path, mta: &Mta, authority: &Authority) -> Running {
    let (config, password) = (dir.join("spool.toml"), dir.join("password"));
    std::fs::write(&password, PASSWORD).unwrap();
    let text = format!(
        "[client]\ntls = \"verify\"\ntls_roots = {:?}\n[[client.login]]\nnext_hop = {:?}\nuser = {USER:?}\npassword_file = {password:?}\n",
        authority.roots, mta.next_hop,
    );
    std::fs::write(&config, text).unwrap();
    let config = ["--config", config.to_str().unwrap()];
    serve(&dir.join("spool"), &[&mta.next_hop], &config)
}

/// Waits until `ready`, for as long as the campaign has patience.
fn until(what: &str, mut ready: impl FnMut() -> bool) {
    let start = Instant::now();
    while !ready() {
        assert!(start.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// As it lies in a mailbox.
fn in_lines(mail: &[u8]) -> Vec<u8> {
    let mut mail = mail.to_vec();
    if !mail.is_empty() && !mail.ends_with(b"\r\n") {
        mail.extend_from_slice(b"\r\n");
    }
    let mut lines = Vec::with_capacity(mail.len());
    for (at, byte) in mail.iter().enumerate() {
        if *byte != b'\r' || mail.get(at + 1) != Some(&b'\n') {
            lines.push(*byte);
        }
    }
    lines
}

/// The recipient that a file in a mailbox is for, by the header that the server put there.
fn recipient(file: &[u8], header: &str) -> String {
    let text = String::from_utf8_lossy(&file[..file.len().min(4096)]).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix(header));
    line.unwrap_or_else(|| panic!("no {header} in {text}"))
        .trim()
        .to_owned()
}

fn campaign(dir: &Path, mta: &Mta, authority: &Authority, header: &str) {
    println!("{} at {}", mta.version, mta.next_hop);
    let relay = relay(dir, mta, authority);
    let mails = messages();
    let start = Instant::now();
    let mut client = RawClient::hello(relay.smtp());
    let mut expected = BTreeMap::new();
    for (n, (name, mail)) in mails.iter().enumerate() {
        let to = format!("m{n}@example.net");
        let (code, text) = client.transaction("ada@example.org", &[&to], mail).unwrap();
        assert_eq!(code, 250, "{name}: {text}");
        expected.insert(to, (name.as_str(), in_lines(mail)));
    }
    let many: Vec<String> = (0..MANY).map(|n| format!("many{n}@example.net")).collect();
    let to: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(
        client
            .transaction("ada@example.org", &to, b"Subject: many\r\n\r\nx\r\n")
            .unwrap()
            .0,
        250
    );
    for to in many {
        expected.insert(to, ("many recipients", b"Subject: many\n\nx\n".to_vec()));
    }
    let admin = format!("http://{}", relay.field("admin"));
    until("an empty spool", || {
        String::from_utf8_lossy(&run(&["count", "--admin", &admin]).stdout).trim() == "0"
    });
    println!(
        "  {} messages taken and delivered in {:.1?}",
        mails.len() + 1,
        start.elapsed()
    );
    until("all mail in the mailbox", || {
        files(&mta.mail).len() >= expected.len()
    });
    compare(mta, expected, header);
    let log = std::fs::read_to_string(&mta.log).unwrap();
    let proofs = log.lines().filter(|line| line.contains(mta.proof)).count();
    println!("  {proofs} lines of its log say {:?}", mta.proof);
    assert!(
        proofs >= mails.len(),
        "a message that came without TLS or a login"
    );
    let by_bdat = log.lines().filter(|line| line.contains(mta.by_bdat)).count();
    println!("  and {by_bdat} {:?}", mta.by_bdat);
    assert_ne!(by_bdat, 0, "it offers CHUNKING");
}

/// Every file against what it should be.
fn compare(mta: &Mta, mut expected: BTreeMap<String, (&str, Vec<u8>)>, header: &str) {
    let (mut same, mut altered, mut unexplained) = (0, Vec::new(), Vec::new());
    for path in files(&mta.mail) {
        let file = std::fs::read(&path).unwrap();
        let to = recipient(&file, header);
        let (name, mail) = expected
            .remove(&to)
            .unwrap_or_else(|| panic!("{to}: twice, or never sent:\n{}", String::from_utf8_lossy(&file)));
        // The text before it is complete header fields of the servers on the way.
        let head = file.strip_suffix(&mail[..]);
        let is_header =
            |line: &[u8]| line.is_empty() || matches!(line[0], b' ' | b'\t') || line.contains(&b':');
        if head.is_some_and(|head| head.split(|byte| *byte == b'\n').all(is_header)) {
            same += 1;
            continue;
        }
        match mta.alters.iter().find(|(known, _)| *known == name) {
            Some(known) => altered.push(*known),
            None => {
                let kept = std::env::temp_dir().join(format!("spool-interop-{to}"));
                std::fs::write(&kept, &file).unwrap();
                unexplained.push(format!("{name}: see {}", kept.display()));
            }
        }
    }
    assert!(
        expected.is_empty(),
        "missing: {:?}",
        expected.keys().collect::<Vec<_>>()
    );
    assert!(unexplained.is_empty(), "altered:\n{}", unexplained.join("\n"));
    println!("  {same} files with the same bytes, none twice, none missing");
    for (name, how) in altered {
        println!("  altered by the server: {name}: {how}");
    }
}

#[test]
fn postfix_has_everything_once_with_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path(), &["127.0.0.1"]);
    match prepared().and_then(|_| postfix::start(dir.path(), &authority)) {
        Ok(mta) => campaign(dir.path(), &mta, &authority, "Delivered-To: "),
        Err(why) => println!("skipped: Postfix: {why}"),
    }
}

#[test]
fn exim_has_everything_once_with_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path(), &["127.0.0.1"]);
    match prepared().and_then(|packages| exim::start(dir.path(), &packages, &authority)) {
        Ok(mta) => campaign(dir.path(), &mta, &authority, "Envelope-to: "),
        Err(why) => println!("skipped: Exim: {why}"),
    }
}
