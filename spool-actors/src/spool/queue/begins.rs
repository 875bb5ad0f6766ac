//! Begins of attempts that the disk holds. One that no session has used is taken back before the spool closes: after the next
//! start its message would be in doubt.
//!
//! It follows what the disk has answered, wherever the message has gone since. What a former process has begun is not looked at
//! here: that is in doubt.

use super::{Phase, Queue};
use spool_core::store::{Change, Outcome};
use spool_core::{MessageId, Timestamp};

impl Queue {
    /// The disk holds this change.
    pub(in crate::spool) fn on_disk(&mut self, change: &Change) {
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

    /// Takes every armed message off the deck. Gives all whose begin is on disk and was not used by a session, with when they are
    /// due: they are to be written back as waiting.
    pub(in crate::spool) fn disarm_all(&mut self) -> Vec<(MessageId, Timestamp)> {
        for slot in &mut self.destinations {
            slot.armed.clear();
        }
        let mut begun = Vec::new();
        for (id, entry) in &mut self.entries {
            // The end of a session is written for itself, or the message is in doubt.
            if !entry.begun || matches!(entry.phase, Phase::Running | Phase::Settling) {
                continue;
            }
            entry.begun = false;
            let due = match entry.phase {
                Phase::Waiting(due) => due,
                Phase::Ready
                | Phase::Asking
                | Phase::Arming
                | Phase::Armed
                | Phase::Running
                | Phase::Settling
                | Phase::Claimed
                | Phase::Frozen => entry.spooled_at,
            };
            begun.push((*id, due));
        }
        begun
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Claim, Verb, Ways};
    use super::*;
    use crate::spool::content::Size;
    use spool_core::{NextHop, Policies, RouteOrigin, Routing, Status};
    use std::sync::Arc;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn mark(id: MessageId, in_flight: Option<Timestamp>) -> Change {
        Change::Mark {
            id,
            status: Status::SendAt(NOW),
            frozen: None,
            in_flight,
            events: Vec::new(),
        }
    }

    /// A queue with one message whose begin is on disk, and which is armed.
    fn armed() -> (Queue, MessageId) {
        let mut queue = Queue::new(Ways::new(10, Policies::default(), Vec::new()), Routing::default());
        let hops: Arc<[NextHop]> = ["a:25".parse().unwrap()].into();
        let (id, destination) = (MessageId::from_u128(1), queue.enlist(&hops, NOW));
        queue.back(id, destination, NOW, Size::new(1, 1), None, RouteOrigin::Named);
        queue.give_back(id, Status::SendAt(NOW), NOW);
        assert_eq!(queue.next_to_arm(destination, NOW).map(|next| next.id), Some(id));
        queue.arming(id);
        queue.on_disk(&mark(id, Some(NOW)));
        queue.armed(id);
        (queue, id)
    }

    #[test]
    fn a_begin_on_disk_is_taken_back_wherever_its_message_has_gone() {
        let (mut queue, id) = armed();
        assert_eq!(queue.disarm_all(), [(id, NOW)]);
        assert_eq!(queue.disarm_all(), [], "once");

        let (mut queue, id) = armed();
        assert_eq!(
            queue.claim(id, Verb::Reroute, NOW),
            Claim::Taken(Status::SendAt(NOW))
        );
        assert_eq!(queue.disarm_all(), [(id, NOW)], "an operation has it");

        let (mut queue, id) = armed();
        queue.claim(id, Verb::Freeze, NOW);
        queue.give_back(id, Status::SendAt(NOW), NOW);
        assert_eq!(
            queue.disarm_all(),
            [(id, NOW)],
            "the operation has changed nothing"
        );

        let (mut queue, id) = armed();
        let later = NOW.after(std::time::Duration::from_secs(5));
        queue.waits(id, Status::SendAt(later));
        assert_eq!(
            queue.disarm_all(),
            [(id, later)],
            "there was no room to take it back"
        );
    }

    #[test]
    fn a_begin_that_was_used_or_taken_back_is_left_alone() {
        let (mut queue, id) = armed();
        queue.claim(id, Verb::Freeze, NOW);
        queue.on_disk(&mark(id, None));
        queue.give_back(id, Status::Frozen, NOW);
        assert_eq!(queue.disarm_all(), []);

        let (mut queue, id) = armed();
        let destination = queue.enlist(&["a:25".parse().unwrap()].into(), NOW);
        queue.take_promises(destination, NOW);
        queue.depart(destination, NOW);
        if let Some(entry) = queue.entries.get_mut(&id) {
            entry.phase = Phase::Running;
        }
        assert_eq!(queue.disarm_all(), []);
    }
}
