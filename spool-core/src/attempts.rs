//! The recorded attempts of a message: the first, the last ones, and how many between them were left out. The state of
//! a message is rewritten after each attempt. This bound keeps it small, however often the message is tried, and the
//! journal with it. Decisions that depend on the number of attempts use [`Attempts::total`].

use crate::attempt::{Attempt, AttemptResult};
use derive_more::Deref;
use serde::{Deserialize, Serialize};

/// The most attempts kept in addition to the first one.
pub const MAX_LAST_ATTEMPTS: usize = 20;
/// The most refused recipients kept, without those of the first and the last attempt.
pub const MAX_KEPT_REFUSALS: usize = 1000;

/// The attempts of a message, oldest first: a slice of those that are kept.
#[derive(Debug, Deref, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Recorded")]
pub struct Attempts {
    #[deref(forward)]
    kept: Vec<Attempt>,
    /// Attempts left out, all of them after the first one.
    left_out: u64,
}

/// The attempts as they are on disk. Format 1 left none out.
#[derive(Deserialize)]
struct Recorded {
    kept: Vec<Attempt>,
    #[serde(deserialize_with = "crate::since::format::<2, _, _>")]
    left_out: u64,
}

impl From<Recorded> for Attempts {
    fn from(recorded: Recorded) -> Self {
        Self::of(recorded.kept, recorded.left_out)
    }
}

impl Attempts {
    /// Whether the last attempt was interrupted.
    #[must_use]
    pub fn ended_interrupted(&self) -> bool {
        let interrupted = |attempt: &Attempt| matches!(attempt.report.result, AttemptResult::Interrupted);
        self.last().is_some_and(interrupted)
    }

    /// The attempts `kept`, and the number of others, `left_out`.
    #[must_use]
    pub fn of(kept: Vec<Attempt>, left_out: u64) -> Self {
        let mut attempts = Self { kept, left_out };
        attempts.trim();
        attempts
    }

    /// Adds the newest attempt, and leaves out older ones when there are too many.
    pub fn push(&mut self, attempt: Attempt) {
        self.kept.push(attempt);
        self.trim();
    }

    /// How many attempts there were, those left out included.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.left_out.saturating_add(self.kept.len() as u64)
    }

    /// How many attempts were left out after the first one.
    #[must_use]
    pub const fn left_out(&self) -> u64 {
        self.left_out
    }

    fn trim(&mut self) {
        let refusals = |attempt: &Attempt| attempt.report.refused.len();
        let (mut keep, mut total) = (0, 0);
        // From the newest one backwards: as many as the bounds allow.
        let between = self.kept.get(1..).unwrap_or_default();
        for (nth, attempt) in between.iter().rev().enumerate().take(MAX_LAST_ATTEMPTS) {
            total += if nth == 0 { 0 } else { refusals(attempt) };
            if total > MAX_KEPT_REFUSALS {
                break;
            }
            keep += 1;
        }
        let drop = between.len() - keep;
        if drop == 0 {
            return;
        }
        self.kept.drain(1..1 + drop);
        self.left_out = self.left_out.saturating_add(drop as u64);
    }
}

impl FromIterator<Attempt> for Attempts {
    fn from_iter<I: IntoIterator<Item = Attempt>>(attempts: I) -> Self {
        Self::of(attempts.into_iter().collect(), 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attempt::{AttemptReport, RefusedRecipient};
    use crate::clock::Timestamp;
    use crate::reply::Reply;

    fn attempt(at: i64, refused: u32) -> Attempt {
        let mut report = AttemptReport::new(AttemptResult::AllRefused);
        report.refused = (0..refused)
            .map(|recipient| RefusedRecipient {
                recipient,
                reply: Reply::new(450, "4.2.0 later"),
            })
            .collect();
        Attempt {
            at: Timestamp(at),
            duration_ms: 1,
            report,
        }
    }

    fn times(attempts: &Attempts) -> Vec<i64> {
        attempts.iter().map(|attempt| attempt.at.0).collect()
    }

    #[test]
    fn the_first_and_last_attempts_are_kept_and_others_counted() {
        let mut attempts = Attempts::default();
        for at in 0..1000 {
            attempts.push(attempt(at, 1));
            assert_eq!(attempts.total(), at.unsigned_abs() + 1);
            assert_eq!(attempts.first().unwrap().at, Timestamp(0));
            assert_eq!(attempts.last().unwrap().at, Timestamp(at));
            assert!(attempts.len() <= 1 + MAX_LAST_ATTEMPTS);
        }
        assert_eq!(attempts.left_out(), 979);
        assert_eq!(times(&attempts)[..3], [0, 980, 981]);
        let all: Attempts = (0..1000).map(|at| attempt(at, 1)).collect();
        assert_eq!(all, attempts);
    }

    #[test]
    fn attempts_with_many_refusals_are_left_out_first() {
        let mut attempts = Attempts::default();
        for at in 0..10 {
            attempts.push(attempt(at, 400));
        }
        // The first, the last, and two between them with 800 refusals.
        assert_eq!((times(&attempts), attempts.total()), (vec![0, 7, 8, 9], 10));
        attempts.push(attempt(10, 5000));
        attempts.push(attempt(11, 5000));
        assert_eq!((times(&attempts), attempts.total()), (vec![0, 11], 12));
    }
}
