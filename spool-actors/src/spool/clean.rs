//! Work on the disk that the engine does not know of; a spool that closes waits for it. Twice a second the store checks that its files
//! are still there, and how much room there is. Each second it frees the space of deleted segments and reads a part of the oldest data
//! again; each new damaged place gets a line in the log. Every ten seconds what was learned of destinations is written. A purge runs
//! here as well.

use super::disk::keep;
use super::{SpoolActor, TICK};
use actix::fut::wrap_future;
use actix::{ActorFutureExt, AsyncContext, Context};
use spool_core::store::Store;

impl SpoolActor {
    /// Has the store check its files, and how much room there is. A missing file is reported as the end of the spool.
    pub(super) fn watch_files(&mut self, ctx: &mut Context<Self>) {
        if self.watching || self.closing || self.supervision.is_over() {
            return;
        }
        self.watching = true;
        let look = |store: &Store| {
            if store.check_files().is_ok() {
                store.look_for_room();
            }
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

    /// Writes down what was learned of destinations, if that is more than before.
    pub(super) fn keep_learned(&mut self, ctx: &mut Context<Self>) {
        let now = self.now();
        // The store must not be asked to write it twice at once, however long the disk takes.
        if self.keeping || self.supervision.is_over() {
            return;
        }
        self.keeping = true;
        let learned = self.ask_limits(now, move |limits| limits.learned_more(now));
        ctx.spawn(wrap_future(learned).map(
            |learned, actor: &mut Self, ctx: &mut Context<Self>| match learned {
                Ok(Some(learned)) if !actor.supervision.is_over() => {
                    let work = move |store: &Store| keep(store, &learned);
                    actor.look_after(ctx, work, |actor, _| actor.keeping = false);
                }
                _ => actor.keeping = false,
            },
        ));
    }

    /// Runs `work` on the blocking pool, then `then` here; without a value when it panicked, which ends the spool.
    pub(super) fn look_after<T: Send + 'static>(
        &mut self,
        ctx: &mut Context<Self>,
        work: impl FnOnce(&Store) -> T + Send + 'static,
        then: impl FnOnce(&mut Self, Option<T>) + 'static,
    ) {
        self.upkeep += 1;
        let work = wrap_future(self.blocking(work));
        ctx.spawn(work.map(move |done, actor: &mut Self, ctx: &mut Context<Self>| {
            actor.upkeep -= 1;
            then(actor, done);
            actor.close_when_quiet(ctx);
        }));
    }
}
