//! Taking mail in: checks, memory, ids; then the disk, then the answer.

use super::keys::LookUp;
use super::queue::Reservation;
use super::{Answer, Content, Engine, Tag, World};
use crate::engine::DestinationId;
use crate::errors::add_error;
use spool_core::store::{Addition, Change, NewMessage, StoreError};
use spool_core::{
    AddError, AddKey, EnvelopeSummary, Event, EventKind, FlowId, Frozen, Held, Message, MessageId,
    MessageState, Related, Section, Status, Submission, Timestamp,
};
use std::sync::Arc;

/// The line of a message that is being added, and its place in front of the sessions.
pub(super) type PlaceInLine<W> = (DestinationId, Reservation<W>);

/// What is to be done with an add that may be tried.
enum Prepared<W: World> {
    /// Its name is known.
    Known(Vec<MessageId>),
    /// The first add of its name is being written.
    Waits(AddKey),
    /// It is to be written.
    New(Box<NewAdd<W>>),
}

/// An add that is to be written.
struct NewAdd<W: World> {
    addition: Addition,
    lines: Vec<PlaceInLine<W>>,
    generation: u32,
    held: Vec<Held>,
}

impl<W: World> Engine<W> {
    /// A caller adds mail.
    pub(super) fn take_add(&mut self, mail: Submission, reply: W::Reply) {
        // The caller may have used the former routing or, during a change, the one that is about to be set.
        let generation = match &mail.routing {
            Some(routing) if !routing.is(self.queue.routing()) => self.queue.generation().wrapping_sub(1),
            Some(_) | None => self.queue.generation(),
        };
        match self.prepare(mail, generation) {
            Err(error) => self.answer(reply, Answer::Added(Err(error))),
            Ok(Prepared::Known(ids)) => self.answer(reply, Answer::Added(Ok(ids))),
            Ok(Prepared::Waits(key)) => self.keys.wait(&key, reply),
            Ok(Prepared::New(new)) => {
                let NewAdd {
                    addition,
                    lines,
                    generation,
                    held,
                } = *new;
                let tag = Tag::Added {
                    reply,
                    lines,
                    generation,
                    held,
                };
                self.commit(Change::Add(addition), tag, true);
            }
        }
    }

    /// An add whose name is known spools nothing.
    fn prepare(&mut self, mail: Submission, generation: u32) -> Result<Prepared<W>, AddError> {
        self.may_add()?;
        mail.check(self.max_recipients)?;
        let Some(key) = mail.add_key() else {
            return self.add(mail, None, generation);
        };
        match self.keys.look_up(&key, self.now.inside)? {
            LookUp::Known(ids) => return Ok(Prepared::Known(ids)),
            LookUp::Expected => return Ok(Prepared::Waits(key)),
            LookUp::New => {}
        }
        let new = self.add(mail, Some(key.clone()), generation)?;
        self.keys.expect_answer(&key);
        Ok(new)
    }

    /// `generation` is that of the routing that gave the sections their next hops.
    fn add(
        &mut self,
        submission: Submission,
        key: Option<AddKey>,
        generation: u32,
    ) -> Result<Prepared<W>, AddError> {
        let mut whole = self.charge(&submission)?;
        let Submission {
            sections,
            body,
            frozen,
            flows,
            parent,
            related,
            unknown_submitter,
            ..
        } = submission;
        let (now, size) = (self.now.wall, u64::try_from(body.len()).unwrap_or(u64::MAX));
        let status = match frozen {
            true => Status::Frozen,
            false => Status::SendAt(now),
        };
        let (mut held, mut lines) = (Vec::with_capacity(sections.len()), Vec::new());
        let mut messages = Vec::with_capacity(sections.len());
        for section in sections {
            held.push(whole.split(section.envelope.footprint()));
            let (message, line) = self.new_message(section, status, unknown_submitter);
            messages.push(message);
            lines.push(line);
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
        Ok(Prepared::New(Box::new(NewAdd {
            addition,
            lines,
            generation,
            held,
        })))
    }

    /// The message of a section, in line at its destination; with room there, the start of its attempt is written with it.
    fn new_message(
        &mut self,
        section: Section,
        status: Status,
        unknown: bool,
    ) -> (NewMessage, PlaceInLine<W>) {
        let now = self.now.wall;
        let by = Some("its submitter".to_owned());
        let is_frozen = status == Status::Frozen;
        let destination = self.queue.enlist(&section.next_hops);
        // A hook has to be asked first.
        let reserved = match self.presend || is_frozen {
            true => Reservation::None,
            false => self.queue.reserve(destination),
        };
        let mut new = NewMessage {
            id: self.ids.next(now),
            section,
            status,
            frozen: is_frozen.then(|| Box::new(Frozen::held(now, by))),
            in_flight: (!matches!(reserved, Reservation::None)).then_some(now),
            state: None,
        };
        if unknown {
            let mut state = initial_state(&new, now);
            state.notices.unknown_submitter = true;
            new.state = Some(Box::new(state));
        }
        (new, (destination, reserved))
    }
}

impl<W: World> Engine<W> {
    /// The disk has answered for an add. The mail is on the spool even if the caller stopped waiting.
    pub(super) fn add_answered(
        &mut self,
        mut addition: Addition,
        (reply, lines, generation, held): (W::Reply, Vec<PlaceInLine<W>>, u32, Vec<Held>),
        result: Result<(), StoreError>,
    ) {
        let key = addition.key.take();
        let answer = match result {
            Ok(()) => {
                let ids = self.added(addition, lines, held);
                self.look_at_added(&ids, generation);
                Ok(ids)
            }
            Err(error) => Err(self.not_added(&addition, lines, error)),
        };
        if let Some(key) = key {
            for (reply, answer) in self.keys.answered(&key, &answer, self.now.inside) {
                self.answer(reply, Answer::Added(answer));
            }
        }
        self.answer(reply, Answer::Added(answer));
    }

    fn added(&mut self, addition: Addition, lines: Vec<PlaceInLine<W>>, held: Vec<Held>) -> Vec<MessageId> {
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
        for ((mut new, line), held) in messages.into_iter().zip(lines).zip(held) {
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
            self.hold_or_let_go(line, status, content);
        }
        ids
    }

    /// Under pressure, or when it has to wait for time, what waits in line is read again later.
    fn hold_or_let_go(
        &mut self,
        (destination, reserved): PlaceInLine<W>,
        status: Status,
        content: Box<Content>,
    ) {
        let id = content.message.id;
        let in_line = matches!(reserved, Reservation::None);
        self.queue.added(destination, status, reserved, content, self.now);
        let held_up = self.queue.is_held_up(destination, self.now);
        let behind_others = !self.queue.is_next(destination);
        if in_line && (held_up || (behind_others && self.budget.is_tight())) {
            self.queue.let_go(id);
        }
    }

    fn not_added(&mut self, addition: &Addition, lines: Vec<PlaceInLine<W>>, error: StoreError) -> AddError {
        for (destination, reserved) in lines {
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
    let mut event = Event::new(0, at, EventKind::Spooled);
    event.id = Some(message.id);
    event.flows = flows.to_vec();
    event.envelope = Some(Arc::new(EnvelopeSummary::new(
        envelope,
        &envelope.recipients,
        size,
    )));
    event
}
