//! The memory of the service stays below its two limits and a constant, whatever mail is sent to it.
//!
//! Each test is small enough for every run. As a campaign they run at the size of the attacks they come from:
//! `SPOOL_MEMORY_SCALE=10 cargo test --release --workspace --test scenarios memory -- --test-threads=1`.

use spool_tests::process::{Running, run, serve, until};
use spool_tests::raw::RawClient;
use std::fmt::Write;
use std::net::TcpListener;
use std::path::Path;

/// What the service takes beside its limits: the program itself, its threads' stacks, what the allocator keeps, and the
/// sessions of these tests. docs/architecture.md names it.
const CONSTANT_MIB: u64 = 64;

/// How many times as large as in every run.
fn scale() -> usize {
    let scale = std::env::var("SPOOL_MEMORY_SCALE");
    scale.map_or(1, |scale| scale.parse().expect("SPOOL_MEMORY_SCALE is a number"))
}

/// A service with these limits, in MiB.
fn service(dir: &Path, memory_limit: u64, listen_memory: u64, more: &str) -> Running {
    let config = dir.join("spool.toml");
    let text = format!(
        "{more}\n[listen.limits]\nmemory = \"{listen_memory}MiB\"\nconnections = 20000\nconnections_per_client = 20000\n\
         [spool]\nmemory_limit = \"{memory_limit}MiB\"\n"
    );
    std::fs::write(&config, text).unwrap();
    serve(&dir.join("spool"), &[], &["--config", config.to_str().unwrap()])
}

fn assert_bounded(service: &Running, limits: u64) {
    let peak = service.peak_kib() / 1024;
    println!("a peak of {peak} MiB at limits of {limits} MiB");
    assert!(
        peak < limits + CONSTANT_MIB,
        "{peak} MiB at limits of {limits} MiB and a constant of {CONSTANT_MIB} MiB"
    );
}

/// A next hop that accepts connections and says nothing.
struct SilentHop(TcpListener);

impl SilentHop {
    fn listen() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    fn address(&self) -> String {
        self.0.local_addr().unwrap().to_string()
    }
}

/// MAIL and these RCPTs in one write; the reply of the last one.
fn envelope(client: &mut RawClient, recipients: usize, domain: impl Fn(usize) -> String) -> Vec<u16> {
    let mut commands = "MAIL FROM:<sender@source.example>\r\n".to_owned();
    for number in 0..recipients {
        write!(commands, "RCPT TO:<recipient-{number}@{}>\r\n", domain(number)).unwrap();
    }
    client.send(commands.as_bytes()).unwrap();
    (0..=recipients).map(|_| client.reply().unwrap().0).collect()
}

fn finish(client: &mut RawClient, body: &[u8]) -> u16 {
    let code = client.command("DATA").0;
    if code != 354 {
        return code;
    }
    client.send(body).unwrap();
    client.send(b".\r\n").unwrap();
    client.reply().unwrap().0
}

fn body(bytes: usize) -> Vec<u8> {
    b"a line of seventy bytes, so that the body has the shape that mail has\r\n".repeat(bytes / 72)
}

#[test]
fn a_body_that_one_of_its_messages_still_needs_is_charged_until_that_one_has_ended() {
    let dir = tempfile::tempdir().unwrap();
    let (silent, sink) = (
        SilentHop::listen(),
        Running::start(&["sink", "--listen", "127.0.0.1:0"]),
    );
    let rules = format!(
        "[[route.rule]]\ndomain = \"silent.example\"\nnext_hops = [\"{}\"]\nmax_connections = 200\n\
         [[route.rule]]\ndomain = \"well.example\"\nnext_hops = [\"{}\"]\n",
        silent.address(),
        sink.field("smtp")
    );
    let service = service(dir.path(), 32, 16, &rules);
    let body = body(3 << 20);
    let mut codes = Vec::new();
    let mut client = RawClient::hello(service.smtp());
    for number in 0..60 * scale() {
        let to = [
            format!("a{number}@well.example"),
            format!("b{number}@silent.example"),
        ];
        let (code, _) = client
            .transaction("sender@source.example", &[&to[0], &to[1]], &body)
            .unwrap();
        codes.push(code);
    }
    assert!(codes.contains(&250) && codes.contains(&451), "{codes:?}");
    assert_bounded(&service, 48);
}

#[test]
fn waiting_messages_of_a_thousand_recipients_stay_on_disk_and_are_listed_in_pages_of_bounded_size() {
    let dir = tempfile::tempdir().unwrap();
    let silent = SilentHop::listen();
    let config = format!(
        "max_concurrent_jobs = 0\n[route]\nnext_hops = [\"{}\"]\n",
        silent.address()
    );
    let service = service(dir.path(), 16, 16, &config);
    let mut client = RawClient::hello(service.smtp());
    let messages = 600 * scale();
    let mut taken = 0;
    for _ in 0..messages {
        let codes = envelope(&mut client, 1000, |_| "destination.example".to_owned());
        assert!(codes.iter().all(|code| *code == 250));
        taken += usize::from(finish(&mut client, b"x\r\n") == 250);
    }
    assert_bounded(&service, 32);
    let admin = format!("http://{}", service.field("admin"));
    let listed = run(&["status", "--format", "id", "--admin", &admin]);
    assert_eq!(String::from_utf8_lossy(&listed.stdout).lines().count(), taken);
    assert_bounded(&service, 32);
}

#[test]
fn recipients_of_open_transactions_are_charged_to_the_memory_of_all_sessions() {
    let dir = tempfile::tempdir().unwrap();
    let service = service(dir.path(), 16, 8, "[route]\nnext_hops = [\"127.0.0.1:9\"]\n");
    let (mut clients, mut refused) = (Vec::new(), 0);
    for _ in 0..300 * scale() {
        let mut client = RawClient::hello(service.smtp());
        let codes = envelope(&mut client, 1000, |_| "destination.example".to_owned());
        assert!(codes.iter().all(|code| matches!(code, 250 | 452)));
        refused += codes.iter().filter(|code| **code == 452).count();
        clients.push(client);
    }
    assert!(refused > 0);
    assert_bounded(&service, 24);
    drop(clients);
    // All of it came back.
    until("memory for a thousand recipients", || {
        let mut client = RawClient::hello(service.smtp());
        let codes = envelope(&mut client, 1000, |_| "destination.example".to_owned());
        codes.iter().all(|code| *code == 250).then_some(())
    });
}

#[test]
fn a_message_for_a_thousand_domains_is_charged_as_a_thousand_messages() {
    let dir = tempfile::tempdir().unwrap();
    let service = service(dir.path(), 32, 16, "max_concurrent_jobs = 0\n");
    let mut client = RawClient::hello(service.smtp());
    let mut codes = Vec::new();
    for _ in 0..30 * scale() {
        envelope(&mut client, 1000, |number| format!("domain-{number}.example"));
        codes.push(finish(&mut client, b"x\r\n"));
    }
    assert!(codes.contains(&250), "{codes:?}");
    assert_bounded(&service, 48);
}

#[test]
fn connections_that_carried_a_message_cost_little_while_idle_and_nothing_when_they_have_left() {
    const CONNECTIONS: usize = 1500;
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let service = service(
        dir.path(),
        16,
        16,
        "max_concurrent_jobs = 0\n[route]\nnext_hops = [\"127.0.0.1:9\"]\n",
    );
    let body = body(9 << 10);
    // So that what the first messages cost is not counted.
    let mut first = RawClient::hello(service.smtp());
    for _ in 0..20 {
        assert_eq!(
            first
                .transaction("a@source.example", &["b@destination.example"], &body)
                .unwrap()
                .0,
            250
        );
    }
    let before = service.resident_kib();
    let connections = CONNECTIONS * scale();
    let mut clients = Vec::new();
    for _ in 0..connections {
        let mut client = RawClient::hello(service.smtp());
        let (code, text) = client
            .transaction("a@source.example", &["b@destination.example"], &body)
            .unwrap();
        assert_eq!(code, 250, "{text}");
        clients.push(client);
    }
    let idle = service.resident_kib().saturating_sub(before);
    // The messages wait on disk, but for what the limit lets stay.
    let mail = 8 * 1024;
    let each = idle.saturating_sub(mail) * 1024 / connections as u64;
    assert!(each <= 16 << 10, "{each} bytes each, {idle} KiB in all");
    drop(clients);
    // The messages stay: of each an entry, and what lies beside it in its page.
    let stays = mail + 2 * connections as u64;
    let admin = format!("http://{}", service.field("admin"));
    until("memory to come back", || {
        assert!(run(&["count", "--admin", &admin]).status.success());
        (service.resident_kib() < before + stays + 8 * 1024).then_some(())
    });
}
