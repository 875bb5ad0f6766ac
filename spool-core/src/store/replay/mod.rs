//! Replays the journal: what its frames, in order, leave alive. The same for a start and for a look from outside.
//!
//! It reads only. What is damaged or torn is noted, for recovery to repair. Of a long queue nothing is ever in memory but the
//! index and a few bytes for each message.

mod files;
mod flaw;
mod frames;
mod live;

pub(super) use files::{io_error, measure, segments};
pub(super) use flaw::{Broken, Rest, Unsealed};
pub(super) use frames::Untold;

use super::fs::{Fs, Mode, is_shortage};
use super::index::Index;
use super::key_log::Logged;
use super::scan::{Bad, Item, Scan, ScanError};
use super::segment::{self, Seq};
use super::{OpenError, RememberedKey};
use crate::id::MessageId;
use files::{Front, front, open, scan_error};
use live::{Ids, InFlight, Live, Messages, Route};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::Path;
use std::time::Duration;

/// What a journal holds.
#[derive(Debug, Default)]
pub(super) struct Replay {
    pub(super) index: Index,
    live: Ids<Live>,
    /// Those of them whose attempt has begun and not ended: never many.
    in_flight: Ids<InFlight>,
    pub(super) last_id: Option<MessageId>,
    pub(super) broken: Vec<Broken>,
    pub(super) rests: Vec<Rest>,
    /// Segments that may not have been synced, and where what is whole in them ends.
    pub(super) unsynced: Vec<(Seq, u64)>,
    /// Segments that nothing is written to any more, and that do not say rightly where they end: those that may not have been
    /// synced, and those in which a repair changes something.
    pub(super) unsealed: Vec<Unsealed>,
    /// Segments with nothing in them since the last one with a header, as damage.
    unwritten: Vec<(Seq, Bad)>,
    /// The number of the last event in the journal that is told of.
    pub(super) last_event: u64,
    /// The highest number that was given to an event, even to one of a message that is not known: at the end of a journal
    /// most are not, and in a batch that was torn before anybody was answered some are not.
    pub(super) last_number: u64,
    /// Events that the event log does not hold, oldest first.
    pub(super) untold: VecDeque<Untold>,
    /// Names of adds.
    pub(super) keys: Vec<RememberedKey>,
    /// What need not be told again.
    told: Told,
    hops: HashMap<Route, u32>,
}

/// What the logs beside the journal hold.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// The number of the last event: those up to it need not be told again.
    pub(super) events: u64,
    /// The names of adds that are in the key log; `None`: no names are wanted.
    pub(super) keys: Option<Logged>,
}

impl Told {
    /// Nothing is to be told again.
    pub(super) const fn all() -> Self {
        Self {
            events: u64::MAX,
            keys: None,
        }
    }
}

/// How long a replay waits before it opens a segment again, where the system is short of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 100 });
/// How often it waits so while a service takes mail: a minute in all for one segment.
pub(super) const PATIENT: u32 = 600;
/// For whoever looks from outside.
pub(super) const AT_ONCE: u32 = 0;

/// Reads `seqs`, all of the journal. What was `told` need not be told again. `progress` hears of the bytes that were read, and says
/// whether to go on. A segment that cannot be opened for want of descriptors or memory is tried `pauses` times again.
pub(super) fn replay(
    fs: &dyn Fs,
    journal: &Path,
    seqs: &[Seq],
    told: Told,
    pauses: u32,
    progress: &mut dyn FnMut(u64) -> bool,
) -> Result<Replay, OpenError> {
    let front = patiently(pauses, progress, || front(fs, journal, seqs))?;
    let mut replay = Replay {
        told,
        ..Replay::default()
    };
    let mut ahead = seqs.iter().skip(1);
    for seq in seqs {
        // The disk works on the next one while this one is taken apart.
        if let Some(next) = ahead.next()
            && let Ok(file) = fs.open(&segment::path(journal, *next), Mode::Read)
        {
            file.read_ahead();
        }
        let bodies = front.reads_bodies(*seq);
        let scan = patiently(pauses, progress, || open(fs, journal, *seq, bodies))?;
        let read = replay.read(journal, *seq, &front, scan)?;
        if !progress(read) {
            return Err(io_error("read all of", journal)(
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
pub(super) fn tail(fs: &dyn Fs, journal: &Path, seqs: &[Seq]) -> Result<Replay, OpenError> {
    let front = front(fs, journal, seqs)?;
    let (older, unsynced) = match front.unsynced {
        Some(from) => seqs.split_at(seqs.partition_point(|seq| *seq < from)),
        None => (seqs, [].as_slice()),
    };
    let mut tail = Replay {
        told: Told::all(),
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
            told: Told::all(),
            ..Replay::default()
        };
        let scan = open(fs, journal, *seq, front.reads_bodies(*seq))?;
        earlier.read(journal, *seq, &front, scan)?;
        tail.last_number = tail.last_number.max(earlier.last_number);
        tail.last_id = tail.last_id.max(earlier.last_id);
    }
    Ok(tail)
}

impl Replay {
    /// Reads one segment; gives its size.
    fn read(&mut self, journal: &Path, seq: Seq, front: &Front, mut scan: Scan) -> Result<u64, OpenError> {
        let bodies = front.reads_bodies(seq);
        let may_be_torn = front.last.is_none_or(|last| seq >= last);
        self.segment(seq, &mut scan, may_be_torn, bodies)
            .map_err(scan_error(journal, seq))?;
        if bodies {
            self.unsynced.push((seq, scan.end()));
        }
        Ok(scan.size())
    }

    /// Takes the live messages out; the index keeps their places.
    pub(super) fn take_messages(&mut self) -> Messages {
        let mut all: Vec<_> = std::mem::take(&mut self.live).into_iter().collect();
        all.sort_unstable_by_key(|(id, _)| *id);
        let mut hops: Vec<_> = std::mem::take(&mut self.hops).into_iter().collect();
        hops.sort_unstable_by_key(|(_, number)| *number);
        Messages {
            all: all.into_iter(),
            in_flight: std::mem::take(&mut self.in_flight),
            hops: hops.into_iter().map(|(hops, _)| hops).collect(),
        }
    }

    fn segment(
        &mut self,
        seq: Seq,
        scan: &mut Scan,
        may_be_torn: bool,
        is_newest: bool,
    ) -> Result<(), ScanError> {
        self.index.open_segment(seq);
        let first = self.broken.len();
        let mut torn = 0;
        while let Some(item) = scan.next()? {
            let (bad, last) = match item {
                Item::Frame { place, header } => match self.frame(place, header, scan.payload()) {
                    Ok(()) => continue,
                    Err(reason) => {
                        self.broken.push(Broken::frame(place, header, reason));
                        continue;
                    }
                },
                Item::Tail(bad) if may_be_torn && scan.may_be_torn() => {
                    torn = bad.length;
                    continue;
                }
                Item::Damage(bad) => (bad, false),
                Item::Tail(bad) => (bad, true),
            };
            self.broken.push(Broken::of(seq, bad, last));
        }
        for broken in self.broken.iter_mut().skip(first) {
            broken.salt = scan.salt();
            broken.lost = scan.has_lost();
        }
        let is_damaged = self.broken.len() > first;
        self.emptied(seq, scan);
        if scan.has_lost() {
            self.index.keep(seq);
            return Ok(());
        }
        if scan.size() > scan.end() {
            let end = scan.end();
            self.rests.push(Rest { seq, end, torn });
        }
        if is_newest || is_damaged {
            self.unseal(seq, scan);
        }
        Ok(())
    }

    /// Notes that the header of a segment is to say where it ends, if it does not. What an older program began is left as it is:
    /// it would look as if that program had told ends.
    fn unseal(&mut self, seq: Seq, scan: &Scan) {
        if scan.tells_ends() == Some(false) {
            return;
        }
        // Where there is none, a header will be all that is there.
        let end = scan.end().max(segment::HEADER as u64);
        if scan.sealed_end() != Some(end) {
            let salt = scan.salt();
            self.unsealed.push(Unsealed { seq, end, salt });
        }
    }

    /// Segments without a byte in them stand at the end of a journal, where a process ended before it wrote to them, and the
    /// next start gives them a header before it begins another. One before a segment that was begun so has lost all it had.
    fn emptied(&mut self, seq: Seq, scan: &Scan) {
        if let Some(bad) = scan.nothing_left() {
            self.unwritten.push((seq, bad));
        } else if let Some(tells) = scan.tells_ends() {
            for (seq, bad) in std::mem::take(&mut self.unwritten).into_iter().filter(|_| tells) {
                self.broken.push(Broken::of(seq, bad, true));
                if self.unsealed.iter().all(|unsealed| unsealed.seq != seq) {
                    let (end, salt) = (segment::HEADER as u64, None);
                    self.unsealed.push(Unsealed { seq, end, salt });
                }
            }
        }
    }
}
