//! What is done on disk when nobody waits: twice a second it is looked whether the files are still there; each second the space of segments that were given up is freed, and a little of what
//! nobody has looked at for long is read again; a line in the log for every damaged place that was not known.

use super::{SpoolActor, TICK};
use actix::Context;

impl SpoolActor {
    /// Has the store look whether its files are still there. What is gone it reports as the end of the spool.
    pub(super) fn watch_files(&mut self, ctx: &mut Context<Self>) {
        if self.watching || self.supervision.is_over() {
            return;
        }
        self.watching = true;
        let store = std::sync::Arc::clone(&self.store);
        let look = move || store.check_files().is_ok();
        self.off_thread(ctx, look, |actor, _, _| actor.watching = false);
    }

    /// Lets the store do its housework.
    pub(super) fn clean(&mut self, ctx: &mut Context<Self>) {
        // A disk that takes longer than a second is not asked for more.
        if self.cleaning || self.is_loading() || self.supervision.is_over() {
            return;
        }
        self.cleaning = true;
        let bytes = self.scrub_rate.saturating_mul(TICK.as_secs());
        let store = std::sync::Arc::clone(&self.store);
        let work = move || {
            store.give_back();
            store.scrub(bytes)
        };
        self.off_thread(ctx, work, |actor, step, _| {
            actor.cleaning = false;
            for finding in &step.news {
                tracing::error!(file = finding.file, "damaged on disk: {}", finding.what);
            }
            if step.pass_over {
                let damaged = actor.store.scrub_findings().len();
                tracing::debug!(damaged, "the whole spool was read once more");
            }
        });
    }
}
