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
use tokio::sync::watch;

/// A fixed set of arbiters. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Workers {
    handles: Arc<[ArbiterHandle]>,
    next: Arc<AtomicUsize>,
    /// Whether they have been stopped; `None`: they are threads of their own, which end.
    shared: Option<watch::Sender<bool>>,
}

impl Workers {
    /// Starts `threads` arbiters; 0: as many as leave one core to the spool's own thread, and none beside that where there are no more
    /// than two cores.
    ///
    /// # Errors
    /// When the system cannot create a thread.
    ///
    /// # Panics
    /// When no actix system runs on this thread.
    pub fn start(threads: usize) -> io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        if threads == 0 && cores <= 2 {
            return Ok(Self {
                handles: [Arbiter::current()].into(),
                next: Arc::default(),
                shared: Some(watch::Sender::new(false)),
            });
        }
        let threads = if threads == 0 { cores - 1 } else { threads };
        let handles = (0..threads).map(|_| Arbiter::try_new().map(|arbiter| arbiter.handle()));
        Ok(Self {
            handles: handles.collect::<io::Result<_>>()?,
            next: Arc::default(),
            shared: None,
        })
    }

    /// Where the hooks of an embedding program are asked: here, or on a thread of their own where the spool's would wait for a hook that
    /// blocks.
    ///
    /// # Errors
    /// When the system cannot create a thread.
    pub(crate) fn for_hooks(&self, supervision: &Supervision) -> io::Result<Self> {
        if self.shared.is_none() {
            return Ok(self.clone());
        }
        let own = Self::start(1)?;
        own.watch(supervision);
        Ok(own)
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
    ///
    /// It must not block: where there are no threads beside the spool's own, the whole spool would wait.
    pub fn place(&self, start: impl FnOnce() -> BoxFuture<()> + Send + 'static) -> bool {
        let Some(arbiter) = self.next() else {
            return false;
        };
        let Some(stopped) = &self.shared else {
            return arbiter.spawn(async move { start().await });
        };
        let mut stopped = stopped.subscribe();
        if *stopped.borrow() {
            return false;
        }
        arbiter.spawn(async move {
            tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => {}
                () = async move { start().await } => {}
            }
        })
    }

    /// Ends the threads, and with them whatever still runs there. The spool's own thread goes on; what was placed on it ends.
    pub fn stop(&self) {
        if let Some(stopped) = &self.shared {
            stopped.send_replace(true);
            return;
        }
        for arbiter in self.handles.iter() {
            arbiter.stop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix::test]
    async fn what_runs_on_the_spools_own_thread_ends_when_it_is_stopped() {
        let workers = Workers {
            handles: [Arbiter::current()].into(),
            next: Arc::default(),
            shared: Some(watch::Sender::new(false)),
        };
        let (held, dropped) = tokio::sync::oneshot::channel::<()>();
        let (begun, begins) = tokio::sync::oneshot::channel();
        let placed = workers.place(move || {
            Box::pin(async move {
                let _held = held;
                let _ = begun.send(());
                std::future::pending().await
            })
        });
        assert!(placed);
        assert!(begins.await.is_ok(), "it runs");
        workers.clone().stop();
        assert!(dropped.await.is_err(), "it was dropped");
        assert!(
            !workers.place(|| Box::pin(async {})),
            "nothing is placed any more"
        );
    }
}
