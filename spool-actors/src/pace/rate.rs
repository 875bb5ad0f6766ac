//! The learned rate limit: how many messages a second a destination takes, where it refuses more.
//!
//! There is none until a refusal speaks of messages. Then it is what was taken until now, less a little.

use super::aimd::Aimd;
use super::bucket::Bucket;
use super::window::number;
use spool_core::{LearnedRate, Timestamp};
use std::time::Duration;

/// No limit of a peer is known that counts in less.
const ROUND: Duration = Duration::from_secs(1);
/// A destination to which nothing goes for so long was idle.
const IDLE: Duration = Duration::from_millis(250);
/// The lowest: one message a minute.
const LEAST: f64 = 1.0 / 60.0;
/// Messages that show a rate. Before so many were taken it is not cut below one message in a [`ROUND`].
const FEW: u32 = 10;
/// What a cut leaves of a rate that was shown, and of one that was not.
const CUT: f64 = 0.95;
const DEEP: f64 = 0.5;
/// Growth for each message, and at most for each second.
const CREEP: (f64, f64) = (0.005, 0.02);
const WALK: (f64, f64) = (0.05, 0.2);
/// The most that it creeps up: so many times what it was cut to.
const MARGIN: f64 = 1.2;
/// How many times the rate it was cut to must go through before it is forgotten.
const FORGET: f64 = 10.0;
/// More than what it was cut to is tried from so many times that on.
const TRIED: f64 = 1.02;
/// One refused mailbox among so many messages is too many to be about mailboxes.
const MANY: u32 = 12;

/// See the module.
#[derive(Debug, Clone, Default)]
pub(super) struct LearnedLimit {
    known: Option<Box<Learned>>,
    /// Messages taken since `since`: the last cut that they showed, or the last time it was idle before there was one.
    taken: u32,
    /// Mailboxes and senders that were refused since the last cut, and not believed to be about this limit.
    doubts: u32,
    since: Option<Timestamp>,
    /// When a message was last taken.
    ended_at: Option<Timestamp>,
}

#[derive(Debug, Clone)]
struct Learned {
    per_second: Aimd,
    bucket: Bucket,
    cut_at: Option<Timestamp>,
    /// Whether the last message that went could not have gone much sooner.
    in_use: bool,
    reason: Box<str>,
}

impl Learned {
    fn new(per_second: Aimd, reason: &str) -> Self {
        Self {
            per_second,
            bucket: Bucket::of(per_second.value),
            cut_at: None,
            in_use: false,
            reason: reason.into(),
        }
    }
}

impl LearnedLimit {
    /// What lets messages go, if there is a learned rate.
    pub(super) fn bucket(&self) -> Option<&Bucket> {
        self.known.as_ref().map(|known| &known.bucket)
    }

    pub(super) fn per_second(&self) -> Option<f64> {
        self.known.as_ref().map(|known| known.per_second.value)
    }

    pub(super) fn reason(&self) -> Option<&str> {
        self.known.as_ref().map(|known| &*known.reason)
    }

    /// A message goes; `alone`: no other is on its way.
    pub(super) fn begin(&mut self, now: Timestamp, alone: bool) {
        match &mut self.known {
            Some(known) => {
                known.in_use = known.bucket.is_in_use(now);
                known.bucket.take(now);
            }
            None if alone && self.ended_at.is_none_or(|ended| now.since(ended) > IDLE) => {
                (self.since, self.taken) = (Some(now), 0);
            }
            None => {}
        }
    }

    /// One that was to go did not.
    pub(super) fn give_back(&mut self) {
        if let Some(known) = &mut self.known {
            known.bucket.give_back();
        }
    }

    /// A message was taken. Only a rate that is in use can be too low.
    pub(super) fn grow(&mut self, now: Timestamp) {
        self.ended_at = Some(now);
        self.taken = self.taken.saturating_add(1);
        let Some(known) = self.known.as_mut().filter(|known| known.in_use) else {
            return;
        };
        let rate = known.per_second.value;
        let by = |(by_message, by_second): (f64, f64)| (rate * by_message).min(by_second);
        let slow = match rate < known.per_second.cut_to * MARGIN {
            true => by(CREEP),
            false => by(WALK),
        };
        known.per_second.grow(by(WALK), slow);
        let grown = known.per_second.value;
        known.bucket = Bucket::of(grown).filled_as(&known.bucket);
        if grown > FORGET * known.per_second.cut_to {
            self.known = None;
        }
    }

    /// A mailbox or a sender was refused in words that may be about this limit. Gives whether they are: where more than it was cut to is
    /// tried and none was refused before, or where they are many.
    pub(super) fn explains(&mut self) -> bool {
        let tried = |known: &Learned| known.per_second.value > TRIED * known.per_second.cut_to;
        let explains = self.known.as_deref().is_some_and(tried)
            && (self.doubts == 0 || self.doubts.saturating_mul(MANY) >= self.taken);
        if !explains {
            self.doubts = self.doubts.saturating_add(1);
        }
        explains
    }

    /// A message that went at `began` was one too many, while `running` sessions ran. What was refused within [`ROUND`] of a cut is of the
    /// same round; and where nothing was ever taken, there is no rate to learn.
    pub(super) fn cut(&mut self, began: Timestamp, now: Timestamp, running: usize, reason: &str) {
        let cut_at = self.known.as_ref().and_then(|known| known.cut_at);
        if self.taken == 0 || cut_at.is_some_and(|cut| began <= cut.after(ROUND) && cut <= now) {
            return;
        }
        let (shown, measured) = (self.taken >= FEW, self.measured(now));
        let rate = self.per_second().unwrap_or(measured);
        let per_second = match &self.known {
            Some(known) if !shown => known.per_second.restart((rate * DEEP).max(1.0).min(rate)),
            None if !shown => {
                // Those that run are about to be taken.
                let rate = rate + number(running.saturating_sub(1));
                Aimd::cut(rate * CUT)
            }
            Some(_) | None => Aimd::cut((measured.min(rate) * CUT).max(LEAST)),
        };
        let mut known = Learned::new(per_second, reason);
        if let Some(before) = &self.known {
            known.bucket = known.bucket.filled_as(&before.bucket);
        }
        known.cut_at = Some(now);
        self.doubts = 0;
        if shown {
            (self.taken, self.since) = (0, Some(now));
        }
        self.known = Some(Box::new(known));
    }

    /// Nothing could be taken for `span`: that is no time in which little was taken.
    pub(super) fn skip(&mut self, span: Duration) {
        self.since = self.since.map(|since| since.after(span));
    }

    /// There is no such limit.
    pub(super) fn forget(&mut self) {
        self.known = None;
    }

    /// Messages a second that were taken, counted over a [`ROUND`] at least.
    fn measured(&self, now: Timestamp) -> f64 {
        let span = self.since.map_or(ROUND, |since| now.since(since).max(ROUND));
        f64::from(self.taken) / span.as_secs_f64()
    }

    pub(super) fn learned(&self) -> Option<LearnedRate> {
        self.known.as_ref().map(|known| LearnedRate {
            per_second: known.per_second.value,
            reason: known.reason.to_string(),
        })
    }

    pub(super) fn remembering(learned: LearnedRate) -> Self {
        let sane = |number: &f64| number.is_finite() && *number >= LEAST;
        let rate = Some(learned.per_second).filter(sane).unwrap_or(LEAST);
        let per_second = Aimd::cut(rate);
        Self {
            known: Some(Box::new(Learned::new(per_second, &learned.reason))),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp(1_800_000_000_000 + ms)
    }

    /// Ten messages in half a second, then a refusal.
    fn refused() -> LearnedLimit {
        let mut limit = LearnedLimit::default();
        limit.begin(at(0), true);
        (0..10).for_each(|_| limit.grow(at(0)));
        limit.cut(at(0), at(500), 1, "450 slow down");
        limit
    }

    /// Messages are taken as soon as they may go, `count` of them.
    fn take(limit: &mut LearnedLimit, count: usize) -> Timestamp {
        let mut now = at(500);
        for _ in 0..count {
            now = limit.bucket().map_or(now, |bucket| bucket.when(now, 0));
            limit.begin(now, false);
            limit.grow(now);
        }
        now
    }

    #[test]
    fn there_is_no_rate_before_a_refusal_and_then_it_is_what_was_taken() {
        assert!(LearnedLimit::default().bucket().is_none());
        let rate = refused().per_second().unwrap();
        assert!((9.4..9.6).contains(&rate), "{rate}");
    }

    #[test]
    fn where_nothing_was_taken_there_is_no_rate_to_learn() {
        let mut limit = LearnedLimit::default();
        limit.begin(at(0), true);
        limit.cut(at(0), at(5), 4, "421");
        assert!(limit.bucket().is_none());
    }

    #[test]
    fn after_few_messages_those_that_run_count() {
        let mut limit = LearnedLimit::default();
        limit.begin(at(0), true);
        limit.grow(at(100));
        limit.cut(at(100), at(105), 4, "450");
        let rate = limit.per_second().unwrap();
        assert!((3.7..3.9).contains(&rate), "{rate}");
    }

    #[test]
    fn refusals_of_one_round_count_once_and_few_messages_show_no_rate_below_one_a_second() {
        let mut limit = refused();
        take(&mut limit, 1);
        let rate = limit.per_second();
        limit.cut(at(1500), at(1501), 1, "450");
        assert_eq!(limit.per_second(), rate);
        limit.cut(at(1501), at(1502), 1, "450");
        let rate = limit.per_second().unwrap();
        assert!((4.7..4.9).contains(&rate), "{rate}");
        for second in 10..100 {
            limit.cut(at(second * 1000), at(second * 1000), 1, "450");
        }
        assert!((limit.per_second().unwrap() - 1.0).abs() < f64::EPSILON);
        // Ten messages in half an hour do.
        (0..9).for_each(|_| limit.grow(at(1_800_000)));
        limit.cut(at(1_800_000), at(1_800_000), 1, "450");
        let rate = limit.per_second().unwrap();
        assert!((rate - LEAST).abs() < f64::EPSILON, "{rate}");
    }

    #[test]
    fn a_time_in_which_nothing_could_be_taken_does_not_count() {
        let mut limit = refused();
        take(&mut limit, 10);
        limit.skip(Duration::from_secs(3600));
        let now = at(3_602_000);
        limit.cut(now, now, 1, "450");
        let rate = limit.per_second().unwrap();
        assert!(rate > 6.0, "{rate}");
    }

    #[test]
    fn a_rate_that_nothing_speaks_for_is_forgotten() {
        let mut limit = refused();
        let mut messages = 0;
        while limit.bucket().is_some() {
            take(&mut limit, 1);
            messages += 1;
            assert!(messages < 2000, "{:?}", limit.per_second());
        }
        assert!(messages > 20, "{messages}");
    }

    #[test]
    fn a_rate_grows_where_each_session_is_as_long_as_the_wait_for_the_next() {
        let mut limit = refused();
        let rate = limit.per_second().unwrap();
        for nth in 0..100 {
            // Each begins when the one before has ended.
            let now = at(1000 + nth * 120);
            limit.begin(now, true);
            limit.grow(now);
        }
        assert!(limit.per_second().unwrap() > rate);
    }

    #[test]
    fn an_unused_rate_stays() {
        let mut limit = refused();
        let rate = limit.per_second();
        for second in 2..100 {
            let now = at(second * 1000);
            limit.begin(now, true);
            limit.grow(now);
        }
        assert_eq!(limit.per_second(), rate);
    }

    #[test]
    fn one_refused_mailbox_is_explained_by_a_rate_that_is_tried_and_not_where_others_were_refused_before() {
        let mut limit = refused();
        assert!(!LearnedLimit::default().explains() && !limit.explains());
        let mut limit = refused();
        take(&mut limit, 20);
        assert!(limit.explains());
        let mut limit = refused();
        take(&mut limit, 1);
        assert!(!limit.explains());
        take(&mut limit, 19);
        assert!(!limit.explains(), "one of twenty was refused before");
        assert!(limit.explains(), "two of twenty are many");
    }

    #[test]
    fn a_message_that_did_not_go_leaves_its_place_to_the_next() {
        let now = at(0);
        let mut limit = LearnedLimit::remembering(LearnedRate {
            per_second: 1.0,
            reason: "slow down".to_owned(),
        });
        let tokens = |limit: &LearnedLimit| limit.bucket().unwrap().tokens(now);
        assert_eq!(tokens(&limit), 1);
        limit.begin(now, true);
        assert_eq!(tokens(&limit), 0);
        limit.give_back();
        assert_eq!(tokens(&limit), 1);
    }

    #[test]
    fn what_is_remembered_goes_on() {
        let limit = refused();
        let again = LearnedLimit::remembering(limit.learned().unwrap());
        assert_eq!(again.learned(), limit.learned());
        let wild = LearnedRate {
            per_second: f64::NAN,
            reason: String::new(),
        };
        assert_eq!(LearnedLimit::remembering(wild).per_second(), Some(LEAST));
    }
}
