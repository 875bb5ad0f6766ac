//! How many sessions at once a destination takes: additive increase, multiplicative decrease, as congestion control has it.
//!
//! It begins low and doubles in each round of sessions. A refusal lowers it once for all sessions of that round: those that
//! had begun before say nothing new. Then it creeps up to where it was refused, so slowly that asking costs few refusals,
//! and faster beyond.

use super::Serial;
use spool_core::LearnedSessions;

/// Sessions to a destination of which nothing is known.
const INITIAL: f64 = 4.0;
/// Sessions after a pause in which it was left alone.
const AFTER_A_PAUSE: f64 = 2.0;
/// Growth for a message, up to where it was refused: one refusal in forty messages at most.
const CREEP: f64 = 1.0 / 40.0;
/// Growth for a message, where nothing speaks against it.
const WALK: f64 = 1.0 / 8.0;
/// Messages between two cuts below which the second is deep: the first was not deep enough.
const FEW: u32 = 16;
const SHALLOW: f64 = 0.8;
const DEEP: f64 = 0.5;

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Window {
    limit: f64,
    /// Below it the limit doubles in each round.
    threshold: f64,
    /// How many sessions were refused.
    too_many: Option<f64>,
    /// The last session with which the limit was reached; 0: none.
    full_at: Serial,
    /// The last session that had begun when the limit was cut; 0: none.
    cut_at: Serial,
    /// Messages since then.
    messages: u32,
    /// Why it is lower than it may be.
    reason: Option<Box<str>>,
}

impl Default for Window {
    fn default() -> Self {
        Self {
            limit: INITIAL,
            threshold: f64::INFINITY,
            too_many: None,
            full_at: 0,
            cut_at: 0,
            messages: 0,
            reason: None,
        }
    }
}

impl Window {
    /// Sessions at once, of at most `max`.
    pub(super) fn limit(&self, max: usize) -> usize {
        whole(self.limit).clamp(1, max.max(1))
    }

    pub(super) fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// The session `serial` begins, and with it `running` run.
    pub(super) fn begin(&mut self, serial: Serial, running: usize, max: usize) {
        if running >= self.limit(max) {
            self.full_at = serial;
        }
    }

    /// The session `serial` went well. Only a limit that was reached since it began can be too low.
    pub(super) fn grow(&mut self, serial: Serial, max: usize) {
        self.messages = self.messages.saturating_add(1);
        if self.full_at < serial {
            return;
        }
        let step = if self.limit < self.threshold {
            1.0
        } else if self.too_many.is_some_and(|many| self.limit <= many) {
            CREEP
        } else {
            WALK
        };
        let max = number(max.max(1));
        self.limit = (self.limit + step).min(max);
        if self.limit >= max {
            self.reason = None;
        }
    }

    /// The session `serial` was one too many; `last` is the last one that has begun, and `running` run.
    pub(super) fn refuse(&mut self, serial: Serial, last: Serial, running: usize, reason: &str) {
        if !self.is_news(serial) {
            return;
        }
        let sure = self.messages >= FEW && self.limit >= self.threshold;
        let base = self.base(running);
        self.limit = (base * if sure { SHALLOW } else { DEEP }).floor().max(1.0);
        self.threshold = self.limit;
        self.too_many = Some(base);
        self.was_cut(last, reason);
    }

    /// The session `serial` came to nothing. That says little about how many are too many.
    pub(super) fn lose(&mut self, serial: Serial, last: Serial, running: usize, reason: &str) {
        if !self.is_news(serial) {
            return;
        }
        self.limit = (self.base(running) * DEEP).floor().max(1.0);
        self.threshold = self.limit.max(AFTER_A_PAUSE);
        self.was_cut(last, reason);
    }

    /// It answers again: as with a new destination, up to near where it had refused.
    pub(super) fn restart(&mut self) {
        self.limit = AFTER_A_PAUSE;
        self.threshold = self.too_many.map_or(f64::INFINITY, |many| many * SHALLOW);
    }

    /// Whether that session began under the limit of now: then it says more than the last cut knew.
    fn is_news(&self, serial: Serial) -> bool {
        serial > self.cut_at
    }

    fn base(&self, running: usize) -> f64 {
        number(running).min(self.limit).max(1.0)
    }

    fn was_cut(&mut self, last: Serial, reason: &str) {
        self.cut_at = last;
        self.messages = 0;
        self.reason = Some(reason.into());
    }

    /// What is worth remembering: that it takes fewer sessions than it may.
    pub(super) fn learned(&self) -> Option<LearnedSessions> {
        let reason = self.reason.as_deref()?.to_owned();
        Some(LearnedSessions {
            limit: self.limit,
            too_many: self.too_many,
            reason,
        })
    }

    /// One that remembers.
    pub(super) fn remembering(learned: LearnedSessions) -> Self {
        let sane = |number: f64| number.is_finite() && number >= 1.0;
        let limit = if sane(learned.limit) { learned.limit } else { 1.0 };
        Self {
            limit,
            threshold: limit,
            too_many: learned.too_many.filter(|many| sane(*many)),
            reason: Some(learned.reason.into()),
            ..Self::default()
        }
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it saturates"
)]
fn whole(number: f64) -> usize {
    number as usize
}

#[allow(clippy::cast_precision_loss, reason = "sessions are few")]
fn number(whole: usize) -> f64 {
    whole as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sessions from `first` on begin, as many at once as may, and `count` go well.
    fn go_well(window: &mut Window, first: Serial, count: usize, max: usize) {
        for running in 1..=window.limit(max) {
            window.begin(first, running, max);
        }
        (0..count).for_each(|_| window.grow(first, max));
    }

    #[test]
    fn it_begins_low_and_doubles_in_each_round() {
        let mut window = Window::default();
        let rounds = (1..5).map(|round| {
            let limit = window.limit(100);
            go_well(&mut window, round, limit, 100);
            limit
        });
        assert_eq!(rounds.collect::<Vec<_>>(), [4, 8, 16, 32]);
    }

    #[test]
    fn it_grows_only_when_it_is_reached() {
        let mut window = Window::default();
        window.begin(1, 3, 100);
        (0..100).for_each(|_| window.grow(1, 100));
        assert_eq!(window.limit(100), 4);
        go_well(&mut window, 2, 100, 4);
        assert_eq!((window.limit(4), window.limit(100)), (4, 4));
    }

    #[test]
    fn a_burst_of_one_round_counts_once() {
        let mut window = Window::default();
        go_well(&mut window, 1, 60, 64);
        (2..=64).for_each(|serial| window.refuse(serial, 64, 64, "421"));
        assert_eq!((window.limit(64), window.reason()), (32, Some("421")));
        window.refuse(65, 80, 32, "421");
        assert_eq!(window.limit(64), 16);
        // Deep no more once it was about right.
        go_well(&mut window, 81, 40, 64);
        window.refuse(100, 110, 17, "421");
        assert_eq!(window.limit(64), 13);
    }

    #[test]
    fn lost_sessions_lower_it_and_it_comes_back_faster_than_after_a_refusal() {
        let (mut lost, mut refused) = (Window::default(), Window::default());
        for window in [&mut lost, &mut refused] {
            go_well(window, 1, 60, 64);
        }
        lost.lose(2, 64, 64, "reset");
        refused.refuse(2, 64, 64, "421");
        for window in [&mut lost, &mut refused] {
            assert_eq!(window.limit(64), 32);
            (65..67).for_each(|serial| go_well(window, serial, 32, 64));
        }
        assert_eq!((lost.limit(64), refused.limit(64)), (40, 33));
    }

    #[test]
    fn what_is_remembered_goes_on() {
        let mut window = Window::default();
        assert_eq!(window.learned(), None);
        window.refuse(1, 4, 4, "421");
        let again = Window::remembering(window.learned().unwrap());
        assert_eq!(again.learned(), window.learned());
        assert_eq!(again.limit(10), 2);
        let wild = LearnedSessions {
            limit: f64::NAN,
            too_many: Some(-3.0),
            reason: String::new(),
        };
        assert_eq!(Window::remembering(wild).limit(10), 1);
    }
}
