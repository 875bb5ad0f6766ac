//! What is done with claimed messages once they were read: the change is written, and they are given back as the disk has them. When the
//! spool has ended nothing is written: the caller got that as its answer.

use super::jobs::ReadFor;
use super::notice::NewNotice;
use super::presend::LONG_WAIT;
use super::round::Round;
use super::tag::{Made, Tag};
use super::work::{Work, WorkId};
use super::{Content, DiskJob, Engine, World};
use crate::errors::operation_error;
use bytes::Bytes;
use spool_core::disposition::{Fate, given_up};
use spool_core::store::{Archive, Change, Finish, StoreError};
use spool_core::{EventKind, Frozen, Held, Message, MessageId, Presend, RetryInterval, SpoolError, Status};

impl<W: World> Engine<W> {
    /// Memory for claimed messages was granted.
    pub(super) fn read_charged(&mut self, id: WorkId, work: Work, ids: Vec<MessageId>, mut held: Held) {
        if let Err(error) = self.alive() {
            for message in ids {
                self.give_back(message, None);
                self.done_with(id, Err(error.clone()));
            }
            return;
        }
        let bodies = work.reads_bodies(self.returning.is_on());
        let charged = |id| (id, held.split(self.queue.footprint(id, bodies)));
        let wanted = ids.into_iter().map(charged).collect();
        let at = self.now.wall;
        let read_for = ReadFor::Work { id, work, bodies, at };
        self.work(DiskJob::Read(read_for, wanted));
    }

    /// Claimed messages were read; those that are to be removed are in the archive.
    pub(super) fn claimed_were_read(
        &mut self,
        work_id: WorkId,
        work: &Work,
        read: Vec<(MessageId, Result<Box<Content>, StoreError>)>,
    ) {
        let mut laid = Vec::new();
        for (id, content) in read {
            match content {
                Err(error) => self.not_read(work_id, work, id, error),
                Ok(_) if self.is_over() && work.removes() => laid.push(id),
                Ok(_) if self.is_over() => self.give_back(id, None),
                Ok(content) => {
                    self.queue.weighed(id, content.held.bytes(), 0);
                    self.change_claimed(work_id, work, *content);
                }
            }
        }
        if !laid.is_empty() {
            self.discard(Archive::Removed, laid, None);
        }
    }

    fn not_read(&mut self, work_id: WorkId, work: &Work, id: MessageId, error: StoreError) {
        match (work, &error) {
            // Read again each second.
            (Work::Interrupted, StoreError::NotNow { .. }) => {
                self.interrupted.push(id);
                self.stuck(id, &error);
            }
            (Work::Interrupted | Work::GiveUp(_), _) => self.unreadable(id, &error),
            (Work::Divide, _) => self.not_divided(id, &error),
            (Work::RemoveForHook, StoreError::NotNow { .. }) => self.give_back(id, None),
            (Work::RemoveForHook, _) => {
                let until = self.now.wall.after(LONG_WAIT);
                self.give_back(id, Some(Status::SendAt(until)));
            }
            _ => self.give_back(id, None),
        }
        self.failed(work_id, id, error);
    }

    /// Work on a message has failed.
    fn failed(&mut self, work_id: WorkId, id: MessageId, error: StoreError) {
        if matches!(self.bulks.work(work_id), Some(Work::RemoveForHook)) {
            tracing::error!(%id, %error, "cannot be removed; it waits");
        }
        self.done_with(work_id, Err(operation_error(error)));
    }

    /// Writes the change of one message.
    fn change_claimed(&mut self, work_id: WorkId, work: &Work, content: Content) {
        let Content {
            message,
            body,
            mut held,
            ..
        } = content;
        let id = message.id;
        let (change, notice) = match work {
            Work::Freeze => (self.freeze(message), None),
            Work::Bounce(_) if message.envelope.reverse_path.is_null() => {
                self.give_back(id, None);
                return self.done_with(work_id, Err(SpoolError::NullReversePath(id)));
            }
            Work::Bounce(reason) => self.end_by_hand(message, body, Some(reason)),
            Work::Expire => self.end_by_hand(message, body, None),
            Work::Reroute(to) => return self.reroute_claimed(work_id, to, message, held),
            Work::SendNow(extra) => (self.send_now(message, extra), None),
            Work::Remove | Work::RemoveForHook | Work::Recover(_) => {
                let by_hook = matches!(work, Work::RemoveForHook);
                let by_hook = by_hook.then_some(EventKind::Presend(Presend::Remove));
                let kinds = by_hook.into_iter().chain([EventKind::Removed]);
                let events = kinds.map(|kind| self.tell(kind, &message)).collect();
                let how = Finish::Removed;
                (Change::Finish { id, how, events }, None)
            }
            Work::GiveUp(reason) => {
                self.queue.settling(id, held);
                self.give_up(message, body, reason);
                return self.done_with(work_id, Ok(()));
            }
            Work::Interrupted => {
                self.queue.settling(id, held);
                self.settle_interrupted_one(message, body);
                return self.done_with(work_id, Ok(()));
            }
            Work::Divide => {
                self.divide(message, body, held);
                return self.done_with(work_id, Ok(()));
            }
        };
        if let Change::Add(notice) = &change {
            let body = u64::try_from(notice.body.len()).unwrap_or(u64::MAX);
            held.resize(held.bytes().saturating_add(body));
        }
        let tag = Tag::Changed {
            work: work_id,
            notice,
            _held: held,
        };
        self.commit_signed(change, tag, true);
    }

    /// The change that freezes a message, with its event.
    fn freeze(&self, mut message: Message) -> Change {
        let frozen = Some(Box::new(Frozen::held(self.now.wall, None)));
        message.state.set_status(Status::Frozen, frozen.clone());
        Change::Mark {
            id: message.id,
            status: Status::Frozen,
            frozen,
            in_flight: None,
            events: vec![self.tell(EventKind::Frozen, &message)],
        }
    }

    /// The change by which a message is due now.
    fn send_now(&mut self, message: Message, extra: &[RetryInterval]) -> Change {
        let id = message.id;
        if !message.state.failed.is_empty() {
            // Recipients that had failed may have another route.
            self.queue.make_stale(id);
        }
        let unfrozen = self.queue.before(id) == Some(Status::Frozen);
        let unfrozen = unfrozen.then(|| self.tell(EventKind::Unfrozen, &message));
        Change::State {
            id,
            state: Box::new(message.state.send_now(extra, self.now.wall)),
            events: unfrozen.into_iter().collect(),
        }
    }

    /// The change that ends a message by hand: the sender is notified as of any other end. `bounce`: the reason of a bounce, otherwise it
    /// expires.
    fn end_by_hand(
        &mut self,
        mut message: Message,
        body: Bytes,
        bounce: Option<&str>,
    ) -> (Change, Option<Box<NewNotice>>) {
        let reason = bounce.unwrap_or("expired: the mail system's operator ended it");
        message.state = given_up(message.state, reason);
        let fate = Fate::Failed {
            expired: bounce.is_none(),
        };
        let round = Round {
            by_hand: bounce.is_some(),
            ..Round::new(message, body, fate)
        };
        let decision = self.decide_notice(&round);
        self.end_of_round(round, decision)
    }

    /// The disk has answered for the change of a claimed message.
    pub(super) fn changed(
        &mut self,
        work_id: WorkId,
        change: &Change,
        notice: Option<&NewNotice>,
        result: Result<(), StoreError>,
    ) {
        let Some(Made { id, after }) = Made::by(change) else {
            return;
        };
        if let Some(notice) = notice {
            self.notice_answered(notice, result.is_ok());
        }
        match (result, after) {
            (Ok(()), Some((status, _))) => {
                self.give_back(id, Some(status));
                if status != Status::Frozen {
                    self.hurry(id);
                }
                self.done_with(work_id, Ok(()));
            }
            (Ok(()), None) => {
                self.queue.finished(id);
                self.done_with(work_id, Ok(()));
            }
            (Err(error), _) => {
                let is_removed = matches!(
                    change,
                    Change::Finish {
                        how: Finish::Removed,
                        ..
                    }
                );
                match is_removed {
                    true => self.discard(Archive::Removed, vec![id], None),
                    false => self.give_back(id, None),
                }
                self.failed(work_id, id, error);
            }
        }
    }

    /// Returns a claimed message to the queue, with `status` or as it was before; work that waits for it goes on.
    pub(super) fn give_back(&mut self, id: MessageId, status: Option<Status>) {
        self.queue.give_back(id, status, self.now);
    }
}
