//! Why a message waits, as far as the engine decides it, and whether anything is left to do.

use super::queue::Explained;
use super::{Answer, Engine, Now, World};
use crate::outcome::Idle;
use spool_core::{Hold, MessageId};

impl<W: World> Engine<W> {
    /// What holds a message; `None`: there is no such message.
    pub(crate) fn explain(&self, id: MessageId, now: Now) -> Option<Explained> {
        let mut explained = self.queue.holds(id, now)?;
        if let Some(error) = self.unwritten.error(id) {
            let error = error.to_string();
            explained.holds = vec![Hold::NoRoom { error }];
        }
        let destination = explained.destination.as_ref();
        if destination.is_some_and(|(destination, ..)| self.queue.starved.contains(destination)) {
            let (used, limit) = (self.budget.used(), self.budget.limit());
            explained.holds.push(Hold::Memory { used, limit });
        }
        Some(explained)
    }

    /// Tells those who wait that there is nothing to do, if that is so.
    pub(super) fn answer_idle(&mut self) {
        if self.is_over() {
            // What could not be written is never done.
            self.idle.clear();
        }
        if self.idle.is_empty() || self.pending > 0 || self.working > 0 || !self.bulks.is_empty() {
            return;
        }
        let divides = !self.looking.several.is_empty() && self.has_room_to_divide();
        if divides || self.queue.is_busy(self.now) {
            return;
        }
        let times = [self.queue.next_due(), self.queue.next_opening()];
        let next = times.into_iter().flatten().min();
        let next_attempt = next.map(|at| self.now.wall_of(at));
        for reply in std::mem::take(&mut self.idle) {
            self.answer(reply, Answer::Idle(Ok(Idle { next_attempt })));
        }
    }
}
