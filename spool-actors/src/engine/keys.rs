//! Idempotency keys: an add under a key of the last window answers the ids of the first add under it.
//!
//! This is memory only; the store keeps the keys on disk, with the mail. When a window has more than `max` keys, the oldest is forgotten
//! early: mail added under it again is spooled again. Only a digest of a key is kept, so that each key takes about 150 bytes.

#[cfg(test)]
mod tests;

use super::{Now, World};
use spool_core::store::RememberedKey;
use spool_core::{AddError, AddKey, Fingerprint, KeyDigest, MessageId, Timestamp};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// The most callers that wait for the first add under one key.
const MAX_WAITING: usize = 100;
/// The shortest time between two warnings about keys that are forgotten early.
const WARN_INTERVAL: Duration = Duration::from_secs(60);

type AddResult = Result<Vec<MessageId>, AddError>;

/// What is known of a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LookUp {
    /// Nothing.
    New,
    /// The first add under it is being written: a caller may [wait](Keys::wait) for it.
    Expected,
    /// What was added under it.
    Known(Vec<MessageId>),
}

#[derive(Debug)]
struct KnownKey<R> {
    /// What was added; `None`: not recorded.
    fingerprint: Option<Fingerprint>,
    state: State<R>,
}

#[derive(Debug)]
enum State<R> {
    /// The first add is being written. These callers wait for it; `true`: the caller adds other mail under the same key.
    Expected(Vec<(R, bool)>),
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

impl<R> KnownKey<R> {
    fn differs_from(&self, key: &AddKey) -> bool {
        match (self.fingerprint, key.fingerprint) {
            (Some(known), Some(new)) => known != new,
            (None, _) | (_, None) => false,
        }
    }
}

/// All keys that are known.
#[derive(Debug)]
pub(crate) struct Keys<W: World> {
    known: HashMap<KeyDigest, KnownKey<W::Reply>>,
    /// When mail was added under them, by the inside clock, oldest first.
    ages: VecDeque<(Timestamp, KeyDigest)>,
    window: Duration,
    max: usize,
    /// Whether all keys of earlier processes are known.
    complete: bool,
    /// Keys that were forgotten before their window was over.
    evicted: u64,
    /// When that was last logged, and how many there were then.
    warned: Option<(Timestamp, u64)>,
}

impl<W: World> Keys<W> {
    /// Starts with the keys that are `remembered`, oldest first. An add under another key is refused until [`Keys::complete`].
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

    /// Adds the keys of earlier processes that [`Keys::new`] was not given: now all are known.
    pub(super) fn complete(&mut self, remembered: Vec<RememberedKey>, now: Now) {
        self.take_in(remembered, now);
        self.complete = true;
    }

    /// Of several adds under one key the last one counts, and its window.
    fn take_in(&mut self, remembered: Vec<RememberedKey>, now: Now) {
        let mut last: HashMap<KeyDigest, Timestamp> = self.ages.iter().map(|(at, key)| (*key, *at)).collect();
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
                self.known.insert(name, KnownKey { fingerprint, state });
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

    /// How many keys are known, and how many were forgotten before their window was over.
    pub(crate) fn counts(&self) -> (usize, u64) {
        (self.known.len(), self.evicted)
    }

    /// What is known of a key at `now`, by the inside clock.
    ///
    /// # Errors
    /// [`AddError::KeyReused`] when other mail was added under the key; [`AddError::Busy`] when too many callers wait for the first
    /// add under it, or not all keys are known yet.
    pub(super) fn look_up(&mut self, key: &AddKey, now: Timestamp) -> Result<LookUp, AddError> {
        self.forget(now);
        let Some(known) = self.known.get(&KeyDigest::of(&key.key)) else {
            return if self.complete {
                Ok(LookUp::New)
            } else {
                Err(AddError::Busy)
            };
        };
        match &known.state {
            State::Added(ids) if known.differs_from(key) => Err(AddError::KeyReused { ids: ids.all() }),
            State::Added(ids) => Ok(LookUp::Known(ids.all())),
            State::Expected(waiting) if waiting.len() < MAX_WAITING => Ok(LookUp::Expected),
            State::Expected(_) => Err(AddError::Busy),
        }
    }

    /// Adds a caller that waits for the first add under a key.
    pub(super) fn wait(&mut self, key: &AddKey, reply: W::Reply) {
        if let Some(known) = self.known.get_mut(&KeyDigest::of(&key.key)) {
            let differs = known.differs_from(key);
            if let State::Expected(waiting) = &mut known.state {
                waiting.push((reply, differs));
            }
        }
    }

    /// The first add under a key was handed to the writer.
    pub(super) fn expect_answer(&mut self, key: &AddKey) {
        let state = State::Expected(Vec::new());
        let fingerprint = key.fingerprint;
        self.known
            .insert(KeyDigest::of(&key.key), KnownKey { fingerprint, state });
    }

    /// The disk has answered for the first add under a key: returns the callers that wait for it, each with its answer. After a failure
    /// the key is free again.
    pub(super) fn answered(
        &mut self,
        key: &AddKey,
        answer: &AddResult,
        now: Timestamp,
    ) -> Vec<(W::Reply, AddResult)> {
        let name = KeyDigest::of(&key.key);
        let known = match answer {
            Ok(ids) => {
                self.ages.push_back((now, name));
                let (fingerprint, state) = (key.fingerprint, State::Added(Ids::of(ids)));
                self.known.insert(name, KnownKey { fingerprint, state })
            }
            Err(_) => self.known.remove(&name),
        };
        while self.ages.len() > self.max {
            self.evict(now);
        }
        let Some(State::Expected(waiting)) = known.map(|known| known.state) else {
            return Vec::new();
        };
        let answered = |(reply, differs)| {
            let answer = match answer {
                Ok(ids) if differs => Err(AddError::KeyReused { ids: ids.clone() }),
                // The key is free again.
                Err(_) if differs => Err(AddError::Busy),
                answer => answer.clone(),
            };
            (reply, answer)
        };
        waiting.into_iter().map(answered).collect()
    }

    /// Drops all waiting callers, because the disk may never answer.
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

    /// Forgets the oldest key early, for a new one, and logs that at most once in [`WARN_INTERVAL`].
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
