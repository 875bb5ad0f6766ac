//! How many notices one reverse-path is sent in an hour. Mail with a forged reverse-path must not become a flood for its owner.
//!
//! In memory only: a start begins anew.

use crate::clock::Timestamp;
use std::collections::HashMap;
use xxhash_rust::xxh3::xxh3_128;

/// Reverse-paths that are remembered. When there are more, the one whose hour began first is forgotten.
const MAX_PATHS: usize = 10_000;
const HOUR_MS: i64 = 3_600_000;

/// Counts notices by reverse-path.
#[derive(Debug, Clone)]
pub struct ReturnLimit {
    per_hour: u32,
    paths: HashMap<u128, Hour>,
}

#[derive(Debug, Clone, Copy)]
struct Hour {
    begun: Timestamp,
    count: u32,
}

impl Hour {
    /// Also after the clock was set back.
    fn is_over(self, now: Timestamp) -> bool {
        !(self.begun.0..self.begun.0.saturating_add(HOUR_MS)).contains(&now.0)
    }
}

impl ReturnLimit {
    /// At most `per_hour` for each reverse-path.
    #[must_use]
    pub fn new(per_hour: u32) -> Self {
        Self {
            per_hour,
            paths: HashMap::new(),
        }
    }

    /// Changes the number; what was counted stays.
    pub const fn set(&mut self, per_hour: u32) {
        self.per_hour = per_hour;
    }

    /// Counts a notice to `path` at `now`; `false`, and nothing is counted, when it has had its share.
    #[must_use]
    pub fn take(&mut self, path: &str, now: Timestamp) -> bool {
        let path = xxh3_128(path.as_bytes());
        let fresh = Hour { begun: now, count: 0 };
        if !self.paths.contains_key(&path) && self.paths.len() >= MAX_PATHS {
            self.make_room(now);
        }
        let hour = self.paths.entry(path).or_insert(fresh);
        if hour.is_over(now) {
            *hour = fresh;
        }
        let allowed = hour.count < self.per_hour;
        hour.count += u32::from(allowed);
        allowed
    }

    fn make_room(&mut self, now: Timestamp) {
        self.paths.retain(|_, hour| !hour.is_over(now));
        if self.paths.len() < MAX_PATHS {
            return;
        }
        let oldest = self
            .paths
            .iter()
            .min_by_key(|(_, hour)| hour.begun)
            .map(|(path, _)| *path);
        if let Some(oldest) = oldest {
            self.paths.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_its_share_of_each_hour() {
        let mut limit = ReturnLimit::new(2);
        let mut take = |path: &str, at: i64| limit.take(path, Timestamp(at));
        assert!(take("a@x", 0) && take("a@x", 1) && !take("a@x", HOUR_MS - 1));
        assert!(take("b@x", 2), "others have their own");
        assert!(take("a@x", HOUR_MS) && take("a@x", HOUR_MS) && !take("a@x", HOUR_MS));
        assert!(take("a@x", -5), "the clock was set back");
    }

    #[test]
    fn no_more_paths_are_remembered_than_allowed() {
        let mut limit = ReturnLimit::new(1);
        for number in 0..i64::try_from(MAX_PATHS).unwrap() + 100 {
            assert!(limit.take(&number.to_string(), Timestamp(number)));
        }
        assert_eq!(limit.paths.len(), MAX_PATHS);
        assert!(limit.take("0", Timestamp(20_000)), "the oldest is forgotten");
        assert!(!limit.take("9999", Timestamp(20_000)), "a newer one is not");
    }
}
