//! Taking mail in: checks, memory, ids; then the disk, then the answer.

use super::SpoolActor;
use super::commit::Tag;
use super::messages::Add;
use crate::gate::RETRY_AFTER;
use actix::{Context, Handler, ResponseFuture};
use spool_core::store::{Addition, Change, NewMessage};
use spool_core::{AddError, MessageId, Status, Submission};
use tokio::sync::oneshot;

/// The most sections of one add.
const MAX_SECTIONS: usize = 10_000;

impl Handler<Add> for SpoolActor {
    type Result = ResponseFuture<Result<Vec<MessageId>, AddError>>;

    fn handle(&mut self, add: Add, _: &mut Context<Self>) -> Self::Result {
        match add.0.and_then(|submission| self.add(submission)) {
            // A sender that is gone took its spool with it.
            Ok(answer) => Box::pin(async { answer.await.unwrap_or(Err(AddError::Killed)) }),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }
}

type Answer = oneshot::Receiver<Result<Vec<MessageId>, AddError>>;

impl SpoolActor {
    fn add(&mut self, submission: Submission) -> Result<Answer, AddError> {
        if self.gate.is_closed() {
            return Err(AddError::Killed);
        }
        validate(&submission)?;
        let size = u64::try_from(submission.body.len()).unwrap_or(u64::MAX);
        let mut held = Vec::with_capacity(submission.sections.len());
        for (nth, _) in submission.sections.iter().enumerate() {
            // The body is shared: it counts once.
            let hold = self.budget.hold(if nth == 0 { size } else { 0 });
            held.push(hold.ok_or(AddError::Busy {
                retry_after: RETRY_AFTER,
            })?);
        }
        let now = self.clock.now();
        let status = Status::initial(submission.initial, now);
        let (mut messages, mut destinations) =
            (Vec::with_capacity(held.len()), Vec::with_capacity(held.len()));
        for section in submission.sections {
            let destination = self.queue.enlist(&section.next_hops);
            let armed = status != Status::Frozen && self.queue.reserve_deck(destination);
            let in_flight = armed.then_some(now);
            messages.push(NewMessage {
                id: self.ids.next(now),
                section,
                status,
                in_flight,
            });
            destinations.push(destination);
        }
        let Submission {
            body, flows, parent, ..
        } = submission;
        let addition = Addition {
            messages,
            body,
            flows,
            parent,
            spooled_at: now,
        };
        let (reply, answer) = oneshot::channel();
        self.commit(
            Change::Add(addition),
            Tag::Added {
                reply,
                destinations,
                held,
            },
            true,
        );
        Ok(answer)
    }
}

fn validate(submission: &Submission) -> Result<(), AddError> {
    let invalid = |why: &str| Err(AddError::Invalid(why.to_owned()));
    if submission.sections.is_empty() || submission.sections.len() > MAX_SECTIONS {
        return invalid("an add needs between 1 and 10,000 sections");
    }
    for section in &submission.sections {
        if section.envelope.recipients.is_empty() {
            return invalid("an envelope needs a recipient");
        }
        if section.next_hops.is_empty() {
            return invalid("a section needs a next hop");
        }
    }
    if !submission.body.is_empty() && !submission.body.ends_with(b"\r\n") {
        return invalid("a body must end in CRLF");
    }
    Ok(())
}
