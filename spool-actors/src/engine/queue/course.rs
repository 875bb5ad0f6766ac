//! The course of an attempt: its message is read, the start is written, the session runs, and its end is written.

use super::{Afterwards, Content, Phase, Queue};
use crate::engine::World;
use spool_core::{Held, MessageId, Timestamp};

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
        if let Phase::Reading(permit) = &mut entry.phase {
            let permit = permit.take();
            entry.phase = Phase::Asking(content, permit);
        }
    }

    /// The content of a message, if it is in memory.
    pub(in crate::engine) fn content(&self, id: MessageId) -> Option<&Content> {
        self.phase(id)?.content()
    }

    /// The start of its attempt is being written ahead of its permit. `false`: it is not about to be sent.
    pub(in crate::engine) fn arming(&mut self, id: MessageId) -> bool {
        let Some(entry) = self.entries.get_mut(&id) else {
            return false;
        };
        if !matches!(entry.phase, Phase::Asking(_, None)) {
            return false;
        }
        // It is counted as before.
        if let Phase::Asking(content, _) = std::mem::replace(&mut entry.phase, Phase::Claimed) {
            entry.phase = Phase::Arming(content);
        }
        true
    }

    /// All checks are done: it starts with the next permit. `false`: it is not about to be sent.
    pub(in crate::engine) fn prepared(&mut self, id: MessageId) -> bool {
        if !matches!(self.phase(id), Some(Phase::Asking(..))) {
            return false;
        }
        if let Some(Phase::Asking(content, _)) = self.set(id, Phase::Claimed) {
            self.set(id, Phase::Armed(content, false));
        }
        true
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
        if let Some(Phase::Arming(content)) = self.set(id, Phase::Claimed) {
            self.set(id, Phase::Armed(content, true));
        }
        None
    }

    /// The session has ended: returns the content of the message, which is charged as before until
    /// [`Queue::settled`].
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

    /// A message takes `footprint` bytes beside its body, as is known now that it was read or changed.
    pub(in crate::engine) fn weighed(&mut self, id: MessageId, footprint: u64) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.size = entry.size.with_rest(footprint);
            if let Phase::Settling(Some(held), _) = &mut entry.phase {
                held.resize(footprint);
            }
        }
    }

    /// Charges a message for `more` bytes that are written with the end of its session, until the disk has answered.
    pub(in crate::engine) fn written_with(&mut self, id: MessageId, more: u64) {
        if let Some(Phase::Settling(Some(held), _)) = self.entries.get_mut(&id).map(|entry| &mut entry.phase)
        {
            held.resize(held.bytes().saturating_add(more));
        }
    }

    /// What a message holds whose session has ended, until [`Queue::settled`].
    pub(in crate::engine) fn settling(&mut self, id: MessageId, held: Held) {
        if let Some(Phase::Settling(kept, _)) = self.entries.get_mut(&id).map(|entry| &mut entry.phase) {
            *kept = Some(held);
        }
    }

    /// The disk has answered for the end of a session: drops the charge for it.
    pub(in crate::engine) fn settled(&mut self, id: MessageId) {
        if let Some(Phase::Settling(held, _)) = self.entries.get_mut(&id).map(|entry| &mut entry.phase) {
            *held = None;
        }
    }

    /// The end of an attempt that a former process left open is being written.
    pub(in crate::engine) fn interrupted(&mut self, id: MessageId) {
        self.set(id, Phase::Settling(None, Afterwards::default()));
    }
}
