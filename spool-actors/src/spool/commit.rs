//! What the spool does once the disk has answered: each kind of change has a tag that remembers who waits for it.

use super::SpoolActor;
use super::content::Content;
use super::messages::Committed;
use crate::gate::add_error;
use crate::throttle::DestinationId;
use crate::writer::Ticket;
use actix::{AsyncContext, Context, Handler};
use bytes::Bytes;
use spool_core::disposition::Fate;
use spool_core::store::{Addition, Change, NewMessage, StoreError};
use spool_core::{AddError, EventKind, Held, Message, MessageId, MessageState, Status};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Why a change was committed.
#[derive(Debug)]
pub(crate) enum Tag {
    /// Someone added mail and waits for the ids.
    Added {
        reply: oneshot::Sender<Result<Vec<MessageId>, AddError>>,
        destinations: Vec<DestinationId>,
        held: Vec<Held>,
    },
    /// An attempt may begin.
    Armed,
    /// An attempt will not begin: the spool closes.
    Disarmed,
    /// An attempt has ended.
    Settled {
        message: Box<Message>,
        fate: Fate,
        in_doubt: bool,
    },
}

impl Handler<Committed> for SpoolActor {
    type Result = ();

    fn handle(&mut self, committed: Committed, ctx: &mut Context<Self>) {
        for (Ticket { change, tag }, result) in committed.0 {
            self.pending = self.pending.saturating_sub(1);
            match (tag, change) {
                (
                    Tag::Added {
                        reply,
                        destinations,
                        held,
                    },
                    Change::Add(addition),
                ) => {
                    let answer = match result {
                        Ok(()) => Ok(self.added(addition, &destinations, held)),
                        Err(error) => Err(self.not_added(&addition, &destinations, error)),
                    };
                    // Whoever stopped waiting finds the mail on the spool.
                    drop(reply.send(answer));
                }
                (Tag::Armed, Change::Mark { id, .. }) => self.armed(id, &result),
                (
                    Tag::Settled {
                        message,
                        fate,
                        in_doubt,
                    },
                    _,
                ) => self.settled(*message, fate, in_doubt, &result),
                (Tag::Disarmed | Tag::Armed | Tag::Added { .. }, _) => {}
            }
        }
        self.publish();
        self.pump(ctx);
        self.end_if_flushed(ctx.address());
    }
}

impl SpoolActor {
    fn added(
        &mut self,
        addition: Addition,
        destinations: &[DestinationId],
        held: Vec<Held>,
    ) -> Vec<MessageId> {
        let Addition {
            messages,
            body,
            flows,
            parent,
            spooled_at,
        } = addition;
        let ids: Vec<MessageId> = messages.iter().map(|message| message.id).collect();
        for ((new, destination), held) in messages.into_iter().zip(destinations).zip(held) {
            let NewMessage {
                id,
                section,
                status,
                in_flight,
            } = new;
            let mut state = MessageState::new(&section, status, spooled_at);
            state.in_flight = in_flight;
            let message = Message {
                id,
                parent,
                related: ids.iter().copied().filter(|other| *other != id).collect(),
                flows: flows.clone(),
                spooled_at,
                next_hops: section.next_hops,
                envelope: Arc::new(section.envelope),
                body_size: u64::try_from(body.len()).unwrap_or(u64::MAX),
                state,
            };
            tracing::debug!(id = %id, flow = ?flows, "spooled");
            self.event(EventKind::Spooled, &message);
            self.hold_or_let_go(
                *destination,
                status,
                in_flight.is_some(),
                message,
                body.clone(),
                held,
            );
        }
        ids
    }

    /// Under pressure, what waits in line is read again later.
    fn hold_or_let_go(
        &mut self,
        destination: DestinationId,
        status: Status,
        armed: bool,
        message: Message,
        body: Bytes,
        held: Held,
    ) {
        let id = message.id;
        self.queue.added(
            destination,
            status,
            armed,
            Box::new(Content {
                message,
                body,
                _held: held,
            }),
        );
        if !armed && self.budget.is_tight() {
            self.queue.let_go(id);
        }
    }

    fn not_added(
        &mut self,
        addition: &Addition,
        destinations: &[DestinationId],
        error: StoreError,
    ) -> AddError {
        for (message, destination) in addition.messages.iter().zip(destinations) {
            if message.in_flight.is_some() {
                self.queue.cancel_arming(*destination);
            }
            self.queue.delist(*destination);
        }
        tracing::warn!(flow = ?addition.flows, %error, "not spooled");
        add_error(error)
    }

    fn armed(&mut self, id: MessageId, result: &Result<(), StoreError>) {
        match result {
            Ok(()) => self.queue.armed(id),
            // Nothing can be recorded any more, so nothing may be sent: it stays on the disk and on the deck.
            Err(error) => tracing::error!(%id, %error, "cannot begin an attempt"),
        }
    }

    fn settled(&mut self, message: Message, fate: Fate, in_doubt: bool, result: &Result<(), StoreError>) {
        let id = message.id;
        if let Err(error) = result {
            // Not to be sent again before a restart: the disk does not know how the attempt ended.
            return tracing::error!(%id, %error, "cannot record the end of an attempt; the message stays on the spool");
        }
        if in_doubt {
            self.event(EventKind::InDoubt, &message);
        }
        match fate {
            Fate::Delivered => {
                self.delivered += 1;
                self.event(EventKind::Delivered, &message);
                self.queue.finished(id);
            }
            Fate::Delayed { until, rate_limited } => {
                let kind = match rate_limited {
                    true => EventKind::DelayedRateLimited(until),
                    false => EventKind::Delayed(until),
                };
                self.event(kind, &message);
                self.queue.waits(id, message.state.status);
            }
            Fate::Failed { expired } => {
                if expired {
                    self.event(EventKind::Expired, &message);
                }
                self.event(EventKind::Frozen, &message);
                self.queue.waits(id, Status::Frozen);
            }
        }
    }
}
