//! Starts of attempts that the disk holds. One that no session has used is taken back before the spool closes: after the next
//! start its message would be in doubt.
//!
//! It follows what the disk has answered, wherever the message has gone since. What a former process has begun is not looked at
//! here: that is in doubt.

use super::{Now, Phase, Queue};
use crate::engine::World;
use spool_core::store::{Change, Outcome};
use spool_core::{MessageId, Timestamp};

impl<W: World> Queue<W> {
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
