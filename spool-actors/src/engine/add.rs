//! Taking mail in: checks, memory, ids; then the disk, then the answer.

use super::keys::LookUp;
use super::tag::{Places, Tag};
use super::{Answer, Content, DestinationId, Engine, World};
use crate::errors::add_error;
use spool_core::store::{Addition, Change, NewMessage, StoreError};
use spool_core::{
    AddError, AddKey, EnvelopeSummary, Event, EventKind, FlowId, Frozen, Held, Message, MessageId,
    MessageState, Related, Section, Status, Submission, Timestamp,
};
use std::sync::Arc;

impl<W: World> Engine<W> {
    /// A caller adds mail. An add whose name is known spools nothing.
    pub(super) fn take_add(&mut self, mail: Submission, reply: W::Reply) {
        let key = mail.add_key();
        let known = self.may_add(&mail).and_then(|()| match &key {
            Some(key) => self.keys.look_up(key, self.now.inside),
            None => Ok(LookUp::New),
        });
        let added = match (known, key) {
            (Ok(LookUp::Expected), Some(key)) => return self.keys.wait(&key, reply),
            (Ok(LookUp::Known(ids)), _) => return self.answer(reply, Answer::Added(Ok(ids))),
            (Ok(LookUp::New | LookUp::Expected), key) => self.add(mail, key),
            (Err(error), _) => Err(error),
        };
        match added {
            Ok((addition, places)) => {
                if let Some(key) = &addition.key {
                    self.keys.expect_answer(key);
                }
                self.commit(Change::Add(addition), Tag::Added { reply, places }, true);
            }
            Err(error) => self.answer(reply, Answer::Added(Err(error))),
        }
    }

    /// Whether mail may be added now, as far as that does not depend on what the spool holds.
    pub(super) fn may_add(&self, submission: &Submission) -> Result<(), AddError> {
        match &self.ended {
            Some(ending) => Err(ending.add_error()),
            None => submission.check(self.max_recipients),
        }
    }

    fn add(&mut self, mail: Submission, key: Option<AddKey>) -> Result<(Addition, Places), AddError> {
        // The caller may have used the former routing or, during a change, the one that is about to be set.
        let routing = mail.routing.as_ref();
        let is_current = routing.is_none_or(|routing| routing.is(&self.queue.routing));
        let generation = self.queue.generation_of(is_current);
        let mut whole = self.charge(&mail)?;
        let Submission {
            sections,
            body,
            frozen,
            flows,
            parent,
            related,
            unknown_submitter,
            ..
        } = mail;
        let (now, size) = (self.now.wall, u64::try_from(body.len()).unwrap_or(u64::MAX));
        let status = match frozen {
            true => Status::Frozen,
            false => Status::SendAt(now),
        };
        let mut each = Vec::with_capacity(sections.len());
        let mut messages = Vec::with_capacity(sections.len());
        for section in sections {
            let held = whole.split(section.envelope.footprint());
            let (message, destination, reserved) = self.new_message(section, status, unknown_submitter);
            messages.push(message);
            each.push((destination, reserved, held));
        }
        // The rest is the charge for what the messages share, the body and the list of their ids, until the last of them drops it.
        let body = whole.carried_by(body);
        let events = messages
            .iter()
            .map(|message| spooled(message, &flows, size, now))
            .collect();
        let addition = Addition {
            messages,
            body,
            flows,
            parent,
            related,
            spooled_at: now,
            key,
            conclusion: None,
            events,
        };
        Ok((addition, Places { each, generation }))
    }

    /// The message of a section, in line at its destination; with room there, the start of its attempt is written with it.
    fn new_message(
        &mut self,
        section: Section,
        status: Status,
        unknown: bool,
    ) -> (NewMessage, DestinationId, bool) {
        let now = self.now.wall;
        let by = Some("its submitter".to_owned());
        let is_frozen = status == Status::Frozen;
        let destination = self.queue.enlist(&section.next_hops);
        // A hook has to be asked first.
        let reserved = !self.presend && !is_frozen && self.queue.reserve(destination);
        let mut new = NewMessage {
            id: self.ids.next(now),
            section,
            status,
            frozen: is_frozen.then(|| Box::new(Frozen::held(now, by))),
            in_flight: reserved.then_some(now),
            state: None,
        };
        if unknown {
            let mut state = initial_state(&new, now);
            state.notices.unknown_submitter = true;
            new.state = Some(Box::new(state));
        }
        (new, destination, reserved)
    }
}

impl<W: World> Engine<W> {
    /// The disk has answered for an add. The mail is on the spool even if the caller stopped waiting.
    pub(super) fn add_answered(
        &mut self,
        mut addition: Addition,
        (reply, places): (W::Reply, Places),
        result: Result<(), StoreError>,
    ) {
        let key = addition.key.take();
        let answer = match result {
            Ok(()) => Ok(self.added(addition, places)),
            Err(error) => Err(self.not_added(&addition, places, error)),
        };
        if let Some(key) = key {
            for (reply, answer) in self.keys.answered(&key, &answer, self.now.inside) {
                self.answer(reply, Answer::Added(answer));
            }
        }
        self.answer(reply, Answer::Added(answer));
    }

    fn added(&mut self, addition: Addition, places: Places) -> Vec<MessageId> {
        let Addition {
            messages,
            body,
            flows,
            parent,
            spooled_at,
            related,
            ..
        } = addition;
        let ids: Vec<MessageId> = messages.iter().map(|message| message.id).collect();
        let related: Arc<[MessageId]> = related.iter().chain(&ids).copied().collect();
        for (mut new, (destination, reserved, held)) in messages.into_iter().zip(places.each) {
            let state = match new.state.take() {
                Some(state) => *state,
                None => initial_state(&new, spooled_at),
            };
            let NewMessage {
                id, section, status, ..
            } = new;
            let message = Message {
                id,
                parent,
                related: Related::shared(Arc::clone(&related), id),
                flows: flows.clone(),
                spooled_at,
                next_hops: section.next_hops,
                origin: section.origin,
                envelope: Arc::new(section.envelope),
                body_size: u64::try_from(body.len()).unwrap_or(u64::MAX),
                state,
            };
            tracing::debug!(id = %id, flow = ?flows, "spooled");
            let content = Box::new(Content::new(message, body.clone(), held));
            self.queue.added(
                (destination, places.generation),
                status,
                reserved,
                content,
                self.now,
            );
            // Under pressure, or when it has to wait for time, what waits in line is read again later.
            let held_up = self.queue.is_held_up(destination, self.now);
            let behind_others = !self.queue.is_next(destination);
            if !reserved && (held_up || (behind_others && self.budget.is_tight())) {
                self.queue.let_go(id);
            }
        }
        if places.generation != self.queue.generation {
            self.recall_stale();
        }
        ids
    }

    fn not_added(&mut self, addition: &Addition, places: Places, error: StoreError) -> AddError {
        for (destination, reserved, _) in places.each {
            self.queue.unreserve(destination, reserved);
            self.queue.delist(destination);
        }
        tracing::warn!(flow = ?addition.flows, %error, "not spooled");
        add_error(error)
    }

    /// Memory for the body and all messages of an add.
    pub(super) fn charge(&self, submission: &Submission) -> Result<Held, AddError> {
        let sections = submission.sections.iter();
        let envelopes = sections.map(|section| section.envelope.footprint());
        let ids = size_of::<MessageId>() * (submission.related.len() + submission.sections.len());
        let shared = u64::try_from(submission.body.len().saturating_add(ids)).unwrap_or(u64::MAX);
        let bytes = envelopes.fold(shared, u64::saturating_add);
        let held = self.budget.hold(bytes).filter(|_| self.budget.may_stand());
        held.ok_or(AddError::Busy)
    }
}

/// The state of a new message that brings none.
fn initial_state(new: &NewMessage, spooled_at: Timestamp) -> MessageState {
    let mut state = MessageState::new(&new.section, new.status, spooled_at);
    state.set_status(new.status, new.frozen.clone());
    state.in_flight = new.in_flight;
    state
}

/// The event of a message that was added.
pub(super) fn spooled(message: &NewMessage, flows: &[FlowId], size: u64, at: Timestamp) -> Event {
    let envelope = &message.section.envelope;
    let recipients = envelope.recipients.iter();
    let mut event = Event::new(0, at, EventKind::Spooled);
    event.id = Some(message.id);
    event.flows = flows.to_vec();
    event.envelope = Some(Arc::new(EnvelopeSummary {
        sender: envelope.reverse_path.as_str().to_owned(),
        recipients: recipients
            .map(|recipient| recipient.address.to_string())
            .collect(),
        size,
    }));
    event
}
