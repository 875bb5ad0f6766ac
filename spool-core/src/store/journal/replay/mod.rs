//! Replays the journal: what its frames, in order, leave alive. The same for a start and for a look from outside.
//!
//! It reads only. What is damaged or torn is noted, for recovery to repair. Of a long queue nothing is ever in memory but the
//! index and a few bytes for each message.

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

/// How long a replay waits before it opens a segment again, where the system is short of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 100 });

/// How long a replay waits where the system is short of descriptors or memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Patience {
    /// Not at all: for a look from outside.
    None,
    /// A minute in all for one segment: for a service that takes mail meanwhile.
    WhileMailIsTaken,
}

impl Patience {
    const fn pauses(self) -> u32 {
        match self {
            Self::None => 0,
            Self::WhileMailIsTaken => 600,
        }
    }
}

/// Reads `seqs`, all of the journal. What was `told` need not be told again. `progress` hears of the bytes that were read, and says
/// whether to go on. A segment that cannot be opened for want of descriptors or memory is tried `pauses` times again.
pub(in crate::store) fn replay(
    fs: &dyn Fs,
    journal: &Path,
    seqs: &[Seq],
    logged: Logged,
    patience: Patience,
    progress: &mut dyn FnMut(u64) -> bool,
) -> Result<Replay, OpenError> {
    let front = patiently(patience.pauses(), progress, || front(fs, journal, seqs))?;
    let mut replay = Replay {
        logged,
        ..Replay::default()
    };
    let mut ahead = seqs.iter().skip(1);
    for seq in seqs {
        // The disk works on the next one while this one is taken apart.
        if let Some(next) = ahead.next()
            && let Ok(file) = fs.open(&layout::segment_path(journal, *next), Mode::Read)
        {
            file.read_ahead();
        }
        let bodies = front.reads_bodies(*seq);
        let scan = patiently(patience.pauses(), progress, || open(fs, journal, *seq, bodies))?;
        let read = replay.read(journal, *seq, &front, scan)?;
        if !progress(read) {
            return Err(OpenError::io("read all of", journal)(
                io::ErrorKind::Interrupted.into(),
            ));
        }
    }
    Ok(replay)
}

/// Opens something; again after a pause, up to `pauses` times, while the system is short of descriptors or memory: sessions have them, and
/// give them back.
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

/// Reads the end of the journal: every segment that a power cut may have touched, and as many before them as it takes to
/// learn the last number of an event. What it says of messages is not the whole truth; what it says of damage, of torn ends
/// and of the last numbers is.
pub(in crate::store) fn tail(fs: &dyn Fs, journal: &Path, seqs: &[Seq]) -> Result<Replay, OpenError> {
    let front = front(fs, journal, seqs)?;
    let (older, unsynced) = match front.unsynced {
        Some(from) => seqs.split_at(seqs.partition_point(|seq| *seq < from)),
        None => (seqs, [].as_slice()),
    };
    let mut tail = Replay {
        logged: Logged::all(),
        ..Replay::default()
    };
    for seq in unsynced {
        let scan = open(fs, journal, *seq, front.reads_bodies(*seq))?;
        tail.read(journal, *seq, &front, scan)?;
    }
    for seq in older.iter().rev() {
        // Numbers rise along the journal.
        if tail.last_number > 0 && tail.last_id.is_some() {
            break;
        }
        let mut earlier = Replay {
            logged: Logged::all(),
            ..Replay::default()
        };
        let scan = open(fs, journal, *seq, front.reads_bodies(*seq))?;
        earlier.read(journal, *seq, &front, scan)?;
        tail.last_number = tail.last_number.max(earlier.last_number);
        tail.last_id = tail.last_id.max(earlier.last_id);
    }
    Ok(tail)
}
