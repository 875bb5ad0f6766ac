//! The times at which waiting messages become due, in a heap.

use super::{Entry, Now, Phase, Queue, SWEEP};
use crate::engine::World;
use spool_core::{MessageId, Timestamp};
use std::cmp::Reverse;

impl<W: World> Queue<W> {
    /// The phase of a message that waits for a time of the wall clock.
    pub(super) fn until(&self, due: Timestamp, now: Now) -> Phase {
        let due = now.inside_of(due);
        match due > now.inside {
            true => Phase::Waiting(due),
            false => Phase::Ready(None),
        }
    }

    /// Moves due messages into line.
    pub(in crate::engine) fn release_due(&mut self, now: Now) {
        while let Some(Reverse((due, id))) = self.due.peek().copied() {
            if due > now.inside {
                break;
            }
            self.due.pop();
            // A message that was moved since has another phase; its old place in the heap means nothing.
            if self.phase(id).and_then(Phase::due) == Some(due) {
                self.set(id, Phase::Ready(None));
            }
        }
    }

    /// When the next message becomes due.
    pub(in crate::engine) fn next_due(&self) -> Option<Timestamp> {
        self.due.peek().map(|Reverse((due, _))| *due)
    }

    pub(super) fn wait_until(&mut self, id: MessageId, due: Timestamp) {
        self.due.push(Reverse((due, id)));
        // Places of messages that were moved since mean nothing; they are swept out before they are the most.
        if self.due.len() > 2 * self.entries.len() + SWEEP {
            let waiting = |(id, entry): (&MessageId, &Entry)| Some(Reverse((entry.phase.due()?, *id)));
            self.due = self.entries.iter().filter_map(waiting).collect();
        }
    }
}
