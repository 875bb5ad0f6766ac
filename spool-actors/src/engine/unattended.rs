//! Ends without a session of this process: attempts that a former process left open, and messages that expired while
//! they waited in line.
//!
//! The messages are read in steps, one at a time, with their bodies where a notice about them may be due. Each step has the memory that it
//! was granted until the disk holds the ends.

use super::jobs::Read;
use super::{DiskJob, Effect, Engine, Wanted, World};
use bytes::Bytes;
use spool_core::store::StoreError;
use spool_core::{Attempt, AttemptResult, Held, Message, MessageId};
use std::collections::VecDeque;
use std::sync::Arc;

/// Messages of one step.
const STEP: usize = 256;
/// Bytes of memory that one step asks for, and one message more; with a small limit, an eighth of that.
const STEP_BYTES: u64 = 4 << 20;

/// Why a message ends without a session.
#[derive(Debug, Clone)]
pub(crate) enum Why {
    /// A former process ended during its attempt.
    Interrupted,
    /// It has expired; with the last reply of its destination.
    Expired(Arc<str>),
}

/// Messages whose end is to be written. The queue has them as `Settling`.
#[derive(Debug, Default)]
pub(super) struct Unattended {
    due: VecDeque<(MessageId, Why)>,
    /// A step waits for memory, or is being read.
    under_way: bool,
}

impl Unattended {
    pub(super) fn extend(&mut self, due: impl IntoIterator<Item = (MessageId, Why)>) {
        self.due.extend(due);
    }

    /// Whether ends are still to be written.
    pub(super) fn is_busy(&self) -> bool {
        self.under_way || !self.due.is_empty()
    }

    /// The messages of the next step, up to `most` bytes of them and one more, and the bytes of all of them.
    fn step(&mut self, most: u64, footprint: impl Fn(MessageId) -> u64) -> (Vec<(MessageId, Why)>, u64) {
        let (mut step, mut bytes) = (Vec::new(), 0_u64);
        while step.len() < STEP
            && bytes < most
            && let Some((id, why)) = self.due.pop_front()
        {
            bytes = bytes.saturating_add(footprint(id));
            step.push((id, why));
        }
        (step, bytes)
    }
}

impl<W: World> Engine<W> {
    /// Takes the next step, if there is one and none is under way.
    pub(super) fn settle_unattended(&mut self) {
        if self.unattended.under_way || self.is_over() {
            return;
        }
        // With a small limit a step must not wait until nobody else holds anything.
        let most = STEP_BYTES.min(self.budget.limit() / 8).max(1);
        let bodies = self.returning.is_on();
        let (step, bytes) = self.unattended.step(most, |id| self.queue.footprint(id, bodies));
        if step.is_empty() {
            return;
        }
        self.unattended.under_way = true;
        if let Some(held) = self.budget.read_now(bytes) {
            return self.read_unattended(step, held);
        }
        // What can be read again makes room.
        self.queue.let_go_of_all();
        let wanted = Wanted::Unattended(step);
        self.effects.push(Effect::WaitForMemory { bytes, wanted });
    }

    /// There is memory for a step.
    pub(super) fn read_unattended(&mut self, step: Vec<(MessageId, Why)>, held: Held) {
        if self.is_over() {
            // The disk has them as they were: the next start finds them again.
            self.unattended.under_way = false;
            return;
        }
        let bodies = self.returning.is_on();
        self.work(DiskJob::ReadUnattended { step, held, bodies });
    }

    /// A step was read.
    pub(super) fn unattended_read(
        &mut self,
        read: Vec<(MessageId, Why, Result<Read, StoreError>)>,
        mut held: Held,
    ) {
        self.unattended.under_way = false;
        for (id, why, message) in read {
            let (message, body) = match message {
                Ok(read) => read,
                Err(error) => {
                    self.unattended_unread(id, &why, &error);
                    continue;
                }
            };
            // Until the disk has answered.
            self.queue.settling(id, held.split(message.footprint()));
            let body = held.split(length(&body)).carried_by(body);
            match why {
                Why::Interrupted => self.settle_one_interrupted(message, body),
                Why::Expired(reason) => self.give_up(message, body, &reason),
            }
        }
    }

    fn unattended_unread(&mut self, id: MessageId, why: &Why, error: &StoreError) {
        match (why, error) {
            // Read again each second.
            (Why::Interrupted, StoreError::NotNow { .. }) => {
                self.interrupted.push(id);
                self.stuck(id, error);
            }
            _ => self.unreadable(id, error),
        }
    }
}

/// Whether this may be the end of recipients, so that a notice about them may be due. The first interruption is never one.
pub(crate) fn may_fail(why: &Why, message: &Message) -> bool {
    let interrupted = |attempt: &Attempt| matches!(attempt.report.result, AttemptResult::Interrupted);
    match why {
        Why::Expired(_) => true,
        Why::Interrupted => message.state.attempts.last().is_some_and(interrupted),
    }
}

fn length(body: &Bytes) -> u64 {
    u64::try_from(body.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_without_a_session_are_read_in_steps_of_bounded_memory() {
        let mut unattended = Unattended::default();
        let due = |number| (MessageId::from_u128(number), Why::Expired("no answer".into()));
        unattended.extend((0..4096).map(due));
        let mut read = 0;
        while unattended.is_busy() {
            let (step, bytes) = unattended.step(STEP_BYTES, |_| 1 << 19);
            assert!(bytes < STEP_BYTES + (1 << 19), "{bytes}");
            read += step.len();
        }
        assert_eq!(read, 4096);
        unattended.extend((0..4096).map(due));
        assert_eq!(unattended.step(STEP_BYTES, |_| 1).0.len(), STEP);
    }
}
