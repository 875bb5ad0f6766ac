//! The pace of the scrub: a little of the disk each second, and a line in the log for every damaged place that was not known.

use super::{SpoolActor, TICK};
use actix::Context;

impl SpoolActor {
    /// Lets the store read its share of what nobody has looked at for long.
    pub(super) fn scrub(&mut self, ctx: &mut Context<Self>) {
        let bytes = self.scrub_rate.saturating_mul(TICK.as_secs());
        // A disk that takes longer than its share is not asked for more.
        if bytes == 0 || self.scrubbing || self.is_loading() || self.gate.is_closed() {
            return;
        }
        self.scrubbing = true;
        let store = std::sync::Arc::clone(&self.store);
        self.off_thread(
            ctx,
            move || store.scrub(bytes),
            |actor, step, _| {
                actor.scrubbing = false;
                for finding in &step.news {
                    tracing::error!(file = finding.file, "damaged on disk: {}", finding.what);
                }
                if step.pass_over {
                    tracing::debug!(
                        damaged = actor.store.scrub_findings().len(),
                        "the whole spool was read once more"
                    );
                }
            },
        );
    }
}
