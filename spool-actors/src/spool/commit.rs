//! What the spool does once the disk has answered: each kind of change has a tag that remembers who waits for it.

use super::SpoolActor;
use super::bulk::{BulkId, operation_error};
use super::content::{Content, Size};
use super::messages::Committed;
use super::queue::{Note, Route};
use super::returning::NewNotice;
use super::routes::Divided;
use super::unwritten::is_final;
use crate::gate::add_error;
use crate::supervision::Part;
use crate::throttle::DestinationId;
use crate::writer::Ticket;
use actix::{Context, Handler};
use bytes::Bytes;
use spool_core::store::{Addition, Change, Finish, NewMessage, Shelf, StoreError};
use spool_core::{
    AddError, Event, Held, Message, MessageId, MessageState, Related, RouteOrigin, Status, Timestamp,
};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Why a change was committed.
#[derive(Debug)]
pub(crate) enum Tag {
    /// Someone added mail and waits for the ids.
    Added {
        reply: oneshot::Sender<Result<Vec<MessageId>, AddError>>,
        destinations: Vec<DestinationId>,
        /// The routing that its lines are from.
        generation: u32,
        held: Vec<Held>,
    },
    /// The next hops of an attempt; its begin is written after them, with these events.
    Routed { events: Vec<Event> },
    /// An attempt may begin.
    Armed,
    /// An attempt will not begin: the spool closes.
    Disarmed,
    /// An attempt does not begin yet: its destination is left alone.
    Recalled { id: MessageId },
    /// An attempt has ended; `None`: the message ends, and was `delivered` or told of.
    Settled {
        id: MessageId,
        after: Option<Status>,
        delivered: bool,
        notice: Option<Box<NewNotice>>,
    },
    /// The presend hook put the message off, froze it, or had it removed.
    Presented { id: MessageId, after: Option<Status> },
    /// An operation changed a message; `None`: it is gone.
    Changed {
        bulk: BulkId,
        id: MessageId,
        before: Status,
        after: Option<Status>,
        notice: Option<Box<NewNotice>>,
        _held: Arc<Held>,
    },
    /// An operation gave a message another route.
    Rerouted {
        bulk: BulkId,
        id: MessageId,
        before: Status,
        route: Route,
        _held: Arc<Held>,
    },
    /// Part of what is written of a message: what follows is written after it, or fails as well.
    Before,
    /// A message was divided among several routes.
    Divided(Divided),
    /// An operation noted something for the end of a session.
    NotedWhileSending { bulk: BulkId, id: MessageId, note: Note },
    /// An operation brought a message back from a shelf.
    Recovered(Recovered),
    /// Mail was laid in quarantine.
    Quarantined {
        reply: oneshot::Sender<Result<Vec<MessageId>, AddError>>,
        ids: Vec<MessageId>,
        _held: Held,
    },
}

impl Tag {
    /// Whether a notice is spooled with the change.
    pub(super) const fn has_notice(&self) -> bool {
        matches!(
            self,
            Self::Settled { notice: Some(_), .. } | Self::Changed { notice: Some(_), .. }
        )
    }

    /// The notice has so many bytes.
    pub(super) fn resize_notice(&mut self, body: u64) {
        if let Self::Settled {
            notice: Some(notice), ..
        }
        | Self::Changed {
            notice: Some(notice), ..
        } = self
        {
            notice.resize(body);
        }
    }
}

/// A message that is on the journal again, once the disk has answered.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(super) bulk: BulkId,
    pub(super) id: MessageId,
    pub(super) shelf: Shelf,
    pub(super) destination: DestinationId,
    pub(super) spooled_at: Timestamp,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) size: Size,
    pub(super) origin: RouteOrigin,
    /// Whether its line is that of all its recipients.
    pub(super) whole: bool,
    /// The routing that its line is from.
    pub(super) generation: u32,
    pub(super) _held: Held,
}

impl Handler<Committed> for SpoolActor {
    type Result = ();

    fn handle(&mut self, committed: Committed, ctx: &mut Context<Self>) {
        // All of them at once: what follows one of them may fail, and then nothing follows the others.
        self.pending = self.pending.saturating_sub(committed.0.len());
        self.commits += 1;
        for (Ticket { mut change, tag }, result) in committed.0 {
            self.supervision.failpoint(Part::Spool);
            if result.is_ok() {
                self.queue.on_disk(&change);
                self.happened(change.events_mut());
            }
            self.committed(change, tag, result, ctx);
        }
        self.after_anything(ctx);
    }
}

impl SpoolActor {
    fn committed(
        &mut self,
        change: Change,
        tag: Tag,
        result: Result<(), StoreError>,
        ctx: &mut Context<Self>,
    ) {
        match (tag, change) {
            (
                Tag::Added {
                    reply,
                    destinations,
                    generation,
                    held,
                },
                Change::Add(mut addition),
            ) => {
                let key = addition.key.take();
                let answer = match result {
                    Ok(()) => {
                        let ids = self.added(addition, &destinations, held);
                        self.look_at_added(&ids, generation);
                        Ok(ids)
                    }
                    Err(error) => Err(self.not_added(&addition, &destinations, error)),
                };
                if let Some(key) = key {
                    let now = self.now();
                    self.keys.answered(&key, &answer, now);
                }
                // Whoever stopped waiting finds the mail on the spool.
                drop(reply.send(answer));
            }
            (Tag::Routed { events }, Change::Route { id, events: news, .. }) => match result {
                Ok(()) if self.supervision.is_over() => {}
                Ok(()) => self.begin(id, events),
                Err(error) => {
                    self.queue.put_back_route_news(id, !news.is_empty());
                    self.cannot_begin(id, &error);
                }
            },
            (Tag::Armed, Change::Mark { id, .. }) => self.armed(id, &result),
            (Tag::Before, Change::Route { id, .. }) if result.is_err() => self.queue.route_is_unwritten(id),
            (Tag::Recalled { id }, _) => {
                self.queue.settled(id);
                self.recalled(id, &result);
            }
            (tag @ Tag::Settled { .. }, change) => self.settled(change, tag, &result),
            (Tag::Presented { id, after }, _) => self.put_off_or_gone(id, after, &result, ctx),
            (
                Tag::Changed {
                    bulk,
                    id,
                    before,
                    after,
                    notice,
                    ..
                },
                change,
            ) => {
                let removed = matches!(
                    change,
                    Change::Finish {
                        how: Finish::Removed,
                        ..
                    }
                );
                self.changed(bulk, id, before, (after, notice), (result, removed), ctx);
            }
            (Tag::NotedWhileSending { bulk, id, note }, _) => self.noted(bulk, id, note, result, ctx),
            (
                Tag::Rerouted {
                    bulk,
                    id,
                    before,
                    route,
                    ..
                },
                _,
            ) => self.rerouted(bulk, id, before, &route, result),
            (Tag::Divided(divided), Change::Add(addition)) => self.divided(&addition, &divided, &result),
            (Tag::Recovered(recovered), _) => self.recovered(&recovered, result, ctx),
            (Tag::Quarantined { reply, ids, .. }, _) => {
                if result.is_err() {
                    self.take_off(Shelf::Quarantine, ids.clone(), ctx);
                }
                drop(reply.send(result.map(|()| ids).map_err(add_error)));
            }
            (
                Tag::Disarmed
                | Tag::Before
                | Tag::Routed { .. }
                | Tag::Armed
                | Tag::Added { .. }
                | Tag::Divided(_),
                _,
            ) => {}
        }
    }

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
            related,
            ..
        } = addition;
        let ids: Vec<MessageId> = messages.iter().map(|message| message.id).collect();
        let related: Arc<[MessageId]> = related.iter().chain(&ids).copied().collect();
        for ((new, destination), held) in messages.into_iter().zip(destinations).zip(held) {
            let NewMessage {
                id,
                section,
                status,
                frozen,
                in_flight,
                state,
            } = new;
            let state = state.map_or_else(
                || {
                    let mut state = MessageState::new(&section, status, spooled_at);
                    state.set_status(status, frozen);
                    state.in_flight = in_flight;
                    state
                },
                |state| *state,
            );
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

    /// Under pressure, or when it has to wait for time, what waits in line is read again later.
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
            Box::new(Content::new(message, body, held)),
        );
        if !armed && (self.budget.is_tight() || self.queue.is_held_up(destination, self.clock.now())) {
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
            // Its route was not written: after a crash the attempt would be taken for one to the former next hops.
            Ok(()) if self.queue.has_unwritten_route(id) => {
                let change = Change::Mark {
                    id,
                    status: Status::SendAt(self.now()),
                    frozen: None,
                    in_flight: None,
                    events: Vec::new(),
                };
                self.commit(change, Tag::Before, false);
                return self.begin_later(id, &StoreError::Full("there is no room for its route".to_owned()));
            }
            Ok(()) => {
                if let Some(spooled_at) = self.queue.armed(id) {
                    self.write_back(id, spooled_at);
                }
            }
            Err(error) => return self.cannot_begin(id, error),
        }
        self.unparked.push(id);
    }

    fn cannot_begin(&mut self, id: MessageId, error: &StoreError) {
        if !is_final(error) {
            return self.begin_later(id, error);
        }
        // Nothing can be recorded any more, so nothing may be sent: it stays on the disk and on the deck.
        tracing::error!(%id, %error, "cannot begin an attempt");
        self.stuck(id, error);
    }

    fn settled(&mut self, change: Change, tag: Tag, result: &Result<(), StoreError>) {
        let Tag::Settled {
            id,
            after,
            delivered,
            notice,
        } = tag
        else {
            return;
        };
        if let Err(error) = result {
            if !is_final(error) {
                if let Some(notice) = notice {
                    return self.conclude_without_notice(*notice);
                }
                // It keeps its memory: the change waits there.
                let tag = Tag::Settled {
                    id,
                    after,
                    delivered,
                    notice: None,
                };
                return self.write_later(id, change, tag, error);
            }
            self.queue.settled(id);
            // Not to be sent again before a restart: the disk does not know how the attempt ended.
            tracing::error!(%id, %error, "cannot record the end of an attempt; the message stays on the spool");
            return self.stuck(id, error);
        }
        self.unwritten.written(id);
        self.queue.settled(id);
        match after {
            Some(status) => self.queue.waits(id, status),
            None => {
                self.delivered += u64::from(delivered);
                self.queue.finished(id);
            }
        }
        if let Some(notice) = notice {
            self.notice_spooled(&notice);
        }
        self.unparked.push(id);
    }

    fn put_off_or_gone(
        &mut self,
        id: MessageId,
        after: Option<Status>,
        result: &Result<(), StoreError>,
        ctx: &mut Context<Self>,
    ) {
        if result.is_err() && after.is_none() {
            self.take_off(Shelf::Removed, vec![id], ctx);
        }
        match (result, after) {
            (Err(error), _) if !is_final(error) => return self.begin_later(id, error),
            (Ok(()), Some(status)) => self.queue.waits(id, status),
            (Ok(()), None) => self.queue.finished(id),
            (Err(error), _) => {
                tracing::error!(%id, %error, "cannot record what the presend hook decided");
                return self.stuck(id, error);
            }
        }
        self.unparked.push(id);
    }

    fn recovered(&mut self, recovered: &Recovered, result: Result<(), StoreError>, ctx: &mut Context<Self>) {
        let Recovered {
            bulk,
            id,
            shelf,
            destination,
            spooled_at,
            expires_at,
            size,
            origin,
            whole,
            generation,
            ..
        } = *recovered;
        match result {
            Ok(()) => {
                self.queue
                    .back(id, destination, spooled_at, size, expires_at, origin);
                // The routes may have changed while it was written.
                if !whole || generation != self.queue.generation() {
                    self.queue.make_stale(id);
                }
                self.drop_pair(bulk, shelf, id, ctx);
            }
            Err(error) => {
                self.queue.delist(destination);
                self.bulk_done(bulk, Err(operation_error(error)));
            }
        }
    }
}
