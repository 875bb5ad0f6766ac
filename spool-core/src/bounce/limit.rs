//! The limit of notices for each reverse-path per hour, so that mail with a forged reverse-path does not flood its
//! owner.
//!
//! All notices about one submission count once. Notices about failures have a limit of their own. Kept in memory only:
//! a start begins with empty counts.

use crate::clock::Timestamp;
use crate::domain::a_labels;
use crate::message::Message;
use std::collections::{HashMap, VecDeque};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

/// Reverse-paths that are remembered; then the one whose hour began first is forgotten.
const MAX_PATHS: usize = 10_000;
/// The last submissions that are remembered for each limit. A notice about an older one counts again.
const MAX_SUBMISSIONS: usize = 32;
const HOUR_MS: i64 = 3_600_000;

/// Counts submissions with notices, by reverse-path.
#[derive(Debug, Clone)]
pub struct ReturnLimit {
    per_hour: u32,
    paths: HashMap<u128, Hour>,
}

#[derive(Debug, Clone, Default)]
struct Hour {
    begun: Timestamp,
    failures: Share,
    others: Share,
}

#[derive(Debug, Clone, Default)]
struct Share {
    count: u32,
    /// Hashes of the submissions counted last.
    counted: VecDeque<u64>,
}

impl Share {
    fn take(&mut self, submission: u64, most: u32) -> bool {
        if self.counted.contains(&submission) {
            return true;
        }
        if self.count >= most {
            return false;
        }
        self.count += 1;
        if self.counted.len() >= MAX_SUBMISSIONS {
            self.counted.pop_front();
        }
        self.counted.push_back(submission);
        true
    }
}

impl Hour {
    /// Also after the clock was set back.
    fn is_over(&self, now: Timestamp) -> bool {
        !(self.begun.0..self.begun.0.saturating_add(HOUR_MS)).contains(&now.0)
    }
}

/// A value that all messages of one submission share, and no other: its flow and the time at which it was spooled.
/// Without a flow each message counts for itself.
fn submission(message: &Message) -> u64 {
    let text = match message.flows.last() {
        Some(flow) => format!("{flow} {}", message.spooled_at.0),
        None => message.id.to_string(),
    };
    xxh3_64(text.as_bytes())
}

/// The same for every spelling of the domain.
fn path_key(path: &str) -> u128 {
    match path.rsplit_once('@') {
        Some((local, domain)) => xxh3_128(format!("{local}@{}", a_labels(domain)).as_bytes()),
        None => xxh3_128(path.as_bytes()),
    }
}

impl ReturnLimit {
    /// At most `per_hour` submissions for each reverse-path; 0: no limit.
    #[must_use]
    pub fn new(per_hour: u32) -> Self {
        Self {
            per_hour,
            paths: HashMap::new(),
        }
    }

    /// Changes the limit and keeps the counts.
    pub const fn set(&mut self, per_hour: u32) {
        self.per_hour = per_hour;
    }

    /// Counts a notice about `message` at `now`, of `failures` or not. Returns `false`, and counts nothing, when the
    /// limit of its reverse-path is reached.
    #[must_use]
    pub fn take(&mut self, message: &Message, failures: bool, now: Timestamp) -> bool {
        let path = message.envelope.reverse_path.as_str();
        self.take_of(path, submission(message), failures, now)
    }

    fn take_of(&mut self, path: &str, submission: u64, failures: bool, now: Timestamp) -> bool {
        if self.per_hour == 0 {
            return true;
        }
        let path = path_key(path);
        if !self.paths.contains_key(&path) && self.paths.len() >= MAX_PATHS {
            self.make_room(now);
        }
        let new = || Hour {
            begun: now,
            ..Hour::default()
        };
        let hour = self.paths.entry(path).or_insert_with(new);
        if hour.is_over(now) {
            *hour = new();
        }
        match failures {
            true => hour.failures.take(submission, self.per_hour),
            false => hour.others.take(submission, self.per_hour),
        }
    }

    fn make_room(&mut self, now: Timestamp) {
        self.paths.retain(|_, hour| !hour.is_over(now));
        if self.paths.len() < MAX_PATHS {
            return;
        }
        let oldest = self.paths.iter().min_by_key(|(_, hour)| hour.begun);
        if let Some(oldest) = oldest.map(|(path, _)| *path) {
            self.paths.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_its_share_of_each_hour() {
        let (mut limit, mut nth) = (ReturnLimit::new(2), 0);
        let mut take = |path: &str, at: i64| {
            nth += 1;
            limit.take_of(path, nth, true, Timestamp(at))
        };
        assert!(take("a@x", 0) && take("a@x", 1) && !take("a@x", HOUR_MS - 1));
        assert!(take("b@x", 2), "others have their own");
        assert!(take("a@x", HOUR_MS) && take("a@x", HOUR_MS) && !take("a@x", HOUR_MS));
        assert!(take("a@x", -5), "the clock was set back");
    }

    #[test]
    fn a_submission_counts_once_and_failures_separately() {
        let mut limit = ReturnLimit::new(1);
        let mut take = |submission, failures| limit.take_of("a@x", submission, failures, Timestamp(0));
        assert!(take(1, false) && !take(2, false), "the share of delays");
        for _ in 0..100 {
            assert!(take(1, true), "each part of the submission is told of");
        }
        assert!(!take(2, true));
        limit.set(0);
        for submission in 0..1000 {
            assert!(limit.take_of("a@x", submission, true, Timestamp(0)), "no limit");
        }
    }

    #[test]
    fn a_path_is_known_in_every_spelling_of_its_domain() {
        let mut limit = ReturnLimit::new(1);
        let mut take = |path: &str, nth| limit.take_of(path, nth, true, Timestamp(0));
        assert!(take("a@b\u{fc}cher.example", 1));
        for path in [
            "a@B\u{dc}CHER.Example",
            "a@xn--bcher-kva.example",
            "a@XN--BCHER-KVA.EXAMPLE",
        ] {
            assert!(!take(path, 2), "{path}");
        }
        assert!(take("A@b\u{fc}cher.example", 2), "another mailbox, maybe");
    }

    #[test]
    fn no_more_submissions_are_remembered_than_allowed() {
        let mut share = Share::default();
        for submission in 0..1000 {
            assert!(share.take(submission, 1001));
        }
        assert_eq!((share.counted.len(), share.count), (MAX_SUBMISSIONS, 1000));
        assert!(share.take(0, 1001), "forgotten, it counts again");
        assert!(share.take(0, 1001) && !share.take(1, 1001));
    }

    #[test]
    fn no_more_paths_are_remembered_than_allowed() {
        let mut limit = ReturnLimit::new(1);
        for number in 0..i64::try_from(MAX_PATHS).unwrap() + 100 {
            assert!(limit.take_of(&number.to_string(), 1, true, Timestamp(number)));
        }
        assert_eq!(limit.paths.len(), MAX_PATHS);
        assert!(
            limit.take_of("0", 2, true, Timestamp(20_000)),
            "the oldest is forgotten"
        );
        assert!(
            !limit.take_of("9999", 2, true, Timestamp(20_000)),
            "a newer one is not"
        );
    }
}
