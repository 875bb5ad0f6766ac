//! How many messages in a time a destination takes, where it refuses more: a rate that is learned.
//!
//! There is none until a refusal speaks of messages. Then it is what had gone through, less a little; it creeps up to where it
//! was refused, and faster beyond, until it is forgotten because nothing speaks for it any more.

use super::bucket::Bucket;
use spool_core::{LearnedRate, Timestamp};
use std::time::Duration;

/// No limit of a peer is known that counts in less.
const ROUND: Duration = Duration::from_secs(1);
/// The lowest: one message a minute.
const LEAST: f64 = 1.0 / 60.0;
const SHALLOW: f64 = 0.95;
const DEEP: f64 = 0.5;
/// Messages between two cuts below which the second is deep.
const FEW: u32 = 16;
/// Growth near where it was refused: for each message, and at most for each second.
const CREEP: (f64, f64) = (0.003, 0.02);
/// Growth where nothing speaks against it.
const WALK: (f64, f64) = (0.02, 0.2);
/// Growth far below where it was refused, after a time in which nothing was taken.
const RUN: (f64, f64) = (0.1, 0.2);
/// How many times the rate it was cut to must go through before it is forgotten.
const FORGET: f64 = 10.0;

/// See the module.
#[derive(Debug, Clone, Default)]
pub(super) struct Tempo {
    known: Option<Box<Known>>,
    /// Messages taken since `since`: the last cut, or the last time it was idle before there was one.
    messages: u32,
    since: Option<Timestamp>,
}

#[derive(Debug, Clone)]
struct Known {
    per_second: f64,
    bucket: Bucket,
    /// What it was at the last cut.
    cut_to: f64,
    /// What was refused since it is known.
    too_many: Option<f64>,
    cut_at: Option<Timestamp>,
    reason: Box<str>,
}

impl Tempo {
    /// What lets messages go, if there is a learned rate.
    pub(super) fn bucket(&self) -> Option<&Bucket> {
        self.known.as_ref().map(|known| &known.bucket)
    }

    pub(super) fn per_second(&self) -> Option<f64> {
        self.known.as_ref().map(|known| known.per_second)
    }

    pub(super) fn reason(&self) -> Option<&str> {
        self.known.as_ref().map(|known| &*known.reason)
    }

    /// Whether messages have gone through of late, so that a refusal may be about how many.
    pub(super) const fn is_measured(&self) -> bool {
        self.messages > 0
    }

    /// A message goes; `alone`: no other is on its way.
    pub(super) fn begin(&mut self, now: Timestamp, alone: bool) {
        match &mut self.known {
            Some(known) => known.bucket.take(now),
            None if alone && self.since.is_none_or(|since| now.since(since) > ROUND) => {
                self.since = Some(now);
                self.messages = 0;
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

    /// A message was taken. Only a rate that is used up can be too low.
    pub(super) fn grow(&mut self, now: Timestamp) {
        self.messages = self.messages.saturating_add(1);
        let Some(known) = &mut self.known else { return };
        if known.bucket.tokens(now) > 0 {
            return;
        }
        let (by_message, by_second) = match known.too_many {
            Some(many) if known.per_second < many * DEEP => RUN,
            Some(many) if known.per_second <= many * 1.02 => CREEP,
            Some(_) | None => WALK,
        };
        known.per_second *= 1.0 + by_message.min(by_second / known.per_second);
        known.bucket = Bucket::of(known.per_second).filled_as(&known.bucket);
        if known.per_second > FORGET * known.cut_to {
            self.known = None;
        }
    }

    /// A message that went at `began` was one too many. What was refused within [`ROUND`] of a cut is of the same round.
    pub(super) fn refuse(&mut self, began: Timestamp, now: Timestamp, reason: &str) {
        let cut_at = self.known.as_ref().and_then(|known| known.cut_at);
        if cut_at.is_some_and(|cut| began <= cut.after(ROUND) && cut <= now) {
            return;
        }
        let sure = self.messages >= FEW;
        let measured = self.measured(now);
        let rate = match &self.known {
            Some(known) if sure => measured.min(known.per_second) * SHALLOW,
            Some(known) => known.per_second * DEEP,
            None => measured * SHALLOW,
        };
        let rate = rate.max(LEAST);
        let too_many = match &self.known {
            // When nothing at all is taken, it is not this rate that is too much.
            Some(known) if self.messages == 0 && known.too_many.is_some() => known.too_many,
            Some(known) => Some(known.per_second),
            None => None,
        };
        let mut bucket = Bucket::of(rate);
        match &self.known {
            Some(known) if sure => bucket = bucket.filled_as(&known.bucket),
            // Whatever the peer counts in, it is full: nothing goes before it begins anew, at the earliest.
            Some(_) | None => bucket.hold_until(now.after(ROUND)),
        }
        self.known = Some(Box::new(Known {
            per_second: rate,
            bucket,
            cut_to: rate,
            too_many,
            cut_at: Some(now),
            reason: reason.into(),
        }));
        self.messages = 0;
        self.since = Some(now);
    }

    /// There is no such rate after all.
    pub(super) fn forget(&mut self) {
        self.known = None;
    }

    /// Messages a second that went through, counted over a round at least.
    fn measured(&self, now: Timestamp) -> f64 {
        let span = self.since.map_or(ROUND, |since| now.since(since).max(ROUND));
        f64::from(self.messages.max(1)) / span.as_secs_f64()
    }

    pub(super) fn learned(&self) -> Option<LearnedRate> {
        self.known.as_ref().map(|known| LearnedRate {
            per_second: known.per_second,
            too_many: known.too_many,
            reason: known.reason.to_string(),
        })
    }

    pub(super) fn remembering(learned: LearnedRate) -> Self {
        let sane = |number: f64| {
            if number.is_finite() {
                number.max(LEAST)
            } else {
                LEAST
            }
        };
        let per_second = sane(learned.per_second);
        Self {
            known: Some(Box::new(Known {
                per_second,
                bucket: Bucket::of(per_second),
                cut_to: per_second,
                too_many: learned.too_many.map(sane),
                cut_at: None,
                reason: learned.reason.into(),
            })),
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
    fn refused() -> Tempo {
        let mut tempo = Tempo::default();
        tempo.begin(at(0), true);
        (0..10).for_each(|_| tempo.grow(at(0)));
        tempo.refuse(at(0), at(500), "450 slow down");
        tempo
    }

    #[test]
    fn there_is_no_rate_before_a_refusal_and_then_it_is_what_went_through() {
        assert!(Tempo::default().bucket().is_none());
        let tempo = refused();
        let rate = tempo.per_second().unwrap();
        assert!((9.4..9.6).contains(&rate), "{rate}");
        assert_eq!(tempo.bucket().unwrap().tokens(at(1499)), 0);
        assert_eq!(tempo.bucket().unwrap().tokens(at(1500)), 1);
    }

    #[test]
    fn refusals_of_one_round_count_once_and_the_next_one_is_deep() {
        let mut tempo = refused();
        let rate = tempo.per_second();
        tempo.refuse(at(1500), at(1501), "450");
        assert_eq!(tempo.per_second(), rate);
        tempo.refuse(at(1501), at(1502), "450");
        let rate = tempo.per_second().unwrap();
        assert!((4.7..4.8).contains(&rate), "{rate}");
        for _ in 0..100 {
            let now = tempo.bucket().unwrap().when(at(1 << 40), 0);
            tempo.refuse(now, now.after(ROUND), "450");
            tempo.since = None;
            tempo.known.as_mut().unwrap().cut_at = None;
        }
        assert!(tempo.per_second().unwrap() >= LEAST);
    }

    #[test]
    fn a_rate_that_nothing_speaks_for_is_forgotten() {
        let mut tempo = refused();
        let mut now = at(2000);
        let mut messages = 0;
        while let Some(bucket) = tempo.bucket() {
            now = bucket.when(now, 0);
            tempo.begin(now, false);
            tempo.grow(now);
            messages += 1;
            assert!(messages < 2000, "{:?}", tempo.per_second());
        }
        assert!(messages > 20, "{messages}");
    }

    #[test]
    fn an_unused_rate_stays() {
        let mut tempo = refused();
        let rate = tempo.per_second();
        for second in 2..100 {
            let now = at(second * 1000);
            tempo.begin(now, true);
            tempo.grow(now.after(Duration::from_millis(500)));
        }
        assert_eq!(tempo.per_second(), rate);
    }

    #[test]
    fn a_message_that_did_not_go_leaves_its_place_to_the_next() {
        let now = at(0);
        let mut tempo = Tempo::remembering(LearnedRate {
            per_second: 1.0,
            too_many: None,
            reason: "slow down".to_owned(),
        });
        let tokens = |tempo: &Tempo| tempo.bucket().unwrap().tokens(now);
        assert_eq!(tokens(&tempo), 1);
        tempo.begin(now, true);
        assert_eq!(tokens(&tempo), 0);
        tempo.give_back();
        assert_eq!(tokens(&tempo), 1);
    }
}
