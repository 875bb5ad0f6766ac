//! Which messages in line keep their content in memory, so that it is found when memory is short.
//!
//! The list of them is never much longer than the lines: places of messages that left are swept out.

use super::{Phase, Queue, SWEEP};
use spool_core::MessageId;
use std::collections::HashSet;

impl Queue {
    fn keeps_content(&self, id: MessageId) -> bool {
        let entry = self.entries.get(&id);
        entry.is_some_and(|entry| entry.phase == Phase::Ready && entry.content.is_some())
    }

    /// Notes that a message in line has its content, if it has.
    pub(super) fn keep_in_line(&mut self, id: MessageId) {
        if !self.keeps_content(id) {
            return;
        }
        self.kept.push_back(id);
        // The first in line may stand there for long while others come and go.
        if self.kept.len() > 2 * self.ready + SWEEP {
            let mut kept = std::mem::take(&mut self.kept);
            let mut seen = HashSet::new();
            kept.retain(|id| self.keeps_content(*id) && seen.insert(*id));
            self.kept = kept;
        }
    }

    /// Memory is wanted for what must be sent now: all that waits in line is read again when its turn comes.
    pub(in crate::spool) fn let_go_of_all(&mut self) {
        for id in std::mem::take(&mut self.kept) {
            self.let_go(id);
        }
    }

    /// Memory is short: what waits in line is read again when its turn comes.
    pub(in crate::spool) fn let_go(&mut self, id: MessageId) {
        if let Some(entry) = self.entries.get_mut(&id)
            && entry.phase == Phase::Ready
        {
            entry.content = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::content::Content;
    use crate::spool::queue::{Claim, Ways};
    use bytes::Bytes;
    use spool_core::{
        Budget, Envelope, Message, MessageState, NextHop, Policies, RetryPolicy, ReversePath, RouteOrigin,
        Routing, Section, Status, Timestamp,
    };
    use std::sync::Arc;

    const NOW: Timestamp = Timestamp(1_000);

    fn content(id: u128, hop: &str) -> Box<Content> {
        let hops: Vec<NextHop> = hop.parse().into_iter().collect();
        let section = Section {
            envelope: Envelope::new(ReversePath::Null, ["a@example.net".parse().unwrap()]),
            next_hops: hops.into(),
            origin: RouteOrigin::Configured,
            retry: RetryPolicy::default(),
        };
        let state = MessageState::new(&section, Status::SendAt(NOW), NOW);
        let message = Message {
            id: MessageId::from_u128(id),
            parent: None,
            related: Vec::new().into(),
            flows: Vec::new(),
            spooled_at: NOW,
            next_hops: section.next_hops,
            origin: section.origin,
            envelope: Arc::new(section.envelope),
            body_size: 0,
            state,
        };
        let held = Budget::new(1 << 20).hold(1).unwrap();
        Box::new(Content::new(message, Bytes::new(), held))
    }

    fn add(queue: &mut Queue, id: u128, hop: &str) -> MessageId {
        let content = content(id, hop);
        let id = content.message.id;
        let destination = queue.enlist(&content.message.next_hops, NOW);
        queue.added(destination, Status::SendAt(NOW), false, content);
        id
    }

    fn queue() -> Queue {
        Queue::new(Ways::new(1, Policies::default(), Vec::new()), Routing::default())
    }

    #[test]
    fn messages_that_come_and_go_behind_a_stuck_one_leave_nothing_in_the_list_of_kept_contents() {
        let mut queue = queue();
        let stuck = add(&mut queue, 1, "stuck.example:25");
        for number in 2..=10_000 {
            let id = add(&mut queue, number, "mx.example:25");
            assert!(matches!(
                queue.claim(id, super::super::Verb::Freeze, NOW),
                Claim::Taken(_)
            ));
            queue.finished(id);
        }
        assert!(queue.kept.len() <= SWEEP + 2, "{}", queue.kept.len());
        assert!(queue.content(stuck).is_some());
        queue.let_go_of_all();
        assert!(queue.content(stuck).is_none());
    }

    #[test]
    fn a_message_that_moves_to_a_line_without_a_route_keeps_no_content() {
        let mut queue = queue();
        let id = add(&mut queue, 1, "mx.example:25");
        queue.redirect(id, &Arc::from([]), NOW);
        assert!(queue.content(id).is_none());
    }
}
