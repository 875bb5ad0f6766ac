//! Many domains on slow hosts, and one on another: no message waits for anything but its host, none loses an interval, and no jobs are
//! held by messages for which there is no connection.

use spool_tests::name_server::NameServer;
use spool_tests::process::{Running, run, serve, until};
use spool_tests::raw::RawClient;
use std::fmt::Write;
use std::path::Path;

const DOMAINS: usize = 60;
const MESSAGES: usize = 180;
const OTHERS: usize = 40;

/// A sink at this address that notes what it takes.
fn sink(dir: &Path, address: &str, script: &str) -> Running {
    let (script_file, ledger) = (
        dir.join(format!("{address}.sink")),
        dir.join(format!("{address}.jsonl")),
    );
    std::fs::write(&script_file, script).unwrap();
    let (script_file, ledger) = (script_file.to_str().unwrap(), ledger.to_str().unwrap());
    Running::start(&[
        "sink",
        "--listen",
        address,
        "--script",
        script_file,
        "--ledger",
        ledger,
    ])
}

/// When each message was taken, in milliseconds.
fn times(dir: &Path, address: &str) -> Vec<i64> {
    let ledger = std::fs::read_to_string(dir.join(format!("{address}.jsonl"))).unwrap();
    let line = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["at"].as_i64();
    ledger.lines().map(|text| line(text).unwrap()).collect()
}

#[test]
fn domains_of_one_slow_host_lose_nothing_and_leave_jobs_for_others() {
    let dir = tempfile::tempdir().unwrap();
    // A port that both addresses have.
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = held.local_addr().unwrap().port();
    let (slow, fast) = (format!("127.0.0.2:{port}"), format!("127.0.0.3:{port}"));
    let _slow = sink(dir.path(), &slow, "dot delay 100ms");
    let _fast = sink(dir.path(), &fast, "");
    let mut zone =
        "slow.example A 127.0.0.2\nfast.example A 127.0.0.3\nother.example MX 1 fast.example".to_owned();
    for n in 0..DOMAINS {
        write!(zone, "\nd{n}.example MX 1 slow.example").unwrap();
    }
    let names = NameServer::start(&zone);
    let config = dir.path().join("spool.toml");
    // A deferred message would not come back while the test runs.
    let text = format!(
        "max_concurrent_jobs = 0\n[retry]\nintervals = [\"1h\"]\n[route]\nmx_port = {port}\ndns_servers = [\"{}\"]\nignore_networks = []\n\
         [client]\nconnections_per_destination = 4\nconnect_timeout = \"300ms\"\n",
        names.address
    );
    std::fs::write(&config, text).unwrap();
    let relay = serve(
        &dir.path().join("spool"),
        &[],
        &["--config", config.to_str().unwrap()],
    );
    let mut client = RawClient::hello(relay.smtp());
    let mut send = |to: String| {
        let (code, text) = client.transaction("a@example.org", &[&to], b"x\r\n").unwrap();
        assert_eq!(code, 250, "{text}");
    };
    (0..MESSAGES).for_each(|n| send(format!("m{n}@d{}.example", n % DOMAINS)));
    (0..OTHERS).for_each(|n| send(format!("m{n}@other.example")));
    let admin = format!("http://{}", relay.field("admin"));
    assert!(run(&["jobs", "40", "--admin", &admin]).status.success());
    until("an empty spool", || {
        let count = run(&["count", "--admin", &admin]).stdout;
        (String::from_utf8_lossy(&count).trim() == "0").then_some(())
    });
    let (slow, fast) = (times(dir.path(), &slow), times(dir.path(), &fast));
    assert_eq!((slow.len(), fast.len()), (MESSAGES, OTHERS));
    let before = slow.iter().filter(|at| *at < fast.iter().max().unwrap()).count();
    println!("{before} of {MESSAGES} messages to the slow host came before the last one to the other");
    assert!(before < MESSAGES / 2, "{before}");
}

/// How many messages are being sent: each has a job.
fn busy_jobs(relay: &Running) -> usize {
    let admin = format!("http://{}", relay.field("admin"));
    let status = run(&["status", "--admin", &admin, "--format", "json"]).stdout;
    let status = String::from_utf8_lossy(&status).into_owned();
    status.lines().filter(|line| line.contains("sending")).count()
}

#[test]
fn domains_of_busy_hosts_leave_jobs_for_others() {
    const HOSTS: usize = 5;
    let dir = tempfile::tempdir().unwrap();
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = held.local_addr().unwrap().port();
    // Nothing is answered within the test.
    let slow: Vec<_> = (2..2 + HOSTS)
        .map(|n| sink(dir.path(), &format!("127.0.0.{n}:{port}"), "dot delay 60s"))
        .collect();
    let fast = format!("127.0.0.9:{port}");
    let _fast = sink(dir.path(), &fast, "");
    let mut zone = "fast.example A 127.0.0.9\nother.example MX 1 fast.example".to_owned();
    for n in 0..HOSTS {
        write!(zone, "\nslow{n}.example A 127.0.0.{}", n + 2).unwrap();
        (0..20).for_each(|m| write!(zone, "\nd{m}.of{n}.example MX 1 slow{n}.example").unwrap());
    }
    let names = NameServer::start(&zone);
    let config = dir.path().join("spool.toml");
    let text = format!(
        "max_concurrent_jobs = 200\n[retry]\nintervals = [\"1h\"]\n[route]\nmx_port = {port}\ndns_servers = [\"{}\"]\nignore_networks = []\n",
        names.address
    );
    std::fs::write(&config, text).unwrap();
    let relay = serve(
        &dir.path().join("spool"),
        &[],
        &["--config", config.to_str().unwrap()],
    );
    let mut client = RawClient::hello(relay.smtp());
    let mut send = |to: String| {
        let (code, text) = client.transaction("a@example.org", &[&to], b"x\r\n").unwrap();
        assert_eq!(code, 250, "{text}");
    };
    for m in 0..40 {
        (0..HOSTS).for_each(|n| {
            send(format!("m{m}@d{}.of{n}.example", m % 20));
            send(format!("n{m}@d{}.of{n}.example", m % 20));
        });
    }
    // The domains of a host share its path, which begins with four sessions.
    until("sessions at every host", || {
        (busy_jobs(&relay) == HOSTS * 4).then_some(())
    });
    (0..10).for_each(|n| send(format!("m{n}@other.example")));
    until("the mail for the host that is not busy", || {
        (times(dir.path(), &fast).len() == 10).then_some(())
    });
    assert_eq!(busy_jobs(&relay), HOSTS * 4, "no job waits for a session");
    drop(slow);
}
