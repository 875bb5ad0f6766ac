//! Measures commits of the journal against a plain append and fdatasync of the same number of bytes, on the disk of a directory.
//!
//! `cargo run --release -p spool-core --example journal -- DIR [SECONDS]`. Rounds alternate, so that a disk that
//! slows down slows down both. What is timed is the commit: for adds alone, and as a relay makes it, which in one commit also ends what
//! came before.

#![allow(
    clippy::unwrap_used,
    reason = "a measurement has nobody to report an error to"
)]

use bytes::Bytes;
use spool_core::store::{Addition, Change, Finish, NewMessage, Store, StoreOptions};
use spool_core::{
    Address, Envelope, EnvelopeSummary, Event, EventKind, IdSource, MessageId, RetryPolicy, ReversePath,
    RouteOrigin, Section, Status, Timestamp,
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
    for relay in [false, true] {
        println!(
            "{}",
            if relay {
                "\nadds, each commit with the ends of those before it, as in a relay"
            } else {
                "adds"
            }
        );
        println!(
            "waiting   commits/s  messages/s  syncs/msg    p50 us    p99 us   append/s    p50 us   ratio"
        );
        for batch in [1, 8, 64, 512] {
            compare(Path::new(&dir), batch, relay, span);
        }
    }
}

/// A line of the table: commits and appends in turns.
fn compare(dir: &Path, batch: u32, relay: bool, span: Duration) {
    let spool = dir.join(format!("journal-bench-{batch}"));
    let plain = dir.join(format!("journal-bench-{batch}.plain"));
    let (store, _) = Store::open(&spool, &StoreOptions::default()).unwrap();
    let mut file = File::create(&plain).unwrap();
    let mut commits = Commits::new(&store, batch, relay);
    let mut append = Vec::new();
    for _ in 0..ROUNDS {
        let bytes = commits.round(span);
        appends(&mut file, bytes, span, &mut append);
    }
    let (journal_rate, append_rate) = (rate(&commits.times), rate(&append));
    println!(
        "{batch:7} {journal_rate:11.0} {:11.0} {:10.4} {:9} {:9} {append_rate:10.0} {:9} {:7.2}",
        journal_rate * f64::from(batch),
        commits.syncs_per_message(),
        percentile(&mut commits.times, 0.5),
        percentile(&mut commits.times, 0.99),
        percentile(&mut append, 0.5),
        journal_rate / append_rate,
    );
    drop(store);
    std::fs::remove_dir_all(&spool).unwrap();
    std::fs::remove_file(&plain).unwrap();
}

/// Commits of `batch` adds, timed. The ends of the batch before are in the same commit, or in one that does not count.
struct Commits<'a> {
    store: &'a Store,
    batch: u32,
    relay: bool,
    ids: IdSource,
    section: Section,
    live: Vec<MessageId>,
    times: Vec<Duration>,
    syncs: u64,
}

impl<'a> Commits<'a> {
    fn new(store: &'a Store, batch: u32, relay: bool) -> Self {
        let section = Section {
            envelope: Envelope::of(
                ReversePath::Mailbox(Address::parse("sender@example.org").unwrap()),
                [Address::parse("recipient@example.net").unwrap()],
            ),
            next_hops: ["mx.example.net:25".parse().unwrap()].into(),
            origin: RouteOrigin::Named,
            retry: RetryPolicy::default(),
        };
        Self {
            store,
            batch,
            relay,
            ids: IdSource::after(None),
            section,
            live: Vec::new(),
            times: Vec::new(),
            syncs: 0,
        }
    }

    /// Commits for as long as `span`; gives the bytes of one.
    fn round(&mut self, span: Duration) -> usize {
        let body = Bytes::from(vec![b'x'; BODY]);
        let (mut bytes, mut count) = (0, 0);
        let end = Instant::now() + span;
        while Instant::now() < end {
            let mut changes = self.ends();
            if !self.relay {
                assert!(self.store.commit(&mut changes).iter().all(Result::is_ok));
                changes.clear();
            }
            changes.extend((0..self.batch).map(|_| self.add(&body)));
            let before = self.store.stats();
            let start = Instant::now();
            let results = self.store.commit(&mut changes);
            self.times.push(start.elapsed());
            assert!(results.iter().all(Result::is_ok));
            let after = self.store.stats();
            bytes += after.bytes - before.bytes;
            self.syncs += after.syncs - before.syncs;
            count += 1;
            self.store.maintain();
        }
        usize::try_from(bytes / count).unwrap()
    }

    fn ends(&mut self) -> Vec<Change> {
        let end = |id| Change::Finish {
            id,
            how: Finish::Delivered,
            events: vec![event(id, EventKind::Delivered)],
        };
        self.live.drain(..).map(end).collect()
    }

    fn add(&mut self, body: &Bytes) -> Change {
        let id = self.ids.next(Timestamp(1));
        self.live.push(id);
        Change::Add(Addition {
            messages: vec![NewMessage {
                id,
                section: self.section.clone(),
                status: Status::SendAt(Timestamp(1)),
                frozen: None,
                in_flight: Some(Timestamp(1)),
                state: None,
            }],
            body: body.clone(),
            flows: Vec::new(),
            parent: None,
            related: Vec::new(),
            key: None,
            conclusion: None,
            events: vec![event(id, EventKind::Spooled)],
            spooled_at: Timestamp(1),
        })
    }

    #[allow(clippy::cast_precision_loss, reason = "a ratio to be read")]
    fn syncs_per_message(&self) -> f64 {
        self.syncs as f64 / (self.times.len() as f64 * f64::from(self.batch))
    }
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
