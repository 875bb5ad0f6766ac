//! Taking mail in: checks, memory, ids; then the disk, then the answer.

use super::SpoolActor;
use super::commit::Tag;
use super::messages::Add;
use crate::gate::RETRY_AFTER;
use actix::{Context, Handler, ResponseFuture};
use spool_core::store::{Addition, Change, NewMessage};
use spool_core::{
    AddError, AddKey, EnvelopeSummary, Event, EventKind, Fingerprint, FlowId, Frozen, Held, MAX_SECTIONS,
    MessageId, MessageState, Section, Status, Submission, Timestamp,
};
use std::sync::Arc;
use tokio::sync::oneshot;

impl Handler<Add> for SpoolActor {
    type Result = ResponseFuture<Result<Vec<MessageId>, AddError>>;

    fn handle(&mut self, add: Add, _: &mut Context<Self>) -> Self::Result {
        let Add {
            submission,
            routing,
            fingerprint,
            unknown_submitter,
        } = add;
        // Whoever routed it may have done so by the routes of before or, during a change, by those that are about to come.
        let generation = match routing {
            Some(routing) if !routing.is(self.queue.routing()) => self.queue.generation().wrapping_sub(1),
            Some(_) | None => self.queue.generation(),
        };
        match submission
            .and_then(|submission| self.add_once(submission, fingerprint, generation, unknown_submitter))
        {
            // A sender that is gone took its spool with it.
            Ok(answer) => {
                let supervision = self.supervision.clone();
                Box::pin(async move { answer.await.unwrap_or_else(|_| Err(supervision.add_error())) })
            }
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }
}

type Answer = oneshot::Receiver<Result<Vec<MessageId>, AddError>>;

impl SpoolActor {
    /// An add whose name is known spools nothing.
    fn add_once(
        &mut self,
        submission: Submission,
        fingerprint: Option<Fingerprint>,
        generation: u32,
        unknown: bool,
    ) -> Result<Answer, AddError> {
        if self.supervision.is_over() {
            return Err(self.supervision.add_error());
        }
        self.validate(&submission)?;
        let Some(name) = submission.key.clone() else {
            return self.add(submission, None, generation, unknown);
        };
        let now = self.now();
        let fingerprint =
            fingerprint.or_else(|| Some(Fingerprint::of(&submission.sections, &submission.body)));
        let key = AddKey { name, fingerprint };
        if let Some(answer) = self.keys.look_up(&key, now)? {
            return Ok(answer);
        }
        let answer = self.add(submission, Some(key.clone()), generation, unknown)?;
        self.keys.expect(&key);
        Ok(answer)
    }

    /// Whether a submission is one at all, and within the limits that do not change with what is in hand.
    pub(super) fn validate(&self, submission: &Submission) -> Result<(), AddError> {
        validate(submission, self.max_recipients)
    }

    /// `generation`: that of the routing its sections are from; `unknown`: nobody vouches for the reverse-path.
    fn add(
        &mut self,
        submission: Submission,
        key: Option<AddKey>,
        generation: u32,
        unknown: bool,
    ) -> Result<Answer, AddError> {
        let size = u64::try_from(submission.body.len()).unwrap_or(u64::MAX);
        let mut whole = self.charge(&submission)?;
        let now = self.now();
        let status = Status::initial(submission.initial, now);
        let count = submission.sections.len();
        let by = Some("its submitter".to_owned());
        let frozen = (status == Status::Frozen).then(|| Box::new(Frozen::held(now, by)));
        let (mut messages, mut destinations) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let mut held = Vec::with_capacity(count);
        for section in submission.sections {
            held.push(whole.split(section.footprint()));
            let destination = self.queue.enlist(&section.next_hops, now);
            // A hook has to be asked first.
            let armed = !self.hooks.has_presend()
                && status != Status::Frozen
                && self.queue.reserve_deck(destination, now);
            let in_flight = armed.then_some(now);
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
            destinations.push(destination);
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
        let (reply, answer) = oneshot::channel();
        self.commit(
            Change::Add(addition),
            Tag::Added {
                reply,
                destinations,
                generation,
                held,
            },
            true,
        );
        Ok(answer)
    }
}

impl SpoolActor {
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

fn validate(submission: &Submission, max_recipients: usize) -> Result<(), AddError> {
    let invalid = |why: &str| Err(AddError::Invalid(why.to_owned()));
    if submission.sections.is_empty() || submission.sections.len() > MAX_SECTIONS {
        return invalid("an add needs between 1 and 10,000 sections");
    }
    let count = submission
        .sections
        .iter()
        .map(|section| section.envelope.recipients.len())
        .sum();
    if count > max_recipients {
        return Err(AddError::TooManyRecipients {
            count,
            limit: max_recipients,
        });
    }
    for section in &submission.sections {
        if section.envelope.recipients.is_empty() {
            return invalid("an envelope needs a recipient");
        }
        if section.next_hops.is_empty() {
            return invalid("a section needs a next hop");
        }
    }
    if submission
        .key
        .as_ref()
        .is_some_and(|key| !(1..=255).contains(&key.len()))
    {
        return invalid("an idempotency key has 1 to 255 bytes");
    }
    Ok(())
}
