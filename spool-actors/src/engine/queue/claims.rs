//! Operations on messages: an operation claims a message, so that nothing else happens to it, and gives it back.

use super::{Now, Phase, Queue, Route};
use crate::engine::World;
use spool_core::{MessageId, Status};

/// What an operation wants of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Verb {
    Freeze,
    SendNow,
    Remove,
    Reroute,
    /// It is to end.
    End,
}

/// What happens to a message when its session ends.
#[derive(Debug)]
pub(crate) enum Note {
    /// It is frozen, or no longer to be frozen.
    Freeze(bool),
    /// It has another route.
    Route(Box<Route>),
}

/// The answer to a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Claim {
    /// It is the operation's now, until it is given back; it was waiting for this.
    Taken(Status),
    /// It is being sent: that it is to be frozen then, or no longer so, is to be written down.
    WhileSending,
    /// Nothing is to be done.
    Already,
    /// Something is being written about it: ask again then.
    Later,
    /// It is being sent and is not changed.
    BeingSent,
    /// It must be frozen for this.
    NotFrozen,
    /// There is no such message.
    Unknown,
}

impl<W: World> Queue<W> {
    /// Claims a message. It is `Claimed` when the answer is `Taken`.
    pub(in crate::engine) fn claim(&mut self, id: MessageId, verb: Verb, now: Now) -> Claim {
        let Some(phase) = self.phase(id) else {
            return Claim::Unknown;
        };
        let before = match (phase, verb) {
            (Phase::Claimed | Phase::Settling(..), _) => return Claim::Later,
            (Phase::Running(_, _, noted), verb) if noted.is_starting && verb != Verb::Remove => {
                return Claim::Later;
            }
            (Phase::Frozen, Verb::Freeze) => return Claim::Already,
            (Phase::Frozen, Verb::SendNow | Verb::Remove | Verb::Reroute | Verb::End) => Status::Frozen,
            (Phase::Running(_, _, noted), Verb::Freeze) if noted.freeze => return Claim::Already,
            (Phase::Running(_, _, noted), Verb::SendNow) if !noted.freeze => return Claim::Already,
            (Phase::Running(..), Verb::Freeze | Verb::SendNow | Verb::Reroute) => return Claim::WhileSending,
            (Phase::Running(..), Verb::End) => return Claim::BeingSent,
            (
                Phase::Waiting(_)
                | Phase::Ready(_)
                | Phase::Reading(_)
                | Phase::Asking(..)
                | Phase::Arming(_)
                | Phase::Armed(..)
                | Phase::Running(..),
                Verb::Remove,
            ) => return Claim::NotFrozen,
            (
                Phase::Ready(_) | Phase::Reading(_) | Phase::Asking(..) | Phase::Arming(_) | Phase::Armed(..),
                Verb::SendNow,
            ) => return Claim::Already,
            (
                Phase::Reading(_) | Phase::Asking(..) | Phase::Arming(_),
                Verb::Freeze | Verb::Reroute | Verb::End,
            ) => return Claim::Later,
            (Phase::Waiting(due), Verb::Freeze | Verb::SendNow | Verb::Reroute | Verb::End) => {
                Status::SendAt(now.wall_of(*due))
            }
            (Phase::Ready(_) | Phase::Armed(..), Verb::Freeze | Verb::Reroute | Verb::End) => {
                Status::SendAt(now.wall)
            }
        };
        // A permit that was requested for it goes to the next message, or back if there is none.
        self.set(id, Phase::Claimed);
        Claim::Taken(before)
    }

    /// Returns a claimed message to the queue with `status`; a due one to its line.
    pub(in crate::engine) fn give_back(&mut self, id: MessageId, status: Status, now: Now) {
        if !matches!(self.phase(id), Some(Phase::Claimed)) {
            return;
        }
        let phase = match status {
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
            // It is given to the message when the end of the session is written: that is so from the end of the session on.
            (Some(Phase::Running(_, _, noted) | Phase::Settling(_, noted)), Note::Route(route)) => {
                noted.reroute = Some(route);
            }
            (_, Note::Freeze(_) | Note::Route(_)) => return false,
        }
        true
    }

    /// Whether someone froze it while its session ran.
    pub(in crate::engine) fn wants_freeze(&mut self, id: MessageId) -> bool {
        let noted = self
            .entries
            .get_mut(&id)
            .and_then(|entry| entry.phase.afterwards());
        noted.is_some_and(|noted| noted.freeze)
    }

    /// The ids of frozen messages, and with `waiting` of those as well that wait for a retry or for their destination.
    pub(crate) fn ids(&self, waiting: bool) -> Vec<MessageId> {
        let wanted = |phase: &Phase<W>| match phase {
            Phase::Frozen => true,
            Phase::Waiting(_) | Phase::Ready(_) => waiting,
            Phase::Reading(_)
            | Phase::Asking(..)
            | Phase::Arming(_)
            | Phase::Armed(..)
            | Phase::Running(..)
            | Phase::Settling(..)
            | Phase::Claimed => false,
        };
        let all = self.entries.iter();
        all.filter(|(_, entry)| wanted(&entry.phase))
            .map(|(id, _)| *id)
            .collect()
    }
}
