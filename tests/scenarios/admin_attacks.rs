//! Attacks on the admin API: connections and bodies that never end, answers that are not read, submissions beyond every
//! limit. The probes go on being answered, and memory stays below its limits.

use crate::admin::paused;
use spool_tests::http;
use spool_tests::process::Running;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

const MIB: usize = 1 << 20;
/// What the process needs beside its two limits, in KiB.
const CONSTANT: u64 = 64 << 10;

fn service(dir: &Path, limits: &str) -> Running {
    let config = dir.join("spool.toml");
    std::fs::write(&config, limits).unwrap();
    paused(&dir.join("spool"), &["--config", config.to_str().unwrap()])
}

/// Both probes, each within a second.
#[track_caller]
fn probes_answer(admin: &str) {
    for path in ["/healthz", "/readyz"] {
        let start = Instant::now();
        let (status, answer) = http::ask(admin, "GET", path, "");
        assert_eq!(status, 200, "{path}: {answer}");
        assert!(
            start.elapsed() < Duration::from_secs(1),
            "{path}: {:?}",
            start.elapsed()
        );
    }
}

fn post(admin: &str, length: usize) -> TcpStream {
    let mut stream = TcpStream::connect(admin).unwrap();
    write!(
        stream,
        "POST /api/v1/messages HTTP/1.1\r\nHost: {admin}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    )
    .unwrap();
    stream
}

#[test]
fn probes_are_answered_while_bodies_never_end() {
    let dir = tempfile::tempdir().unwrap();
    let server = service(dir.path(), "");
    let admin = server.field("admin");
    let mut open = Vec::new();
    for _ in 0..600 {
        let mut stream = post(admin, 1000);
        let _ = stream.write_all(b"{");
        open.push(stream);
    }
    probes_answer(admin);
    let (status, _) = http::ask(admin, "GET", "/api/v1/count", "");
    assert_eq!(status, 200, "who looks has places of their own");
    let mail = r#"{"from":"a@example.org","to":["b@example.net"],"body":"x","frozen":true}"#;
    let (status, answer) = http::ask(admin, "POST", "/api/v1/messages", mail);
    assert_eq!(status, 503, "all places are taken: {answer}");
    drop(open);
}

#[test]
fn probes_are_answered_while_connections_only_wait() {
    let dir = tempfile::tempdir().unwrap();
    let server = service(dir.path(), "");
    let admin = server.field("admin");
    let silent: Vec<_> = (0..600).map(|_| TcpStream::connect(admin).unwrap()).collect();
    probes_answer(admin);
    let half: Vec<_> = (0..600)
        .map(|_| {
            let mut stream = TcpStream::connect(admin).unwrap();
            write!(stream, "GET /healthz HTTP/1.1\r\nHost: {admin}\r\nX-Slow: ").unwrap();
            stream
        })
        .collect();
    probes_answer(admin);
    drop((silent, half));
}

#[test]
fn requests_whose_answers_nobody_takes_are_not_answered_any_further() {
    let dir = tempfile::tempdir().unwrap();
    let server = service(
        dir.path(),
        "[listen.limits]\nmemory = \"16MiB\"\n[spool]\nmemory_limit = \"16MiB\"\n",
    );
    let admin = server.field("admin");
    let request = format!("GET /api/v1/count HTTP/1.1\r\nHost: {admin}\r\n\r\n");
    let requests = request.repeat(4000);
    let attack = |_| {
        let mut stream = TcpStream::connect(admin).unwrap();
        stream.set_nonblocking(true).unwrap();
        // As many as it takes: what is left over when it takes no more is not sent.
        let mut left = requests.as_bytes();
        for _ in 0..20 {
            match stream.write(left) {
                Ok(sent) => left = &left[sent..],
                Err(_) => std::thread::yield_now(),
            }
        }
        stream
    };
    let open: Vec<TcpStream> = (0..300).map(attack).collect();
    probes_answer(admin);
    // Each of them again, which fills what the system took meanwhile.
    for mut stream in &open {
        let _ = stream.write(requests.as_bytes());
    }
    probes_answer(admin);
    let peak = server.peak_kib();
    println!(
        "300 connections with requests without end: peak {} MiB",
        peak >> 10
    );
    assert!(peak < (32 << 10) + CONSTANT, "{peak} KiB");
    drop(open);
}

#[test]
fn large_submissions_at_once_stay_within_the_memory_of_those_who_bring_mail() {
    let dir = tempfile::tempdir().unwrap();
    let server = service(
        dir.path(),
        "[listen.limits]\nmessage_size = \"64MiB\"\nmemory = \"128MiB\"\n[spool]\nmemory_limit = \"64MiB\"\n",
    );
    let admin = server.field("admin");
    let length = 40 * MIB;
    let chunk = vec![b'x'; MIB];
    let attack = |_| {
        let mut stream = post(admin, length);
        stream.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut body = br#"{"from":"a@example.org","to":["b@example.net"],"body":""#.to_vec();
        body.resize(MIB, b'x');
        // All but the end. Whoever is refused is not read any further.
        let _ = stream.write_all(&body);
        for _ in 2..length / MIB {
            if stream.write_all(&chunk).is_err() {
                break;
            }
        }
        stream
    };
    let open: Vec<TcpStream> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..40).map(|n| scope.spawn(move || attack(n))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    probes_answer(admin);
    let peak = server.peak_kib();
    println!("40 submissions of 40 MiB: peak {} MiB", peak >> 10);
    assert!(peak < (128 << 10) + (64 << 10) + CONSTANT, "{peak} KiB");
    drop(open);
}

#[test]
fn answers_that_nobody_reads_stay_within_the_memory_of_those_who_bring_mail() {
    let dir = tempfile::tempdir().unwrap();
    let server = service(
        dir.path(),
        "[listen.limits]\nmemory = \"128MiB\"\n[spool]\nmemory_limit = \"64MiB\"\n",
    );
    let admin = server.field("admin");
    let line = "x".repeat(1022) + "\r\n";
    let mail = serde_json::json!({
        "from": "a@example.org", "to": ["b@example.net"], "frozen": true, "body": line.repeat(34 * 1024),
    });
    let (status, answer) = http::ask(admin, "POST", "/api/v1/messages", &mail.to_string());
    assert_eq!(status, 201, "{answer}");
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    let id = answer["ids"][0].as_str().unwrap();
    let before = server.peak_kib();
    let readers: Vec<TcpStream> = (0..40)
        .map(|_| {
            let mut stream = TcpStream::connect(admin).unwrap();
            write!(
                stream,
                "GET /api/v1/messages/{id}/body HTTP/1.1\r\nHost: {admin}\r\n\r\n"
            )
            .unwrap();
            stream
        })
        .collect();
    probes_answer(admin);
    let mut statuses = Vec::new();
    for stream in &readers {
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut head = [0; 12];
        let mut stream: &TcpStream = stream;
        stream.read_exact(&mut head).unwrap();
        statuses.push(String::from_utf8_lossy(&head[9..]).into_owned());
    }
    let served = statuses.iter().filter(|status| *status == "200").count();
    let refused = statuses.iter().filter(|status| *status == "503").count();
    let peak = server.peak_kib();
    println!(
        "40 readers of 34 MiB: {served} served, {refused} refused; peak {} MiB, {} before",
        peak >> 10,
        before >> 10
    );
    assert_eq!((served + refused, served > 0), (40, true), "{statuses:?}");
    assert!(peak < (128 << 10) + (64 << 10) + CONSTANT, "{peak} KiB");
    probes_answer(admin);
    drop(readers);
    // What they held is given back.
    spool_tests::process::until("a reader that reads", || {
        (http::ask(admin, "GET", &format!("/api/v1/messages/{id}/body"), "").0 == 200).then_some(())
    });
}

#[test]
fn a_submission_of_too_many_recipients_is_refused_as_over_smtp() {
    let dir = tempfile::tempdir().unwrap();
    let server = service(dir.path(), "");
    let admin = server.field("admin");
    let submission = |count: usize| {
        let to = vec!["\"a@b.cc\""; count].join(",");
        format!(r#"{{"from":"a@example.org","to":[{to}],"body":"x","frozen":true}}"#)
    };
    let (status, answer) = http::ask(admin, "POST", "/api/v1/messages", &submission(3_300_000));
    assert_eq!(status, 400, "{answer}");
    assert!(
        answer.contains("3300000 recipients") && answer.contains("1000"),
        "{answer}"
    );
    let (status, answer) = http::ask(admin, "POST", "/api/v1/messages", &submission(1001));
    assert_eq!(status, 400, "{answer}");
    let (status, answer) = http::ask(admin, "POST", "/api/v1/messages", &submission(1000));
    assert_eq!(status, 201, "{answer}");
    let (_, count) = http::ask(admin, "GET", "/api/v1/count", "");
    assert_eq!(count.trim(), "{\"count\":1}");
}
