//! What a history compares: every message and every event against what was answered.

use crate::history::{History, Life, PATIENCE, ask};
use crate::reference::{Place, Promise};
use spool_actors::{Get, GetBody, ListMessages, Subscribe};
use spool_core::store::Archive;
use spool_core::{Event, EventKind, MessageId, Queue, SpoolError};
use std::collections::{BTreeMap, BTreeSet};

impl History {
    /// Compares what is there with what was answered.
    pub(crate) async fn check(&mut self, life: &Life) {
        self.seen.lock().unwrap().limit = None;
        self.idle(life).await;
        let messages: Vec<(MessageId, Promise)> = self
            .reference
            .messages
            .iter()
            .map(|(id, promise)| (*id, promise.clone()))
            .collect();
        let (living, notices) = self.living(life).await;
        self.check_notices(life, &notices, &living).await;
        for (id, promise) in messages {
            self.check_message(life, id, &promise, &living).await;
        }
        self.check_events(life).await;
    }

    /// The recipients of every message that is somewhere, whatever its id; those on the spool in one message each.
    /// And the notices among them.
    async fn living(&mut self, life: &Life) -> (BTreeSet<String>, BTreeSet<MessageId>) {
        let (mut living, mut notices) = (BTreeSet::new(), BTreeSet::new());
        for archive in [None, Some(Archive::Removed), Some(Archive::Quarantine)] {
            let list = ListMessages {
                envelopes: true,
                archive,
                ..ListMessages::default()
            };
            let listed = ask(life, list)
                .await
                .expect("the spool lives")
                .expect("the disk works");
            for message in listed {
                let sender = message.envelope.as_ref().map(|envelope| envelope.sender.as_str());
                if sender == Some("") {
                    notices.insert(message.id);
                    continue;
                }
                let known = self.reference.messages.contains_key(&message.id);
                self.tally.divided += u64::from(!known && self.divided.insert(message.id));
                for recipient in message
                    .envelope
                    .into_iter()
                    .flat_map(|envelope| envelope.recipients)
                {
                    let new = living.insert(recipient.clone());
                    assert!(new || archive.is_some(), "{recipient} is in two messages");
                }
            }
        }
        (living, notices)
    }

    async fn check_message(
        &mut self,
        life: &Life,
        id: MessageId,
        promise: &Promise,
        living: &BTreeSet<String>,
    ) {
        let lost: Vec<String> = {
            let seen = self.seen.lock().unwrap();
            let known = |recipient: &&String| {
                !seen.taken.contains(*recipient)
                    && !living.contains(*recipient)
                    && !seen.told.failed.contains_key(*recipient)
            };
            promise.recipients.iter().filter(known).cloned().collect()
        };
        let details = match ask(life, Get(id)).await.expect("the spool lives") {
            Ok(details) => details,
            Err(SpoolError::NoSuchMessage(_)) => {
                let purged = matches!(promise.place, Place::Purged | Place::Unknown);
                assert!(lost.is_empty() || purged, "{id}: lost {lost:?}; {promise:?}");
                self.tally.delivered += 1;
                return;
            }
            Err(error) => panic!("{id}: {error}"),
        };
        assert_ne!(promise.place, Place::Purged, "{id}: it was purged and came back");
        let state = &details.message.state;
        assert!(lost.is_empty(), "{id}: {lost:?} are forgotten; {state:?}");
        match (promise.place, details.queue) {
            (Place::Frozen, Queue::Frozen)
            | (Place::Removed, Queue::Removed)
            | (Place::Quarantine, Queue::Quarantine)
            | (Place::Spool, Queue::Active | Queue::Frozen)
            | (Place::Unknown, _) => {}
            (place, queue) => panic!("{id}: is in {queue}, and was answered to be {place:?}"),
        }
        assert_eq!(
            ask(life, GetBody(id)).await.unwrap().unwrap(),
            promise.body,
            "{id}: its body"
        );
    }

    /// The log has everything once, the same as before, and ends where the disk is.
    pub(crate) async fn check_events(&mut self, life: &Life) {
        let mut events = ask(life, Subscribe { since: Some(0) }).await.unwrap().unwrap();
        let last = self.told.keys().next_back().copied().unwrap_or(0);
        // The end is known by an event of its own.
        let (mail, body, recipients) = self.mail();
        let marker = ask(life, mail.frozen())
            .await
            .expect("the spool lives")
            .expect("the disk works");
        self.promise(&marker, &recipients, &body, Place::Frozen);
        self.seen.lock().unwrap().forbidden.extend(&marker);
        let mut expected = 1;
        let mut states: BTreeMap<MessageId, EventKind> = BTreeMap::new();
        loop {
            let event = tokio::time::timeout(PATIENCE, events.next())
                .await
                .expect("an event")
                .expect("the spool lives");
            if let EventKind::Gap(missing) = event.kind {
                // Of changes that were not answered when the power was cut.
                assert_eq!(event.seq, expected + missing - 1, "{event:?}");
                let known = self.told.range(expected..=event.seq).count();
                assert_eq!(
                    known,
                    0,
                    "{event:?} over what was told before: {:?}",
                    self.told.range(expected..=event.seq).collect::<Vec<_>>()
                );
                expected = event.seq + 1;
                continue;
            }
            assert_eq!(event.seq, expected, "{event:?}");
            expected += 1;
            let id = event.id.unwrap();
            follow(&mut states, &event);
            let end = Some(&id) == marker.last();
            if let Some(told) = self.told.insert(event.seq, event.clone()) {
                assert_eq!(told, event, "told otherwise before");
            }
            if end {
                break;
            }
        }
        assert!(
            expected > last,
            "{last} events were told, and {expected} are left"
        );
        for (id, kind) in states {
            self.agree(life, id, &kind).await;
        }
    }

    /// The last event of a message says where it is.
    pub(crate) async fn agree(&self, life: &Life, id: MessageId, kind: &EventKind) {
        let details = ask(life, Get(id)).await.unwrap();
        let queue = details
            .as_ref()
            .map(|details| details.queue)
            .map_err(Clone::clone);
        let agrees = match kind {
            EventKind::Spooled | EventKind::Recovered(_) => {
                matches!(queue, Ok(Queue::Active | Queue::Frozen))
            }
            EventKind::Frozen => queue == Ok(Queue::Frozen),
            EventKind::Rerouted(_) => matches!(queue, Ok(Queue::Active | Queue::Frozen)),
            EventKind::Unfrozen | EventKind::Delayed(_) | EventKind::DelayedRateLimited(_) => {
                queue == Ok(Queue::Active)
            }
            EventKind::Delivered | EventKind::Notice { .. } => queue == Err(SpoolError::NoSuchMessage(id)),
            EventKind::Removed => matches!(queue, Ok(Queue::Removed) | Err(_)),
            EventKind::Quarantined(_) => queue == Ok(Queue::Quarantine),
            other => panic!("{id}: ends with {other:?}"),
        };
        let events = || {
            self.told
                .values()
                .filter(|event| event.id == Some(id))
                .collect::<Vec<_>>()
        };
        assert!(
            agrees,
            "{id}: its last event is {kind:?}, and it is in {queue:?}: {details:#?}, {:#?}",
            events()
        );
    }
}

/// Nothing happens to a message before it is there or after it has gone.
fn follow(states: &mut BTreeMap<MessageId, EventKind>, event: &Event) {
    let id = event.id.unwrap();
    let before = states.insert(id, event.kind.clone());
    let gone = matches!(
        before,
        Some(EventKind::Delivered | EventKind::Removed | EventKind::Quarantined(_))
    );
    match &event.kind {
        EventKind::Spooled | EventKind::Quarantined(_) => assert_eq!(before, None, "{event:?}"),
        EventKind::Recovered(_) => assert!(gone, "{event:?} after {before:?}"),
        _ => assert!(before.is_some() && !gone, "{event:?} after {before:?}"),
    }
}
