//! A next hop that takes connections and drops them, with ten thousand messages due for it.

use spool_tests::process::{run, serve, until};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const MESSAGES: usize = 10_000;
/// For how long the next hop is watched.
const WATCHED: Duration = Duration::from_secs(8);
const WINDOW: Duration = Duration::from_secs(2);

#[test]
fn a_dead_next_hop_with_ten_thousand_due_messages_sees_few_attempts() {
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let hop = listener.local_addr().unwrap().to_string();
    let seen: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let times = Arc::clone(&seen);
    std::thread::spawn(move || {
        for session in listener.incoming() {
            times.lock().unwrap().push(Instant::now());
            drop(session);
        }
    });
    let config = dir.path().join("spool.toml");
    std::fs::write(&config, "max_concurrent_jobs = 0\n").unwrap();
    let server = serve(
        &dir.path().join("spool"),
        &[&hop],
        &["--config", config.to_str().unwrap()],
    );
    let (to, admin) = (
        server.smtp().to_string(),
        format!("http://{}", server.field("admin")),
    );
    let messages = MESSAGES.to_string();
    let load = [
        "load",
        "--to",
        &to,
        "--messages",
        &messages,
        "--connections",
        "20",
        "--size",
        "300",
    ];
    assert!(run(&load).status.success());
    assert!(seen.lock().unwrap().is_empty(), "delivery was paused");
    assert!(run(&["jobs", "200", "--admin", &admin]).status.success());
    let start = until("the first attempt", || seen.lock().unwrap().first().copied());
    let attempts = until("the time is over", || {
        (start.elapsed() >= WATCHED).then(|| seen.lock().unwrap().clone())
    });
    let most = attempts
        .iter()
        .enumerate()
        .map(|(first, at)| {
            let later = attempts.iter().skip(first);
            later
                .take_while(|other| other.duration_since(*at) < WINDOW)
                .count()
        })
        .max()
        .unwrap();
    println!(
        "{} attempts in {} s, at most {most} in two",
        attempts.len(),
        WATCHED.as_secs()
    );
    assert!(most <= 20, "{most} attempts in two seconds");
    let count = run(&["count", "--admin", &admin]);
    assert_eq!(String::from_utf8_lossy(&count.stdout).trim(), messages);
}

#[test]
fn a_person_has_a_destination_tried_by_forgetting_it() {
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let hop = listener.local_addr().unwrap().to_string();
    let seen: Arc<Mutex<usize>> = Arc::default();
    let count = Arc::clone(&seen);
    std::thread::spawn(move || {
        for session in listener.incoming() {
            *count.lock().unwrap() += 1;
            drop(session);
        }
    });
    let server = serve(&dir.path().join("spool"), &[&hop], &[]);
    let (to, admin) = (
        server.smtp().to_string(),
        format!("http://{}", server.field("admin")),
    );
    assert!(
        run(&[
            "load",
            "--to",
            &to,
            "--messages",
            "40",
            "--connections",
            "1",
            "--size",
            "300"
        ])
        .status
        .success()
    );
    until("the circuit is open", || {
        let listed = run(&["destinations", "--admin", &admin]);
        String::from_utf8_lossy(&listed.stdout)
            .contains("left alone")
            .then_some(())
    });
    let reset = |destination: &str| run(&["destinations", "--reset", destination, "--admin", &admin]);
    assert_eq!(reset("mx.example.net:25").status.code(), Some(4));
    assert_eq!(reset("nonsense").status.code(), Some(2));
    let before = *seen.lock().unwrap();
    let told = reset(&hop);
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(
        text.starts_with(&format!("{hop}: reset; it had been learned:\n")),
        "{text}"
    );
    assert!(text.contains("\n  circuit breaker: "), "{text}");
    // As a new destination it has four sessions at once, where the circuit allows one.
    until("it is tried with some messages", || {
        (*seen.lock().unwrap() >= before + 4).then_some(())
    });
}
