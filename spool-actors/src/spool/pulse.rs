//! Whether a spool makes progress, for a supervisor that restarts it when it does not.

use super::SpoolActor;
use actix::{Context, Handler, Message};

/// Returns the [`Pulse`], as soon as the actor handles its next message: no answer within seconds means that the actor is stuck.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Pulse")]
pub struct GetPulse;

/// Counts that show whether the spool makes progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, actix::MessageResponse)]
pub struct Pulse {
    /// Batches of changes that the writer thread has answered, since the start.
    pub commits: u64,
    /// Changes that wait for the writer thread.
    pub pending: usize,
}

impl Handler<GetPulse> for SpoolActor {
    type Result = Pulse;

    fn handle(&mut self, _: GetPulse, _: &mut Context<Self>) -> Pulse {
        Pulse {
            commits: self.commits,
            pending: self.engine.pending,
        }
    }
}

/// Compares each pulse with the previous one.
#[derive(Debug, Default)]
pub struct Progress {
    last: Option<Pulse>,
}

impl Progress {
    /// Whether the spool has made progress since the last call: it has answered, and the writer thread has either nothing to do or has
    /// answered a batch since then. `None`: the spool has not answered.
    pub fn made(&mut self, pulse: Option<Pulse>) -> bool {
        let Some(pulse) = pulse else { return false };
        let last = self.last.replace(pulse);
        // What was handed over a moment ago has not been waiting since the last look.
        let waited = last.is_some_and(|last| last.pending > 0 && last.commits == pulse.commits);
        pulse.pending == 0 || !waited
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_no_progress_without_an_answer_or_while_the_same_changes_wait() {
        let mut progress = Progress::default();
        let mut made = |commits, pending| progress.made(Some(Pulse { commits, pending }));
        assert!(made(0, 0) && made(0, 0), "nothing to do");
        assert!(made(0, 3), "just handed over");
        assert!(!made(0, 3) && !made(0, 5), "the writer does not answer");
        assert!(made(1, 4), "it has answered some");
        assert!(!made(1, 4));
        assert!(made(2, 0));
        assert!(!progress.made(None));
    }
}
