//! `kill -9` at random moments under load: everything answered arrives, and only what was in flight arrives twice.

use spool_tests::capture::Capture;
use spool_tests::process::{serve, until};
use spool_tests::raw::RawClient;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const ROUNDS: u64 = 20;
const CLIENTS: u64 = 8;
/// The most attempts that can be open at a kill: ten sessions to one destination.
const SESSIONS: usize = 10;

/// What the clients know: tags that were answered 250, and tags whose answer never came.
#[derive(Default)]
struct Ledger {
    answered: HashSet<String>,
    unknown: HashSet<String>,
}

fn client(to: std::net::SocketAddr, round: u64, number: u64, stop: &AtomicBool, ledger: &Mutex<Ledger>) {
    // The kill may come before the first word.
    let Ok(mut client) = RawClient::try_hello(to) else {
        return;
    };
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let tag = format!("r{round}c{number}n{n}");
        let body = format!(
            "X-Tag: {tag}\r\n\r\n{}\r\n",
            "x".repeat(500 + usize::try_from(n % 7).unwrap() * 400)
        );
        // Everything in one write; the last of the replies decides.
        let burst = "MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n";
        let sent = client.send(burst.as_bytes()).and_then(|()| {
            (0..3).try_for_each(|_| client.reply().map(|_| ()))?;
            client.send(format!("{body}.\r\n").as_bytes())?;
            client.reply()
        });
        let mut ledger = ledger.lock().unwrap();
        match sent {
            Ok((250, _)) => drop(ledger.answered.insert(tag)),
            Ok((code, text)) => panic!("{code} {text}"),
            Err(_) => {
                ledger.unknown.insert(tag);
                return;
            }
        }
    }
}

/// A small generator of moments; the seed is printed so that a failure can be looked at again.
fn moment(seed: &mut u64) -> Duration {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    Duration::from_micros(2_000 + *seed % 150_000)
}

/// The tags of what has arrived since the last call; every body must be whole.
fn arrived(capture: &Capture) -> impl Iterator<Item = String> {
    std::iter::from_fn(|| capture.try_message()).map(|message| {
        let body = String::from_utf8(message.without_trace().to_vec()).unwrap();
        assert!(body.ends_with("x\r\n"), "a torn body");
        body.strip_prefix("X-Tag: ")
            .unwrap()
            .split("\r\n")
            .next()
            .unwrap()
            .to_owned()
    })
}

#[test]
fn twenty_kills_under_load_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let spool = dir.path().join("spool");
    let capture = Capture::start();
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let mut seed = u64::from(std::process::id()) << 20 | 0x9e37;
    println!("seed {seed}");
    // A message that was interrupted twice in a row waits like one that failed: not for a minute here.
    let config = dir.path().join("spool.toml");
    std::fs::write(&config, "[retry]\nintervals = [\"100ms\"]\n").unwrap();
    let config = ["--config", config.to_str().unwrap()];
    for round in 0..ROUNDS {
        let server = serve(&spool, &[&capture.next_hop()], &config);
        let stop = Arc::new(AtomicBool::new(false));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (to, stop, ledger) = (server.smtp(), Arc::clone(&stop), Arc::clone(&ledger));
                std::thread::spawn(move || client(to, round, number, &stop, &ledger))
            })
            .collect();
        std::thread::park_timeout(moment(&mut seed));
        server.kill();
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().for_each(|client| client.join().unwrap());
    }
    let server = serve(&spool, &[&capture.next_hop()], &config);
    let mut seen: HashMap<String, usize> = HashMap::new();
    let Ledger { answered, unknown } = std::mem::take(&mut *ledger.lock().unwrap());
    let mut missing: HashSet<&String> = answered.iter().collect();
    until("all that was answered has arrived", || {
        for tag in arrived(&capture) {
            missing.remove(&tag);
            *seen.entry(tag).or_default() += 1;
        }
        missing.is_empty().then_some(())
    });
    until("the spool is empty", || {
        let count = spool_core::store::count_from_disk(&spool).unwrap();
        (count == 0).then_some(())
    });
    for tag in arrived(&capture) {
        *seen.entry(tag).or_default() += 1;
    }
    let duplicates: usize = seen.values().map(|times| times - 1).sum();
    let strangers = seen
        .keys()
        .filter(|tag| !answered.contains(*tag) && !unknown.contains(*tag))
        .count();
    println!(
        "{ROUNDS} kills: {} answered, {} without an answer, 0 lost, {duplicates} arrived twice",
        answered.len(),
        unknown.len()
    );
    assert_eq!(strangers, 0);
    assert!(
        answered.len() > 100,
        "too little load to prove anything: {}",
        answered.len()
    );
    assert!(
        duplicates <= usize::try_from(ROUNDS).unwrap() * SESSIONS,
        "{duplicates} duplicates"
    );
    drop(server);
}
