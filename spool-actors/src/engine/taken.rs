//! What an operation does to the messages it has taken: reads them off the actor's thread, writes the change, and gives them
//! back as the disk has them. When the spool has ended it writes nothing: the caller got that as its answer.

use super::bulk::BulkId;
use super::jobs::Read;
use super::notice::NewNotice;
use super::{DiskJob, Effect, Engine, Tag, Wanted, Work, World};
use crate::errors::operation_error;
use spool_core::store::{Archive, Change, Finish, StoreError};
use spool_core::{EventKind, Frozen, Held, Message, MessageId, Status};
use std::sync::Arc;

/// A message that an operation has claimed, and its status before.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) id: MessageId,
    pub(crate) before: Status,
}

impl<W: World> Engine<W> {
    /// Reads claimed messages, and for a remove moves them to the archive, off this thread.
    pub(super) fn read_taken(&mut self, bulk: BulkId, work: Work, taken: Vec<Taken>) {
        let with_bodies = work.reads_bodies();
        let footprints = taken
            .iter()
            .map(|taken| self.queue.footprint(taken.id, with_bodies));
        let bytes = footprints.fold(0, u64::saturating_add);
        // What can be read again makes room for what a person asks for.
        self.queue.let_go_of_all();
        let wanted = Wanted::Taken { bulk, work, taken };
        self.effects.push(Effect::WaitForMemory { bytes, wanted });
    }

    /// Memory for claimed messages was granted.
    pub(super) fn read_charged(&mut self, bulk: BulkId, work: Work, taken: Vec<Taken>, held: Held) {
        if let Err(error) = self.alive() {
            for taken in taken {
                self.give_back(taken.id, taken.before);
                self.bulk_done(bulk, Err(error.clone()));
            }
            return;
        }
        let at = self.now.wall;
        self.work(DiskJob::ReadTaken {
            bulk,
            work,
            taken,
            held,
            at,
        });
    }

    /// The claimed messages were read; those of a remove are in the archive.
    pub(super) fn read_taken_done(
        &mut self,
        bulk: BulkId,
        work: &Work,
        read: Vec<(Taken, Result<Read, StoreError>)>,
        held: &Arc<Held>,
    ) {
        let mut laid = Vec::new();
        for (taken, message) in read {
            let error = match (message, self.alive()) {
                (Ok(read), Ok(())) => {
                    self.queue.weighed(taken.id, read.0.footprint());
                    self.change_taken(bulk, work, &taken, read, held);
                    continue;
                }
                (Ok(_), Err(ended)) => {
                    laid.push(taken.id);
                    ended
                }
                (Err(error), _) => operation_error(error),
            };
            self.give_back(taken.id, taken.before);
            self.bulk_done(bulk, Err(error));
        }
        if matches!(work, Work::Remove) && !laid.is_empty() {
            self.take_off(Archive::Removed, laid);
        }
    }

    /// Writes the change of one message. `held` is charged until the disk has answered for all messages of the step.
    fn change_taken(
        &mut self,
        bulk: BulkId,
        work: &Work,
        taken: &Taken,
        (message, body): Read,
        held: &Arc<Held>,
    ) {
        let (id, now) = (taken.id, self.now.wall);
        let (change, after) = match work {
            Work::Freeze => (self.freeze(message), Some(Status::Frozen)),
            Work::Bounce(reason) => {
                return self.end_taken(bulk, Some(reason), taken, (message, body), held);
            }
            Work::Expire => return self.end_taken(bulk, None, taken, (message, body), held),
            Work::Reroute(to) => return self.reroute_taken(bulk, to, taken, message, held),
            Work::SendNow(extra) => {
                if !message.state.failed.is_empty() {
                    // Recipients that had failed may have another route.
                    self.queue.make_stale(id);
                }
                let unfrozen = taken.before == Status::Frozen;
                let unfrozen = unfrozen.then(|| self.tell(EventKind::Unfrozen, &message));
                let events = unfrozen.into_iter().collect();
                let state = Box::new(message.state.send_now(extra, now));
                (Change::State { id, state, events }, Some(Status::SendAt(now)))
            }
            Work::Remove | Work::Recover(_) => {
                let (how, events) = (Finish::Removed, vec![self.tell(EventKind::Removed, &message)]);
                (Change::Finish { id, how, events }, None)
            }
        };
        let tag = Tag::Changed {
            bulk,
            id,
            before: taken.before,
            after,
            notice: None,
            _held: Arc::clone(held),
        };
        self.commit(change, tag, true);
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

    /// The disk has answered for the change of an operation.
    pub(super) fn changed(
        &mut self,
        bulk: BulkId,
        id: MessageId,
        before: Status,
        (after, notice): (Option<Status>, Option<Box<NewNotice>>),
        (result, removed): (Result<(), StoreError>, bool),
    ) {
        match (&result, &notice) {
            (Ok(()), Some(notice)) => self.notice_spooled(notice),
            (Err(_), Some(notice)) => self.notice_not_spooled(notice),
            (_, None) => {}
        }
        match (&result, after) {
            (Ok(()), Some(status)) => {
                self.give_back(id, status);
                if status != Status::Frozen {
                    self.hurry(id);
                }
            }
            (Ok(()), None) => self.queue.finished(id),
            (Err(_), _) if removed => self.take_off_and_keep(id, before),
            (Err(_), _) => self.give_back(id, before),
        }
        self.bulk_done(bulk, result.map_err(operation_error));
    }

    /// Returns a claimed message to the queue with `status`; operations that wait for it go on.
    pub(super) fn give_back(&mut self, id: MessageId, status: Status) {
        self.queue.give_back(id, status, self.now);
    }
}
