//! What can be seen of the queue: its listing, and what holds a single message.

use super::{Entry, Now, Phase, Queue};
use crate::engine::DestinationId;
use crate::engine::World;
use spool_core::{Hold, MessageId, MessageSummary, NextHop, Queue as QueueName, ShownStatus, Status};
use std::ops::Bound;
use std::sync::Arc;

/// What holds a message.
#[derive(Debug)]
pub(crate) struct Explained {
    /// What holds it, in the order in which it holds.
    pub(crate) holds: Vec<Hold>,
    /// The destination whose limits hold it next, its next hops, and how many messages are before it there; `None` when it is not on its
    /// way to a session.
    pub(crate) destination: Option<(DestinationId, Arc<[NextHop]>, usize)>,
}

impl Entry {
    fn status(&self, now: Now) -> ShownStatus {
        match &self.phase {
            Phase::Waiting(due) => ShownStatus::at(Status::SendAt(now.wall_of(*due)), now.wall),
            Phase::Ready(_) | Phase::Reading | Phase::Asking(_) | Phase::Arming(_) | Phase::Armed(..) => {
                ShownStatus::SendNow
            }
            Phase::Running(..) | Phase::Settling(..) => ShownStatus::Sending,
            // An operation is a matter of milliseconds.
            Phase::Claimed(_) | Phase::Frozen => ShownStatus::Frozen,
        }
    }
}

impl<W: World> Queue<W> {
    /// Up to `limit` messages behind `after`, as a listing shows them at `now`.
    pub(crate) fn list(&self, after: Option<MessageId>, limit: usize, now: Now) -> Vec<MessageSummary> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let summary = |(id, entry): (&MessageId, &Entry)| {
            let slot = self.at(entry.destination)?;
            let status = entry.status(now);
            let frozen = status.is_frozen();
            Some(MessageSummary {
                id: *id,
                queue: if frozen {
                    QueueName::Frozen
                } else {
                    QueueName::Active
                },
                status,
                spooled_at: entry.spooled_at,
                next_hops: Arc::clone(&slot.next_hops),
                origin: entry.origin,
                envelope: None,
                reason: None,
                frozen: None,
                unreadable: false,
            })
        };
        let all = self.entries.range((from, Bound::Unbounded));
        all.filter_map(summary).take(limit).collect()
    }

    /// How a listing shows one message.
    pub(crate) fn status(&self, id: MessageId, now: Now) -> Option<ShownStatus> {
        Some(self.entries.get(&id)?.status(now))
    }

    /// What holds a message, as far as the queue decides it.
    pub(in crate::engine) fn holds(&self, id: MessageId, now: Now) -> Option<Explained> {
        let entry = self.entries.get(&id)?;
        let slot = self.at(entry.destination)?;
        let ahead = |line: &std::collections::VecDeque<MessageId>| {
            line.iter().position(|other| *other == id).unwrap_or(0)
        };
        let (mut holds, mut before) = (Vec::new(), 0);
        if slot.is_nowhere() && !matches!(entry.phase, Phase::Frozen) {
            holds.push(Hold::NoRoute { origin: entry.origin });
            let destination = None;
            return Some(Explained { holds, destination });
        }
        let mut destination = Some(entry.destination);
        match &entry.phase {
            Phase::Frozen => {
                holds.push(Hold::Frozen);
                destination = None;
            }
            Phase::Waiting(until) => holds.push(Hold::RetryTime {
                until: now.wall_of(*until),
            }),
            Phase::Ready(_) => before = slot.counts.ahead + ahead(&slot.line),
            Phase::Armed(..) => before = ahead(&slot.armed),
            Phase::Reading => holds.push(Hold::Reading),
            Phase::Arming(_) => holds.push(Hold::Writing),
            Phase::Asking(_) => holds.push(Hold::Presend),
            Phase::Settling(..) | Phase::Claimed(_) => {
                holds.push(Hold::Writing);
                destination = None;
            }
            Phase::Running(..) => destination = None,
        }
        if before > 0 {
            holds.push(Hold::Line { ahead: before });
        }
        if destination.is_some() && self.paused {
            holds.push(Hold::Paused);
        }
        if let Phase::Running(_, since, _) = &entry.phase {
            holds.push(Hold::Sending {
                since: now.wall_of(*since),
            });
        }
        if let Some(next_hops) = self.noted_route(id) {
            holds.push(Hold::NewRoute { next_hops });
        }
        let destination = destination.map(|destination| (destination, Arc::clone(&slot.next_hops), before));
        Some(Explained { holds, destination })
    }
}
