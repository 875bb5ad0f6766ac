//! The threads that sessions run on: one actix arbiter each, chosen in turn.
//!
//! On a machine with one or two cores there are none of their own: sessions run on the spool's thread, because waking another thread
//! twice for each message costs more than it gains there (see docs/performance.md).

use crate::supervision::{Part, Supervision};
use actix::{Arbiter, ArbiterHandle};
use spool_core::BoxFuture;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A fixed set of arbiters. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Workers {
    handles: Arc<[ArbiterHandle]>,
    next: Arc<AtomicUsize>,
    /// Whether they are the spool's own thread: that ends with the spool.
    shared: bool,
}

impl Workers {
    /// Starts `threads` arbiters; 0: as many as leave one core to the spool's own thread, and none beside that where there are no more
    /// than two cores.
    ///
    /// # Errors
    /// When the system gives no thread.
    ///
    /// # Panics
    /// When no actix system runs on this thread.
    pub fn start(threads: usize) -> io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        if threads == 0 && cores <= 2 {
            return Ok(Self {
                handles: [Arbiter::current()].into(),
                next: Arc::default(),
                shared: true,
            });
        }
        let threads = if threads == 0 { cores - 1 } else { threads };
        let handles = (0..threads).map(|_| Arbiter::try_new().map(|arbiter| arbiter.handle()));
        Ok(Self {
            handles: handles.collect::<io::Result<_>>()?,
            next: Arc::default(),
            shared: false,
        })
    }

    /// Reports a thread that ends while the spool works.
    pub(crate) fn watch(&self, supervision: &Supervision) {
        for arbiter in self.handles.iter() {
            let sentinel = supervision.sentinel(Part::Worker);
            // Dropped with the thread's runtime; or here, when that has ended already.
            arbiter.spawn(async move {
                let _sentinel = sentinel;
                std::future::pending::<()>().await;
            });
        }
    }

    /// The next arbiter in turn.
    pub(crate) fn next(&self) -> Option<&ArbiterHandle> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        self.handles.get(turn % self.handles.len().max(1))
    }

    /// Deals things out to the threads in turn: for each thread its share.
    pub(crate) fn deal<T>(&self, things: Vec<T>) -> Vec<(&ArbiterHandle, Vec<T>)> {
        let mut shares: Vec<Vec<T>> = self.handles.iter().map(|_| Vec::new()).collect();
        let threads = shares.len().max(1);
        let first = self.next.fetch_add(things.len(), Ordering::Relaxed);
        for (number, thing) in things.into_iter().enumerate() {
            if let Some(share) = shares.get_mut(first.wrapping_add(number) % threads) {
                share.push(thing);
            }
        }
        let shares = self.handles.iter().zip(shares);
        shares.filter(|(_, share)| !share.is_empty()).collect()
    }

    /// Runs what `start` makes on the next thread in turn. `start` is called there, so that the sockets it opens
    /// belong to that thread. `false`: the threads have ended, and it will never run.
    pub fn place(&self, start: impl FnOnce() -> BoxFuture<()> + Send + 'static) -> bool {
        self.next()
            .is_some_and(|arbiter| arbiter.spawn(async move { start().await }))
    }

    /// Ends the threads, and with them whatever still runs there.
    pub fn stop(&self) {
        if self.shared {
            return;
        }
        for arbiter in self.handles.iter() {
            arbiter.stop();
        }
    }
}
