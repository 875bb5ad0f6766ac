//! What an operation asks of a message while its attempt runs: it is on disk before the operation is answered, and done when the attempt
//! ends.

use super::queue::Note;
use super::tag::Tag;
use super::work::{Work, WorkId};
use super::{Engine, World};
use crate::errors::operation_error;
use spool_core::store::{Change, StoreError};
use spool_core::{EventKind, Frozen, MessageId, Status};

impl<W: World> Engine<W> {
    /// Notes what is to become of a message when its session ends. It is on disk before.
    pub(super) fn note_for_end(&mut self, work: WorkId, todo: &Work, id: MessageId) {
        if let Work::Reroute(to) = todo {
            return self.reroute_later(work, id, to);
        }
        // With the start of the attempt: after a crash the message is in doubt, and frozen or not as requested.
        let now = self.now.wall;
        let frozen = matches!(todo, Work::Freeze).then(|| Box::new(Frozen::held(now, None)));
        let (status, kind) = match &frozen {
            Some(_) => (Status::Frozen, EventKind::Frozen),
            None => (Status::SendAt(now), EventKind::Unfrozen),
        };
        let begun = self.queue.is_begun(id);
        // A message whose session has begun may be delivered: its event is written with the end of the attempt, also after a crash.
        let content = self.queue.content(id).filter(|_| !begun);
        let event = content.map(|content| {
            let mut event = self.tell(kind, &content.message);
            event.reason = frozen.as_ref().map(ToString::to_string);
            event
        });
        if let Some(noted) = self.queue.afterwards(id) {
            noted.releasing = frozen.is_none();
        }
        let change = Change::Mark {
            id,
            status,
            frozen: frozen.clone(),
            in_flight: begun.then_some(now),
            events: event.into_iter().collect(),
        };
        self.commit_note(work, id, Note::Freeze(frozen), change);
    }

    pub(super) fn commit_note(&mut self, work: WorkId, id: MessageId, note: Note, change: Change) {
        if let Some(noted) = self.queue.afterwards(id) {
            noted.pending += 1;
        }
        self.commit(change, Tag::NotedWhileSending { work, id, note }, true);
    }

    /// The disk has answered what is to become of a message when its session ends. If that is over already, nobody looked at
    /// the note: it is done now.
    pub(super) fn noted(
        &mut self,
        work_id: WorkId,
        id: MessageId,
        note: Note,
        result: Result<(), StoreError>,
    ) {
        if let Some(noted) = self.queue.afterwards(id) {
            noted.pending = noted.pending.saturating_sub(1);
        }
        match result {
            Err(error) => {
                if let Some(noted) = self.queue.afterwards(id) {
                    noted.releasing &= !matches!(note, Note::Freeze(None));
                }
                self.done_with(work_id, Err(operation_error(error)));
            }
            // One that was delivered meanwhile has nothing left to be frozen or sent.
            Ok(())
                if self.queue.note_while_sending(id, note) || self.queue.status(id, self.now).is_none() =>
            {
                self.done_with(work_id, Ok(()));
            }
            Ok(()) => {
                if let Some(work) = self.bulks.work(work_id) {
                    self.claim(work_id, &work, vec![id]);
                }
            }
        }
        self.queue.noted(id, self.now);
    }
}
