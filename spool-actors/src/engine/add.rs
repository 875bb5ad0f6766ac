//! Taking mail in: checks, memory, ids; then the disk, then the answer.

use super::keys::LookUp;
use super::queue::Reservation;
use super::{Answer, Engine, NewMail, Tag, World};
use crate::engine::DestinationId;
use crate::errors::RETRY_AFTER;
use spool_core::store::{Addition, Change, NewMessage};
use spool_core::{
    AddError, AddKey, EnvelopeSummary, Event, EventKind, Fingerprint, FlowId, Frozen, Held, MessageId,
    MessageState, Section, Status, Submission, Timestamp,
};
use std::sync::Arc;

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
    lines: Vec<(DestinationId, Reservation<W>)>,
    generation: u32,
    held: Vec<Held>,
}

impl<W: World> Engine<W> {
    /// Someone adds mail.
    pub(super) fn take_add(&mut self, add: NewMail, reply: W::Reply) {
        // Whoever routed it may have done so by the routes of before or, during a change, by those that are about to come.
        let generation = match &add.routing {
            Some(routing) if !routing.is(self.queue.routing()) => self.queue.generation().wrapping_sub(1),
            Some(_) | None => self.queue.generation(),
        };
        match self.prepare(add, generation) {
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
    fn prepare(&mut self, add: NewMail, generation: u32) -> Result<Prepared<W>, AddError> {
        self.may_add()?;
        let NewMail {
            submission,
            fingerprint,
            unknown_submitter: unknown,
            ..
        } = add;
        self.validate(&submission)?;
        let Some(name) = submission.key.clone() else {
            return self.add(submission, None, generation, unknown);
        };
        let fingerprint =
            fingerprint.or_else(|| Some(Fingerprint::of(&submission.sections, &submission.body)));
        let key = AddKey {
            key: name,
            fingerprint,
        };
        match self.keys.look_up(&key, self.now.inside)? {
            LookUp::Known(ids) => return Ok(Prepared::Known(ids)),
            LookUp::Expected => return Ok(Prepared::Waits(key)),
            LookUp::New => {}
        }
        let new = self.add(submission, Some(key.clone()), generation, unknown)?;
        self.keys.expect(&key);
        Ok(new)
    }

    /// Whether a submission is valid and within the limits that do not depend on what the spool holds.
    pub(super) fn validate(&self, submission: &Submission) -> Result<(), AddError> {
        submission.check(self.max_recipients)
    }

    /// `generation`: that of the routing its sections are from; `unknown`: nobody vouches for the reverse-path.
    fn add(
        &mut self,
        submission: Submission,
        key: Option<AddKey>,
        generation: u32,
        unknown: bool,
    ) -> Result<Prepared<W>, AddError> {
        let size = u64::try_from(submission.body.len()).unwrap_or(u64::MAX);
        let mut whole = self.charge(&submission)?;
        let now = self.now.wall;
        let status = Status::initial(submission.initial, now);
        let count = submission.sections.len();
        let by = Some("its submitter".to_owned());
        let frozen = (status == Status::Frozen).then(|| Box::new(Frozen::held(now, by)));
        let (mut messages, mut lines) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let mut held = Vec::with_capacity(count);
        for section in submission.sections {
            held.push(whole.split(section.footprint()));
            let destination = self.queue.enlist(&section.next_hops);
            // A hook has to be asked first.
            let reserved = match self.presend || status == Status::Frozen {
                true => Reservation::None,
                false => self.queue.reserve(destination),
            };
            let in_flight = (!matches!(reserved, Reservation::None)).then_some(now);
            let state = unknown.then(|| {
                let mut state = MessageState::new(&section, status, now);
                state.set_status(status, frozen.clone());
                state.in_flight = in_flight;
                state.notices.unknown_submitter = true;
                Box::new(state)
            });
            messages.push(NewMessage {
                id: self.ids.next(now),
                section,
                status,
                frozen: frozen.clone(),
                in_flight,
                state,
            });
            lines.push((destination, reserved));
        }
        let Submission {
            body,
            flows,
            parent,
            related,
            ..
        } = submission;
        // What is left of it is for what its messages share, the body and the list of their ids: charged until the last of them has let go.
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
}

impl<W: World> Engine<W> {
    /// Memory for the body and all messages of an add.
    pub(super) fn charge(&self, submission: &Submission) -> Result<Held, AddError> {
        let envelopes = submission.sections.iter().map(Section::footprint);
        let ids = size_of::<MessageId>() * (submission.related.len() + submission.sections.len());
        let shared = u64::try_from(submission.body.len().saturating_add(ids)).unwrap_or(u64::MAX);
        let bytes = envelopes.fold(shared, u64::saturating_add);
        let held = self.budget.hold(bytes).filter(|_| self.budget.may_stand());
        held.ok_or(AddError::Busy {
            retry_after: RETRY_AFTER,
        })
    }
}

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
