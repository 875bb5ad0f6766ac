//! What attempts teach about destinations goes to the throttle with their permits; what the throttle makes of it comes back as the outlook
//! of a path. Mail that waits in vain is given up when its time is over.

use super::round::Round;
use super::tag::{Tag, waiting};
use super::work::Work;
use super::{DestinationId, Effect, Engine, PathId, Told, World};
use crate::pace::Signal;
use bytes::Bytes;
use spool_core::disposition::expire;
use spool_core::store::StoreError;
use spool_core::{AttemptReport, Message, MessageId, Status, Timestamp};
use std::sync::Arc;
use std::time::Duration;

/// The most messages of a blocked line that are checked for expiry after each failed probe.
const EXPIRED_AT_ONCE: usize = 4096;

/// How often a part of the mail without a route is checked for expiry.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is to be checked for messages that have expired.
#[derive(Debug, Default)]
pub(super) struct Expiring {
    /// Blocked lines to be checked for expired messages.
    stuck: Vec<(DestinationId, Arc<str>)>,
    /// When mail without a route is checked for expiry next.
    without_route_at: Timestamp,
}

impl<W: World> Engine<W> {
    /// An attempt has ended. Its permit is for the next message of its destination, if it ended well and nothing speaks against that.
    pub(super) fn learn(&mut self, id: MessageId, report: &AttemptReport, permit: W::Permit) {
        let signal = self.queue.content(id).map_or(Signal::Nothing, |content| {
            Signal::of(report, &content.message.envelope)
        });
        let goes_on = signal == Signal::Fine && !self.contended && !self.is_over();
        if goes_on && self.queue.goes_on(id, &permit) {
            self.effects
                .push(Effect::Tell(Told::Done(W::name(&permit), signal)));
            self.queue.passes_on(id, permit);
        } else {
            if signal != Signal::Fine {
                self.queue.hold_back(id);
            }
            self.effects.push(Effect::Return(permit, Some(signal)));
        }
    }

    /// A path did not answer and its circuit is open: drops the content of what waits there, which is read again later.
    pub(super) fn unanswered(&mut self, path: PathId, reason: &str) {
        let reason: Arc<str> = reason.into();
        for destination in self.queue.on_path(path) {
            self.queue.let_go_of_line(destination);
            self.expiring.stuck.push((destination, Arc::clone(&reason)));
        }
    }

    /// An operator wants this message sent: a path whose circuit is open is tried at once.
    pub(super) fn hurry(&mut self, id: MessageId) {
        if let Some(destination) = self.queue.destination_of(id) {
            self.effects.push(Effect::Tell(Told::Hurry(destination)));
        }
    }

    /// Takes back the starts of a destination whose circuit is open: after a crash those messages would be in doubt.
    pub(super) fn recall(&mut self, destination: DestinationId) {
        for (id, spooled_at) in self.queue.recall(destination) {
            self.write_back(id, spooled_at);
        }
    }

    /// Takes back the start of an attempt on disk.
    pub(super) fn write_back(&mut self, id: MessageId, due: Timestamp) {
        self.commit(waiting(id, Status::SendAt(due)), Tag::Recalled, false);
    }

    pub(super) fn recalled(&mut self, id: MessageId, result: Result<(), StoreError>) {
        match result {
            Ok(()) => self.queue.recalled(id, self.now),
            Err(error) if self.not_written(id, &error) => {
                tracing::error!(%id, %error, "cannot take back the begin of an attempt");
            }
            Err(_) => {}
        }
    }

    /// Ends messages that have expired while they waited.
    pub(super) fn give_up_expired(&mut self) {
        for (destination, reason) in std::mem::take(&mut self.expiring.stuck) {
            let ids = self.queue.take_expired(destination, self.now, EXPIRED_AT_ONCE);
            self.start_own(Work::GiveUp(reason), ids);
        }
        self.give_up_without_route();
    }

    /// Ends messages that have expired without a route. A part of them is checked each second.
    fn give_up_without_route(&mut self) {
        let now = self.now.inside;
        if self.is_over() || now < self.expiring.without_route_at {
            return;
        }
        self.expiring.without_route_at = now.after(LOOK_EVERY);
        if let Some(destination) = self.queue.nowhere() {
            let ids = self.queue.take_expired(destination, self.now, EXPIRED_AT_ONCE);
            self.start_own(Work::GiveUp("the message has no route".into()), ids);
        }
    }

    pub(super) fn give_up(&mut self, mut message: Message, body: Bytes, reason: &str) {
        let (state, fate) = expire(message.state, reason);
        message.state = state;
        self.conclude(Round::new(message, body, fate));
    }
}
