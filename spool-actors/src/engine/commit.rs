//! What the spool does once the disk has answered: each kind of change has a tag that remembers who waits for it.

use super::add::PlaceInLine;
use super::bulk::BulkId;
use super::divide::Divided;
use super::notice::NewNotice;
use super::queue::{Known, Note, Route};
use super::unwritten::{NO_ROOM_PAUSE, is_final};
use super::{Answer, DiskJob, Effect, Engine, World};
use crate::errors::{add_error, operation_error};
use spool_core::store::{Archive, Change, Finish, StoreError};
use spool_core::{Held, MessageId, Status};
use std::sync::Arc;

/// Why a change was committed.
#[derive(Debug)]
pub(crate) enum Tag<W: World> {
    /// A caller added mail and waits for the ids.
    Added {
        reply: W::Reply,
        lines: Vec<PlaceInLine<W>>,
        /// The routing that its lines are from.
        generation: u32,
        held: Vec<Held>,
    },
    /// The next hops of an attempt; its start is written after them. `reply` waits for that, if the attempt has its session.
    Routed { reply: Option<W::Reply> },
    /// The start of an attempt. `reply` waits for it, if the attempt has its session.
    Armed { reply: Option<W::Reply> },
    /// An attempt does not start, because the spool closes.
    Disarmed,
    /// An attempt does not start yet, because the circuit of its path is open.
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
    /// An operation brought a message back from an archive.
    Recovered(RecoveredMessage),
    /// Mail was laid in quarantine.
    Quarantined {
        reply: W::Reply,
        ids: Vec<MessageId>,
        _held: Held,
    },
}

impl<W: World> Tag<W> {
    /// Whether a notice is spooled with the change.
    pub(crate) const fn has_notice(&self) -> bool {
        matches!(
            self,
            Self::Settled { notice: Some(_), .. } | Self::Changed { notice: Some(_), .. }
        )
    }

    /// Sets the size of the notice's body.
    pub(crate) fn resize_notice(&mut self, body: u64) {
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
pub(crate) struct RecoveredMessage {
    pub(super) bulk: BulkId,
    pub(super) archive: Archive,
    pub(super) known: Known,
    /// Whether its line is that of all its recipients.
    pub(super) whole: bool,
    /// The routing that its line is from.
    pub(super) generation: u32,
    pub(super) _held: Held,
}

/// A change with the disk's answer.
#[derive(Debug)]
pub(crate) struct Answered<W: World> {
    pub(crate) change: Change,
    pub(crate) tag: Tag<W>,
    pub(crate) result: Result<(), StoreError>,
}

impl<W: World> Engine<W> {
    /// The writer has answered for a batch.
    pub(super) fn committed_all(&mut self, answers: Vec<Answered<W>>) {
        self.pending = self.pending.saturating_sub(answers.len());
        let mut happened = Vec::new();
        for Answered {
            mut change,
            tag,
            result,
        } in answers
        {
            if result.is_ok() {
                self.queue.on_disk(&change);
                happened.append(change.events_mut());
            }
            self.committed(change, tag, result);
        }
        if !happened.is_empty() {
            self.effects.push(Effect::Publish(happened));
        }
    }

    fn committed(&mut self, change: Change, tag: Tag<W>, result: Result<(), StoreError>) {
        match (tag, change) {
            (
                Tag::Added {
                    reply,
                    lines,
                    generation,
                    held,
                },
                Change::Add(addition),
            ) => self.add_answered(addition, (reply, lines, generation, held), result),
            (Tag::Routed { reply }, Change::Route { id, events: news, .. }) => match (result, reply) {
                // It may no longer start: on disk, the start of an attempt must not follow its end.
                (Ok(()), Some(reply)) if self.is_over() || !self.queue.may_begin(id) => {
                    self.withdraw(id, reply);
                }
                (Ok(()), None) if self.is_over() => {}
                (Ok(()), reply) => self.begin(id, reply),
                (Err(error), reply) => {
                    self.queue.put_back_route_news(id, !news.is_empty());
                    match reply {
                        Some(reply) => self.begun(id, reply, Err(error)),
                        None => self.cannot_begin(id, &error),
                    }
                }
            },
            (Tag::Armed { reply: Some(reply) }, Change::Mark { id, .. }) => self.begun(id, reply, result),
            (Tag::Armed { reply: None }, Change::Mark { id, .. }) => self.armed(id, &result),
            (Tag::Recalled { id }, _) => {
                self.queue.settled(id);
                self.recalled(id, &result);
            }
            (tag @ Tag::Settled { .. }, change) => self.settled(change, tag, &result),
            (Tag::Presented { id, after }, _) => self.put_off_or_gone(id, after, &result),
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
                self.changed(bulk, id, before, (after, notice), (result, removed));
            }
            (Tag::NotedWhileSending { bulk, id, note }, _) => self.noted(bulk, id, note, result),
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
            (Tag::Recovered(recovered), _) => self.recovered(&recovered, result),
            (Tag::Quarantined { reply, ids, .. }, _) => {
                if result.is_err() {
                    self.take_off(Archive::Quarantine, ids.clone());
                }
                self.answer(reply, Answer::Added(result.map(|()| ids).map_err(add_error)));
            }
            (
                Tag::Disarmed
                | Tag::Before
                | Tag::Routed { .. }
                | Tag::Armed { .. }
                | Tag::Added { .. }
                | Tag::Divided(_),
                _,
            ) => {}
        }
    }

    fn armed(&mut self, id: MessageId, result: &Result<(), StoreError>) {
        match result {
            Ok(()) => {
                if let Some(spooled_at) = self.queue.armed(id) {
                    self.write_back(id, spooled_at);
                }
            }
            Err(error) => self.cannot_begin(id, error),
        }
    }

    pub(super) fn cannot_begin(&mut self, id: MessageId, error: &StoreError) {
        if !is_final(error) {
            return self.begin_later(id, error);
        }
        // Nothing can be recorded any more, so nothing may be sent: the message stays on disk and in memory until the spool is closed.
        tracing::error!(%id, %error, "cannot begin an attempt");
        self.stuck(id, error);
    }

    fn settled(&mut self, change: Change, tag: Tag<W>, result: &Result<(), StoreError>) {
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
        match after {
            Some(status) => self.queue.waits(id, status, self.now),
            None => {
                self.delivered += u64::from(delivered);
                self.queue.finished(id);
            }
        }
        if let Some(notice) = notice {
            self.notice_spooled(&notice);
        }
    }

    fn put_off_or_gone(&mut self, id: MessageId, after: Option<Status>, result: &Result<(), StoreError>) {
        match (result, after) {
            (Err(error), None) => {
                tracing::warn!(%id, %error, "a message that the presend hook had removed stays; it waits");
                let until = self.now.wall.after(NO_ROOM_PAUSE);
                self.take_off_and_keep(id, Status::SendAt(until));
                if is_final(error) {
                    self.stuck(id, error);
                }
            }
            (Err(error), _) if !is_final(error) => self.begin_later(id, error),
            (Ok(()), Some(status)) => self.queue.waits(id, status, self.now),
            (Ok(()), None) => self.queue.finished(id),
            (Err(error), _) => {
                tracing::error!(%id, %error, "cannot record what the presend hook decided");
                self.stuck(id, error);
            }
        }
    }

    fn recovered(&mut self, recovered: &RecoveredMessage, result: Result<(), StoreError>) {
        let RecoveredMessage {
            bulk,
            archive,
            known,
            whole,
            generation,
            ..
        } = *recovered;
        self.bulks.recovering.remove(&known.id);
        match result {
            Ok(()) => {
                self.queue.back(known, self.now);
                // The routes may have changed while it was written.
                if !whole || generation != self.queue.generation() {
                    self.queue.make_stale(known.id);
                }
                let id = known.id;
                self.work(DiskJob::DropPair { bulk, archive, id });
            }
            Err(error) => {
                self.queue.delist(known.destination);
                self.bulk_done(bulk, Err(operation_error(error)));
            }
        }
    }
}
