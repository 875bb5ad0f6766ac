//! Whether a peer that refuses has a limit of sessions at once or of messages in a time.
//!
//! A limit of messages applies to any number of sessions; a limit of sessions only to more of them than were ever taken. So each refusal
//! is compared with what was taken since the one before. The peer's own words are believed until three more refusals speak against them
//! than for them.

/// So many more refusals of the one kind than of the other are believed against the peer's words.
const SURE: i8 = 3;

/// See the module.
#[derive(Debug, Clone, Default)]
pub(super) struct Evidence {
    /// The most sessions with which a message was taken since the last refusal.
    most: u16,
    /// One more for each refusal that came with more sessions, one less for each other.
    above: i8,
}

impl Evidence {
    /// A message was taken that began when `running` sessions ran, itself included.
    pub(super) fn take(&mut self, running: u16) {
        self.most = self.most.max(running);
    }

    /// A message was refused that began when `running` sessions ran. Gives whether there are too many sessions; `says`: the peer says so.
    pub(super) fn refuse(&mut self, running: u16, says: bool) -> bool {
        if self.most > 0 {
            let step = if running > self.most { 1 } else { -1 };
            self.above = (self.above + step).clamp(-2 * SURE, 2 * SURE);
            self.most = 0;
        }
        if says {
            self.above > -SURE
        } else {
            self.above >= SURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays rounds of `(most sessions of what was taken, sessions of what was refused)`.
    fn after(says: bool, rounds: &[(u16, u16)]) -> bool {
        let mut evidence = Evidence::default();
        let mut sessions = says;
        for (most, refused) in rounds {
            (1..=*most).for_each(|running| evidence.take(running));
            sessions = evidence.refuse(*refused, says);
        }
        sessions
    }

    #[test]
    fn refusals_beyond_all_that_was_taken_speak_for_sessions() {
        assert!(!after(false, &[(10, 11); 2]));
        assert!(after(false, &[(10, 11); 3]));
        assert!(!after(false, &[(10, 11), (10, 11), (10, 10), (10, 11)]));
        assert!(!after(false, &[(3, 4), (3, 4), (3, 4), (4, 4)]));
        assert!(!after(false, &[(2, 2); 50]));
    }

    #[test]
    fn refusals_at_any_number_speak_for_messages_whatever_the_peer_says() {
        assert!(after(true, &[(10, 11); 50]));
        assert!(after(true, &[(4, 2); 2]));
        assert!(!after(true, &[(4, 2); 3]));
        assert!(after(true, &[(4, 2), (4, 1), (4, 2), (4, 5)]));
    }

    #[test]
    fn a_refusal_before_anything_was_taken_says_nothing() {
        assert!(!after(false, &[(0, 11); 50]));
        assert!(after(true, &[(0, 1); 50]));
    }
}
