//! Walks through the messages that a selector means, page by page.
//!
//! It holds one page at a time. What arrives or leaves meanwhile may or may not be seen: it is no snapshot.

use crate::selector::Selector;
use actix::Addr;
use spool_actors::{ListMessages, SpoolActor};
use spool_core::store::Shelf;
use spool_core::{Clock, MessageId, MessageSummary, SpoolError, SystemClock};

/// Messages asked for at once.
const PAGE: usize = 1000;
/// The same with their recipients, each of which may have a thousand.
const WHOLE_PAGE: usize = 50;
/// Ids looked up for one page.
const LOOKUPS: usize = 100;

/// The walk.
pub(super) struct Pages {
    spool: Addr<SpoolActor>,
    selector: Selector,
    shelf: Option<Shelf>,
    envelopes: bool,
    place: Place,
}

/// How far it has come.
enum Place {
    /// Behind this one, through all of them.
    Behind(Option<MessageId>),
    /// These ids are left, the next one last.
    Left(Vec<MessageId>),
    Ended,
}

impl Pages {
    /// From the first message on. With `envelopes`, senders and recipients are there even if the selector needs none.
    pub(super) fn new(
        spool: Addr<SpoolActor>,
        selector: Selector,
        shelf: Option<Shelf>,
        envelopes: bool,
    ) -> Self {
        let place = match selector.ids() {
            Some(ids) => Place::Left(ids.iter().rev().copied().collect()),
            None => Place::Behind(None),
        };
        Self {
            spool,
            envelopes: envelopes || selector.needs_envelope(),
            selector,
            shelf,
            place,
        }
    }

    /// The selected messages of the next page, in the order of their ids; `None` at the end. A page may be empty.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<MessageSummary>>, SpoolError> {
        let mut messages = match &mut self.place {
            Place::Ended => return Ok(None),
            Place::Behind(after) => {
                let after = *after;
                let limit = if self.envelopes { WHOLE_PAGE } else { PAGE };
                let page = self.list(after, limit).await?;
                self.place = match page.last() {
                    // A page can be shorter because something left meanwhile: the end is the empty one.
                    Some(last) => Place::Behind(Some(last.id)),
                    None => Place::Ended,
                };
                page
            }
            Place::Left(ids) => {
                let now = ids.split_off(ids.len().saturating_sub(LOOKUPS));
                if now.is_empty() {
                    self.place = Place::Ended;
                }
                self.look_up(&now).await?
            }
        };
        if matches!(self.place, Place::Ended) {
            return Ok(None);
        }
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
            shelf: self.shelf,
        };
        self.spool.send(list).await.unwrap_or(Err(SpoolError::Killed))
    }
}
