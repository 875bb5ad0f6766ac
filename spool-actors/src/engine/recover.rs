//! Archives: quarantine, recover, purge, and looking at what lies there.
//!
//! A message is on the journal or in an archive, never on neither: the place it comes to is durable before the place it
//! leaves is touched.

use super::bulk::{BulkId, frozen};
use super::commit::RecoveredMessage;
use super::content::Size;
use super::jobs::Fetched;
use super::queue::Known;
use super::{Answer, DiskJob, Engine, Tag, World};
use crate::errors::add_error;
use bytes::Bytes;
use spool_core::store::{Addition, Archive, Archived, Change, NewMessage, StoreError};
use spool_core::{
    AddError, Event, EventKind, Held, Message, MessageId, MessageState, Related, RetryPolicy, Section,
    SpoolError, Status, Submission, Timestamp,
};
use std::sync::Arc;

impl<W: World> Engine<W> {
    /// Reads pairs from an archive, to be added again.
    pub(super) fn fetch(&mut self, bulk: BulkId, archive: Archive, ids: Vec<MessageId>) {
        let mut wanted = Vec::new();
        for id in ids {
            if self.queue.status(id, self.now).is_some() {
                self.bulk_done(bulk, Err(SpoolError::OnSpool(id)));
            } else {
                wanted.push(id);
            }
        }
        let ids = wanted;
        self.work(DiskJob::Fetch { bulk, archive, ids });
    }

    /// Pairs were read from an archive.
    pub(super) fn fetched(&mut self, bulk: BulkId, archive: Archive, pairs: Vec<Fetched>) {
        for pair in pairs {
            match pair {
                Ok((archived, body, held)) => self.add_again(bulk, archive, *archived, body, held),
                Err(error) => self.bulk_done(bulk, Err(error)),
            }
        }
    }

    fn add_again(&mut self, bulk: BulkId, archive: Archive, archived: Archived, body: Bytes, held: Held) {
        if let Err(error) = self.alive() {
            return self.bulk_done(bulk, Err(error));
        }
        let message = archived.message;
        // Another operation may have been faster.
        if self.queue.status(message.id, self.now).is_some() || self.bulks.recovering.contains(&message.id) {
            return self.bulk_done(bulk, Err(SpoolError::OnSpool(message.id)));
        }
        let now = self.now.wall;
        if !self.ids.is_past(message.id, now) {
            let reason = "its id lies in the future: give it another name".to_owned();
            return self.bulk_done(
                bulk,
                Err(SpoolError::Unreadable {
                    id: message.id,
                    reason,
                }),
            );
        }
        let (next_hops, whole) = self.first_route(&message);
        let destination = self.queue.enlist(&next_hops);
        let events = vec![self.tell(EventKind::Recovered(archive.queue()), &message)];
        let id = message.id;
        self.bulks.recovering.insert(id);
        let (spooled_at, footprint, origin) = (message.spooled_at, message.footprint(), message.origin);
        let addition = Addition {
            messages: vec![again(&message, now)],
            body,
            flows: message.flows,
            parent: message.parent,
            related: message.related.to_vec(),
            spooled_at,
            key: None,
            conclusion: None,
            events,
        };
        let tag = Tag::Recovered(RecoveredMessage {
            bulk,
            archive,
            known: Known {
                id,
                destination,
                spooled_at,
                size: Size::new(message.body_size, footprint),
                expires_at: message.state.expires_at,
                origin,
            },
            whole,
            generation: self.queue.generation(),
            _held: held,
        });
        self.commit(Change::Add(addition), tag, true);
    }

    /// It is on the journal, and now its pair is gone. Until then the message stays claimed: a remove that came first would lay a
    /// new pair under the same names.
    pub(super) fn dropped_pair(&mut self, bulk: BulkId, id: MessageId, discarded: Result<(), StoreError>) {
        if let Err(error) = discarded {
            // The next start finds the message in both places, and drops the pair.
            tracing::warn!(%id, %error, "recovered, but its files are still in the archive");
        }
        self.give_back(id, Status::Frozen);
        self.bulk_done(bulk, Ok(()));
    }
}

/// As it was, frozen.
fn again(message: &Message, now: Timestamp) -> NewMessage {
    let expire_after = message.state.expires_at.map(|at| at.since(message.spooled_at));
    NewMessage {
        id: message.id,
        section: Section {
            envelope: message.envelope.as_ref().clone(),
            next_hops: Arc::clone(&message.next_hops),
            origin: message.origin,
            retry: RetryPolicy {
                intervals: message.state.schedule.intervals.clone(),
                repeat_last: message.state.schedule.repeat_last,
                expire_after,
            },
        },
        status: Status::Frozen,
        frozen: None,
        in_flight: None,
        state: Some(Box::new(frozen(message.state.clone(), now))),
    }
}

impl<W: World> Engine<W> {
    /// A caller puts mail in quarantine.
    pub(super) fn take_quarantine(&mut self, mail: Submission, reason: String, reply: W::Reply) {
        match self.prepare_quarantine(mail, reason) {
            Err(error) => self.answer(reply, Answer::Added(Err(error))),
            Ok((pairs, events, held)) => self.work(DiskJob::Quarantine {
                pairs,
                events,
                held,
                reply,
            }),
        }
    }

    fn prepare_quarantine(&mut self, mail: Submission, reason: String) -> Result<Laying, AddError> {
        self.may_add()?;
        mail.check(self.max_recipients)?;
        let held = self.charge(&mail)?;
        let now = self.now.wall;
        let pairs = self.pairs(&reason, mail, now);
        let kind = EventKind::Quarantined(reason);
        let events = pairs
            .iter()
            .map(|(archived, _)| self.tell(kind.clone(), &archived.message))
            .collect();
        Ok((pairs, events, held))
    }

    /// Mail is in the archive, or is not.
    pub(super) fn laid_in_quarantine(
        &mut self,
        ids: Vec<MessageId>,
        laid: Result<(), StoreError>,
        events: Vec<Event>,
        held: Held,
        reply: W::Reply,
    ) {
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

/// Pairs that are to be laid in quarantine, the events that tell of them, and the memory they take.
type Laying = (Vec<(Archived, Bytes)>, Vec<Event>, Held);

impl<W: World> Engine<W> {
    /// A caller deletes removed messages for good.
    pub(super) fn purge(
        &mut self,
        older_than: std::time::Duration,
        ids: Option<Vec<MessageId>>,
        reply: W::Reply,
    ) {
        if let Err(error) = self.alive() {
            return self.answer(reply, Answer::Operated(Err(error)));
        }
        let at = self.now.wall;
        self.work(DiskJob::Purge {
            older_than,
            ids,
            at,
            reply,
        });
    }
}
