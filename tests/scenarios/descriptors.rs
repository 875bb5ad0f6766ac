//! A service that runs out of file descriptors: it does not spin, it keeps what it answered, and serves again.

use spool_tests::capture::Capture;
use spool_tests::process::{Running, run, spool_binary, until};
use spool_tests::raw::RawClient;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

/// As few as a service with its threads can start with, and some for sessions.
const DESCRIPTORS: &str = "64";

fn limited(spool: &Path, next_hop: &str) -> Running {
    let mut command = Command::new("sh");
    let line = format!("ulimit -n {DESCRIPTORS} && exec \"$0\" \"$@\"");
    command.args(["-c", &line]).arg(spool_binary());
    command.args([
        "serve",
        "--spool",
        spool.to_str().unwrap(),
        "--next-hop",
        next_hop,
    ]);
    command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    Running::spawn(&mut command)
}

/// Hundredths of a second of processor time that a process has used.
fn processor_time(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn a_service_without_descriptors_neither_spins_nor_loses_mail_and_serves_again() {
    let dir = tempfile::tempdir().unwrap();
    let spool = dir.path().join("spool");
    let capture = Capture::start();
    let server = limited(&spool, &capture.next_hop());
    let admin = format!("http://{}", server.field("admin"));
    let body = "x".repeat(70) + "\r\n";
    let body = body.repeat(1000);
    let mut first = RawClient::hello(server.smtp());
    let mut send = || {
        first
            .transaction("a@example.org", &["b@example.net"], body.as_bytes())
            .unwrap()
    };
    // With the first message a segment is taken and the next one made ready.
    assert_eq!(send().0, 250);
    assert_eq!(capture.message().without_trace(), body.as_bytes());
    assert!(run(&["jobs", "0", "--admin", &admin]).status.success());
    let crowd: Vec<TcpStream> = (0..100)
        .map(|_| TcpStream::connect(server.smtp()).unwrap())
        .collect();
    until("it is out of descriptors", || {
        server.log().contains("cannot accept connections").then_some(())
    });
    let (before, from) = (processor_time(server.pid()), server.log().len());
    // Open sessions continue, and accepted mail is on disk.
    for _ in 0..20 {
        assert_eq!(send().0, 250);
    }
    assert_eq!(spool_core::store::count_from_disk(&spool).unwrap(), 20);
    // The pauses grow to half a second: a real wait, since it is about what does not happen.
    std::thread::sleep(std::time::Duration::from_secs(2));
    let used = processor_time(server.pid()) - before;
    assert!(
        used < 150,
        "{used} hundredths of a second for 20 messages and waiting"
    );
    let complaints = server.log()[from..].matches("cannot accept connections").count();
    assert!((1..40).contains(&complaints), "{complaints} complaints");
    drop(crowd);
    until("it serves again", || {
        let mut client = RawClient::connect(server.smtp());
        let (code, _) = client.command("EHLO client.example");
        (code == 250).then_some(())
    });
    until("the API answers again", || {
        run(&["jobs", "10", "--admin", &admin])
            .status
            .success()
            .then_some(())
    });
    for _ in 0..20 {
        assert_eq!(capture.message().without_trace(), body.as_bytes());
    }
    drop(first);
    assert!(server.terminate().success());
}

#[test]
fn a_limit_that_is_too_low_to_start_with_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let spool = dir.path().join("spool");
    let started = |files: &str| {
        let line = format!("ulimit -n {files} && exec \"$0\" \"$@\"");
        let mut command = Command::new("sh");
        command.args(["-c", &line]).arg(spool_binary());
        command.args(["serve", "--spool", spool.to_str().unwrap()]);
        command
            .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .output()
            .unwrap()
    };
    for files in ["8", "16", "63"] {
        let refused = started(files);
        let error = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{error}");
        let told = format!("this process may have {files} files open");
        assert!(error.contains(&told) && error.contains("ulimit -n"), "{error}");
        assert!(
            error.contains("at least 64") && !error.contains("panicked"),
            "{error}"
        );
        assert!(!spool.exists(), "nothing was made");
    }
}
