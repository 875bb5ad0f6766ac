//! Starts of attempts that are on disk. One that no session has used is taken back before the spool closes; otherwise its message would be in
//! doubt after the next start.
//!
//! Whether a start is on disk follows from the answers of the disk alone, whatever was done with the message since. Starts of a former process
//! are not handled here: their messages are in doubt.

use super::destinations::Destination;
use super::{Afterwards, Now, Phase, Queue};
use crate::engine::World;
use spool_core::{MessageId, Status, Timestamp};

impl<W: World> Queue<W> {
    /// Whether the start of the attempt at this message is to be written now: there is no permit for it yet.
    pub(super) fn arms_ahead(&self, id: MessageId) -> bool {
        let Some(entry) = self.entries.get(&id) else {
            return false;
        };
        let outlook = self.outlook(entry.destination);
        let arms = |slot: &Destination<W>| {
            let is_spare = slot.permits.len() > slot.armed.len() && slot.has_permit(outlook);
            slot.may_stay_ahead(outlook) && !is_spare
        };
        matches!(entry.phase, Phase::Asking(_)) && self.at(entry.destination).is_some_and(arms)
    }

    /// Whether an attempt that has its session may start.
    pub(in crate::engine) fn may_begin(&self, id: MessageId) -> bool {
        let Some(Phase::Running(_, _, noted)) = self.phase(id) else {
            return false;
        };
        let is_noted = noted.freeze.is_some() || noted.reroute.is_some() || noted.pending > 0;
        !self.paused && !is_noted && !self.is_stale(id)
    }

    /// What is noted for the end of the attempt at a message that is being sent, or was.
    pub(in crate::engine) fn afterwards(&mut self, id: MessageId) -> Option<&mut Afterwards> {
        self.entries.get_mut(&id)?.phase.afterwards()
    }

    /// Whether an operation froze a message whose session has not begun. Disk and events say so already, and nothing else is being written.
    pub(in crate::engine) fn is_frozen_unbegun(&mut self, id: MessageId) -> bool {
        let is_frozen = |noted: &mut Afterwards| noted.freeze.is_some() && !noted.releasing;
        !self.is_begun(id) && self.afterwards(id).is_some_and(is_frozen)
    }

    /// An attempt did not begin: with notes still being written, [`Queue::noted`] decides where its message goes. Returns whether it
    /// does.
    pub(in crate::engine) fn leave_to_notes(&mut self, id: MessageId) -> bool {
        let Some(noted) = self.afterwards(id).filter(|noted| noted.pending > 0) else {
            return false;
        };
        noted.undecided = true;
        true
    }

    /// A note was written, or could not be.
    pub(in crate::engine) fn noted(&mut self, id: MessageId, now: Now) {
        match self.afterwards(id) {
            Some(noted) if !noted.undecided || noted.pending > 0 => {}
            Some(noted) if noted.freeze.is_some() => self.waits(id, Status::Frozen, now),
            Some(_) => self.recalled(id, now),
            None => {}
        }
    }

    /// The start of an attempt that has its session is being written: operations wait until it is.
    pub(in crate::engine) fn starting(&mut self, id: MessageId, is_starting: bool) {
        if let Some(noted) = self.afterwards(id)
            && std::mem::replace(&mut noted.is_starting, is_starting) != is_starting
            && !is_starting
        {
            self.released.push(id);
        }
    }

    /// Whether the disk holds the start of an attempt at this message.
    pub(in crate::engine) fn is_begun(&self, id: MessageId) -> bool {
        self.entries.get(&id).is_some_and(|entry| entry.begun)
    }

    /// The disk holds the start of an attempt at this message, or does not any more.
    pub(in crate::engine) fn on_disk(&mut self, id: MessageId, begun: bool) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.begun = begun;
        }
    }

    /// All messages whose start is on disk and was not used by a session, with the time at which they are due by the wall clock. They must be
    /// written back as waiting.
    pub(in crate::engine) fn disarm_all(&mut self, now: Now) -> Vec<(MessageId, Timestamp)> {
        for slot in &mut self.destinations {
            slot.armed.clear();
        }
        let mut begun = Vec::new();
        for (id, entry) in &mut self.entries {
            // The end of a session is written for itself, or the message is in doubt.
            if !entry.begun || matches!(entry.phase, Phase::Running(..) | Phase::Settling(..)) {
                continue;
            }
            entry.begun = false;
            let due = entry.phase.due().map_or(entry.spooled_at, |due| now.wall_of(due));
            begun.push((*id, due));
        }
        begun
    }
}
