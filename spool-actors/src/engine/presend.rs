//! What follows from the answer of the presend hook.

use super::tag::Tag;
use super::unwritten::NO_ROOM_PAUSE;
use super::work::Work;
use super::{Engine, World};
use spool_core::log::{GivenUp, Record};
use spool_core::store::{Change, StoreError};
use spool_core::{Event, EventKind, Frozen, FrozenReason, Message, MessageId, Presend, Status, Timestamp};
use std::time::Duration;

/// The shortest wait a hook can ask for: it is asked again then, and must not be asked without end.
const LEAST_WAIT: Duration = Duration::from_millis(100);
/// The wait after a hook failed, where no retry interval is left.
pub(super) const LONG_WAIT: Duration = Duration::from_secs(3600);

impl<W: World> Engine<W> {
    /// What the hook said; `None`: it failed.
    pub(super) fn presented(&mut self, id: MessageId, decision: Option<Presend>) {
        let Some(message) = self.queue.content(id).map(|content| content.message.clone()) else {
            return;
        };
        if self.is_over() {
            // Nothing was written: it waits on disk as before.
            return self.queue.waits(id, message.state.status, self.now);
        }
        let now = self.now.wall;
        match decision {
            Some(decision @ Presend::SendNow) => {
                let events = vec![self.tell(EventKind::Presend(decision), &message)];
                if let Some(content) = self.queue.content_mut(id) {
                    content.events = events;
                }
                self.prepared(id);
            }
            Some(Presend::SendAt(until)) => self.put_off(id, &message, until.max(now.after(LEAST_WAIT))),
            Some(decision @ Presend::Freeze) => {
                let status = Status::Frozen;
                let frozen = Some(Box::new(Frozen::new(now, FrozenReason::Hook)));
                let mut message = message;
                message.state.set_status(status, frozen.clone());
                if let Some(why) = frozen.as_deref().filter(|_| Record::wanted()) {
                    Record::GivenUp(GivenUp::new(&message, why, "frozen")).emit();
                }
                let kinds = [EventKind::Presend(decision), EventKind::Frozen];
                let events = kinds.map(|kind| self.tell(kind, &message)).into();
                self.mark_presented(id, status, frozen, events);
            }
            Some(Presend::Remove) => {
                // If its removal cannot be written at present, it waits until then.
                let until = Status::SendAt(now.after(NO_ROOM_PAUSE));
                if self.queue.claim_asked(id, until).is_some() {
                    self.start_own(Work::RemoveForHook, vec![id]);
                }
            }
            Some(_) | None => {
                let wait = message
                    .state
                    .schedule
                    .clone()
                    .next(self.dice.as_ref())
                    .unwrap_or(LONG_WAIT);
                self.put_off(id, &message, now.after(wait.max(LEAST_WAIT)));
            }
        }
    }

    fn put_off(&mut self, id: MessageId, message: &Message, until: Timestamp) {
        let kinds = [
            EventKind::Presend(Presend::SendAt(until)),
            EventKind::Delayed(until),
        ];
        let events = kinds.map(|kind| self.tell(kind, message)).into();
        self.mark_presented(id, Status::SendAt(until), None, events);
    }

    /// Writes the status that the hook gave a message.
    fn mark_presented(
        &mut self,
        id: MessageId,
        status: Status,
        frozen: Option<Box<Frozen>>,
        events: Vec<Event>,
    ) {
        let change = Change::Mark {
            id,
            status,
            frozen,
            in_flight: None,
            events,
        };
        self.commit(change, Tag::Presented, true);
    }

    /// The disk has answered for what the hook decided.
    pub(super) fn put_off_answered(&mut self, id: MessageId, status: Status, result: Result<(), StoreError>) {
        match result {
            Ok(()) => self.queue.waits(id, status, self.now),
            Err(error) if self.not_written(id, &error) => {
                tracing::error!(%id, %error, "cannot record what the presend hook decided");
            }
            Err(_) => {}
        }
    }
}
