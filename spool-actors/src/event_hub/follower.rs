//! Follower: a subscriber that starts with past events. It reads the event log on disk, page by page, and waits at its end.
//!
//! It never holds the spool open and never slows it: however far it lags, it costs one page of memory. It is polled on
//! a tokio runtime.

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use spool_core::store::{EventCursor, Store, StoreError};
use spool_core::{Clock, Event, EventKind};
use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

/// Events that are read at once.
const PAGE: usize = 256;
/// Followers that read at once. Each takes a thread that may block: the others wait without one while the disk hangs.
pub(crate) const READERS: usize = 4;

/// See the module.
pub(crate) struct Follower {
    pub(crate) store: Weak<Store>,
    /// Where it starts.
    pub(crate) cursor: EventCursor,
    pub(crate) page: VecDeque<Event>,
    pub(crate) last: watch::Receiver<u64>,
    /// All followers of a spool share them.
    pub(crate) readers: Arc<Semaphore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ping: Duration,
}

impl Follower {
    pub(super) fn stream(self) -> BoxStream<'static, Event> {
        stream::unfold(self, |mut follower| async {
            follower.next().await.map(|event| (event, follower))
        })
        .boxed()
    }

    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.page.pop_front() {
                return Some(event);
            }
            // Marked as seen before the log is read, so that a later event wakes the follower.
            self.last.borrow_and_update();
            self.page = self.read().await?;
            if !self.page.is_empty() {
                continue;
            }
            match tokio::time::timeout(self.ping, self.last.changed()).await {
                Ok(Ok(())) => {}
                // The spool has ended; what it told last may still be there to read.
                Ok(Err(_)) => {
                    self.page = self.read().await?;
                    if self.page.is_empty() {
                        return None;
                    }
                }
                Err(_) => return Some(self.ping()),
            }
        }
    }

    /// The next page; `None` when the spool has ended or its log cannot be read.
    async fn read(&mut self) -> Option<VecDeque<Event>> {
        let reader = Arc::clone(&self.readers).acquire_owned().await.ok()?;
        let store = self.store.upgrade()?;
        let mut cursor = self.cursor.clone();
        let read = move || {
            let _reader = reader;
            let events = store.events_after(&mut cursor, PAGE);
            events.map(|events| (events, cursor))
        };
        let read: Result<(Vec<Event>, EventCursor), StoreError> =
            match tokio::task::spawn_blocking(read).await {
                Ok(read) => read,
                Err(_) => return None,
            };
        match read {
            Ok((events, cursor)) => {
                self.cursor = cursor;
                Some(events.into())
            }
            Err(error) => {
                tracing::warn!(%error, "an event stream ends: its log cannot be read");
                None
            }
        }
    }

    fn ping(&self) -> Event {
        Event::new(self.cursor.after, self.clock.now(), EventKind::Ping)
    }
}
