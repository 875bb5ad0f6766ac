//! Whether a peer that complains of messages means sessions.
//!
//! A limit of messages in a time strikes at any number of sessions; a limit of sessions at more than were ever taken, and only there.
//! So each refusal is compared with what was taken since the one before. Whether it came with more sessions than any of that speaks
//! for sessions or for messages; two more of the first kind than of the second are believed.

use super::Serial;

/// Messages taken between two refusals below which the second says nothing: one cut is often not deep enough.
const FEW: u8 = 16;
/// Refusals for sessions, less those for messages, that make it sure enough.
const SURE: u8 = 2;

/// See the module.
#[derive(Debug, Clone, Default)]
pub(super) struct Witness {
    /// The most sessions with which a message was taken since the last refusal, and how many were taken.
    most: u16,
    taken: u8,
    /// One more for each refusal that came with more, one less for each other.
    above: u8,
    /// The last session that had begun when a refusal was heard: those before it ran beside sessions that were refused.
    heard_at: Serial,
}

impl Witness {
    /// A message was taken that began when `running` sessions ran, itself included.
    pub(super) fn take(&mut self, serial: Serial, running: u16) {
        if serial <= self.heard_at {
            return;
        }
        self.most = self.most.max(running);
        self.taken = self.taken.saturating_add(1);
    }

    /// A message was refused that began so; `last` is the last session that has begun.
    pub(super) fn refuse(&mut self, serial: Serial, running: u16, last: Serial) {
        if serial > self.heard_at && self.taken >= FEW {
            self.above = match running > self.most {
                true => (self.above + 1).min(2 * SURE),
                false => self.above.saturating_sub(1),
            };
            (self.most, self.taken) = (0, 0);
        }
        self.heard_at = last;
    }

    /// Whether sessions are what there are too many of.
    pub(super) const fn means_sessions(&self) -> bool {
        self.above >= SURE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays rounds of `(most sessions of what was taken, sessions of what was refused)`.
    fn after(rounds: &[(u16, u16)]) -> bool {
        let mut witness = Witness::default();
        let mut serial = 0;
        for (most, refused) in rounds {
            for _ in 0..FEW {
                serial += 1;
                witness.take(serial, *most);
            }
            serial += 1;
            witness.refuse(serial, *refused, serial);
        }
        witness.means_sessions()
    }

    #[test]
    fn refusals_beyond_all_that_was_taken_speak_for_sessions() {
        assert!(!after(&[(10, 11)]));
        assert!(after(&[(10, 11), (10, 11)]));
        assert!(!after(&[(10, 11), (10, 10), (10, 11)]));
        assert!(after(&[(3, 4), (3, 4), (3, 4), (4, 4)]), "one is not believed");
        assert!(!after(&[(3, 4), (3, 4), (4, 4), (4, 4)]));
        assert!(!after(&[(2, 2); 50]));
    }

    #[test]
    fn what_ran_beside_a_refusal_and_a_refusal_soon_after_one_say_nothing() {
        let mut witness = Witness::default();
        for round in 0..3 {
            let first = round * 100;
            (1..=20).for_each(|n| witness.take(first + n, 5));
            // Six begin, and are refused together; the fifth was taken and says so later.
            (21..=26).for_each(|n| witness.refuse(first + n, 6, first + 26));
            witness.take(first + 20, 9);
            witness.refuse(first + 27, 6, first + 27);
        }
        assert!(witness.means_sessions());
    }
}
