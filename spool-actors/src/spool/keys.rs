//! The names of adds: the same name within its window gives the ids of the first add.
//!
//! Pure memory; the store keeps the names on disk, with the mail. It never forgets a name within its window: with too
//! many of them it takes no new ones.

use crate::gate::RETRY_AFTER;
use spool_core::store::RememberedKey;
use spool_core::{AddError, MessageId, Timestamp};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;
use tokio::sync::oneshot;

/// The most names at once.
const MAX_KEYS: usize = 100_000;
/// The most that wait for the first add of one name.
const MAX_WAITING: usize = 100;

type Answer = Result<Vec<MessageId>, AddError>;

#[derive(Debug)]
enum Known {
    /// The first add is being written.
    Expected(Vec<oneshot::Sender<Answer>>),
    Added(Vec<MessageId>),
}

/// All names that are known.
#[derive(Debug)]
pub(super) struct Keys {
    known: HashMap<String, Known>,
    /// When they were added, oldest first.
    ages: VecDeque<(Timestamp, String)>,
    window: Duration,
    /// Whether no name of an earlier life is still to come.
    complete: bool,
}

impl Keys {
    /// What is `remembered`, oldest first. Names that are not among them are refused until [`Keys::complete`].
    pub(super) fn new(remembered: Vec<RememberedKey>, window: Duration) -> Self {
        let mut keys = Self {
            known: HashMap::new(),
            ages: VecDeque::new(),
            window,
            complete: false,
        };
        for RememberedKey { key, ids, at, .. } in remembered {
            keys.ages.push_back((at, key.clone()));
            keys.known.insert(key, Known::Added(ids));
        }
        keys
    }

    /// All names of earlier lives, oldest first.
    pub(super) fn complete(&mut self, remembered: Vec<RememberedKey>) {
        *self = Self::new(remembered, self.window);
        self.complete = true;
    }

    /// The answer for a name that is known; `None`: it is new.
    ///
    /// # Errors
    /// [`AddError::Busy`] when there are too many, or not all are known yet.
    pub(super) fn look_up(
        &mut self,
        key: &str,
        now: Timestamp,
    ) -> Result<Option<oneshot::Receiver<Answer>>, AddError> {
        self.forget(now);
        let (reply, answer) = oneshot::channel();
        let full = !self.complete || self.known.len() >= MAX_KEYS;
        let busy = Err(AddError::Busy {
            retry_after: RETRY_AFTER,
        });
        match self.known.get_mut(key) {
            Some(Known::Added(ids)) => {
                // The other end is here.
                let _ = reply.send(Ok(ids.clone()));
            }
            Some(Known::Expected(waiting)) if waiting.len() < MAX_WAITING => waiting.push(reply),
            Some(Known::Expected(_)) => return busy,
            None if full => return busy,
            None => return Ok(None),
        }
        Ok(Some(answer))
    }

    /// The first add of a name is on its way to the disk.
    pub(super) fn expect(&mut self, key: String) {
        self.known.insert(key, Known::Expected(Vec::new()));
    }

    /// The disk has answered: all who wait for this name get the answer. A name whose add failed is free again.
    pub(super) fn answered(&mut self, key: &str, answer: &Answer, now: Timestamp) {
        let known = match answer {
            Ok(ids) => {
                self.ages.push_back((now, key.to_owned()));
                self.known.insert(key.to_owned(), Known::Added(ids.clone()))
            }
            Err(_) => self.known.remove(key),
        };
        if let Some(Known::Expected(waiting)) = known {
            for reply in waiting {
                // Whoever stopped waiting finds the mail on the spool.
                let _ = reply.send(answer.clone());
            }
        }
    }

    /// The wall clock was set by so many milliseconds: a name is remembered for as long as before.
    pub(super) fn clock_was_set(&mut self, millis: i64) {
        for (at, _) in &mut self.ages {
            *at = at.shifted(millis);
        }
    }

    fn forget(&mut self, now: Timestamp) {
        while let Some((at, _)) = self.ages.front() {
            if now.since(*at) <= self.window {
                break;
            }
            if let Some((_, key)) = self.ages.pop_front() {
                self.known.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u128) -> Vec<MessageId> {
        vec![MessageId::from_u128(number)]
    }

    #[test]
    fn a_name_answers_within_its_window_and_is_free_after_it_or_after_a_failure() {
        let mut keys = Keys::new(Vec::new(), Duration::from_secs(60));
        keys.complete(Vec::new());
        let at = |second: i64| Timestamp(second * 1000);
        assert!(keys.look_up("a", at(0)).unwrap().is_none());
        keys.expect("a".into());
        let mut second = keys.look_up("a", at(0)).unwrap().unwrap();
        keys.answered("a", &Err(AddError::Killed), at(0));
        assert_eq!(second.try_recv().unwrap(), Err(AddError::Killed));
        assert!(keys.look_up("a", at(0)).unwrap().is_none());
        keys.expect("a".into());
        let mut second = keys.look_up("a", at(0)).unwrap().unwrap();
        keys.answered("a", &Ok(id(7)), at(1));
        assert_eq!(second.try_recv().unwrap(), Ok(id(7)));
        assert_eq!(
            keys.look_up("a", at(61)).unwrap().unwrap().try_recv().unwrap(),
            Ok(id(7))
        );
        assert!(keys.look_up("a", at(62)).unwrap().is_none());
        assert!(keys.known.is_empty() && keys.ages.is_empty());
    }

    #[test]
    fn names_and_those_who_wait_for_one_are_bounded() {
        let mut keys = Keys::new(Vec::new(), Duration::from_secs(60));
        keys.complete(Vec::new());
        keys.expect("a".into());
        let waiting: Vec<_> = (0..MAX_WAITING)
            .map(|_| keys.look_up("a", Timestamp(0)).unwrap())
            .collect();
        assert!(keys.look_up("a", Timestamp(0)).is_err());
        drop(waiting);
        for number in 0..MAX_KEYS {
            keys.answered(&number.to_string(), &Ok(id(1)), Timestamp(0));
        }
        assert!(keys.look_up("b", Timestamp(0)).is_err());
        assert!(keys.look_up("b", Timestamp(61_000)).unwrap().is_none());
    }

    #[test]
    fn a_name_that_may_still_come_is_not_taken_for_a_new_one() {
        let remembered = |key: &str| {
            let mut remembered = RememberedKey::default();
            remembered.key = key.to_owned();
            remembered.ids = id(7);
            remembered
        };
        let mut keys = Keys::new(vec![remembered("logged")], Duration::from_secs(60));
        assert!(keys.look_up("logged", Timestamp(1)).unwrap().is_some());
        assert!(keys.look_up("in the journal", Timestamp(1)).is_err());
        keys.complete(vec![remembered("logged"), remembered("in the journal")]);
        assert!(keys.look_up("in the journal", Timestamp(1)).unwrap().is_some());
        assert!(keys.look_up("new", Timestamp(1)).unwrap().is_none());
    }
}
