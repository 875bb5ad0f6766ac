//! The service under `strace`, with a client that sends mail until it is refused or cut off.

use spool_core::store::{checkup, count_from_disk, mail_from_disk};
use spool_tests::process::{PATIENCE, spool_binary};
use spool_tests::raw::RawClient;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

/// What all runs came to.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) runs: usize,
    /// Messages answered 250.
    pub(crate) answered: usize,
    /// Runs that ended with the process.
    pub(crate) killed: usize,
    /// Runs in which mail was refused.
    pub(crate) failed: usize,
}

/// Messages of one run.
const MESSAGES: usize = 30;

/// The `number`th call of this name on the way of mail fails or is the last. Calls that the start needs are let pass.
pub(crate) fn run(call: &str, fault: &str, number: usize, tally: &mut Tally) {
    let dir = tempfile::tempdir().unwrap();
    let spool = dir.path().join("spool");
    // A start makes about a dozen of most calls, of sends none.
    let when = number + if call == "sendto" { 1 } else { 2 };
    let context = format!("{call}:{fault}:when={when}");
    let Some((mut child, address)) = start(dir.path(), &spool, &format!("inject={context}")) else {
        // The start itself was what failed: nothing was answered.
        tally.runs += 1;
        return check(&spool, &BTreeSet::new(), &context);
    };
    let mut answered = BTreeSet::new();
    let (mut refused, mut gone) = (false, false);
    for message in 0..MESSAGES {
        match send(address, message) {
            Ok(250) => drop(answered.insert(message)),
            Ok(code) => {
                assert!([451, 452].contains(&code), "{context}: {code}");
                refused = true;
            }
            // Its listener may stay a moment longer than it does.
            Err(_) => {
                gone = true;
                break;
            }
        }
    }
    end(&mut child);
    tally.runs += 1;
    tally.answered += answered.len();
    tally.killed += usize::from(gone);
    tally.failed += usize::from(refused);
    check(&spool, &answered, &context);
}

fn start(dir: &Path, spool: &Path, inject: &str) -> Option<(Child, std::net::SocketAddr)> {
    let config = dir.join("spool.toml");
    std::fs::write(
        &config,
        "max_concurrent_jobs = 0\n[spool]\nsegment_size = \"64KiB\"\n",
    )
    .unwrap();
    let mut command = Command::new("strace");
    let calls = "trace=pwrite64,fdatasync,fsync,fallocate,rename,sendto";
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", calls, "-e", inject]);
    command
        .arg(spool_binary())
        .args(["serve", "--spool", spool.to_str().unwrap()]);
    command.args(["--config", config.to_str().unwrap(), "--next-hop", "127.0.0.1:9"]);
    command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let _ = out.read_line(&mut line);
        let _ = tell.send(line);
    });
    let ready = told.recv_timeout(PATIENCE).unwrap();
    let Some(address) = ready
        .split_once("smtp=")
        .and_then(|(_, rest)| rest.split(' ').next())
    else {
        end(&mut child);
        return None;
    };
    Some((child, address.parse().unwrap()))
}

/// A tracer that is killed would leave what it traces running: that goes first, and the tracer with it.
fn end(child: &mut Child) {
    let pid = child.id();
    let traced = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    for pid in traced.split_whitespace() {
        let _ = Command::new("kill")
            .args(["-KILL", pid])
            .stderr(Stdio::null())
            .status();
    }
    child.wait().unwrap();
}

fn text(message: usize) -> Vec<u8> {
    format!(
        "X-Tag: {message}\r\n\r\n{}",
        format!("{}\r\n", "y".repeat(70)).repeat(60)
    )
    .into_bytes()
}

/// An error: the connection broke, or was never made.
fn send(to: std::net::SocketAddr, message: usize) -> std::io::Result<u16> {
    let mut client = RawClient::try_hello(to)?;
    let mut say = |line: &[u8]| -> std::io::Result<u16> {
        client.send(line)?;
        Ok(client.reply()?.0)
    };
    for line in ["MAIL FROM:<a@example.org>", "RCPT TO:<b@example.net>", "DATA"] {
        let code = say(format!("{line}\r\n").as_bytes())?;
        if code >= 400 {
            return Ok(code);
        }
    }
    say(&[text(message).as_slice(), b".\r\n"].concat())
}

/// Every message that was answered is on the spool with its text, and the spool is whole.
fn check(spool: &Path, answered: &BTreeSet<usize>, context: &str) {
    if !spool.join("FORMAT").exists() {
        return assert!(answered.is_empty(), "{context}");
    }
    let mut found = BTreeSet::new();
    mail_from_disk(spool, &mut |_, body| {
        let body = String::from_utf8(body().unwrap().unwrap().to_vec()).unwrap();
        let tag = body.split_once("X-Tag: ").unwrap().1;
        let message: usize = tag.split_once("\r\n").unwrap().0.parse().unwrap();
        assert!(body.as_bytes().ends_with(&text(message)), "{context}: {message}");
        assert!(found.insert(message), "{context}: {message} is there twice");
    })
    .unwrap();
    let lost: Vec<_> = answered.difference(&found).collect();
    assert!(lost.is_empty(), "{context}: lost {lost:?}");
    let checkup = checkup(spool, spool_core::Timestamp(1), true, &mut || {}).unwrap();
    assert!(
        checkup.findings.iter().all(|finding| finding.repairable),
        "{context}: {checkup:?}"
    );
    assert_eq!(count_from_disk(spool).unwrap(), found.len() as u64, "{context}");
}
