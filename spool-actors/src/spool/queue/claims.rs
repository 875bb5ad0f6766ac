//! Operations on messages: an operation claims a message, so that nothing else happens to it, and gives it back.

use super::{Phase, Queue, Route};
use spool_core::{MessageId, Status, Timestamp};

/// What an operation wants of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::spool) enum Verb {
    Freeze,
    SendNow,
    Remove,
    Reroute,
    /// It is to end.
    End,
}

/// What is to become of a message when its session ends.
#[derive(Debug)]
pub(crate) enum Note {
    /// It is frozen, or no longer to be frozen.
    Freeze(bool),
    /// It has another route.
    Route(Box<Route>),
}

/// The answer to a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::spool) enum Claim {
    /// It is the operation's now, until it is given back; it was waiting for this.
    Taken(Status),
    /// It is being sent: that it is to be frozen then, or no longer so, is to be written down.
    WhileSending,
    /// Nothing is to be done.
    Already,
    /// Something is being written about it: ask again then.
    Later,
    /// It is being sent, and left alone.
    BeingSent,
    /// It must be frozen for this.
    NotFrozen,
    /// There is no such message.
    Unknown,
}

impl Queue {
    /// Claims a message. It is `Claimed` when the answer is `Taken`.
    pub(in crate::spool) fn claim(&mut self, id: MessageId, verb: Verb, now: Timestamp) -> Claim {
        let Some(entry) = self.entries.get_mut(&id) else {
            return Claim::Unknown;
        };
        let before = match (entry.phase, verb) {
            (Phase::Frozen, Verb::Freeze) => return Claim::Already,
            (Phase::Frozen, Verb::SendNow | Verb::Remove | Verb::Reroute | Verb::End) => Status::Frozen,
            (Phase::Claimed, _) => return Claim::Later,
            // Soon to be frozen, waiting or gone.
            (Phase::Settling, _) => return Claim::Later,
            (Phase::Running, Verb::Freeze) if entry.freeze => return Claim::Already,
            (Phase::Running, Verb::Freeze) => return Claim::WhileSending,
            (Phase::Running, Verb::SendNow) if entry.freeze => return Claim::WhileSending,
            (
                Phase::Waiting(_)
                | Phase::Ready
                | Phase::Asking
                | Phase::Arming
                | Phase::Armed
                | Phase::Running,
                Verb::Remove,
            ) => {
                return Claim::NotFrozen;
            }
            (Phase::Ready | Phase::Asking | Phase::Arming | Phase::Armed | Phase::Running, Verb::SendNow) => {
                return Claim::Already;
            }
            (Phase::Running, Verb::Reroute) => return Claim::WhileSending,
            (Phase::Running, Verb::End) => return Claim::BeingSent,
            (Phase::Asking | Phase::Arming, Verb::Freeze | Verb::Reroute | Verb::End) => return Claim::Later,
            (Phase::Waiting(due), Verb::Freeze | Verb::SendNow | Verb::Reroute | Verb::End) => {
                Status::SendAt(due)
            }
            (Phase::Ready | Phase::Armed, Verb::Freeze | Verb::Reroute | Verb::End) => Status::SendAt(now),
        };
        let (phase, destination) = (entry.phase, entry.destination);
        entry.phase = Phase::Claimed;
        entry.content = None;
        match phase {
            Phase::Ready => self.left_line(destination),
            Phase::Armed => {
                // The permit that was asked for finds the next one, or nobody, and goes back.
                if let Some(slot) = self.slot(destination) {
                    slot.armed.retain(|other| *other != id);
                }
                self.cancel_arming(destination);
            }
            Phase::Waiting(_)
            | Phase::Asking
            | Phase::Arming
            | Phase::Running
            | Phase::Settling
            | Phase::Claimed
            | Phase::Frozen => {}
        }
        Claim::Taken(before)
    }

    /// Gives a claimed message back, to wait for `status`. Due ones line up.
    pub(in crate::spool) fn give_back(&mut self, id: MessageId, status: Status, now: Timestamp) {
        let Some(entry) = self
            .entries
            .get_mut(&id)
            .filter(|entry| entry.phase == Phase::Claimed)
        else {
            return;
        };
        match status {
            Status::Frozen => entry.phase = Phase::Frozen,
            Status::SendAt(due) if due > now => self.wait_until(id, due),
            Status::SendAt(_) => {
                entry.phase = Phase::Ready;
                let destination = entry.destination;
                self.line_up(id, destination);
            }
        }
        self.look_at_route(id);
    }

    /// Bytes of memory that it takes to read a message, with or without its body; 0 when there is none.
    pub(in crate::spool) fn footprint(&self, id: MessageId, with_body: bool) -> u64 {
        let entry = self.entries.get(&id);
        entry.map_or(0, |entry| match with_body {
            true => entry.size.whole(),
            false => entry.size.rest(),
        })
    }

    /// The disk holds what is to become of a message when its session ends; `false` when it runs no more, and so is to be
    /// claimed like any other.
    pub(in crate::spool) fn note_while_sending(&mut self, id: MessageId, note: Note) -> bool {
        let entry = self.entries.get_mut(&id);
        let Some(entry) = entry.filter(|entry| entry.phase == Phase::Running) else {
            return false;
        };
        match note {
            Note::Freeze(freeze) => entry.freeze = freeze,
            Note::Route(route) => entry.reroute = Some(route),
        }
        true
    }

    /// Whether someone froze it while its session ran.
    pub(in crate::spool) fn wants_freeze(&self, id: MessageId) -> bool {
        self.entries.get(&id).is_some_and(|entry| entry.freeze)
    }

    /// The ids of frozen messages, and with `waiting` of those as well that wait for a retry or for their destination.
    pub(in crate::spool) fn ids(&self, waiting: bool) -> Vec<MessageId> {
        let wanted = |phase: Phase| match phase {
            Phase::Frozen => true,
            Phase::Waiting(_) | Phase::Ready => waiting,
            Phase::Asking
            | Phase::Arming
            | Phase::Armed
            | Phase::Running
            | Phase::Settling
            | Phase::Claimed => false,
        };
        let all = self.entries.iter();
        all.filter(|(_, entry)| wanted(entry.phase))
            .map(|(id, _)| *id)
            .collect()
    }
}
