//! The small program: mail comes and goes on a spool of small segments, so that segments are taken, given back and emptied,
//! and every answer of the store is printed on standard output, one line and one write each.
//!
//! It is this test binary once more, started under `strace` with [`DIR`] set.

use bytes::Bytes;
use spool_core::store::{Addition, Archive, Archived, Change, Finish, NewMessage, Store, StoreOptions};
use spool_core::{
    AddKey, Envelope, Event, EventKind, MessageId, RetryPolicy, ReversePath, RouteOrigin, Section, Status,
    Timestamp,
};
use std::io::Write;
use std::path::Path;

/// Where the spool is; without it the probe does nothing.
pub(crate) const DIR: &str = "SPOOL_PROBE_DIR";
/// Changes the sizes of the mail.
pub(crate) const SEED: &str = "SPOOL_PROBE_SEED";
/// Messages of one run.
pub(crate) const MESSAGES: u64 = 24;

pub(crate) fn options() -> StoreOptions {
    let mut options = StoreOptions::default();
    options.segment_size = 64 << 10;
    options.min_free_space = 0;
    options.slack_segments = 0;
    options
}

pub(crate) fn id(number: u64) -> MessageId {
    MessageId::from_u128(u128::from(number))
}

/// The text of a message, which can be computed from its number.
pub(crate) fn body(number: u64, seed: u64) -> Bytes {
    let lines = match number {
        9 => 1000,
        _ => 20 + usize::try_from((number * 37 + seed * 101) % 130).unwrap(),
    };
    format!("message {number} of {seed}, {}\r\n", "x".repeat(70))
        .repeat(lines)
        .into()
}

pub(crate) fn section(number: u64) -> Section {
    Section {
        envelope: Envelope::of(
            ReversePath::parse("a@example.org").unwrap(),
            [format!("r{number}@example.net").parse().unwrap()],
        ),
        next_hops: ["mx.example.net:25".parse().unwrap()].into(),
        origin: RouteOrigin::Named,
        retry: RetryPolicy::default(),
    }
}

fn tell(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).unwrap();
}

fn event(number: u64, kind: EventKind) -> Vec<Event> {
    let mut event = Event::new(0, Timestamp(1000), kind);
    event.id = Some(id(number));
    vec![event]
}

/// The name of an add, if it has one.
pub(crate) fn key(number: u64) -> Option<String> {
    number.is_multiple_of(5).then(|| format!("key-{number}"))
}

fn add(number: u64, seed: u64) -> Change {
    Change::Add(Addition {
        messages: vec![NewMessage {
            id: id(number),
            section: section(number),
            status: Status::SendAt(Timestamp(1000)),
            frozen: None,
            in_flight: None,
            state: None,
        }],
        body: body(number, seed),
        flows: Vec::new(),
        parent: None,
        related: Vec::new(),
        spooled_at: Timestamp(1000),
        key: key(number).map(AddKey::new),
        conclusion: None,
        events: event(number, EventKind::Spooled),
    })
}

fn finish(number: u64) -> Change {
    Change::Finish {
        id: id(number),
        how: Finish::Delivered,
        events: event(number, EventKind::Delivered),
    }
}

fn freeze(number: u64) -> Change {
    Change::Mark {
        id: id(number),
        status: Status::Frozen,
        frozen: None,
        in_flight: None,
        events: event(number, EventKind::Frozen),
    }
}

/// What is done in step `number`: a verb, whose message, and the change.
fn step(number: u64, seed: u64) -> Vec<(&'static str, u64, Change)> {
    let mut changes = vec![("add", number, add(number, seed))];
    if number > 3 && !(number - 3).is_multiple_of(4) {
        changes.push(("finish", number - 3, finish(number - 3)));
    }
    if number.is_multiple_of(4) {
        changes.push(("freeze", number, freeze(number)));
    }
    changes
}

fn work(dir: &Path, seed: u64) {
    // The test harness has begun a line.
    tell("");
    let store = match Store::open(dir, &options()) {
        Ok((store, _)) => store,
        Err(error) => return tell(&format!("refused {error}")),
    };
    tell("opened");
    for number in 1..=MESSAGES {
        let (names, mut changes): (Vec<_>, Vec<_>) = step(number, seed)
            .into_iter()
            .map(|(verb, of, change)| ((verb, of), change))
            .unzip();
        for (verb, of) in &names {
            tell(&format!("try {verb} {of}"));
        }
        let results = store.commit(&mut changes);
        for ((verb, of), result) in names.into_iter().zip(results) {
            match result {
                Ok(()) => tell(&format!("ack {verb} {of}")),
                Err(error) => tell(&format!("err {verb} {of} {error}")),
            }
        }
        if number == 12 {
            archive(&store, 4);
        }
        store.maintain();
        while store.compact() {
            store.maintain();
        }
    }
    tell("end");
}

/// To the archive first, then off the journal.
fn archive(store: &Store, number: u64) {
    tell(&format!("try archive {number}"));
    let (Ok(message), Ok(body)) = (store.load(id(number)), store.body(id(number))) else {
        return tell(&format!("err archive {number} unread"));
    };
    let (at, reason) = (Timestamp(1000), None);
    let laid = store
        .archive(Archive::Removed, &[(Archived { message, at, reason }, body)])
        .remove(0);
    let gone = laid.and_then(|()| store.commit(&mut [finish(number)]).remove(0));
    match gone {
        Ok(()) => tell(&format!("ack archive {number}")),
        Err(error) => tell(&format!("err archive {number} {error}")),
    }
}

/// Not a test by itself: see the module.
#[test]
fn probe() {
    if let Some(dir) = std::env::var_os(DIR) {
        let seed = std::env::var(SEED).map_or(0, |seed| seed.parse().unwrap());
        work(Path::new(&dir), seed);
    }
}
