//! Work that blocks: it runs on the blocking pool, and ends the spool if it panics.

use super::SpoolActor;
use crate::supervision::{Ending, Part};
use spool_core::store::Store;
use std::sync::Arc;

impl SpoolActor {
    /// Runs `work` on the blocking pool; `None` when it panicked, which ends the spool.
    pub(super) fn blocking<T, W>(&self, work: W) -> impl Future<Output = Option<T>> + use<T, W>
    where
        T: Send + 'static,
        W: FnOnce(&Store) -> T + Send + 'static,
    {
        let (store, supervision) = (Arc::clone(&self.store), self.supervision.clone());
        let failpoint = supervision.clone();
        let work = tokio::task::spawn_blocking(move || {
            failpoint.failpoint(Part::BlockingJob);
            work(&store)
        });
        async move {
            let done = work.await.ok();
            if done.is_none() {
                supervision.end(Ending::Panicked(Part::BlockingJob));
            }
            done
        }
    }
}
