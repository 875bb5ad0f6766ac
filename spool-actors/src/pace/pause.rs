//! A destination whose host has no connection left for it waits a moment, and longer each time it comes in vain: many destinations
//! may share one host, and each that asks takes a job from those that could go. After it one message asks for all of them.

use spool_core::{Dice, RetryInterval, Timestamp};
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(8);

/// See the module.
#[derive(Debug, Clone, Default)]
pub(super) struct Pause(Option<Box<Lasting>>);

#[derive(Debug, Clone)]
struct Lasting {
    since: Timestamp,
    until: Timestamp,
    span: Duration,
    reason: Box<str>,
}

impl Pause {
    /// A message that had begun at `began` came in vain. Those that had begun before a pause are of its round.
    pub(super) fn lengthen(&mut self, began: Timestamp, now: Timestamp, reason: &str, dice: &dyn Dice) {
        let span = match &self.0 {
            // Not where the clock was set back since: that pause is of another day, and holds nothing up.
            Some(lasting) if lasting.since <= now && began < lasting.until => return,
            Some(lasting) => (lasting.span * 2).min(LONGEST),
            None => FIRST,
        };
        let interval = RetryInterval::with_jitter(span, 0.5);
        self.0 = Some(Box::new(Lasting {
            since: now,
            until: now.after(dice.draw(interval)),
            span,
            reason: reason.into(),
        }));
    }

    /// A connection may be had: one message asks now. If it comes in vain as well, the next pause is longer.
    pub(super) fn cut(&mut self, now: Timestamp) {
        if let Some(lasting) = &mut self.0 {
            lasting.until = lasting.until.min(now);
        }
    }

    /// A connection was had.
    pub(super) fn end(&mut self) {
        self.0 = None;
    }

    /// Whether no connection was had since the last message that came in vain: one message asks at a time.
    pub(super) const fn is_in_vain(&self) -> bool {
        self.0.is_some()
    }

    /// Until when it lasts, and for want of what.
    pub(super) fn until(&self, now: Timestamp) -> Option<(Timestamp, &str)> {
        let lasting = self.0.as_ref()?;
        // The clock may have been set back.
        (lasting.since <= now && now < lasting.until).then_some((lasting.until, &*lasting.reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spool_core::NoDice;

    #[test]
    fn each_message_that_comes_in_vain_makes_it_longer_and_those_of_one_round_count_once() {
        let at = |ms: i64| Timestamp(1_800_000_000_000 + ms);
        let mut pause = Pause::default();
        let (mut now, mut spans) = (0, Vec::new());
        for _ in 0..8 {
            pause.lengthen(at(now), at(now + 5), "all are in use", &NoDice);
            // Began before the pause was known.
            pause.lengthen(at(now + 1), at(now + 6), "all are in use", &NoDice);
            let (until, reason) = pause.until(at(now + 6)).unwrap();
            assert_eq!(reason, "all are in use");
            assert_eq!(pause.until(until), None);
            spans.push(until.since(at(now + 5)).as_millis());
            now = until.0 - at(0).0;
        }
        assert_eq!(spans, [250, 500, 1000, 2000, 4000, 8000, 8000, 8000]);
        assert_eq!(pause.until(at(-1)), None, "the clock was set back");
        pause.lengthen(at(-1), at(-1), "all are in use", &NoDice);
        assert_eq!(pause.until(at(-1)).map(|(until, _)| until), Some(at(7999)));
        assert!(pause.is_in_vain());
        pause.end();
        assert!(!pause.is_in_vain());
        pause.lengthen(at(now), at(now), "x", &NoDice);
        assert_eq!(pause.until(at(now)).map(|(until, _)| until), Some(at(now + 250)));
    }

    #[test]
    fn a_pause_that_is_cut_short_ends_at_once_and_the_next_one_is_longer() {
        let at = |ms: i64| Timestamp(1_800_000_000_000 + ms);
        let mut pause = Pause::default();
        pause.cut(at(0));
        assert!(!pause.is_in_vain());
        pause.lengthen(at(0), at(5), "x", &NoDice);
        pause.cut(at(10));
        assert_eq!(pause.until(at(10)), None);
        assert!(pause.is_in_vain(), "one message asks");
        // One that began before is of the same round.
        pause.lengthen(at(1), at(11), "x", &NoDice);
        assert_eq!(pause.until(at(11)), None);
        pause.lengthen(at(10), at(12), "x", &NoDice);
        assert_eq!(pause.until(at(12)).map(|(until, _)| until), Some(at(512)));
    }
}
