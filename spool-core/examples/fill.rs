//! Fills a spool with waiting messages, to measure what a long queue costs.
//!
//! `cargo run --release -p spool-core --example fill -- DIR [MESSAGES]`: bodies of 2 KiB, 100 next hops, each due in a day.

#![allow(
    clippy::unwrap_used,
    reason = "a measurement has nobody to report an error to"
)]

use bytes::Bytes;
use spool_core::store::{Addition, Change, NewMessage, Store, StoreOptions};
use spool_core::{
    Address, Clock as _, Envelope, Event, EventKind, IdSource, MessageId, NextHop, RetryPolicy, ReversePath,
    RouteOrigin, Section, Status, SystemClock, Timestamp,
};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const BODY: usize = 2048;
const HOPS: usize = 100;
const BATCH: usize = 1000;

/// As the spool tells it.
fn spooled(id: MessageId, now: Timestamp) -> Event {
    let mut event = Event::new(0, now, EventKind::Spooled);
    event.id = Some(id);
    event
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().unwrap_or_else(|| "./spool-data".to_owned());
    let messages: usize = arguments
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1_000_000);
    let start = Instant::now();
    let (store, _) = Store::open(Path::new(&dir), &StoreOptions::default()).unwrap();
    let hops: Vec<Arc<[NextHop]>> = (0..HOPS)
        .map(|number| [format!("mx{number}.example.net:25").parse().unwrap()].into())
        .collect();
    let now = SystemClock.now();
    let due = Status::SendAt(now.after(Duration::from_secs(86_400)));
    let mut ids = IdSource::after(None);
    let body =
        Bytes::from("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n".repeat(BODY / 64));
    let mut numbers = 0..messages;
    loop {
        let add = |number: usize| {
            let address = |text: String| Address::parse(&text).unwrap();
            let envelope = Envelope::of(
                ReversePath::Mailbox(address(format!("sender{}@example.org", number % 7))),
                [address(format!(
                    "recipient{number}@domain{}.example.net",
                    number % HOPS
                ))],
            );
            let id = ids.next(now);
            Change::Add(Addition {
                messages: vec![NewMessage {
                    id,
                    section: Section {
                        envelope,
                        next_hops: Arc::clone(hops.get(number % HOPS).unwrap()),
                        origin: RouteOrigin::Named,
                        retry: RetryPolicy::default(),
                    },
                    status: due,
                    frozen: None,
                    in_flight: None,
                    state: None,
                }],
                body: body.clone(),
                flows: Vec::new(),
                parent: None,
                related: Vec::new(),
                key: None,
                conclusion: None,
                events: vec![spooled(id, now)],
                spooled_at: now,
            })
        };
        let mut batch: Vec<Change> = numbers.by_ref().take(BATCH).map(add).collect();
        if batch.is_empty() {
            break;
        }
        let results = store.commit(&mut batch);
        results.into_iter().for_each(|result| result.unwrap());
        store.maintain();
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("{messages} messages in {seconds:.1} s; {:?}", store.stats());
}
