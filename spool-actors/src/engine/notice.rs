//! The notice that the end of a round returns to the sender, and its place in the queue.

use super::content::Size;
use super::queue::Known;
use super::round::Round;
use super::{Engine, World};
use bytes::Bytes;
use spool_core::bounce::{Decision, Report, Unreturned, build};
use spool_core::store::NewMessage;
use spool_core::{Envelope, Message, MessageId, NextHop, RouteOrigin, Routing, Section, Status, Timestamp};
use std::sync::Arc;

/// A notice whose change is being written.
#[derive(Debug)]
pub(crate) struct NewNotice {
    known: Known,
    /// The round, and the decision if there is no room for the notice.
    pub(super) without: Box<(Round, Decision)>,
}

impl NewNotice {
    /// Sets the size of its body.
    pub(super) fn resize(&mut self, body: u64) {
        self.known.size = self.known.size.with_body(body);
    }
}

impl<W: World> Engine<W> {
    /// The notice and its entry for the queue; `None` when the reverse-path cannot get one.
    pub(super) fn write_notice(
        &mut self,
        round: &Round,
        decision: &Decision,
        id: MessageId,
        now: Timestamp,
    ) -> Option<(NewMessage, Bytes, NewNotice)> {
        let config = self.returning.config.as_ref()?;
        let report = Report::new(&round.message, decision, &round.body, round.by_hand);
        let (envelope, text) = build(&report, config, id, now)?;
        let retry = config.retry.clone();
        let (origin, next_hops) = self.route_of_notice(&envelope, &round.message);
        let body = Bytes::from(text);
        let section = Section {
            envelope,
            next_hops,
            origin,
            retry,
        };
        let notice = NewNotice {
            known: Known {
                id,
                spooled_at: now,
                size: Size::new(
                    u64::try_from(body.len()).unwrap_or(u64::MAX),
                    section.envelope.footprint(),
                ),
                expires_at: section.retry.expire_after.map(|span| now.after(span)),
                origin,
                destination: self.queue.enlist(&section.next_hops),
                generation: self.queue.generation,
            },
            without: Box::new((
                Round {
                    body: Bytes::new(),
                    ..round.clone()
                },
                decision.clone().without_notice(Unreturned::NoRoom),
            )),
        };
        let new = NewMessage {
            id,
            section,
            status: Status::SendAt(now),
            frozen: None,
            in_flight: None,
            state: None,
        };
        tracing::info!(
            id = %round.message.id, flow = ?round.message.flows, notice = %id, failed = decision.failed.len(),
            delayed = decision.delayed.len(), relayed = decision.relayed.len(), "a notice is returned"
        );
        Some((new, body, notice))
    }

    /// Where a notice goes: by the current routing; without rules, to the next hops of the message it is about.
    fn route_of_notice(&self, envelope: &Envelope, message: &Message) -> (RouteOrigin, Arc<[NextHop]>) {
        let routing = &self.queue.routing;
        let (origin, spooled) = match routing {
            Routing::ByRules(_) => (RouteOrigin::Configured, Arc::from([])),
            Routing::ToBuiltInSink(sink) => (RouteOrigin::BuiltInSink, Arc::clone(sink)),
            Routing::AsSpooled | _ => (RouteOrigin::Named, Arc::clone(&message.next_hops)),
        };
        let groups = routing.groups(origin, &spooled, envelope, &[0]);
        let first = groups.into_iter().next();
        (origin, first.map_or(spooled, |group| group.next_hops))
    }

    /// A notice is on disk, and is added to the queue; or it was not written.
    pub(super) fn notice_answered(&mut self, notice: &NewNotice, is_written: bool) {
        let known = notice.known;
        if !is_written {
            return self.queue.delist(known.destination);
        }
        self.returning.count += 1;
        self.queue
            .add_claimed(known, Status::SendAt(known.spooled_at), self.now);
        self.give_back(known.id, None);
    }
}
