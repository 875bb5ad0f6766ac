//! The names of adds: the same name within its window gives the ids of the first add.
//!
//! Pure memory; the store keeps the names on disk, with the mail. With more names than `max` in a window the oldest one gives way:
//! mail added under it again is spooled again. Of a name only a digest is kept, so that each takes about 150 bytes.

use crate::gate::RETRY_AFTER;
use spool_core::store::RememberedKey;
use spool_core::{AddError, AddKey, Fingerprint, MessageId, NameDigest, Timestamp};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;
use tokio::sync::oneshot;

/// The most that wait for the first add of one name.
const MAX_WAITING: usize = 100;
/// How often it is logged that names give way before their time.
const WARN_INTERVAL: Duration = Duration::from_secs(60);

type Answer = Result<Vec<MessageId>, AddError>;

#[derive(Debug)]
struct Known {
    /// What was added; `None`: not recorded.
    fingerprint: Option<Fingerprint>,
    state: State,
}

/// Whoever waits for the first add of a name.
#[derive(Debug)]
struct Waiting {
    reply: oneshot::Sender<Answer>,
    /// It came with something else.
    differs: bool,
}

#[derive(Debug)]
enum State {
    /// The first add is being written.
    Expected(Vec<Waiting>),
    Added(Ids),
}

/// Most adds have one message.
#[derive(Debug)]
enum Ids {
    One(MessageId),
    Many(Box<[MessageId]>),
}

impl Ids {
    fn of(ids: &[MessageId]) -> Self {
        match ids {
            [one] => Self::One(*one),
            many => Self::Many(many.into()),
        }
    }

    fn all(&self) -> Vec<MessageId> {
        match self {
            Self::One(id) => vec![*id],
            Self::Many(ids) => ids.to_vec(),
        }
    }
}

impl Known {
    fn differs_from(&self, key: &AddKey) -> bool {
        match (self.fingerprint, key.fingerprint) {
            (Some(known), Some(new)) => known != new,
            (None, _) | (_, None) => false,
        }
    }
}

/// All names that are known.
#[derive(Debug)]
pub(super) struct Keys {
    known: HashMap<NameDigest, Known>,
    /// When they were added, oldest first.
    ages: VecDeque<(Timestamp, NameDigest)>,
    window: Duration,
    max: usize,
    /// Whether no name of an earlier life is still to come.
    complete: bool,
    /// Names that gave way before their window was over.
    evicted: u64,
    /// When that was last logged, and how many there were then.
    warned: Option<(Timestamp, u64)>,
}

impl Keys {
    /// What is `remembered`, oldest first. Names that are not among them are refused until [`Keys::complete`].
    pub(super) fn new(remembered: Vec<RememberedKey>, window: Duration, max: usize) -> Self {
        let mut keys = Self {
            known: HashMap::new(),
            ages: VecDeque::new(),
            window,
            max: max.max(1),
            complete: false,
            evicted: 0,
            warned: None,
        };
        keys.take_in(remembered);
        keys
    }

    /// Names of earlier lives that were not among those remembered at first: now all are known.
    pub(super) fn complete(&mut self, remembered: Vec<RememberedKey>) {
        self.take_in(remembered);
        self.complete = true;
    }

    /// Of several adds under one name the last one counts, and its window.
    fn take_in(&mut self, remembered: Vec<RememberedKey>) {
        let mut last: HashMap<NameDigest, Timestamp> =
            self.ages.iter().map(|(at, name)| (*name, *at)).collect();
        for RememberedKey {
            key,
            fingerprint,
            ids,
            at,
            ..
        } in remembered
        {
            let name = NameDigest::of(&key);
            if last.get(&name).is_none_or(|known| *known < at) {
                let state = State::Added(Ids::of(&ids));
                self.known.insert(name, Known { fingerprint, state });
                self.ages.push_back((at, name));
                last.insert(name, at);
            }
        }
        self.ages.retain(|(at, name)| last.get(name) == Some(at));
        self.ages.make_contiguous().sort_by_key(|(at, _)| *at);
        while self.ages.len() > self.max {
            self.forget_oldest();
        }
    }

    /// How many names are known, and how many gave way before their window was over.
    pub(super) fn counts(&self) -> (usize, u64) {
        (self.known.len(), self.evicted)
    }

    /// The answer for a name that is known; `None`: it is new.
    ///
    /// # Errors
    /// [`AddError::KeyReused`] when something else was added under the name; [`AddError::Busy`] when too many wait for its first
    /// add, or not all names are known yet.
    pub(super) fn look_up(
        &mut self,
        key: &AddKey,
        now: Timestamp,
    ) -> Result<Option<oneshot::Receiver<Answer>>, AddError> {
        self.forget(now);
        let busy = Err(AddError::Busy {
            retry_after: RETRY_AFTER,
        });
        let Some(known) = self.known.get_mut(&NameDigest::of(&key.name)) else {
            return if self.complete { Ok(None) } else { busy };
        };
        let differs = known.differs_from(key);
        let (reply, answer) = oneshot::channel();
        match &mut known.state {
            State::Added(ids) if differs => return Err(AddError::KeyReused { ids: ids.all() }),
            State::Added(ids) => {
                // The other end is here.
                let _ = reply.send(Ok(ids.all()));
            }
            State::Expected(waiting) if waiting.len() < MAX_WAITING => {
                waiting.push(Waiting { reply, differs });
            }
            State::Expected(_) => return busy,
        }
        Ok(Some(answer))
    }

    /// The first add of a name is on its way to the disk.
    pub(super) fn expect(&mut self, key: &AddKey) {
        let state = State::Expected(Vec::new());
        let fingerprint = key.fingerprint;
        self.known
            .insert(NameDigest::of(&key.name), Known { fingerprint, state });
    }

    /// The disk has answered: all who wait for this name get the answer. A name whose add failed is free again.
    pub(super) fn answered(&mut self, key: &AddKey, answer: &Answer, now: Timestamp) {
        let name = NameDigest::of(&key.name);
        let known = match answer {
            Ok(ids) => {
                self.ages.push_back((now, name));
                let (fingerprint, state) = (key.fingerprint, State::Added(Ids::of(ids)));
                self.known.insert(name, Known { fingerprint, state })
            }
            Err(_) => self.known.remove(&name),
        };
        while self.ages.len() > self.max {
            self.evict(now);
        }
        let Some(State::Expected(waiting)) = known.map(|known| known.state) else {
            return;
        };
        for Waiting { reply, differs } in waiting {
            let answer = match answer {
                Ok(ids) if differs => Err(AddError::KeyReused { ids: ids.clone() }),
                // The name is free again.
                Err(_) if differs => Err(AddError::Busy {
                    retry_after: RETRY_AFTER,
                }),
                answer => answer.clone(),
            };
            // Whoever stopped waiting finds the mail on the spool.
            let _ = reply.send(answer);
        }
    }

    /// The disk may never answer any more: nobody waits for the first add of a name.
    pub(super) fn stop_waiting(&mut self) {
        for known in self.known.values_mut() {
            if let State::Expected(waiting) = &mut known.state {
                waiting.clear();
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
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, name)) = self.ages.pop_front() {
            self.known.remove(&name);
        }
    }

    /// The oldest name gives way to a new one. It is logged, now and then.
    fn evict(&mut self, now: Timestamp) {
        let age = self.ages.front().map_or(Duration::ZERO, |(at, _)| now.since(*at));
        self.forget_oldest();
        self.evicted += 1;
        let due = |(at, _): (Timestamp, u64)| now.since(at) >= WARN_INTERVAL;
        if self.warned.is_none_or(due) {
            let before = self.warned.map_or(0, |(_, count)| count);
            tracing::warn!(
                keys = self.max,
                given_up = self.evicted - before,
                age = age.as_secs(),
                window = self.window.as_secs(),
                "there are more idempotency keys than idempotency.keys allows: the oldest, of this age in seconds, gave way before their window was over"
            );
            self.warned = Some((now, self.evicted));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 1000;

    fn keys() -> Keys {
        let mut keys = Keys::new(Vec::new(), Duration::from_secs(60), MAX);
        keys.complete(Vec::new());
        keys
    }

    fn key(name: &str) -> AddKey {
        of(name, "body")
    }

    fn of(name: &str, body: &str) -> AddKey {
        AddKey {
            name: name.to_owned(),
            fingerprint: Some(Fingerprint::of(&[], body.as_bytes())),
        }
    }

    fn id(number: u128) -> Vec<MessageId> {
        vec![MessageId::from_u128(number)]
    }

    #[test]
    fn a_name_answers_within_its_window_and_is_free_after_it_or_after_a_failure() {
        let mut keys = keys();
        let at = |second: i64| Timestamp(second * 1000);
        assert!(keys.look_up(&key("a"), at(0)).unwrap().is_none());
        keys.expect(&key("a"));
        let mut second = keys.look_up(&key("a"), at(0)).unwrap().unwrap();
        keys.answered(&key("a"), &Err(AddError::Killed), at(0));
        assert_eq!(second.try_recv().unwrap(), Err(AddError::Killed));
        assert!(keys.look_up(&key("a"), at(0)).unwrap().is_none());
        keys.expect(&key("a"));
        let mut second = keys.look_up(&key("a"), at(0)).unwrap().unwrap();
        keys.answered(&key("a"), &Ok(id(7)), at(1));
        assert_eq!(second.try_recv().unwrap(), Ok(id(7)));
        let mut third = keys.look_up(&key("a"), at(61)).unwrap().unwrap();
        assert_eq!(third.try_recv().unwrap(), Ok(id(7)));
        assert!(keys.look_up(&key("a"), at(62)).unwrap().is_none());
        assert!(keys.known.is_empty() && keys.ages.is_empty());
    }

    #[test]
    fn those_who_wait_for_a_name_are_bounded() {
        let mut keys = keys();
        keys.expect(&key("a"));
        let waiting: Vec<_> = (0..MAX_WAITING)
            .map(|_| keys.look_up(&key("a"), Timestamp(0)).unwrap())
            .collect();
        assert!(keys.look_up(&key("a"), Timestamp(0)).is_err());
        drop(waiting);
    }

    #[test]
    fn with_too_many_names_the_oldest_gives_way() {
        let mut keys = keys();
        for number in 0..3 * MAX {
            let name = key(&number.to_string());
            assert!(keys.look_up(&name, Timestamp(0)).unwrap().is_none(), "{number}");
            keys.expect(&name);
            keys.answered(&name, &Ok(id(number as u128)), Timestamp(0));
            assert!(keys.known.len() <= MAX && keys.ages.len() <= MAX);
        }
        assert_eq!(keys.counts(), (MAX, 2 * MAX as u64));
        let last_evicted = key(&(2 * MAX - 1).to_string());
        assert!(keys.look_up(&last_evicted, Timestamp(0)).unwrap().is_none());
        let mut oldest = keys
            .look_up(&key(&(2 * MAX).to_string()), Timestamp(0))
            .unwrap()
            .unwrap();
        assert_eq!(oldest.try_recv().unwrap(), Ok(id(2 * MAX as u128)));
    }

    #[test]
    fn a_name_that_may_still_come_is_not_taken_for_a_new_one() {
        let remembered = |name: &str| {
            let mut remembered = RememberedKey::default();
            remembered.key = name.to_owned();
            remembered.ids = id(7);
            remembered
        };
        let mut keys = Keys::new(vec![remembered("logged")], Duration::from_secs(60), MAX);
        assert!(keys.look_up(&key("logged"), Timestamp(1)).unwrap().is_some());
        assert!(keys.look_up(&key("in the journal"), Timestamp(1)).is_err());
        keys.complete(vec![remembered("in the journal")]);
        assert!(keys.look_up(&key("logged"), Timestamp(1)).unwrap().is_some());
        assert!(
            keys.look_up(&key("in the journal"), Timestamp(1))
                .unwrap()
                .is_some()
        );
        assert!(keys.look_up(&key("new"), Timestamp(1)).unwrap().is_none());
    }

    #[test]
    fn the_window_of_a_name_that_was_added_again_begins_with_the_last_add() {
        let remembered = |name: &str, number: u128, second: i64| {
            let mut remembered = RememberedKey::default();
            remembered.key = name.to_owned();
            (remembered.ids, remembered.at) = (id(number), Timestamp(second * 1000));
            remembered
        };
        let known = |keys: &mut Keys, name: &str, second: i64| {
            let answer = keys.look_up(&key(name), Timestamp(second * 1000)).unwrap();
            answer.map(|mut answer| answer.try_recv().unwrap().unwrap())
        };
        let all = vec![
            remembered("a", 1, 0),
            remembered("b", 2, 50),
            remembered("a", 3, 70),
        ];
        let mut keys = Keys::new(all.clone(), Duration::from_secs(60), MAX);
        // An older add under a name that is known.
        keys.complete(vec![remembered("b", 4, 20), remembered("c", 5, 60)]);
        assert_eq!(keys.counts(), (3, 0));
        assert_eq!(known(&mut keys, "b", 100), Some(id(2)));
        assert_eq!(known(&mut keys, "a", 100), Some(id(3)));
        assert_eq!(known(&mut keys, "b", 115), None);
        assert_eq!(known(&mut keys, "c", 115), Some(id(5)));
        assert_eq!(known(&mut keys, "a", 130), Some(id(3)));
        assert_eq!(known(&mut keys, "a", 131), None);
        assert!(keys.known.is_empty() && keys.ages.is_empty());
        // With too many names the one whose last add is the oldest gives way.
        let mut keys = Keys::new(all, Duration::from_secs(60), 1);
        keys.complete(Vec::new());
        assert_eq!(known(&mut keys, "b", 70), None);
        assert_eq!(known(&mut keys, "a", 70), Some(id(3)));
    }

    #[test]
    fn a_name_with_something_else_is_refused_with_the_first_ids() {
        let mut keys = keys();
        let at = Timestamp(0);
        let reused = Err(AddError::KeyReused { ids: id(7) });
        keys.expect(&of("a", "one"));
        let mut same = keys.look_up(&of("a", "one"), at).unwrap().unwrap();
        let mut other = keys.look_up(&of("a", "two"), at).unwrap().unwrap();
        keys.answered(&of("a", "one"), &Ok(id(7)), at);
        assert_eq!(same.try_recv().unwrap(), Ok(id(7)));
        assert_eq!(other.try_recv().unwrap(), reused);
        assert_eq!(keys.look_up(&of("a", "two"), at).map(drop), reused.map(drop));
        // A name of format 1 does not say what was added.
        let mut old = RememberedKey::default();
        (old.key, old.ids) = ("b".to_owned(), id(8));
        keys.complete(vec![old]);
        assert!(keys.look_up(&of("b", "anything"), at).unwrap().is_some());
    }
}
