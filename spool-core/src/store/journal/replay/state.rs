//! The state of a replay, and how it reads one segment.

use super::defect::{DamagedRange, Trailing, Unsealed};
use super::files::{Front, scan_error};
use super::live::{InFlight, Live, Route};
use super::pending::PendingEvent;
use crate::id::MessageId;
use crate::store::error::OpenError;
use crate::store::journal::ids::Ids;
use crate::store::journal::index::Index;
use crate::store::journal::scan::{Bad, Item, Scan, ScanError};
use crate::store::journal::segment;
use crate::store::layout::Seq;
use crate::store::types::{LoggedKeys, Recovered, RememberedKey};
use std::collections::{HashMap, VecDeque};
use std::path::Path;

/// What a journal holds.
#[derive(Debug, Default)]
pub(in crate::store) struct Replay {
    pub(in crate::store) index: Index,
    pub(super) live: Ids<Live>,
    /// Messages with an attempt that has started and not ended: never many.
    pub(super) in_flight: Ids<InFlight>,
    pub(in crate::store) last_id: Option<MessageId>,
    pub(in crate::store) damaged: Vec<DamagedRange>,
    pub(in crate::store) trailing: Vec<Trailing>,
    /// Segments that may not have been synced, and the end of their intact part.
    pub(in crate::store) unsynced: Vec<(Seq, u64)>,
    /// Complete segments whose header lacks the right end: those that may not have been synced, and those that a repair
    /// changes.
    pub(in crate::store) unsealed: Vec<Unsealed>,
    /// Segments without content since the last one with a header, as damage.
    pub(super) unwritten: Vec<(Seq, Bad)>,
    /// The number of the last event that was collected.
    pub(in crate::store) last_event: u64,
    /// The highest number of an event, even of an unknown message: at the end of a journal most messages are unknown,
    /// and so may be those of a torn batch.
    pub(in crate::store) last_number: u64,
    /// Events that are not in the event log, oldest first.
    pub(in crate::store) pending_events: VecDeque<PendingEvent>,
    /// Idempotency keys that are not in the key log.
    pub(in crate::store) keys: Vec<RememberedKey>,
    /// What need not be collected.
    pub(super) logged: Logged,
    pub(super) hops: HashMap<Route, u32>,
}

/// What the logs hold.
#[derive(Debug, Default)]
pub(in crate::store) struct Logged {
    /// The number of the last event in the event log.
    pub(in crate::store) events: u64,
    /// The keys in the key log; `None` if no keys are wanted.
    pub(in crate::store) keys: Option<LoggedKeys>,
}

impl Logged {
    /// Nothing is to be collected.
    pub(in crate::store) const fn all() -> Self {
        Self {
            events: u64::MAX,
            keys: None,
        }
    }
}

impl Replay {
    pub(super) fn new(logged: Logged) -> Self {
        Self {
            logged,
            ..Self::default()
        }
    }

    /// Reads one segment; returns its size.
    pub(super) fn read(
        &mut self,
        journal: &Path,
        seq: Seq,
        front: &Front,
        mut scan: Scan,
    ) -> Result<u64, OpenError> {
        let bodies = front.reads_bodies(seq);
        let may_be_torn = front.last.is_none_or(|last| seq >= last);
        self.segment(seq, &mut scan, may_be_torn, bodies)
            .map_err(scan_error(journal, seq))?;
        if bodies {
            self.unsynced.push((seq, scan.end()));
        }
        Ok(scan.size())
    }

    /// Takes the live messages, in the order of their ids; the index keeps their entries.
    pub(in crate::store) fn take_messages(&mut self) -> impl Iterator<Item = Recovered> + use<> {
        let mut all: Vec<_> = std::mem::take(&mut self.live).into_iter().collect();
        all.sort_unstable_by_key(|(id, _)| *id);
        let mut hops: Vec<_> = std::mem::take(&mut self.hops).into_iter().collect();
        hops.sort_unstable_by_key(|(_, number)| *number);
        let hops: Vec<Route> = hops.into_iter().map(|(hops, _)| hops).collect();
        let begun = std::mem::take(&mut self.in_flight);
        let recovered = move |(id, live): (_, Live)| live.recovered(id, &hops, begun.get(&id).copied());
        all.into_iter().map(recovered)
    }

    fn segment(
        &mut self,
        seq: Seq,
        scan: &mut Scan,
        may_be_torn: bool,
        is_newest: bool,
    ) -> Result<(), ScanError> {
        self.index.open_segment(seq);
        let first = self.damaged.len();
        let mut torn = 0;
        while let Some(item) = scan.next()? {
            let (bad, last) = match item {
                Item::Frame { place, header } => match self.frame(place, header, &scan.payload) {
                    Ok(()) => continue,
                    Err(reason) => {
                        self.damaged.push(DamagedRange::frame(place, header, reason));
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
            self.damaged.push(DamagedRange::of(seq, bad, last));
        }
        for range in self.damaged.iter_mut().skip(first) {
            range.salt = scan.salt;
            range.unreadable = scan.has_unreadable();
        }
        let is_damaged = self.damaged.len() > first;
        self.note_unwritten(seq, scan);
        if scan.has_unreadable() {
            self.index.keep(seq);
            return Ok(());
        }
        if scan.size() > scan.end() {
            let end = scan.end();
            self.trailing.push(Trailing { seq, end, torn });
        }
        if is_newest || is_damaged {
            self.unseal(seq, scan);
        }
        Ok(())
    }

    /// Notes a segment whose header lacks its end. A segment begun by an older program is left as it is: with an end it
    /// would look as if that program recorded ends.
    fn unseal(&mut self, seq: Seq, scan: &Scan) {
        if scan.records_ends() == Some(false) {
            return;
        }
        // Without a header, one will be all that is there.
        let end = scan.end().max(segment::HEADER as u64);
        if scan.sealed_end() != Some(end) {
            let salt = scan.salt;
            self.unsealed.push(Unsealed { seq, end, salt });
        }
    }

    /// Empty segments are normal at the end of a journal, where a process ended before it wrote to them; the next start
    /// gives them a header before it begins another segment. An empty segment before one that was begun that way has
    /// lost its content.
    fn note_unwritten(&mut self, seq: Seq, scan: &Scan) {
        if let Some(bad) = scan.nothing_left() {
            self.unwritten.push((seq, bad));
        } else if let Some(tells) = scan.records_ends() {
            for (seq, bad) in std::mem::take(&mut self.unwritten).into_iter().filter(|_| tells) {
                self.damaged.push(DamagedRange::of(seq, bad, true));
                if self.unsealed.iter().all(|unsealed| unsealed.seq != seq) {
                    let (end, salt) = (segment::HEADER as u64, None);
                    self.unsealed.push(Unsealed { seq, end, salt });
                }
            }
        }
    }
}
