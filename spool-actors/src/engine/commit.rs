//! What the engine does once the disk has answered for a change.

use super::notice::NewNotice;
use super::queue::Refusal;
use super::tag::{Answered, Made, Tag};
use super::unwritten::is_final;
use super::{Answer, Effect, Engine, World};
use crate::errors::add_error;
use spool_core::MessageId;
use spool_core::store::{Archive, Change, StoreError};

impl<W: World> Engine<W> {
    /// The writer has answered for a batch.
    pub(super) fn committed_all(&mut self, answers: Vec<Answered<Tag<W>>>) {
        self.pending = self.pending.saturating_sub(answers.len());
        let mut happened = Vec::new();
        for Answered {
            mut change,
            tag,
            result,
        } in answers
        {
            if result.is_ok() {
                if let Some((id, (_, begun))) =
                    Made::by(&change).and_then(|made| Some((made.id, made.after?)))
                {
                    self.queue.on_disk(id, begun);
                }
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
            (Tag::Added { reply, places }, Change::Add(addition)) => {
                self.add_answered(addition, (reply, places), result);
            }
            (Tag::Routed { reply }, Change::Route { id, events: news, .. }) => match (result, reply) {
                // It may no longer start: on disk, the start of an attempt must not follow its end.
                (Ok(()), Some(reply)) if self.is_over() || !self.queue.may_begin(id) => {
                    self.refuse(id, reply, Refusal::Withdrawn);
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
            (Tag::Recalled, Change::Mark { id, .. }) => self.recalled(id, result),
            (Tag::Settled { delivered, notice }, change) => self.settled(change, delivered, notice, result),
            (Tag::Presented, Change::Mark { id, status, .. }) => self.put_off_answered(id, status, result),
            (Tag::Changed { work, notice, .. }, change) => {
                self.changed(work, &change, notice.as_deref(), result);
            }
            (Tag::NotedWhileSending { work, id, note }, _) => self.noted(work, id, note, result),
            (Tag::Rerouted { work, route, .. }, Change::Route { id, .. }) => {
                self.rerouted(work, id, &route, result);
            }
            (Tag::Divided(divided), Change::Add(addition)) => self.divided(&addition, divided, result),
            (
                Tag::Recovered {
                    work, archive, known, ..
                },
                _,
            ) => self.recovered(work, archive, known, result),
            (Tag::Quarantined { reply, ids, .. }, _) => {
                if result.is_err() {
                    self.discard(Archive::Quarantine, ids.clone(), None);
                }
                self.answer(reply, Answer::Added(result.map(|()| ids).map_err(add_error)));
            }
            // The others have another kind of change.
            _ => {}
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
        if self.not_written(id, error) {
            tracing::error!(%id, %error, "cannot begin an attempt");
        }
    }

    fn settled(
        &mut self,
        change: Change,
        delivered: bool,
        notice: Option<Box<NewNotice>>,
        result: Result<(), StoreError>,
    ) {
        let Some(made) = Made::by(&change) else { return };
        let id = made.id;
        match (result, notice) {
            (Err(error), _) if is_final(&error) => {
                // Not to be sent again before a restart: the disk does not know how the attempt ended.
                tracing::error!(%id, %error, "cannot record the end of an attempt; the message stays on the spool");
                self.stuck(id, &error);
            }
            (Err(_), Some(notice)) => self.conclude_without_notice(*notice),
            (Err(error), None) => self.write_later(id, change, delivered, error),
            (Ok(()), notice) => {
                self.unwritten.written(id);
                match made.status() {
                    Some(status) => self.queue.waits(id, status, self.now),
                    None => {
                        self.delivered += u64::from(delivered);
                        self.queue.finished(id);
                    }
                }
                if let Some(notice) = notice {
                    self.notice_answered(&notice, true);
                }
            }
        }
    }
}
