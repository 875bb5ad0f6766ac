//! Events that the journal holds and the event log lacks.

use crate::event::Event;
use crate::id::MessageId;
use crate::store::journal::index::Entry;
use crate::store::journal::reader::Reader;
use crate::summary::EnvelopeSummary;
use std::sync::Arc;

/// An event to be written to the event log again.
#[derive(Debug)]
pub(in crate::store) struct PendingEvent {
    /// Without flows and envelope, if `message` says where to read them.
    pub(super) event: Event,
    /// Where the message is, or was, in the journal.
    pub(super) message: Option<(MessageId, Entry)>,
}

/// Completes events with the flows and envelopes of their messages. Events whose message cannot be read are left out.
pub(in crate::store) fn complete(
    events: impl IntoIterator<Item = PendingEvent>,
    reader: &Reader,
) -> Vec<Event> {
    let mut message = reader.sequential();
    let complete = |pending: PendingEvent| {
        let Some((id, entry)) = pending.message else {
            return Some(pending.event);
        };
        let message = message(id, entry).ok()?;
        Some(Event {
            id: Some(id),
            envelope: Some(Arc::new(EnvelopeSummary::whole(&message))),
            flows: message.flows,
            ..pending.event
        })
    };
    events.into_iter().filter_map(complete).collect()
}
