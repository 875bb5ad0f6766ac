//! Why a message waits, as far as the engine decides it, and whether anything is left to do.

use super::{Answer, Engine, Now, World};
use crate::engine::DestinationId;
use crate::outcome::Idle;
use spool_core::{Hold, MessageId, NextHop};
use std::sync::Arc;

/// What holds a message.
#[derive(Debug)]
pub(crate) struct Explained {
    pub(crate) holds: Vec<Hold>,
    /// Whose limits come next, its next hops, and how many others are before it there; `None` when it is not on its way to a session.
    pub(crate) destination: Option<(DestinationId, Arc<[NextHop]>, usize)>,
}

impl<W: World> Engine<W> {
    /// What holds a message; `None`: there is no such message.
    pub(crate) fn explain(&self, id: MessageId, now: Now) -> Option<Explained> {
        let held = self.queue.holds(id, now)?;
        let (mut holds, destination) = (held.holds, held.destination);
        if let Some(error) = self.unwritten.error(id) {
            let error = error.to_string();
            holds = vec![Hold::NoRoom { error }];
        }
        if destination.is_some_and(|(destination, _)| self.queue.is_starved(destination)) {
            let (used, limit) = (self.budget.used(), self.budget.limit());
            holds.push(Hold::Memory { used, limit });
        }
        let with_hops = |(id, ahead)| Some((id, Arc::clone(self.queue.next_hops(id)?), ahead));
        Some(Explained {
            holds,
            destination: destination.and_then(with_hops),
        })
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
        if self.unattended.is_busy()
            || self.looking.is_dividing(self.now.inside)
            || self.queue.is_busy(self.now)
        {
            return;
        }
        let times = [self.queue.next_due(), self.queue.next_opening()];
        let next = times.into_iter().flatten().min();
        let next_attempt = next.map(|at| self.now.wall_of(at));
        for reply in std::mem::take(&mut self.idle) {
            self.answer(reply, Answer::Idle(Idle { next_attempt }));
        }
    }
}
