//! How the engine comes to rest: nothing starts any more, what runs is waited for, and what was about to start is written back.

use super::keys::Keys;
use super::queue::Queue;
use super::unwritten::Unwritten;
use super::{Effect, Engine, Told, World};
use crate::supervision::Ending;
use spool_core::Routing;
use std::time::Duration;

/// How far a closing has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClosingStage {
    /// Sessions run.
    Draining,
    /// What was about to start is written back as waiting.
    Disarming,
    /// The shell closes what it holds.
    Closing,
}

impl<W: World> Engine<W> {
    /// Whether something can be changed: not once the spool has ended.
    pub(super) fn alive(&self) -> Result<(), spool_core::SpoolError> {
        match &self.ended {
            Some(ending) => Err(ending.spool_error()),
            None => Ok(()),
        }
    }

    /// Whether someone may look: until it is closed. What is on a failed disk can still be read.
    pub(super) fn readable(&self) -> bool {
        self.closing.is_none() && self.ended != Some(Ending::Killed)
    }

    /// The spool has ended: fails all requests that would wait for ever.
    pub(super) fn has_ended(&mut self) {
        // Their askers find no answer, and read the ending.
        self.bulks.cancel();
        if self.ended != Some(Ending::Killed) {
            // What answers an add of the same name may have been lost with the part that failed.
            self.keys.stop_waiting();
        }
        self.idle.clear();
        self.effects.push(Effect::Tell(Told::Ended));
        self.return_all_permits();
    }

    /// Returns every permit to the throttle, also those of messages that are about to be sent.
    pub(super) fn return_all_permits(&mut self) {
        for permit in self.queue.revoke_permits() {
            self.effects.push(Effect::Return(permit, None));
        }
    }

    pub(super) fn close(&mut self) {
        self.closing.get_or_insert(ClosingStage::Draining);
    }

    /// With a closing under way and nothing running: puts back what was about to start, waits for the disk, and closes.
    pub(super) fn close_when_flushed(&mut self) {
        if self.queue.counts.running > 0 || self.working > 0 || self.pending > 0 {
            return;
        }
        match self.closing {
            Some(ClosingStage::Draining) => {
                self.closing = Some(ClosingStage::Disarming);
                self.write_again();
                // What was about to start did not: after the next start it is not in doubt.
                for (id, due) in self.queue.disarm_all(self.now) {
                    self.write_back(id, due);
                }
                self.close_when_flushed();
            }
            Some(ClosingStage::Disarming) => {
                self.closing = Some(ClosingStage::Closing);
                // Those of adds that were being written.
                self.return_all_permits();
                self.effects.push(Effect::Close);
            }
            Some(ClosingStage::Closing) | None => {}
        }
    }

    /// Lets go of everything.
    pub(super) fn closed(&mut self) {
        self.queue = Queue::new(Routing::default());
        self.keys = Keys::new(Vec::new(), Duration::ZERO, 1, self.now);
        self.unwritten = Unwritten::default();
    }
}
