//! An add that was read from the journal.

use crate::id::MessageId;
use crate::message::{Message, MessageState};
use crate::related::Related;
use crate::store::change::Addition;
use std::sync::Arc;

/// A decoded add.
#[derive(Debug)]
pub(in crate::store) struct Decoded {
    add: Addition,
    /// All related messages: those that the add names, and its own.
    related: Arc<[MessageId]>,
    body_size: u64,
}

impl Decoded {
    /// An add with a body of `body_size` bytes.
    pub(in crate::store) fn new(mut add: Addition, body_size: u64) -> Self {
        // Not needed, and not part of the bound on kept adds.
        add.events = Vec::new();
        let own = add.messages.iter().map(|message| message.id);
        let related = add.related.iter().copied().chain(own).collect();
        Self {
            add,
            related,
            body_size,
        }
    }

    /// The message at `index` as it was added. The cost is proportional to the size of that message.
    pub(in crate::store) fn message(&self, index: u32) -> Option<Message> {
        let add = &self.add;
        let record = add.messages.get(usize::try_from(index).ok()?)?;
        let section = &record.section;
        let state = record.state.as_deref().cloned().unwrap_or_else(|| MessageState {
            frozen: record.frozen.clone(),
            in_flight: record.in_flight,
            ..MessageState::new(section, record.status, add.spooled_at)
        });
        Some(Message {
            id: record.id,
            parent: add.parent,
            related: Related::shared(Arc::clone(&self.related), record.id),
            flows: add.flows.clone(),
            spooled_at: add.spooled_at,
            next_hops: Arc::clone(&section.next_hops),
            origin: section.origin,
            envelope: Arc::new(section.envelope.clone()),
            body_size: self.body_size,
            state,
        })
    }
}
