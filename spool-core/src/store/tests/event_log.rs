//! The event log after a power cut: what the journal still has takes the place of what the log lost.

use crate::clock::Timestamp;
use crate::event::{Event, EventKind};
use crate::store::fs::{Fs, RealFs};
use crate::store::layout::EVENTS;
use crate::store::logs::{event_page::EventCursor, events::EventLog};
use std::path::Path;
use std::sync::Arc;

const LIMIT: u64 = 1 << 20;

fn event(seq: u64) -> Event {
    Event::new(
        seq,
        Timestamp(1_000 + i64::try_from(seq).unwrap()),
        EventKind::Ping,
    )
}

fn open(dir: &Path) -> EventLog {
    let fs: Arc<dyn Fs> = Arc::new(RealFs);
    EventLog::open(&fs, dir, LIMIT).unwrap()
}

/// A log with these events, the line of `torn` corrupt.
fn written(dir: &Path, seqs: &[u64], torn: u64) {
    let log = open(dir);
    log.push(&seqs.iter().copied().map(event).collect::<Vec<_>>());
    log.sync().unwrap();
    drop(log);
    let file = std::fs::read_dir(dir.join(EVENTS))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let text = std::fs::read_to_string(&file).unwrap();
    let corrupt = text.replace(&format!("\"seq\":{torn},"), "\"seq\":0,");
    assert_ne!(corrupt, text);
    std::fs::write(&file, corrupt).unwrap();
}

/// The numbers in the log, a gap as the number of events that are missing, negated.
fn told(dir: &Path) -> Vec<i64> {
    let log = open(dir);
    let number = |event: Event| {
        if let EventKind::Gap(missing) = event.kind {
            -i64::try_from(missing).unwrap()
        } else {
            i64::try_from(event.seq).unwrap()
        }
    };
    log.after(&mut EventCursor::default(), usize::MAX)
        .unwrap()
        .into_iter()
        .map(number)
        .collect()
}

/// Number 3 belonged to a change that was never answered: neither the log nor the journal has it.
#[test]
fn an_unused_number_does_not_hide_a_lost_line() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), &[1, 2, 4, 5, 6, 7], 6);
    assert_eq!(told(dir.path()), [1, 2, -1, 4, 5, -1, 7]);
    let log = open(dir.path());
    assert_eq!(log.complete_to(), 2, "the journal is asked for all that follows");
    log.hold(8);
    log.release([4, 5, 6, 7, 8].map(event).to_vec(), 8);
    log.sync().unwrap();
    drop(log);
    assert_eq!(told(dir.path()), [1, 2, -1, 4, 5, 6, 7, 8]);
}

#[test]
fn events_that_only_the_log_has_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), &[1, 2, 3, 4, 5, 6], 3);
    let log = open(dir.path());
    log.hold(6);
    // The segment with 4 and 5 has gone.
    log.release([3, 6].map(event).to_vec(), 6);
    log.sync().unwrap();
    drop(log);
    assert_eq!(told(dir.path()), [1, 2, 3, 4, 5, 6]);
}
