//! The parts of a message that was divided among its routes, as `show` lists them for the first of them.
//!
//! The first part does not know the others on disk: each of them names it as its parent, and all have the time at which it was
//! spooled. So the queue is walked for that time, step by step, and what is found is read. It changes nothing.

use super::messages::Details;
use super::{Looked, SpoolActor};
use actix::{Addr, Context, Handler, Message as ActorMessage};
use spool_core::{Address, Message, MessageId, Queue, SpoolError, Timestamp};

/// The most parts that are listed.
const MOST: usize = 1000;
/// Messages that are read in one step.
const STEP: usize = 256;

/// One step of the walk: behind `after`, those whose parent is `first`.
#[derive(Debug, Clone, Copy, ActorMessage)]
#[rtype(result = "Result<Parts, SpoolError>")]
struct PartsOf {
    first: MessageId,
    spooled_at: Timestamp,
    /// Whether its reverse-path is null. That of a notice about it is, which has it as its parent and is no part.
    null: bool,
    after: MessageId,
}

/// What a step has found, and how far it has come; `None` at the end.
#[derive(Debug)]
struct Parts {
    found: Vec<(MessageId, Vec<Address>)>,
    last: Option<MessageId>,
}

/// Puts in the parts that are on the spool, where the message may have been divided: only then it has recipients for whom it does
/// nothing any more.
pub(super) async fn put_in(spool: &Addr<SpoolActor>, details: &mut Details) -> Result<(), SpoolError> {
    if !matches!(details.queue, Queue::Active | Queue::Frozen) || !may_be_divided(&details.message) {
        return Ok(());
    }
    let (first, spooled_at) = (details.message.id, details.message.spooled_at);
    let null = details.message.envelope.reverse_path.is_null();
    let mut next = Some(first);
    while let Some(after) = next.filter(|_| details.parts.len() < MOST) {
        let step = PartsOf {
            first,
            spooled_at,
            null,
            after,
        };
        // While its own handlers run, the mailbox is there.
        let parts = spool.send(step).await.unwrap_or(Err(SpoolError::Killed))?;
        for (part, recipients) in parts.found.into_iter().take(MOST - details.parts.len()) {
            details.parts.push(part);
            details.moved.extend(recipients);
        }
        next = parts.last;
    }
    Ok(())
}

fn may_be_divided(message: &Message) -> bool {
    let state = &message.state;
    state.remaining.len() + state.failed.len() < message.envelope.recipients.len()
}

impl Handler<PartsOf> for SpoolActor {
    type Result = Looked<Parts>;

    fn handle(&mut self, asked: PartsOf, ctx: &mut Context<Self>) -> Self::Result {
        self.catch_up(ctx);
        let (ids, last) = self.engine.queue.spooled_at(asked.spooled_at, asked.after, STEP);
        self.look(move |store| {
            let mut load = store.sequential();
            // What has left meanwhile, or cannot be read, is not listed.
            let belongs = |part: &Message| {
                part.parent == Some(asked.first) && part.envelope.reverse_path.is_null() == asked.null
            };
            let part = |id: MessageId| {
                let part = load(id).ok().filter(belongs)?;
                let recipients = part.envelope.recipients.iter();
                Some((
                    id,
                    recipients.map(|recipient| recipient.address.clone()).collect(),
                ))
            };
            let found = ids.into_iter().filter_map(part).collect();
            Ok(Parts { found, last })
        })
    }
}
