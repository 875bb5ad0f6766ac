//! The names of adds: the same name within its window gives the ids of the first add.
//!
//! Pure memory; the store keeps the names on disk, with the mail. With more names than `max` in a window the oldest one gives way:
//! mail added under it again is spooled again. Of a name only a digest is kept, so that each takes about 150 bytes.

use super::{Now, World};
use crate::errors::RETRY_AFTER;
use spool_core::store::RememberedKey;
use spool_core::{AddError, AddKey, Fingerprint, KeyDigest, MessageId, Timestamp};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// The most that wait for the first add of one name.
const MAX_WAITING: usize = 100;
/// How often it is logged that names give way before their time.
const WARN_INTERVAL: Duration = Duration::from_secs(60);

type Added = Result<Vec<MessageId>, AddError>;

/// What is known of a name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LookUp {
    /// Nothing.
    New,
    /// Its first add is being written: whoever asks may [wait](Keys::wait).
    Expected,
    /// What was added under it.
    Known(Vec<MessageId>),
}

#[derive(Debug)]
struct Known<R> {
    /// What was added; `None`: not recorded.
    fingerprint: Option<Fingerprint>,
    state: State<R>,
}

/// Whoever waits for the first add of a name.
#[derive(Debug)]
struct Waiting<R> {
    reply: R,
    /// It came with something else.
    differs: bool,
}

#[derive(Debug)]
enum State<R> {
    /// The first add is being written.
    Expected(Vec<Waiting<R>>),
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

impl<R> Known<R> {
    fn differs_from(&self, key: &AddKey) -> bool {
        match (self.fingerprint, key.fingerprint) {
            (Some(known), Some(new)) => known != new,
            (None, _) | (_, None) => false,
        }
    }
}

/// All names that are known.
#[derive(Debug)]
pub(super) struct Keys<W: World> {
    known: HashMap<KeyDigest, Known<W::Reply>>,
    /// When they were added, by the time inside, oldest first.
    ages: VecDeque<(Timestamp, KeyDigest)>,
    window: Duration,
    max: usize,
    /// Whether all names of earlier processes are known.
    complete: bool,
    /// Names that gave way before their window was over.
    evicted: u64,
    /// When that was last logged, and how many there were then.
    warned: Option<(Timestamp, u64)>,
}

impl<W: World> Keys<W> {
    /// What is `remembered`, oldest first. Names that are not among them are refused until [`Keys::complete`].
    pub(super) fn new(remembered: Vec<RememberedKey>, window: Duration, max: usize, now: Now) -> Self {
        let mut keys = Self {
            known: HashMap::new(),
            ages: VecDeque::new(),
            window,
            max: max.max(1),
            complete: false,
            evicted: 0,
            warned: None,
        };
        keys.take_in(remembered, now);
        keys
    }

    /// Names of earlier processes that were not among those remembered at first: now all are known.
    pub(super) fn complete(&mut self, remembered: Vec<RememberedKey>, now: Now) {
        self.take_in(remembered, now);
        self.complete = true;
    }

    /// Of several adds under one name the last one counts, and its window.
    fn take_in(&mut self, remembered: Vec<RememberedKey>, now: Now) {
        let mut last: HashMap<KeyDigest, Timestamp> =
            self.ages.iter().map(|(at, name)| (*name, *at)).collect();
        for RememberedKey {
            key,
            fingerprint,
            ids,
            at,
            ..
        } in remembered
        {
            let (name, at) = (KeyDigest::of(&key), now.inside_of(at));
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

    /// What is known of a name at the time `now` inside.
    ///
    /// # Errors
    /// [`AddError::KeyReused`] when something else was added under the name; [`AddError::Busy`] when too many wait for its first
    /// add, or not all names are known yet.
    pub(super) fn look_up(&mut self, key: &AddKey, now: Timestamp) -> Result<LookUp, AddError> {
        self.forget(now);
        let busy = Err(AddError::Busy {
            retry_after: RETRY_AFTER,
        });
        let Some(known) = self.known.get(&KeyDigest::of(&key.key)) else {
            return if self.complete { Ok(LookUp::New) } else { busy };
        };
        match &known.state {
            State::Added(ids) if known.differs_from(key) => Err(AddError::KeyReused { ids: ids.all() }),
            State::Added(ids) => Ok(LookUp::Known(ids.all())),
            State::Expected(waiting) if waiting.len() < MAX_WAITING => Ok(LookUp::Expected),
            State::Expected(_) => busy,
        }
    }

    /// Someone waits for the first add of a name.
    pub(super) fn wait(&mut self, key: &AddKey, reply: W::Reply) {
        if let Some(known) = self.known.get_mut(&KeyDigest::of(&key.key)) {
            let differs = known.differs_from(key);
            if let State::Expected(waiting) = &mut known.state {
                waiting.push(Waiting { reply, differs });
            }
        }
    }

    /// The first add of a name is on its way to the disk.
    pub(super) fn expect(&mut self, key: &AddKey) {
        let state = State::Expected(Vec::new());
        let fingerprint = key.fingerprint;
        self.known
            .insert(KeyDigest::of(&key.key), Known { fingerprint, state });
    }

    /// The disk has answered: gives all who wait for this name, each with the answer. A name whose add failed is free again.
    pub(super) fn answered(
        &mut self,
        key: &AddKey,
        answer: &Added,
        now: Timestamp,
    ) -> Vec<(W::Reply, Added)> {
        let name = KeyDigest::of(&key.key);
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
            return Vec::new();
        };
        let answered = |Waiting { reply, differs }| {
            let answer = match answer {
                Ok(ids) if differs => Err(AddError::KeyReused { ids: ids.clone() }),
                // The name is free again.
                Err(_) if differs => Err(AddError::Busy {
                    retry_after: RETRY_AFTER,
                }),
                answer => answer.clone(),
            };
            (reply, answer)
        };
        waiting.into_iter().map(answered).collect()
    }

    /// The disk may never answer any more: nobody waits for the first add of a name.
    pub(super) fn stop_waiting(&mut self) {
        for known in self.known.values_mut() {
            if let State::Expected(waiting) = &mut known.state {
                waiting.clear();
            }
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
    use crate::engine::testing::Paper;

    const MAX: usize = 1000;
    const START: Now = Now {
        wall: Timestamp(0),
        inside: Timestamp(0),
    };

    fn from(remembered: Vec<RememberedKey>, max: usize) -> Keys<Paper> {
        Keys::new(remembered, Duration::from_secs(60), max, START)
    }

    fn keys() -> Keys<Paper> {
        let mut keys = from(Vec::new(), MAX);
        keys.complete(Vec::new(), START);
        keys
    }

    fn key(name: &str) -> AddKey {
        of(name, "body")
    }

    fn of(name: &str, body: &str) -> AddKey {
        AddKey {
            key: name.to_owned(),
            fingerprint: Some(Fingerprint::of(&[], body.as_bytes())),
        }
    }

    fn id(number: u128) -> Vec<MessageId> {
        vec![MessageId::from_u128(number)]
    }

    const fn at(second: i64) -> Timestamp {
        Timestamp(second * 1000)
    }

    fn remembered(name: &str, number: u128, second: i64) -> RememberedKey {
        let mut remembered = RememberedKey::default();
        remembered.key = name.to_owned();
        (remembered.ids, remembered.at) = (id(number), at(second));
        remembered
    }

    #[test]
    fn a_name_answers_within_its_window_and_is_free_after_it_or_after_a_failure() {
        let mut keys = keys();
        assert_eq!(keys.look_up(&key("a"), at(0)), Ok(LookUp::New));
        keys.expect(&key("a"));
        assert_eq!(keys.look_up(&key("a"), at(0)), Ok(LookUp::Expected));
        keys.wait(&key("a"), 2);
        let killed = Err(AddError::Killed);
        assert_eq!(keys.answered(&key("a"), &killed, at(0)), [(2, killed)]);
        assert_eq!(keys.look_up(&key("a"), at(0)), Ok(LookUp::New));
        keys.expect(&key("a"));
        keys.wait(&key("a"), 3);
        assert_eq!(keys.answered(&key("a"), &Ok(id(7)), at(1)), [(3, Ok(id(7)))]);
        assert_eq!(keys.look_up(&key("a"), at(61)), Ok(LookUp::Known(id(7))));
        assert_eq!(keys.look_up(&key("a"), at(62)), Ok(LookUp::New));
        assert!(keys.known.is_empty() && keys.ages.is_empty());
    }

    #[test]
    fn those_who_wait_for_a_name_are_bounded() {
        let mut keys = keys();
        keys.expect(&key("a"));
        for number in 0..MAX_WAITING {
            assert_eq!(keys.look_up(&key("a"), at(0)), Ok(LookUp::Expected));
            keys.wait(&key("a"), u64::try_from(number).unwrap());
        }
        assert!(keys.look_up(&key("a"), at(0)).is_err());
    }

    #[test]
    fn with_too_many_names_the_oldest_gives_way() {
        let mut keys = keys();
        for number in 0..3 * MAX {
            let name = key(&number.to_string());
            assert_eq!(keys.look_up(&name, at(0)), Ok(LookUp::New), "{number}");
            keys.expect(&name);
            keys.answered(&name, &Ok(id(number as u128)), at(0));
            assert!(keys.known.len() <= MAX && keys.ages.len() <= MAX);
        }
        assert_eq!(keys.counts(), (MAX, 2 * MAX as u64));
        let last_evicted = key(&(2 * MAX - 1).to_string());
        assert_eq!(keys.look_up(&last_evicted, at(0)), Ok(LookUp::New));
        let oldest = key(&(2 * MAX).to_string());
        assert_eq!(
            keys.look_up(&oldest, at(0)),
            Ok(LookUp::Known(id(2 * MAX as u128)))
        );
    }

    #[test]
    fn a_name_that_may_still_come_is_not_taken_for_a_new_one() {
        let mut keys = from(vec![remembered("logged", 7, 0)], MAX);
        assert_eq!(keys.look_up(&key("logged"), at(1)), Ok(LookUp::Known(id(7))));
        assert!(keys.look_up(&key("in the journal"), at(1)).is_err());
        keys.complete(vec![remembered("in the journal", 7, 0)], START);
        for name in ["logged", "in the journal"] {
            assert_eq!(keys.look_up(&key(name), at(1)), Ok(LookUp::Known(id(7))));
        }
        assert_eq!(keys.look_up(&key("new"), at(1)), Ok(LookUp::New));
    }

    #[test]
    fn the_window_of_a_name_that_was_added_again_begins_with_the_last_add() {
        let all = vec![
            remembered("a", 1, 0),
            remembered("b", 2, 50),
            remembered("a", 3, 70),
        ];
        let mut keys = from(all.clone(), MAX);
        // An older add under a name that is known.
        keys.complete(vec![remembered("b", 4, 20), remembered("c", 5, 60)], START);
        assert_eq!(keys.counts(), (3, 0));
        let mut look = |name: &str, second| keys.look_up(&key(name), at(second)).unwrap();
        assert_eq!(look("b", 100), LookUp::Known(id(2)));
        assert_eq!(look("a", 100), LookUp::Known(id(3)));
        assert_eq!(look("b", 115), LookUp::New);
        assert_eq!(look("c", 115), LookUp::Known(id(5)));
        assert_eq!(look("a", 130), LookUp::Known(id(3)));
        assert_eq!(look("a", 131), LookUp::New);
        assert!(keys.known.is_empty() && keys.ages.is_empty());
        // With too many names the one whose last add is the oldest gives way.
        let mut keys = from(all, 1);
        keys.complete(Vec::new(), START);
        assert_eq!(keys.look_up(&key("b"), at(70)), Ok(LookUp::New));
        assert_eq!(keys.look_up(&key("a"), at(70)), Ok(LookUp::Known(id(3))));
    }

    #[test]
    fn a_name_is_remembered_for_as_long_whatever_the_wall_clock_shows() {
        let later = Now {
            wall: Timestamp(3_600_000),
            inside: at(10),
        };
        let mut keys = from(Vec::new(), MAX);
        // Added 5 seconds ago by the wall clock of now, which was set an hour forward.
        keys.complete(vec![remembered("a", 7, 3_595)], later);
        assert_eq!(keys.look_up(&key("a"), at(64)), Ok(LookUp::Known(id(7))));
        assert_eq!(keys.look_up(&key("a"), at(66)), Ok(LookUp::New));
    }

    #[test]
    fn a_name_with_something_else_is_refused_with_the_first_ids() {
        let mut keys = keys();
        let reused = Err(AddError::KeyReused { ids: id(7) });
        keys.expect(&of("a", "one"));
        keys.wait(&of("a", "one"), 1);
        keys.wait(&of("a", "two"), 2);
        let answers = keys.answered(&of("a", "one"), &Ok(id(7)), at(0));
        assert_eq!(answers, [(1, Ok(id(7))), (2, reused.clone())]);
        assert_eq!(keys.look_up(&of("a", "two"), at(0)).map(drop), reused.map(drop));
        // A name of format 1 does not say what was added.
        let mut old = RememberedKey::default();
        (old.key, old.ids) = ("b".to_owned(), id(8));
        keys.complete(vec![old], START);
        assert_eq!(
            keys.look_up(&of("b", "anything"), at(0)),
            Ok(LookUp::Known(id(8)))
        );
    }
}
