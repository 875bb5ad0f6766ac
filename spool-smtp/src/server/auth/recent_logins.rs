//! Recent successful logins: the same credentials of the same client need not be hashed again.
//!
//! A program that logs in for each of its messages would otherwise cost a hash for each. A guess against what is remembered
//! would be free of delays, so a few wrong ones make it forgotten.

use super::tag::Tag;
use crate::server::clients::ClientKey;
use std::collections::HashMap;
use std::time::Duration;

/// For how long a success is remembered.
pub(super) const KEPT: Duration = Duration::from_secs(300);
/// How many are.
const MOST: usize = 4096;
/// Wrong passwords for a remembered name.
const GUESSES: u32 = 5;

#[derive(Debug)]
struct Success {
    tag: Tag,
    until: Duration,
    guesses: u32,
}

/// See the module. Times are of a clock that is never set back.
#[derive(Debug, Default)]
pub(super) struct RecentLogins(HashMap<(ClientKey, Box<str>), Success>);

impl RecentLogins {
    /// Whether `client` has logged in as `name` with these credentials recently.
    pub(super) fn knows(&mut self, client: &ClientKey, name: &str, tag: &Tag, now: Duration) -> bool {
        let key = (client.clone(), Box::from(name));
        let Some(success) = self.0.get_mut(&key) else {
            return false;
        };
        if success.tag == *tag && now < success.until {
            return true;
        }
        success.guesses += 1;
        if success.guesses >= GUESSES || now >= success.until {
            self.0.remove(&key);
        }
        false
    }

    /// `client` has logged in. When there are too many, the oldest is removed.
    pub(super) fn remember(&mut self, client: &ClientKey, name: &str, tag: Tag, now: Duration) {
        let key = (client.clone(), Box::from(name));
        if self.0.len() >= MOST && !self.0.contains_key(&key) {
            self.0.retain(|_, success| now < success.until);
            let oldest = self.0.iter().min_by_key(|(_, success)| success.until);
            if let Some(oldest) = oldest
                .map(|(key, _)| key.clone())
                .filter(|_| self.0.len() >= MOST)
            {
                self.0.remove(&oldest);
            }
        }
        let success = Success {
            tag,
            until: now + KEPT,
            guesses: 0,
        };
        self.0.insert(key, success);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_success_is_kept_for_its_client_until_five_failures() {
        let mut memory = RecentLogins::default();
        let client = |text: &str| ClientKey::address(text.parse().unwrap());
        let (here, there, now) = (client("192.0.2.1"), client("192.0.2.2"), Duration::from_secs(9));
        let (right, wrong) = (Tag::of_test(1), Tag::of_test(2));
        memory.remember(&here, "ada", right, now);
        assert!(memory.knows(&here, "ada", &right, now + KEPT - Duration::from_millis(1)));
        assert!(!memory.knows(&there, "ada", &right, now) && !memory.knows(&here, "bob", &right, now));
        for _ in 1..GUESSES {
            assert!(!memory.knows(&here, "ada", &wrong, now));
        }
        assert!(memory.knows(&here, "ada", &right, now));
        assert!(!memory.knows(&here, "ada", &wrong, now));
        assert!(!memory.knows(&here, "ada", &right, now), "guessed at too often");
        memory.remember(&here, "ada", right, now);
        assert!(!memory.knows(&here, "ada", &right, now + KEPT));
        assert!(memory.0.is_empty());
    }

    #[test]
    fn the_oldest_gives_way() {
        let mut memory = RecentLogins::default();
        let client = ClientKey::address("192.0.2.1".parse().unwrap());
        let tag = Tag::of_test(1);
        for nth in 0..=MOST as u64 {
            memory.remember(&client, &nth.to_string(), tag, Duration::from_millis(nth));
        }
        let now = Duration::from_secs(5);
        assert_eq!(memory.0.len(), MOST);
        assert!(!memory.knows(&client, "0", &tag, now) && memory.knows(&client, "1", &tag, now));
    }
}
