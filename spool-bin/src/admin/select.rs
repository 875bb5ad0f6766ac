//! Lists the messages that match a selector, page by page.
//!
//! It holds one page at a time. Messages that arrive or leave meanwhile may or may not be listed: it is no snapshot.

use super::state::State;
use crate::selector::Selector;
use actix::Addr;
use spool_actors::{ListMessages, SpoolActor};
use spool_core::store::Archive;
use spool_core::{Clock, MessageId, MessageSummary, SpoolError, SystemClock};

/// Messages asked for at once.
const PAGE: usize = 1000;
/// The same with their recipients, each of which may have a thousand.
const WHOLE_PAGE: usize = 50;
/// Ids looked up for one page.
const LOOKUPS: usize = 100;

/// The listing.
pub(super) struct Pages {
    spool: Addr<SpoolActor>,
    selector: Selector,
    archive: Option<Archive>,
    envelopes: bool,
    position: Position,
}

/// How far a listing has come.
enum Position {
    /// All messages after this one are left.
    Behind(Option<MessageId>),
    /// These ids are left, the next one last.
    Left(Vec<MessageId>),
}

impl Pages {
    /// Begins with the first message. With `envelopes`, senders and recipients are listed even if the selector needs none.
    pub(super) fn new(state: &State, selector: Selector, archive: Option<Archive>, envelopes: bool) -> Self {
        let position = match selector.ids() {
            Some(ids) => Position::Left(ids.iter().rev().copied().collect()),
            None => Position::Behind(None),
        };
        Self {
            spool: state.relay.spool.clone(),
            envelopes: envelopes || selector.needs_envelope(),
            selector,
            archive,
            position,
        }
    }

    /// The selected messages of the next page, in the order of their ids; `None` at the end. A page may be empty.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<MessageSummary>>, SpoolError> {
        let mut messages = match &mut self.position {
            Position::Behind(after) => {
                let after = *after;
                let limit = if self.envelopes { WHOLE_PAGE } else { PAGE };
                let page = self.list(after, limit).await?;
                // A page can be shorter because a message left meanwhile: only an empty page is the end.
                let Some(last) = page.last() else { return Ok(None) };
                self.position = Position::Behind(Some(last.id));
                page
            }
            Position::Left(ids) => {
                let now = ids.split_off(ids.len().saturating_sub(LOOKUPS));
                if now.is_empty() {
                    return Ok(None);
                }
                self.look_up(&now).await?
            }
        };
        let now = SystemClock.now();
        messages.retain(|message| self.selector.matches(message, now));
        Ok(Some(messages))
    }

    async fn look_up(&self, ids: &[MessageId]) -> Result<Vec<MessageSummary>, SpoolError> {
        let mut found = Vec::with_capacity(ids.len());
        for id in ids.iter().rev() {
            let before = id.as_u128().checked_sub(1).map(MessageId::from_u128);
            let page = self.list(before, 1).await?;
            found.extend(page.into_iter().filter(|message| message.id == *id));
        }
        Ok(found)
    }

    async fn list(&self, after: Option<MessageId>, limit: usize) -> Result<Vec<MessageSummary>, SpoolError> {
        let list = ListMessages {
            envelopes: self.envelopes,
            after,
            limit,
            archive: self.archive,
        };
        self.spool.send(list).await.unwrap_or(Err(SpoolError::Killed))
    }
}
