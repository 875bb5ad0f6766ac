//! What is done on disk when nobody waits. Twice a second the store checks that its files are still there, and
//! on a full disk whether there is room again. Each second it frees the space of
//! segments that were given up, and reads a part of the oldest data again; each damaged place that was not known gets a line in the log.

use super::{SpoolActor, TICK};
use crate::supervision::{Ending, Part};
use actix::fut::wrap_future;
use actix::{ActorFutureExt, AsyncContext, Context};
use spool_core::store::Store;
use std::sync::Arc;

impl SpoolActor {
    /// Has the store look whether its files are still there. What is gone it reports as the end of the spool.
    pub(super) fn watch_files(&mut self, ctx: &mut Context<Self>) {
        if self.watching || self.closing || self.supervision.is_over() {
            return;
        }
        self.watching = true;
        let look = |store: &Store| {
            store.retry_segment();
            drop(store.check_files());
        };
        self.look_after(ctx, look, |actor, _| actor.watching = false);
    }

    /// Lets the store do its housework.
    pub(super) fn clean(&mut self, ctx: &mut Context<Self>) {
        // A disk that takes longer than a second is not asked for more.
        if self.cleaning || self.is_loading() || self.supervision.is_over() {
            return;
        }
        self.cleaning = true;
        let bytes = self.scrub_rate.saturating_mul(TICK.as_secs());
        let work = move |store: &Store| {
            store.give_back();
            store.scrub(bytes)
        };
        self.look_after(ctx, work, |actor, step| {
            actor.cleaning = false;
            let Some(step) = step else { return };
            for finding in &step.new_findings {
                tracing::error!(file = finding.file, "damaged on disk: {}", finding.what);
            }
            if step.pass_over {
                let damaged = actor.store.scrub_findings().len();
                tracing::debug!(damaged, "the whole spool was read once more");
            }
        });
    }

    /// Runs `work` on the blocking pool, then `then` here; without a value when it panicked, which ends the spool.
    fn look_after<T: Send + 'static>(
        &self,
        ctx: &mut Context<Self>,
        work: impl FnOnce(&Store) -> T + Send + 'static,
        then: impl FnOnce(&mut Self, Option<T>) + 'static,
    ) {
        let (store, supervision) = (Arc::clone(&self.store), self.supervision.clone());
        let work = tokio::task::spawn_blocking(move || {
            supervision.failpoint(Part::BlockingJob);
            work(&store)
        });
        ctx.spawn(
            wrap_future(work).map(move |done, actor: &mut Self, ctx: &mut Context<Self>| {
                if done.is_err() {
                    actor.supervision.end(Ending::Panicked(Part::BlockingJob));
                }
                then(actor, done.ok());
                actor.close_when_quiet(ctx);
            }),
        );
    }
}
