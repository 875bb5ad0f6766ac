//! What attempts teach about destinations: it is noted in the queue, told in the log, and kept on disk from time to time.

use super::returning::Round;
use super::unattended::Why;
use super::unwritten::is_final;
use super::{Engine, Job, Tag, World};
use crate::engine::DestinationId;
use crate::pace::{Effect, Signal};
use bytes::Bytes;
use spool_core::disposition::expire;
use spool_core::store::{Change, StoreError};
use spool_core::{AttemptReport, AttemptResult, Message, MessageId, Status, Timestamp};
use std::sync::Arc;
use std::time::Duration;

/// Seconds between two writes of the destinations file.
const KEEP_EVERY: u32 = 10;
/// Messages of a line that does not move that are looked at, each time it is tried in vain, for their time having run out.
const EXPIRED_AT_ONCE: usize = 4096;

/// How often a part of the line of mail without a route is looked at for the same reason.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is still to be kept on disk.
#[derive(Debug, Default)]
pub(super) struct Keeping {
    /// Something was learned since it was last written.
    pub(super) changed: bool,
    /// Lines that do not move, to be looked through.
    stuck: Vec<(DestinationId, String)>,
    seconds: u32,
    writing: bool,
    /// When the line of mail without a route is looked through next.
    without_route_at: Timestamp,
}

impl Keeping {
    /// What was learned is on disk, or is learned anew.
    pub(super) const fn kept(&mut self) {
        self.writing = false;
    }
}

impl<W: World> Engine<W> {
    /// An attempt has ended.
    pub(super) fn learn(&mut self, id: MessageId, report: &AttemptReport, permit: Option<W::Permit>) {
        let Some(content) = self.queue.content(id) else {
            self.effects.extend(permit.map(super::Effect::Return));
            return;
        };
        let signal = Signal::of(report, &content.message.envelope);
        let dice = Arc::clone(&self.dice);
        let observed = self.queue.observe(id, &signal, permit, self.now, dice.as_ref());
        let Some((destination, effect)) = observed else {
            return;
        };
        self.keeping.changed |= effect != Effect::GoOn;
        if let (AttemptResult::NotBegun { .. }, Some(host)) = (&report.result, &report.peer) {
            self.queue.waits_for_room(destination, host);
        }
        let Some(hops) = self.queue.next_hops(destination) else {
            return;
        };
        let reason = signal.reason().unwrap_or_default();
        match effect {
            Effect::GoOn => {}
            Effect::Slower => tracing::info!(?hops, reason, "a destination is sent less"),
            Effect::Shut => {
                tracing::warn!(
                    ?hops,
                    reason,
                    "a destination does not answer; it is left alone for a while"
                );
                self.queue.let_go_of_line(destination);
            }
            Effect::StillShut => {
                tracing::info!(?hops, reason, "a destination still does not answer");
                self.keeping.stuck.push((destination, reason.to_owned()));
            }
            Effect::Reopened => tracing::info!(?hops, "a destination answers again"),
        }
    }

    /// Where nothing goes for a while, what was about to start is written back as waiting: after a crash it would be in doubt.
    pub(super) fn recall(&mut self, destination: DestinationId) {
        for (id, spooled_at) in self.queue.recall(destination, self.now) {
            self.write_back(id, spooled_at);
        }
    }

    /// Writes down that the attempt of a message has not begun after all.
    pub(super) fn write_back(&mut self, id: MessageId, spooled_at: Timestamp) {
        let change = Change::Mark {
            id,
            status: Status::SendAt(spooled_at),
            frozen: None,
            in_flight: None,
            events: Vec::new(),
        };
        self.commit(change, Tag::Recalled { id }, false);
    }

    pub(super) fn recalled(&mut self, id: MessageId, result: &Result<(), StoreError>) {
        match result {
            Ok(()) => self.queue.recalled(id, self.now),
            Err(error) if !is_final(error) => self.begin_later(id, error),
            Err(error) => {
                tracing::error!(%id, %error, "cannot take back the begin of an attempt");
                self.stuck(id, error);
            }
        }
    }

    /// Gives up what waited in vain for as long as it was to be tried.
    pub(super) fn give_up_expired(&mut self) {
        for (destination, reason) in std::mem::take(&mut self.keeping.stuck) {
            let ids = self.queue.take_expired(destination, self.now, EXPIRED_AT_ONCE);
            self.give_up_all(ids, &reason);
        }
        self.give_up_without_route();
        self.settle_unattended();
    }

    /// Gives up mail that has had no route for as long as it was to be tried. A part of it is looked at each second.
    fn give_up_without_route(&mut self) {
        let now = self.now.inside;
        if self.is_over() || now < self.keeping.without_route_at {
            return;
        }
        self.keeping.without_route_at = now.after(LOOK_EVERY);
        let ids = self.queue.take_expired_without_route(self.now, EXPIRED_AT_ONCE);
        self.give_up_all(ids, "the message has no route");
    }

    fn give_up_all(&mut self, ids: Vec<MessageId>, reason: &str) {
        let reason: Arc<str> = reason.into();
        self.unattended
            .extend(ids.into_iter().map(|id| (id, Why::Expired(Arc::clone(&reason)))));
    }

    pub(super) fn give_up(&mut self, mut message: Message, body: Bytes, reason: &str) {
        let (state, fate) = expire(message.state, reason);
        message.state = state;
        self.conclude(Round {
            message,
            body,
            fate,
            freeze: None,
            kinds: Vec::new(),
            relayed: Vec::new(),
            by_hand: false,
            tells: true,
        });
    }

    /// Called each second: writes down what was learned, when that is some time ago.
    pub(super) fn keep_destinations(&mut self) {
        let over = self.is_over();
        let keeping = &mut self.keeping;
        keeping.seconds += 1;
        if keeping.seconds < KEEP_EVERY || !keeping.changed || keeping.writing || over {
            return;
        }
        (keeping.seconds, keeping.changed, keeping.writing) = (0, false, true);
        let learned = self.queue.learned(self.now);
        self.work(Job::Keep(learned));
    }
}
