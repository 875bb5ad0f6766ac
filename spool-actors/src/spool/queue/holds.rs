//! What can be seen of the queue: its listing, and what holds a single message.

use super::{DECK, Entry, Phase, Queue};
use crate::throttle::DestinationId;
use spool_core::{Hold, MessageId, MessageSummary, Queue as QueueName, ShownStatus, Status, Timestamp};
use std::cmp::Reverse;
use std::ops::Bound;
use std::sync::Arc;

/// How the queue sees one message.
#[derive(Debug)]
pub(in crate::spool) struct Held {
    /// What holds it here, in order.
    pub(in crate::spool) holds: Vec<Hold>,
    /// Whose limits come next; `None` when it is not on its way to a session.
    pub(in crate::spool) destination: Option<DestinationId>,
}

impl Entry {
    fn status(&self, now: Timestamp) -> ShownStatus {
        match self.phase {
            Phase::Waiting(due) => ShownStatus::at(Status::SendAt(due), now),
            Phase::Ready | Phase::Asking | Phase::Arming | Phase::Armed => ShownStatus::SendNow,
            Phase::Running | Phase::Settling => ShownStatus::Sending,
            // An operation is a matter of milliseconds.
            Phase::Claimed | Phase::Frozen => ShownStatus::Frozen,
        }
    }
}

impl Queue {
    /// Up to `limit` messages behind `after`, as a listing shows them at `now`.
    pub(in crate::spool) fn list(
        &self,
        after: Option<MessageId>,
        limit: usize,
        now: Timestamp,
    ) -> Vec<MessageSummary> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let summary = |(id, entry): (&MessageId, &Entry)| {
            let slot = self.destinations.get(usize::try_from(entry.destination).ok()?)?;
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
    pub(in crate::spool) fn status(&self, id: MessageId, now: Timestamp) -> Option<ShownStatus> {
        Some(self.entries.get(&id)?.status(now))
    }

    /// What holds a message, as far as the queue decides it. `releases` past-due ones are let go each second.
    pub(in crate::spool) fn holds(&self, id: MessageId, now: Timestamp, releases: u32) -> Option<Held> {
        let entry = self.entries.get(&id)?;
        let slot = self.destinations.get(usize::try_from(entry.destination).ok()?)?;
        let ahead = |line: &std::collections::VecDeque<MessageId>| {
            line.iter().position(|other| *other == id).unwrap_or(0)
        };
        let (mut holds, mut before) = (Vec::new(), 0);
        if slot.is_nowhere() && entry.phase != Phase::Frozen {
            holds.push(Hold::NoRoute { origin: entry.origin });
            let destination = None;
            return Some(Held { holds, destination });
        }
        match entry.phase {
            Phase::Frozen => holds.push(Hold::Frozen),
            Phase::Waiting(until) if until > now => holds.push(Hold::RetryTime { until }),
            Phase::Waiting(_) => holds.push(self.backlog_hold(id, now, releases)),
            Phase::Ready => {
                before = slot.deck.min(DECK) + ahead(&slot.ready);
                if before > 0 {
                    holds.push(Hold::Line { ahead: before });
                }
            }
            Phase::Asking => holds.push(Hold::Presend),
            Phase::Arming | Phase::Settling | Phase::Claimed => holds.push(Hold::Writing),
            Phase::Armed => {
                before = ahead(&slot.armed);
                if before > 0 {
                    holds.push(Hold::Line { ahead: before });
                }
            }
            Phase::Running => {}
        }
        let on_its_way = !matches!(
            entry.phase,
            Phase::Frozen | Phase::Running | Phase::Settling | Phase::Claimed
        );
        let destination = on_its_way.then_some(entry.destination);
        if on_its_way && self.paused {
            holds.push(Hold::Paused);
        }
        if on_its_way {
            holds.extend(slot.pace.holds(now, slot.running, before));
        }
        if entry.phase == Phase::Running {
            let since = entry.content.as_ref().and_then(|content| content.session);
            holds.push(Hold::Sending {
                since: since.map_or(now, |begun| begun.at),
            });
        }
        if let Some(route) = &entry.reroute {
            let next_hops = Arc::clone(&route.next_hops);
            holds.push(Hold::NewRoute { next_hops });
        }
        Some(Held { holds, destination })
    }

    /// Whether the head of this line waits for memory.
    pub(in crate::spool) fn is_starved(&self, destination: DestinationId) -> bool {
        self.starved.contains(&destination)
    }

    fn backlog_hold(&self, id: MessageId, now: Timestamp, releases: u32) -> Hold {
        let own = self
            .backlog
            .iter()
            .map(|Reverse(place)| *place)
            .find(|(_, other)| *other == id);
        let ahead = self
            .backlog
            .iter()
            .filter(|Reverse(place)| Some(*place) < own)
            .count();
        let wait = std::time::Duration::from_secs_f64(ahead as f64 / f64::from(releases.max(1)));
        Hold::Backlog {
            ahead,
            until: now.after(wait),
        }
    }
}
