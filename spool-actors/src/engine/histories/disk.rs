//! The disk of a history: what was written, and nothing else.

use super::ledger::Ledger;
use bytes::Bytes;
use spool_core::store::{Addition, Archived, Change, NewMessage, Outcome as End, Recovered, RememberedKey};
use spool_core::{Event, EventKind, Message, MessageId, MessageState, Related, Status};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Disk {
    pub(super) messages: BTreeMap<MessageId, (Message, Bytes)>,
    pub(super) removed: BTreeMap<MessageId, (Archived, Bytes)>,
    /// Messages that have ended.
    ended: BTreeSet<MessageId>,
    /// Idempotency keys in the order in which they were written.
    pub(super) keys: Vec<RememberedKey>,
    pub(super) ledger: Ledger,
    /// Messages that an operation froze, until another one sends them.
    pub(super) held: BTreeSet<MessageId>,
    /// The routes that operations named for messages.
    pub(super) routed: BTreeMap<MessageId, Arc<[spool_core::NextHop]>>,
    /// Whether the clock was set.
    pub(super) was_set: bool,
    /// How often a message was divided.
    pub(super) divided: usize,
    events: u64,
    /// Whether the last event about its status says that a message is frozen; none when it was spooled.
    says_frozen: BTreeMap<MessageId, bool>,
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
            follow(&mut self.says_frozen, event);
        }
        self.apply(change);
        match change {
            Change::Mark { id, .. } | Change::State { id, .. } => self.agrees(*id),
            Change::Add(addition) => {
                let concluded = addition.conclusion.iter().map(|conclusion| conclusion.id);
                concluded.for_each(|id| self.agrees(id));
            }
            Change::Route { .. } | Change::Finish { .. } | Change::Move(_) | Change::Note { .. } => {}
        }
    }

    /// What the events say of a message is so after every write: the next one may be cut off. An attempt that is in doubt
    /// gets its events after the restart.
    fn agrees(&self, id: MessageId) {
        let Some(state) = self.message(id).map(|message| &message.state) else {
            return;
        };
        let said = self.says_frozen.get(&id).filter(|_| state.in_flight.is_none());
        assert!(
            said.is_none_or(|frozen| *frozen == (state.status == Status::Frozen)),
            "{id}: the last event does not say that it is {:?}",
            state.status
        );
    }

    fn apply(&mut self, change: &Change) {
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
            Change::Finish { id, .. } => self.finish(*id),
            Change::Move(_) | Change::Note { .. } => {}
        }
    }

    fn add(&mut self, addition: &Addition) {
        for new in &addition.messages {
            let message = message(addition, new);
            // A copy: the disk takes no memory.
            let body = Bytes::copy_from_slice(&addition.body);
            self.ledger.written(&message);
            if message.state.status == spool_core::Status::Frozen {
                self.held.insert(new.id);
            }
            let before = self.messages.insert(new.id, (message, body));
            assert!(before.is_none(), "{} was added twice", new.id);
        }
        if let Some(key) = &addition.key {
            let ids = addition.messages.iter().map(|new| new.id).collect();
            self.keys.push(RememberedKey::new(
                key.key.clone(),
                key.fingerprint,
                ids,
                addition.spooled_at,
            ));
        }
        if let Some(conclusion) = &addition.conclusion {
            if addition
                .messages
                .iter()
                .all(|new| new.section.envelope.reverse_path.is_null())
            {
                self.ledger.tell(&addition.body);
            } else {
                self.divided += 1;
            }
            match &conclusion.outcome {
                End::Finish(_) => self.finish(conclusion.id),
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

    fn finish(&mut self, id: MessageId) {
        assert!(self.messages.remove(&id).is_some(), "{id} ended twice");
        self.ended.insert(id);
    }

    /// The last id that was given.
    pub(super) fn last_id(&self) -> Option<MessageId> {
        let all = [
            self.messages.keys().last(),
            self.removed.keys().last(),
            self.ended.last(),
        ];
        all.into_iter().flatten().max().copied()
    }

    /// Whether the message is there, or has been.
    pub(super) fn knows(&self, id: MessageId) -> bool {
        self.messages.contains_key(&id) || self.ended.contains(&id)
    }

    /// A process begins: a pair whose message is in the journal as well is dropped, and what is being sent is in doubt.
    pub(super) fn start(&mut self) -> usize {
        let Self {
            messages,
            removed,
            ledger,
            ..
        } = self;
        removed.retain(|id, _| !messages.contains_key(id));
        let all = messages.values().map(|(message, _)| message);
        let in_doubt: Vec<_> = all.filter(|message| message.state.in_flight.is_some()).collect();
        in_doubt.iter().for_each(|message| ledger.doubt(message));
        in_doubt.len()
    }

    /// At rest no recipient is lost, and none is doubled.
    pub(super) fn balance(&self) {
        let listed = self.messages.values().map(|(message, _)| message);
        let archived = self
            .removed
            .iter()
            .filter(|(id, _)| !self.messages.contains_key(id));
        let archived = archived.map(|(_, (archived, _))| &archived.message);
        self.ledger.balance(listed.chain(archived));
    }
}

fn follow(says_frozen: &mut BTreeMap<MessageId, bool>, event: &Event) {
    let Some(id) = event.id else { return };
    if matches!(event.kind, EventKind::Frozen) {
        says_frozen.insert(id, true);
    }
    if let EventKind::Unfrozen | EventKind::Delayed(_) | EventKind::DelayedRateLimited(_) = event.kind {
        says_frozen.insert(id, false);
    }
    // Both may come with a frozen message.
    if let EventKind::Spooled | EventKind::Recovered(_) = event.kind {
        says_frozen.remove(&id);
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
