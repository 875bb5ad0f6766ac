//! Measures commits of the journal against a plain append and fdatasync of the same number of bytes, on the disk of a directory.
//!
//! `cargo run --release -p spool-core --example journal -- DIR [SECONDS]`. Rounds alternate, so that a disk that
//! slows down slows down both.

#![allow(
    clippy::unwrap_used,
    reason = "a measurement has nobody to report an error to"
)]

use bytes::Bytes;
use spool_core::store::{Addition, Change, Finish, NewMessage, Store, StoreOptions};
use spool_core::{
    Address, Envelope, EnvelopeSummary, Event, EventKind, IdSource, MessageId, RetryPolicy, ReversePath,
    Section, Status, Timestamp,
};
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const BODY: usize = 2048;
const ROUNDS: u32 = 6;

/// As the spool tells it.
fn event(id: MessageId, kind: EventKind) -> Event {
    let envelope = EnvelopeSummary {
        sender: "sender@example.org".to_owned(),
        recipients: vec!["recipient@example.net".to_owned()],
        size: BODY as u64,
    };
    let mut event = Event::new(0, Timestamp(1), kind);
    event.id = Some(id);
    event.envelope = Some(Arc::new(envelope));
    event
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().unwrap_or_else(|| ".".to_owned());
    let seconds = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(6);
    let span = Duration::from_secs(seconds) / ROUNDS;
    println!("waiting   commits/s  messages/s  syncs/msg    p50 us    p99 us   append/s    p50 us   ratio");
    for batch in [1, 8, 64, 512] {
        let mut journal = Vec::new();
        let mut append = Vec::new();
        let spool = Path::new(&dir).join(format!("journal-bench-{batch}"));
        let plain = Path::new(&dir).join(format!("journal-bench-{batch}.plain"));
        let (store, _) = Store::open(&spool, &StoreOptions::default()).unwrap();
        let mut file = File::create(&plain).unwrap();
        let mut ids = IdSource::after(None);
        for _ in 0..ROUNDS {
            let bytes = commits(&store, &mut ids, batch, span, &mut journal);
            appends(&mut file, bytes, span, &mut append);
        }
        let (journal_rate, append_rate) = (rate(&journal), rate(&append));
        println!(
            "{batch:7} {journal_rate:11.0} {:11.0} {:10.4} {:9} {:9} {append_rate:10.0} {:9} {:7.2}",
            journal_rate * f64::from(batch),
            syncs_per_message(&store),
            percentile(&mut journal, 0.5),
            percentile(&mut journal, 0.99),
            percentile(&mut append, 0.5),
            journal_rate / append_rate,
        );
        drop(store);
        std::fs::remove_dir_all(&spool).unwrap();
        std::fs::remove_file(&plain).unwrap();
    }
}

/// Commits adds, each batch with the ends of the one before, as a relay does; gives the bytes of a commit.
fn commits(
    store: &Store,
    ids: &mut IdSource,
    batch: u32,
    span: Duration,
    times: &mut Vec<Duration>,
) -> usize {
    let section = Section {
        envelope: Envelope::new(
            ReversePath::Mailbox(Address::parse("sender@example.org").unwrap()),
            [Address::parse("recipient@example.net").unwrap()],
        ),
        next_hops: ["mx.example.net:25".parse().unwrap()].into(),
        retry: RetryPolicy::default(),
    };
    let body = Bytes::from(vec![b'x'; BODY]);
    let mut live: Vec<MessageId> = Vec::new();
    let before = store.stats();
    let end = Instant::now() + span;
    while Instant::now() < end {
        let how = Finish::Delivered;
        let mut changes: Vec<Change> = live
            .drain(..)
            .map(|id| Change::Finish {
                id,
                how,
                events: vec![event(id, EventKind::Delivered)],
            })
            .collect();
        for _ in 0..batch {
            let id = ids.next(Timestamp(1));
            live.push(id);
            changes.push(Change::Add(Addition {
                messages: vec![NewMessage {
                    id,
                    section: section.clone(),
                    status: Status::SendAt(Timestamp(1)),
                    in_flight: Some(Timestamp(1)),
                    state: None,
                }],
                body: body.clone(),
                flows: Vec::new(),
                parent: None,
                related: Vec::new(),
                key: None,
                events: vec![event(id, EventKind::Spooled)],
                spooled_at: Timestamp(1),
            }));
        }
        let start = Instant::now();
        let results = store.commit(&mut changes);
        times.push(start.elapsed());
        assert!(results.iter().all(Result::is_ok));
        store.maintain();
    }
    let after = store.stats();
    usize::try_from((after.bytes - before.bytes) / (after.commits - before.commits)).unwrap()
}

fn appends(file: &mut File, bytes: usize, span: Duration, times: &mut Vec<Duration>) {
    let data = vec![b'x'; bytes];
    let end = Instant::now() + span;
    while Instant::now() < end {
        let start = Instant::now();
        file.write_all(&data).unwrap();
        file.sync_data().unwrap();
        times.push(start.elapsed());
    }
}

/// A commit writes `batch` adds, and the ends of as many.
#[allow(clippy::cast_precision_loss, reason = "a ratio to be read")]
fn syncs_per_message(store: &Store) -> f64 {
    let stats = store.stats();
    2.0 * stats.syncs as f64 / stats.changes as f64
}

fn rate(times: &[Duration]) -> f64 {
    let total: Duration = times.iter().sum();
    f64::from(u32::try_from(times.len()).unwrap()) / total.as_secs_f64()
}

fn percentile(times: &mut [Duration], share: f64) -> u128 {
    times.sort_unstable();
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a rank"
    )]
    let rank = (times.len() as f64 * share) as usize;
    times.get(rank).map_or(0, Duration::as_micros)
}
