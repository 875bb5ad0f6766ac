//! The slots for concurrent hashes, and the two queues for them.
//!
//! Known clients come first, in order of arrival. Unknown clients come after them, the latest first: when not all can be served in time,
//! some time out in any case, and the latest has waited least. When a queue is full, a new known client is refused, or the unknown client
//! that has waited longest.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::oneshot::{Sender, channel};

/// The length of each queue: a few seconds of hashing.
pub(super) const WAITING: usize = 128;

#[derive(Debug)]
struct SlotState {
    /// Zero while any login waits.
    free: usize,
    known: VecDeque<Sender<HashSlot>>,
    unknown: VecDeque<Sender<HashSlot>>,
}

/// The slots; see the module. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct HashSlots(Arc<Mutex<SlotState>>);

/// A slot, freed when it is dropped.
#[derive(Debug)]
pub(super) struct HashSlot(HashSlots);

impl HashSlots {
    pub(super) fn new(count: usize) -> Self {
        Self(Arc::new(Mutex::new(SlotState {
            free: count,
            known: VecDeque::new(),
            unknown: VecDeque::new(),
        })))
    }

    /// Waits for a slot; `None`: too many wait.
    pub(super) async fn find(&self, is_known: bool) -> Option<HashSlot> {
        let granted = {
            let mut state = self.0.lock();
            if state.free > 0 {
                state.free -= 1;
                return Some(HashSlot(self.clone()));
            }
            let queue = if is_known {
                &mut state.known
            } else {
                &mut state.unknown
            };
            // A login that was given up no longer waits.
            queue.retain(|waiter| !waiter.is_closed());
            if queue.len() >= WAITING {
                if is_known {
                    return None;
                }
                queue.pop_front();
            }
            let (grant, granted) = channel();
            queue.push_back(grant);
            granted
        };
        granted.await.ok()
    }

    /// For tests: how many wait.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        let state = self.0.lock();
        let all = state.known.iter().chain(&state.unknown);
        all.filter(|waiter| !waiter.is_closed()).count()
    }
}

impl Drop for HashSlot {
    fn drop(&mut self) {
        let next = {
            let mut state = self.0.0.lock();
            let next = state.known.pop_front().or_else(|| state.unknown.pop_back());
            state.free += usize::from(next.is_none());
            next
        };
        if let Some(next) = next {
            // If that login was abandoned, the slot comes back, and is dropped in turn.
            drop(next.send(Self(self.0.clone())));
        }
    }
}
