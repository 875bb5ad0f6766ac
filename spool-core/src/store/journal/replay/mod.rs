//! Replays the journal: which messages are live after all its frames.
//!
//! Used by a start and by reads without the lock. It reads only. Damage and torn ends are noted, for recovery to
//! repair. Of a long queue, only the index and a few bytes for each message are in memory.

mod defect;
mod files;
mod frames;
mod live;
mod pending;
mod state;

pub(in crate::store) use defect::{DamagedRange, Trailing, Unsealed};
pub(in crate::store) use files::{measure, segments};
pub(in crate::store) use pending::complete;
pub(in crate::store) use state::{Logged, Replay};

use crate::store::error::OpenError;
use crate::store::fs::{Fs, Mode, is_shortage};
use crate::store::layout::{self, Seq};
use files::{front, open};
use std::io;
use std::path::Path;
use std::time::Duration;

/// The pause before a segment is opened again when the system is short of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 100 });

/// The most pauses for each segment, about a minute, of a service that accepts mail meanwhile.
pub(in crate::store) const PATIENT: u32 = 600;

/// Reads `seqs`, all segments of the journal, without collecting events and keys.
pub(in crate::store) fn look(fs: &dyn Fs, journal: &Path, seqs: &[Seq]) -> Result<Replay, OpenError> {
    replay(fs, journal, seqs, Logged::all(), 0, &mut |_| true)
}

/// Reads `seqs`, all segments of the journal. Events and keys in `logged` are not collected. Where the system is short of
/// descriptors or memory, it pauses up to `pauses` times. `progress` is called with the bytes that were read, and returns
/// whether to continue.
pub(in crate::store) fn replay(
    fs: &dyn Fs,
    journal: &Path,
    seqs: &[Seq],
    logged: Logged,
    pauses: u32,
    progress: &mut dyn FnMut(u64) -> bool,
) -> Result<Replay, OpenError> {
    let front = patiently(pauses, progress, || front(fs, journal, seqs))?;
    let mut replay = Replay::new(logged);
    let mut ahead = seqs.iter().skip(1);
    for seq in seqs {
        // The disk reads the next segment while this one is processed.
        if let Some(next) = ahead.next()
            && let Ok(file) = fs.open(&layout::segment_path(journal, *next), Mode::Read)
        {
            file.read_ahead();
        }
        let bodies = front.reads_bodies(*seq);
        let scan = patiently(pauses, progress, || open(fs, journal, *seq, bodies))?;
        let read = replay.read(journal, *seq, &front, scan)?;
        if !progress(read) {
            return Err(OpenError::io(
                "read all of",
                journal,
                io::ErrorKind::Interrupted.into(),
            ));
        }
    }
    Ok(replay)
}

/// Calls `open` again after a pause, up to `pauses` times, while the system is short of descriptors or memory: sessions
/// use them and release them.
fn patiently<T>(
    pauses: u32,
    progress: &mut dyn FnMut(u64) -> bool,
    mut open: impl FnMut() -> Result<T, OpenError>,
) -> Result<T, OpenError> {
    let mut paused = 0;
    loop {
        match open() {
            Err(OpenError::Io { path, source, .. })
                if is_shortage(&source) && paused < pauses && progress(0) =>
            {
                if paused == 0 {
                    tracing::warn!(path = %path.display(), error = %source, "loading waits for descriptors or memory");
                }
                paused += 1;
                std::thread::sleep(PAUSE);
            }
            done => return done,
        }
    }
}

/// Reads the end of the journal: every segment that a power cut may have affected, and as many before them as needed to
/// find the last number of an event. The result is complete for damage, torn ends and the last numbers, not for
/// messages.
pub(in crate::store) fn tail(fs: &dyn Fs, journal: &Path, seqs: &[Seq]) -> Result<Replay, OpenError> {
    let front = front(fs, journal, seqs)?;
    let (older, unsynced) = match front.unsynced {
        Some(from) => seqs.split_at(seqs.partition_point(|seq| *seq < from)),
        None => (seqs, [].as_slice()),
    };
    let mut tail = Replay::new(Logged::all());
    for seq in unsynced {
        let scan = open(fs, journal, *seq, front.reads_bodies(*seq))?;
        tail.read(journal, *seq, &front, scan)?;
    }
    for seq in older.iter().rev() {
        // Numbers rise along the journal.
        if tail.last_number > 0 && tail.last_id.is_some() {
            break;
        }
        let mut earlier = Replay::new(Logged::all());
        let scan = open(fs, journal, *seq, front.reads_bodies(*seq))?;
        earlier.read(journal, *seq, &front, scan)?;
        tail.last_number = tail.last_number.max(earlier.last_number);
        tail.last_id = tail.last_id.max(earlier.last_id);
    }
    Ok(tail)
}
