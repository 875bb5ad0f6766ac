//! Measures how long compaction holds up a commit: the time between the answer of one and the begin of the next.
//!
//! `cargo run --release -p spool-core --example compaction -- DIR [ROUNDS]`. Each round adds 64 messages of 2 KiB and ends all but
//! three of those before, as the writer thread of a busy relay does: commit, answer, maintain, one step of compaction.

#![allow(
    clippy::unwrap_used,
    reason = "a measurement has nobody to report an error to"
)]

use bytes::Bytes;
use spool_core::store::{Addition, Change, Finish, NewMessage, Store, StoreOptions};
use spool_core::{
    Address, Envelope, Event, EventKind, IdSource, MessageId, RetryPolicy, ReversePath, RouteOrigin, Section,
    Status, Timestamp,
};
use std::path::Path;
use std::time::{Duration, Instant};

const BODY: usize = 2048;
const BATCH: usize = 64;
/// Of each batch, so many stay for ever.
const STAY: usize = 3;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().unwrap_or_else(|| ".".to_owned());
    let rounds: usize = arguments
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(6000);
    let dir = Path::new(&dir).join("compaction-bench");
    let (store, _) = Store::open(&dir, &StoreOptions::default()).unwrap();
    let (mut commits, mut steps, mut idle) = (Vec::new(), Vec::new(), Vec::new());
    let mut ids = IdSource::after(None);
    let mut before: Vec<MessageId> = Vec::new();
    for _ in 0..rounds {
        let mut changes: Vec<Change> = before.drain(..).map(end).collect();
        for number in 0..BATCH {
            let id = ids.next(Timestamp(1));
            if number >= STAY {
                before.push(id);
            }
            changes.push(add(id));
        }
        let start = Instant::now();
        store
            .commit(&mut changes)
            .into_iter()
            .for_each(|result| result.unwrap());
        commits.push(start.elapsed());
        let start = Instant::now();
        store.maintain();
        let more = store.compact();
        if more {
            store.maintain();
        }
        // Whoever comes meanwhile waits for so long.
        if more { &mut steps } else { &mut idle }.push(start.elapsed());
    }
    let stats = store.stats();
    println!(
        "{rounds} commits, {} messages copied forward, {} segments for {} messages",
        stats.moved, stats.segments, stats.messages
    );
    for (name, times) in [
        ("commit", &mut commits),
        ("step of compaction", &mut steps),
        ("without one", &mut idle),
    ] {
        println!(
            "{name:20} {:6} times, p50 {:6.2} ms, p99 {:6.2} ms, longest {:6.2} ms",
            times.len(),
            at(times, 0.5),
            at(times, 0.99),
            at(times, 1.0)
        );
    }
    drop(store);
    std::fs::remove_dir_all(&dir).unwrap();
}

fn event(id: MessageId, kind: EventKind) -> Event {
    let mut event = Event::new(0, Timestamp(1), kind);
    event.id = Some(id);
    event
}

fn end(id: MessageId) -> Change {
    Change::Finish {
        id,
        how: Finish::Delivered,
        events: vec![event(id, EventKind::Delivered)],
    }
}

fn add(id: MessageId) -> Change {
    let envelope = Envelope::of(
        ReversePath::Mailbox(Address::parse("sender@example.org").unwrap()),
        [Address::parse("recipient@example.net").unwrap()],
    );
    Change::Add(Addition {
        messages: vec![NewMessage {
            id,
            section: Section {
                envelope,
                next_hops: ["mx.example.net:25".parse().unwrap()].into(),
                origin: RouteOrigin::Named,
                retry: RetryPolicy::default(),
            },
            status: Status::SendAt(Timestamp(1)),
            frozen: None,
            in_flight: None,
            state: None,
        }],
        body: Bytes::from(vec![b'x'; BODY]),
        flows: Vec::new(),
        parent: None,
        related: Vec::new(),
        key: None,
        conclusion: None,
        events: vec![event(id, EventKind::Spooled)],
        spooled_at: Timestamp(1),
    })
}

/// Milliseconds at this share of all times.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a rank"
)]
fn at(times: &mut [Duration], share: f64) -> f64 {
    times.sort_unstable();
    let rank = ((times.len().saturating_sub(1)) as f64 * share) as usize;
    times.get(rank).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
}
