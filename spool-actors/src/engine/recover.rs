//! Archives: quarantine and recover.
//!
//! A message is on the journal or in an archive, never on neither: the place it comes to is durable before the place it
//! leaves is touched.

use super::content::Size;
use super::divide::retry_policy;
use super::jobs::{DiskJob, Fetched, Quarantining};
use super::queue::Known;
use super::tag::Tag;
use super::work::WorkId;
use super::{Answer, Engine, World};
use crate::errors::{add_error, operation_error};
use bytes::Bytes;
use spool_core::store::{Addition, Archive, Archived, Change, NewMessage, StoreError};
use spool_core::{
    EventKind, Frozen, Held, Message, MessageId, MessageState, Related, Section, SpoolError, Status,
    Submission, Timestamp,
};
use std::sync::Arc;

impl<W: World> Engine<W> {
    /// Reads pairs from an archive, to be added again.
    pub(super) fn fetch(&mut self, work: WorkId, archive: Archive, ids: Vec<MessageId>) {
        let is_queued = |id: &MessageId| self.queue.status(*id, self.now).is_some();
        let (queued, ids): (Vec<_>, Vec<_>) = ids.into_iter().partition(is_queued);
        for id in queued {
            self.done_with(work, Err(SpoolError::OnSpool(id)));
        }
        self.work(DiskJob::Fetch { work, archive, ids });
    }

    /// Pairs were read from an archive.
    pub(super) fn fetched(&mut self, work: WorkId, archive: Archive, pairs: Vec<Fetched>) {
        for pair in pairs {
            let added = pair.and_then(|pair| self.add_again(work, archive, pair));
            if let Err(error) = added {
                self.done_with(work, Err(error));
            }
        }
    }

    fn add_again(
        &mut self,
        work: WorkId,
        archive: Archive,
        (archived, body, held): (Box<Archived>, Bytes, Held),
    ) -> Result<(), SpoolError> {
        self.alive()?;
        let message = archived.message;
        let id = message.id;
        // Another operation may have been faster.
        if self.queue.status(id, self.now).is_some() || self.bulks.recovering.contains(&id) {
            return Err(SpoolError::OnSpool(id));
        }
        let now = self.now.wall;
        if !self.ids.is_past(id, now) {
            let reason = "its id lies in the future: give it another name".to_owned();
            return Err(SpoolError::Unreadable { id, reason });
        }
        let route = self.first_route(&message);
        let known = Known {
            id,
            destination: self.queue.enlist(&route.next_hops),
            spooled_at: message.spooled_at,
            size: Size::new(message.body_size, message.footprint()),
            expires_at: message.state.expires_at,
            origin: message.origin,
            generation: route.generation,
        };
        let events = vec![self.tell(EventKind::Recovered(archive.queue()), &message)];
        self.bulks.recovering.insert(id);
        let addition = Addition {
            messages: vec![again(&message, now)],
            body,
            flows: message.flows,
            parent: message.parent,
            related: message.related.to_vec(),
            spooled_at: message.spooled_at,
            key: None,
            conclusion: None,
            events,
        };
        let tag = Tag::Recovered {
            work,
            archive,
            known,
            _held: held,
        };
        self.commit(Change::Add(addition), tag, true);
        Ok(())
    }

    /// The disk has answered for a message that is on the journal again. It stays claimed until its pair is gone.
    pub(super) fn recovered(
        &mut self,
        work: WorkId,
        archive: Archive,
        known: Known,
        result: Result<(), StoreError>,
    ) {
        self.bulks.recovering.remove(&known.id);
        match result {
            Ok(()) => {
                self.queue.add_claimed(known, Status::Frozen, self.now);
                self.discard(archive, vec![known.id], Some(work));
            }
            Err(error) => {
                self.queue.delist(known.destination);
                self.done_with(work, Err(operation_error(error)));
            }
        }
    }

    /// Discards pairs of an archive; then the messages are given back that are claimed.
    pub(super) fn discard(&mut self, archive: Archive, ids: Vec<MessageId>, recovered: Option<WorkId>) {
        self.work(DiskJob::Discard {
            archive,
            ids,
            recovered,
        });
    }

    /// Pairs were discarded, or are still there.
    pub(super) fn discarded(
        &mut self,
        archive: Archive,
        ids: Vec<MessageId>,
        recovered: Option<WorkId>,
        result: Result<(), StoreError>,
    ) {
        match result {
            Ok(()) => {}
            // The next start finds the message in both places, and drops the pair.
            Err(error) if recovered.is_some() => {
                tracing::warn!(id = ?ids.first(), %error, "recovered, but its files are still in the archive");
            }
            Err(error) => {
                tracing::warn!(%error, archive = archive.name(), "files of an operation that failed stay in the archive");
            }
        }
        for id in ids {
            self.give_back(id, None);
        }
        if let Some(work) = recovered {
            self.done_with(work, Ok(()));
        }
    }
}

/// As it was, frozen.
fn again(message: &Message, now: Timestamp) -> NewMessage {
    NewMessage {
        id: message.id,
        section: Section {
            envelope: message.envelope.as_ref().clone(),
            next_hops: Arc::clone(&message.next_hops),
            origin: message.origin,
            retry: retry_policy(&message.state, message.spooled_at),
        },
        status: Status::Frozen,
        frozen: None,
        in_flight: None,
        state: Some(Box::new(frozen(message.state.clone(), now))),
    }
}

/// The state of a message as it comes back: frozen, for the reason it was frozen before if that is known.
fn frozen(mut state: MessageState, now: Timestamp) -> MessageState {
    let why = state.frozen.take();
    let why = why.unwrap_or_else(|| Box::new(Frozen::held(now, None)));
    state.set_status(Status::Frozen, Some(why));
    state.in_flight = None;
    state
}

impl<W: World> Engine<W> {
    /// A caller puts mail in quarantine.
    pub(super) fn take_quarantine(&mut self, mail: Submission, reason: String, reply: W::Reply) {
        let held = self.may_add(&mail).and_then(|()| self.charge(&mail));
        let held = match held {
            Ok(held) => held,
            Err(error) => return self.answer(reply, Answer::Added(Err(error))),
        };
        let pairs = self.pairs(&reason, mail, self.now.wall);
        let kind = EventKind::Quarantined(reason);
        let messages = || pairs.iter().map(|(archived, _)| &archived.message);
        let quarantining = Quarantining {
            ids: messages().map(|message| message.id).collect(),
            events: messages()
                .map(|message| self.tell(kind.clone(), message))
                .collect(),
            held,
            reply,
        };
        self.work(DiskJob::Quarantine(pairs, quarantining));
    }

    /// Mail is in the archive, or is not.
    pub(super) fn laid_in_quarantine(&mut self, laid: Result<(), StoreError>, quarantining: Quarantining<W>) {
        let Quarantining {
            ids,
            events,
            held,
            reply,
        } = quarantining;
        match laid {
            Ok(()) => {
                let tag = Tag::Quarantined {
                    reply,
                    ids,
                    _held: held,
                };
                self.commit(Change::Note { events }, tag, true);
            }
            Err(error) => self.answer(reply, Answer::Added(Err(add_error(error)))),
        }
    }

    fn pairs(&mut self, reason: &str, mail: Submission, now: Timestamp) -> Vec<(Archived, Bytes)> {
        let ids: Vec<MessageId> = mail.sections.iter().map(|_| self.ids.next(now)).collect();
        let body_size = u64::try_from(mail.body.len()).unwrap_or(u64::MAX);
        let related: Arc<[MessageId]> = mail.related.iter().chain(&ids).copied().collect();
        let one = |(section, id): (Section, &MessageId)| {
            let state = MessageState::new(&section, Status::Frozen, now);
            let message = Message {
                id: *id,
                parent: mail.parent,
                related: Related::shared(Arc::clone(&related), *id),
                flows: mail.flows.clone(),
                spooled_at: now,
                next_hops: section.next_hops,
                origin: section.origin,
                envelope: Arc::new(section.envelope),
                body_size,
                state,
            };
            let reason = Some(reason.to_owned());
            (
                Archived {
                    message,
                    at: now,
                    reason,
                },
                mail.body.clone(),
            )
        };
        mail.sections.into_iter().zip(&ids).map(one).collect()
    }
}
