//! The course of an attempt: its message is read, the start is written, the session runs, and its end is written.

use super::{Afterwards, Content, Phase, Queue};
use crate::engine::World;
use spool_core::{Held, MessageId, Status, Timestamp};

impl<W: World> Queue<W> {
    /// Keeps the content that was read for a message that is about to be sent.
    pub(in crate::engine) fn keep(&mut self, mut content: Box<Content>) {
        let id = content.message.id;
        let route = self.route_of(id);
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        entry.size = content.size();
        if let Some(route) = route {
            content.set_next_hops(&route.next_hops);
        }
        if matches!(entry.phase, Phase::Reading) {
            entry.phase = Phase::Asking(content);
        }
    }

    /// The content of a message, if it is in memory.
    pub(in crate::engine) fn content(&self, id: MessageId) -> Option<&Content> {
        self.phase(id)?.content()
    }

    pub(in crate::engine) fn content_mut(&mut self, id: MessageId) -> Option<&mut Content> {
        self.entries.get_mut(&id)?.phase.content_mut()
    }

    /// All checks are done. Returns whether the start of its attempt is to be written now, ahead of its permit; otherwise it starts with the
    /// next permit.
    pub(in crate::engine) fn prepared(&mut self, id: MessageId) -> bool {
        let arms_ahead = self.arms_ahead(id);
        match self.entries.get_mut(&id) {
            // It is counted as before.
            Some(entry) if arms_ahead => {
                let asking = std::mem::replace(&mut entry.phase, Phase::Claimed(Status::Frozen));
                entry.phase = asking.into_content().map_or(Phase::Frozen, Phase::Arming);
            }
            Some(entry) if matches!(entry.phase, Phase::Asking(_)) => {
                self.set_with_content(id, |content| Phase::Armed(content, false));
            }
            Some(_) | None => {}
        }
        arms_ahead
    }

    /// The start of its attempt is on disk. Gives when the message was spooled, if it must not go where it is about to: the routes were
    /// changed meanwhile. The start is to be taken back, and then the message is [`Queue::recalled`].
    pub(in crate::engine) fn armed(&mut self, id: MessageId) -> Option<Timestamp> {
        let generation = self.generation;
        let entry = self.entries.get_mut(&id)?;
        if !matches!(entry.phase, Phase::Arming(..)) {
            return None;
        }
        if entry.is_stale(generation) {
            let spooled_at = entry.spooled_at;
            self.set(id, Phase::Settling(None, Afterwards::default()));
            return Some(spooled_at);
        }
        self.set_with_content(id, |content| Phase::Armed(content, true));
        None
    }

    /// The session has ended: returns the content of the message.
    pub(in crate::engine) fn ended(&mut self, id: MessageId) -> Option<Box<Content>> {
        if !matches!(self.phase(id)?, Phase::Running(..)) {
            return None;
        }
        let old = self.set(id, Phase::Settling(None, Afterwards::default()))?;
        let Phase::Running(content, _, noted) = old else {
            return None;
        };
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.phase = Phase::Settling(None, noted);
        }
        Some(content)
    }

    /// A message takes `footprint` bytes beside its body: this is known once it was read or changed. While the end of its session is being
    /// written, it takes `more` bytes as well.
    pub(in crate::engine) fn weighed(&mut self, id: MessageId, footprint: u64, more: u64) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.size = entry.size.with_rest(footprint);
            if let Phase::Settling(Some(held), _) = &mut entry.phase {
                held.resize(footprint.saturating_add(more));
            }
        }
    }

    /// What a message holds that is claimed or whose session has ended, until the disk has answered for its end.
    pub(in crate::engine) fn settling(&mut self, id: MessageId, held: Held) {
        if let Some(Phase::Settling(kept, _)) = self.entries.get_mut(&id).map(|entry| &mut entry.phase) {
            *kept = Some(held);
        }
    }

    /// The end of an attempt that a former process left open is being written.
    pub(in crate::engine) fn interrupted(&mut self, id: MessageId) {
        self.set(id, Phase::Settling(None, Afterwards::default()));
    }
}
