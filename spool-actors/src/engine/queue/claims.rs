//! Operations on messages: an operation claims a message, so that nothing else happens to it, and gives it back.

use super::{Now, Phase, Queue, Route};
use crate::engine::{Work, World};
use spool_core::{Frozen, MessageId, SpoolError, Status};

/// What happens to a message when its session ends.
#[derive(Debug)]
pub(crate) enum Note {
    /// It is frozen, or (`None`) no longer to be frozen.
    Freeze(Option<Box<Frozen>>),
    /// It has another route.
    Route(Box<Route>),
}

/// The answer to a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Claim {
    /// Nothing else happens to it until it is given back.
    Claimed,
    /// It is being sent: that it is to be frozen then, or no longer so, is to be written down.
    WhileSending,
    /// Nothing is to be done.
    Already,
    /// Something is being written about it: ask again then.
    Later,
}

impl<W: World> Queue<W> {
    /// Claims a message for some work.
    ///
    /// # Errors
    /// When there is no such message, or it is in a state in which this is not done to it.
    pub(in crate::engine) fn claim(
        &mut self,
        id: MessageId,
        work: &Work,
        now: Now,
    ) -> Result<Claim, SpoolError> {
        let phase = self.phase(id).ok_or(SpoolError::NoSuchMessage(id))?;
        let before = match (phase, work) {
            (Phase::Claimed(_) | Phase::Settling(..), _) => return Ok(Claim::Later),
            (Phase::Frozen, Work::Freeze) => return Ok(Claim::Already),
            (Phase::Frozen, _) => Status::Frozen,
            (_, Work::Remove) => return Err(SpoolError::NotFrozen(id)),
            (Phase::Running(_, _, noted), _) if noted.is_starting => return Ok(Claim::Later),
            (Phase::Running(_, _, noted), Work::Freeze) if noted.freeze.is_some() => {
                return Ok(Claim::Already);
            }
            (Phase::Running(_, _, noted), Work::SendNow(_)) if noted.freeze.is_none() => {
                return Ok(Claim::Already);
            }
            (Phase::Running(..), Work::Bounce(_) | Work::Expire) => return Err(SpoolError::BeingSent(id)),
            (Phase::Running(..), _) => return Ok(Claim::WhileSending),
            (Phase::Waiting(due), _) => Status::SendAt(now.wall_of(*due)),
            (
                Phase::Ready(_) | Phase::Reading | Phase::Asking(_) | Phase::Arming(_) | Phase::Armed(..),
                Work::SendNow(_),
            ) => return Ok(Claim::Already),
            (Phase::Reading | Phase::Asking(_) | Phase::Arming(_), _) => return Ok(Claim::Later),
            (Phase::Ready(_) | Phase::Armed(..), _) => Status::SendAt(now.wall),
        };
        // A permit that was requested for it goes to the next message, or back if there is none.
        self.set(id, Phase::Claimed(before));
        Ok(Claim::Claimed)
    }

    /// What a claimed message was before.
    pub(in crate::engine) fn before(&self, id: MessageId) -> Option<Status> {
        let Phase::Claimed(before) = self.phase(id)? else {
            return None;
        };
        Some(*before)
    }

    /// Returns a claimed message to the queue, with `status` or as it was before; a due one to its line.
    pub(in crate::engine) fn give_back(&mut self, id: MessageId, status: Option<Status>, now: Now) {
        let Some(before) = self.before(id) else { return };
        let phase = match status.unwrap_or(before) {
            Status::Frozen => Phase::Frozen,
            Status::SendAt(due) => self.until(due, now),
        };
        let old = self.set(id, phase);
        self.came_back(id, old, now);
    }

    /// Bytes of memory that it takes to read a message, with or without its body; 0 when there is none.
    pub(in crate::engine) fn footprint(&self, id: MessageId, with_body: bool) -> u64 {
        let entry = self.entries.get(&id);
        entry.map_or(0, |entry| match with_body {
            true => entry.size.whole(),
            false => entry.size.rest(),
        })
    }

    /// The disk holds what is to become of a message when its session ends; `false` when it runs no more, and so is to be
    /// claimed like any other.
    pub(in crate::engine) fn note_while_sending(&mut self, id: MessageId, note: Note) -> bool {
        let phase = self.entries.get_mut(&id).map(|entry| &mut entry.phase);
        match (phase, note) {
            (Some(Phase::Running(_, _, noted)), Note::Freeze(freeze)) => noted.freeze = freeze,
            (Some(Phase::Settling(_, noted)), Note::Freeze(freeze)) if noted.undecided => {
                noted.freeze = freeze
            }
            // It is given to the message when the end of the session is written: that is so from the end of the session on.
            (Some(Phase::Running(_, _, noted) | Phase::Settling(_, noted)), Note::Route(route)) => {
                noted.reroute = Some(route);
            }
            (_, Note::Freeze(_) | Note::Route(_)) => return false,
        }
        true
    }

    /// The ids of frozen messages, and with `waiting` of those as well that wait for a retry or for their destination.
    pub(crate) fn ids(&self, waiting: bool) -> Vec<MessageId> {
        let wanted = |phase: &Phase| {
            matches!(phase, Phase::Frozen)
                || (waiting && matches!(phase, Phase::Waiting(_) | Phase::Ready(_)))
        };
        let all = self.entries.iter();
        all.filter(|(_, entry)| wanted(&entry.phase))
            .map(|(id, _)| *id)
            .collect()
    }
}
