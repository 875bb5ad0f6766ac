//! The disk of a history: what was written, and nothing else.

use crate::engine::testing::Paper;
use crate::engine::{Content, Done, Job, Work, groups};
use bytes::Bytes;
use spool_core::store::{Addition, Change, NewMessage, Outcome as End, Recovered, Shelved, StoreError};
use spool_core::{Budget, Message, MessageId, MessageState, Related, SpoolError};
use std::collections::BTreeMap;
use std::sync::Arc;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Disk {
    messages: BTreeMap<MessageId, (Message, Bytes)>,
    removed: BTreeMap<MessageId, (Shelved, Bytes)>,
    events: u64,
}

impl Disk {
    pub(super) fn message(&self, id: MessageId) -> Option<&Message> {
        Some(&self.messages.get(&id)?.0)
    }

    pub(super) fn ids(&self) -> Vec<MessageId> {
        self.messages.keys().copied().collect()
    }

    pub(super) fn removed(&self) -> Vec<MessageId> {
        self.removed.keys().copied().collect()
    }

    /// Messages in doubt: the start of an attempt is written, and nothing after it.
    pub(super) fn in_flight(&self) -> impl Iterator<Item = MessageId> {
        let all = self.messages.iter();
        all.filter(|(_, (message, _))| message.state.in_flight.is_some())
            .map(|(id, _)| *id)
    }

    pub(super) fn recovered(&self) -> Vec<Recovered> {
        self.messages
            .values()
            .map(|(message, _)| message.into())
            .collect()
    }

    /// Writes a change, and numbers its events.
    pub(super) fn write(&mut self, change: &mut Change) {
        for event in change.events_mut() {
            self.events += 1;
            event.seq = self.events;
        }
        match change {
            Change::Add(addition) => self.add(addition),
            Change::Mark {
                id,
                status,
                frozen,
                in_flight,
                ..
            } => {
                let state = &mut self.messages.get_mut(id).expect("a message to mark").0.state;
                state.set_status(*status, frozen.clone());
                state.in_flight = *in_flight;
            }
            Change::State { id, state, .. } => {
                self.messages.get_mut(id).expect("a message to change").0.state = state.as_ref().clone();
            }
            Change::Route {
                id,
                next_hops,
                origin,
                ..
            } => {
                let message = &mut self.messages.get_mut(id).expect("a message to reroute").0;
                (message.next_hops, message.origin) = (Arc::clone(next_hops), *origin);
            }
            Change::Finish { id, .. } => {
                assert!(self.messages.remove(id).is_some(), "{id} ended twice");
            }
            Change::Move(_) | Change::Note { .. } => {}
        }
    }

    fn add(&mut self, addition: &Addition) {
        for new in &addition.messages {
            let message = message(addition, new);
            // A copy: the disk takes no memory.
            let body = Bytes::copy_from_slice(&addition.body);
            self.messages.insert(new.id, (message, body));
        }
        if let Some(conclusion) = &addition.conclusion {
            match &conclusion.outcome {
                End::Finish(_) => assert!(self.messages.remove(&conclusion.id).is_some()),
                End::State(state) => {
                    let concluded = self
                        .messages
                        .get_mut(&conclusion.id)
                        .expect("a message to conclude");
                    concluded.0.state = state.as_ref().clone();
                }
            }
        }
    }

    fn load(&self, id: MessageId) -> Result<(Message, Bytes), StoreError> {
        let found = self.messages.get(&id).cloned();
        found.ok_or(StoreError::NoSuchMessage(id))
    }

    fn content(&self, id: MessageId, mut held: spool_core::Held) -> Result<Box<Content>, StoreError> {
        let (message, body) = self.load(id)?;
        let body = held.split(message.body_size).carried_by(body);
        held.resize(message.footprint());
        Ok(Box::new(Content::new(message, body, held)))
    }

    /// Does what the engine wants done on the disk.
    pub(super) fn run(&mut self, budget: &Budget, job: Job<Paper>) -> Done<Paper> {
        match job {
            Job::Load(wanted) => {
                let one = |(id, held)| (id, self.content(id, held));
                Done::Loaded(wanted.into_iter().map(one).collect())
            }
            Job::ReadTaken {
                bulk,
                work,
                taken,
                held,
                at,
            } => {
                let read: Vec<_> = taken
                    .into_iter()
                    .map(|taken| {
                        let read = self.load(taken.id);
                        (taken, read)
                    })
                    .collect();
                if matches!(work, Work::Remove) {
                    for (message, body) in read.iter().filter_map(|(_, read)| read.as_ref().ok()) {
                        self.shelve(message.clone(), body.clone(), at);
                    }
                }
                let held = Arc::new(held);
                Done::ReadTaken {
                    bulk,
                    work,
                    read,
                    held,
                }
            }
            Job::ReadUnattended { step, held, .. } => {
                let one = |(id, why)| (id, why, self.load(id));
                let read = step.into_iter().map(one).collect();
                Done::ReadUnattended { read, held }
            }
            Job::Route {
                ids,
                routing,
                generation,
            } => {
                let route = |id| (id, self.load(id).map(|(message, _)| groups(&routing, &message)));
                let routes = ids.into_iter().map(route).collect();
                Done::Routed { routes, generation }
            }
            Job::ReadWhole(wanted) => {
                let one = |(id, before, held)| (id, before, self.content(id, held));
                Done::ReadWhole(wanted.into_iter().map(one).collect())
            }
            Job::ShelvePresented {
                shelved,
                body,
                events,
            } => {
                let id = shelved.message.id;
                self.removed.insert(id, (*shelved, Bytes::copy_from_slice(&body)));
                let laid = Ok(());
                Done::ShelvedPresented { id, laid, events }
            }
            Job::Fetch { bulk, shelf, ids } => {
                let fetch = |id| {
                    let (shelved, body) = self.removed.get(&id).ok_or(SpoolError::NoSuchMessage(id))?;
                    let busy = SpoolError::Busy {
                        retry_after: std::time::Duration::ZERO,
                    };
                    let held = budget.hold_first(1).ok_or(busy)?;
                    Ok((Box::new(shelved.clone()), body.clone(), held))
                };
                let pairs = ids.into_iter().map(fetch).collect();
                Done::Fetched { bulk, shelf, pairs }
            }
            Job::DropPair { bulk, id, .. } => {
                self.removed.remove(&id);
                let discarded = Ok(());
                Done::DroppedPair { bulk, id, discarded }
            }
            Job::TakeOff { shelf, ids } => {
                for id in ids {
                    self.removed.remove(&id);
                }
                let discarded = Ok(());
                Done::TakenOff { shelf, discarded }
            }
            Job::Quarantine {
                pairs,
                events,
                held,
                reply,
            } => Done::Quarantined {
                ids: pairs.iter().map(|(shelved, _)| shelved.message.id).collect(),
                laid: Ok(()),
                events,
                held,
                reply,
            },
            Job::Purge { reply, .. } => Done::Purged {
                outcome: Ok(crate::outcome::Outcome::default()),
                reply,
            },
            Job::Keep(_) => Done::Kept,
        }
    }

    fn shelve(&mut self, message: Message, body: Bytes, at: spool_core::Timestamp) {
        let id = message.id;
        let reason = None;
        self.removed.insert(id, (Shelved { message, at, reason }, body));
    }
}

fn message(addition: &Addition, new: &NewMessage) -> Message {
    let section = &new.section;
    let made = || {
        let mut state = MessageState::new(section, new.status, addition.spooled_at);
        state.set_status(new.status, new.frozen.clone());
        state.in_flight = new.in_flight;
        state
    };
    Message {
        id: new.id,
        parent: addition.parent,
        related: Related::from(Vec::new()),
        flows: addition.flows.clone(),
        spooled_at: addition.spooled_at,
        next_hops: Arc::clone(&section.next_hops),
        origin: section.origin,
        envelope: Arc::new(section.envelope.clone()),
        body_size: addition.body.len() as u64,
        state: new.state.as_deref().cloned().unwrap_or_else(made),
    }
}
