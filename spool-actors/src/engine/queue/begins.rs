//! Starts of attempts that the disk holds. One that no session has used is taken back before the spool closes: after the next
//! start its message would be in doubt.
//!
//! It follows what the disk has answered, wherever the message has gone since. What a former process has begun is not looked at
//! here: that is in doubt.

use super::{Now, Phase, Queue, Refusal};
use crate::engine::World;
use spool_core::store::{Change, Outcome};
use spool_core::{Event, MessageId, Timestamp};

impl<W: World> Queue<W> {
    /// Whether the start of the attempt at this message, which has no permit yet, may be written.
    pub(in crate::engine) fn arms_ahead(&self, id: MessageId) -> bool {
        let Some(entry) = self.entries.get(&id) else {
            return false;
        };
        let outlook = self.outlook(entry.destination);
        let slot = self.at(entry.destination);
        let is_ahead = matches!(entry.phase, Phase::Asking(_, None));
        is_ahead && slot.is_some_and(|slot| slot.may_stay_ahead(outlook))
    }

    /// Whether an attempt that has its session may start.
    pub(in crate::engine) fn may_begin(&self, id: MessageId) -> bool {
        let Some(Phase::Running(_, _, noted)) = self.phase(id) else {
            return false;
        };
        let is_noted = noted.freeze || noted.reroute.is_some() || noted.pending > 0;
        !self.paused && !is_noted && !self.is_stale(id)
    }

    /// Something is being written that is to become of a message when its attempt ends; or it has been.
    pub(in crate::engine) fn note_pending(&mut self, id: MessageId, is_pending: bool) {
        let phase = self.entries.get_mut(&id).map(|entry| &mut entry.phase);
        if let Some(noted) = phase.and_then(Phase::afterwards) {
            noted.pending = match is_pending {
                true => noted.pending + 1,
                false => noted.pending.saturating_sub(1),
            };
        }
    }

    /// Whether something is being written that is to become of a message when its attempt ends.
    pub(in crate::engine) fn has_pending_note(&mut self, id: MessageId) -> bool {
        let entry = self.entries.get_mut(&id);
        let noted = entry.and_then(|entry| entry.phase.afterwards());
        noted.is_some_and(|noted| noted.pending > 0)
    }

    /// The start of an attempt that has its session is being written: operations wait until it is.
    pub(in crate::engine) fn starting(&mut self, id: MessageId, is_starting: bool) {
        let phase = self.entries.get_mut(&id).map(|entry| &mut entry.phase);
        if let Some(noted) = phase.and_then(Phase::afterwards)
            && std::mem::replace(&mut noted.is_starting, is_starting) != is_starting
            && !is_starting
        {
            self.released.push(id);
        }
    }

    /// Records why an attempt was refused its start, for its end.
    pub(in crate::engine) fn note_refusal(&mut self, id: MessageId, refusal: Refusal) {
        let phase = self.entries.get_mut(&id).map(|entry| &mut entry.phase);
        if let Some(noted) = phase.and_then(Phase::afterwards) {
            noted.refusal = Some(refusal);
        }
    }

    pub(in crate::engine) fn take_refusal(&mut self, id: MessageId) -> Option<Refusal> {
        self.entries.get_mut(&id)?.phase.afterwards()?.refusal.take()
    }

    /// Whether the disk holds the start of an attempt at this message.
    pub(in crate::engine) fn is_begun(&self, id: MessageId) -> bool {
        self.entries.get(&id).is_some_and(|entry| entry.begun)
    }

    /// Events to be recorded with the start of an attempt.
    pub(in crate::engine) fn take_events(&mut self, id: MessageId) -> Vec<Event> {
        let phase = self.entries.get_mut(&id).map(|entry| &mut entry.phase);
        let content = phase.and_then(Phase::content_mut);
        content
            .map(|content| std::mem::take(&mut content.events))
            .unwrap_or_default()
    }

    pub(in crate::engine) fn set_events(&mut self, id: MessageId, events: Vec<Event>) {
        let phase = self.entries.get_mut(&id).map(|entry| &mut entry.phase);
        if let Some(content) = phase.and_then(Phase::content_mut) {
            content.events = events;
        }
    }

    /// The disk holds this change.
    pub(in crate::engine) fn on_disk(&mut self, change: &Change) {
        let (id, begun) = match change {
            Change::Mark { id, in_flight, .. } => (id, in_flight.is_some()),
            Change::State { id, state, .. } => (id, state.in_flight.is_some()),
            Change::Add(addition) => match &addition.conclusion {
                Some(conclusion) => match &conclusion.outcome {
                    Outcome::State(state) => (&conclusion.id, state.in_flight.is_some()),
                    Outcome::Finish(_) => return,
                },
                None => return,
            },
            Change::Route { .. } | Change::Finish { .. } | Change::Move(_) | Change::Note { .. } => return,
        };
        if let Some(entry) = self.entries.get_mut(id) {
            entry.begun = begun;
        }
    }

    /// Gives all whose start is on disk and was not used by a session, with when they are due by the wall clock: they are to be written
    /// back as waiting.
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
