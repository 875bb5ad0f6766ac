//! The concurrency window: how many sessions at once a destination takes.

use super::Serial;
use super::aimd::Aimd;
use spool_core::LearnedSessions;

/// Sessions to a destination of which nothing is known, or that answers again.
const INITIAL: f64 = 4.0;
/// What a cut leaves of it.
const CUT: f64 = 0.8;
/// Growth for a message, below what it was cut to and beyond.
const FAST: f64 = 1.0;
const SLOW: f64 = 1.0 / 40.0;

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Window {
    limit: Aimd,
    /// The last session with which the limit was reached; 0: none.
    full_at: Serial,
    /// Why it is lower than it may be.
    reason: Option<Box<str>>,
}

impl Default for Window {
    fn default() -> Self {
        Self {
            limit: Aimd::new(INITIAL),
            full_at: 0,
            reason: None,
        }
    }
}

impl Window {
    /// Sessions at once, of at most `max`.
    pub(super) fn limit(&self, max: usize) -> usize {
        whole(self.limit.value).clamp(1, max.max(1))
    }

    pub(super) fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// The session `serial` starts; `running` sessions run, including it.
    pub(super) fn begin(&mut self, serial: Serial, running: usize, max: usize) {
        if running >= self.limit(max) {
            self.full_at = serial;
        }
    }

    /// The session `serial` went well. Only a limit that was reached since it began can be too low.
    pub(super) fn grow(&mut self, serial: Serial, max: usize) {
        let max = number(max.max(1));
        if self.full_at < serial || self.limit.value >= max {
            return;
        }
        self.limit.grow(FAST, SLOW);
        if self.limit.value >= max {
            self.reason = None;
        }
    }

    /// A session was one too many while `running` ran.
    pub(super) fn cut(&mut self, running: usize, reason: &str) {
        let sessions = number(running).min(self.limit.value);
        self.limit = Aimd::cut((sessions * CUT).floor().max(1.0));
        self.reason = Some(reason.into());
    }

    /// It answers again: slow start, up to where the window was.
    pub(super) fn restart(&mut self) {
        self.limit = self.limit.restart(INITIAL.min(self.limit.value));
    }

    /// What is worth remembering: that it takes fewer sessions than it may.
    pub(super) fn learned(&self) -> Option<LearnedSessions> {
        let reason = self.reason.as_deref()?.to_owned();
        Some(LearnedSessions {
            limit: self.limit.value,
            reason,
        })
    }

    /// One that remembers.
    pub(super) fn remembering(learned: LearnedSessions) -> Self {
        let sane = |number: &f64| number.is_finite() && *number >= 1.0;
        let limit = Some(learned.limit).filter(sane).unwrap_or(1.0);
        Self {
            limit: Aimd::cut(limit),
            full_at: 0,
            reason: Some(learned.reason.into()),
        }
    }
}

fn whole(number: f64) -> usize {
    number as usize
}

pub(super) fn number(whole: usize) -> f64 {
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
    fn a_cut_leaves_four_fifths_of_what_ran_and_it_grows_back_slowly() {
        let mut window = Window::default();
        go_well(&mut window, 1, 60, 64);
        window.cut(64, "421");
        assert_eq!((window.limit(64), window.reason()), (51, Some("421")));
        // One session more for forty messages.
        go_well(&mut window, 2, 41, 64);
        assert_eq!(window.limit(64), 52);
        // Fewer ran than might.
        window.cut(10, "421");
        assert_eq!(window.limit(64), 8);
        (0..20).for_each(|_| window.cut(1, "421"));
        assert_eq!(window.limit(64), 1);
    }

    #[test]
    fn one_that_answers_again_is_in_slow_start_up_to_where_it_was() {
        let mut window = Window::default();
        go_well(&mut window, 1, 16, 20);
        window.cut(20, "421");
        window.restart();
        assert_eq!(window.limit(20), 4);
        go_well(&mut window, 2, 12, 20);
        assert_eq!(window.limit(20), 16);
        go_well(&mut window, 3, 10, 20);
        assert_eq!(window.limit(20), 16);
    }

    #[test]
    fn what_is_remembered_goes_on() {
        let mut window = Window::default();
        assert_eq!(window.learned(), None);
        window.cut(4, "421");
        let again = Window::remembering(window.learned().unwrap());
        assert_eq!(again.learned(), window.learned());
        assert_eq!(again.limit(10), 3);
        let wild = LearnedSessions {
            limit: f64::NAN,
            reason: String::new(),
        };
        assert_eq!(Window::remembering(wild).limit(10), 1);
    }
}
