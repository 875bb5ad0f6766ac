//! One history: random operations on one spool through several lives.

use crate::next_hop::{NextHop, Seen};
use crate::reference::{Chance, Place, Promise, Reference};
use actix::{Addr, Handler};
use bytes::Bytes;
use spool_actors::{
    Add, Freeze, Get, GetBody, KillAndFlush, Outcome, Purge, Quarantine, Recover, Remove, SendNow,
    SetMaxConcurrentJobs, Spool, SpoolActor, Subscribe, WaitIdle, WhenLoaded, Which,
};
use spool_core::store::Shelf;
use spool_core::store::fs::{Loss, SimFs};
use spool_core::{
    Clock, DestinationPolicy, Envelope, Event, EventKind, ManualClock, MessageId, NextHop as Hop, Policies,
    Queue, RandomDice, Rate, RetryInterval, RetryPolicy, ReversePath, Section, SpoolConfig, SpoolError,
    Timestamp,
};
use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

/// How long anything may take before it hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// What histories did, to be sure that they did something.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    messages: u64,
    attempts: u64,
    delivered: u64,
    removed: u64,
    restarts: u64,
    cuts: u64,
    events: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.messages += other.messages;
        self.attempts += other.attempts;
        self.delivered += other.delivered;
        self.removed += other.removed;
        self.restarts += other.restarts;
        self.cuts += other.cuts;
        self.events += other.events;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            messages,
            attempts,
            delivered,
            removed,
            restarts,
            cuts,
            events,
        } = self;
        write!(
            f,
            "{messages} messages, {attempts} attempts, {delivered} delivered, {removed} removed, {restarts} restarts, {cuts} power cuts, {events} events"
        )
    }
}

impl Tally {
    pub(crate) const fn is_varied(&self) -> bool {
        self.delivered > 100 && self.removed > 20 && self.restarts > 50 && self.cuts > 50
    }
}

/// One life of the spool, from an open to a restart or a power cut.
struct Life {
    spool: Addr<SpoolActor>,
    cut: watch::Sender<bool>,
}

/// One host is sent little at a time, another one message after the other.
fn policies() -> Policies {
    Policies::new(|hops| {
        let mut policy = DestinationPolicy::default();
        match hops {
            [hop] if hop.host() == "hop1" => policy.rate = Rate::new(6, Duration::from_secs(60)).ok(),
            [hop] if hop.host() == "hop2" => policy.max_connections = NonZeroU32::new(1),
            _ => {}
        }
        policy
    })
}

pub(crate) struct History {
    chance: Chance,
    fs: SimFs,
    clock: ManualClock,
    seen: Arc<Mutex<Seen>>,
    reference: Reference,
    jobs: usize,
    tally: Tally,
    /// Whether the life before this one ended with a power cut.
    was_cut: bool,
    bodies: u64,
    /// Every event that a subscriber was given, by number.
    told: BTreeMap<u64, Event>,
}

impl History {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            chance: Chance::new(seed),
            fs: SimFs::new(),
            clock: ManualClock::new(Timestamp(1_800_000_000_000)),
            seen: Arc::default(),
            reference: Reference::default(),
            jobs: 3,
            tally: Tally::default(),
            was_cut: false,
            bodies: 0,
            told: BTreeMap::new(),
        }
    }

    pub(crate) async fn play(mut self) -> Tally {
        for _ in 0..1 + self.chance.below(4) {
            let life = self.open().await;
            self.check(&life).await;
            let steps = 5 + self.chance.below(15);
            // From some step on, every operation on the disk may be the last.
            let cut_at = (self.chance.below(2) == 0).then(|| self.chance.below(steps));
            for step in 0..steps {
                if cut_at == Some(step) {
                    let count = self.fs.operations().len() + self.chance.below(30);
                    self.fs.cut_after(count);
                }
                self.step(&life).await;
            }
            self.end(life, cut_at.is_some()).await;
        }
        let life = self.open().await;
        self.check(&life).await;
        self.end(life, false).await;
        self.tally.attempts = self.seen.lock().unwrap().attempts;
        self.tally.messages = self.reference.messages.len() as u64;
        self.tally.events = self.told.len() as u64;
        self.tally
    }

    async fn open(&mut self) -> Life {
        let mut config = SpoolConfig::new("/spool");
        config.store.segment_size = 64 << 10;
        config.store.min_free_space = 0;
        // Old segments are emptied as often as can be.
        config.store.slack_segments = 0;
        config.max_concurrent_jobs = self.jobs;
        config.max_jobs_per_destination = 2;
        config.threads = 1;
        config.policies = policies();
        let (cut, gone) = watch::channel(false);
        let seed = self.chance.next();
        let agent = NextHop {
            seen: Arc::clone(&self.seen),
            chance: Arc::new(Mutex::new(Chance::new(seed))),
            down: (self.chance.below(2) == 0).then(|| format!("hop{}", 1 + self.chance.below(2))),
            gone,
        };
        let fs = Arc::new(self.fs.clone());
        let clock = Arc::new(self.clock.clone());
        let opened = Spool::start_on(fs, config, Arc::new(agent), clock, Arc::new(RandomDice)).await;
        let opened = opened.expect("the spool opens after whatever happened");
        let loaded = opened.addr.send(WhenLoaded).await.unwrap();
        let damage = loaded.expect("what was there is loaded").damage;
        // A batch that nobody was answered for may be torn in its middle; that is reported as damage.
        assert!(damage.is_empty() || self.was_cut, "{damage:?}");
        Life {
            spool: opened.addr,
            cut,
        }
    }

    async fn end(&mut self, life: Life, cut: bool) {
        self.was_cut = cut;
        if !cut {
            self.tally.restarts += 1;
            assert!(
                ask(
                    &life,
                    KillAndFlush {
                        timeout: Some(PATIENCE)
                    }
                )
                .await
                .is_some()
            );
            self.seen.lock().unwrap().running.clear();
            return;
        }
        self.tally.cuts += 1;
        self.fs.cut_after(0);
        life.cut.send_replace(true);
        // What it would still do, it does to a disk that is gone.
        let loss = match self.chance.below(3) {
            0 => Loss::Everything,
            1 => Loss::Nothing,
            _ => Loss::Torn(self.chance.next()),
        };
        life.spool.do_send(KillAndFlush {
            timeout: Some(Duration::ZERO),
        });
        self.fs = self.fs.after_power_cut(loss);
        let mut seen = self.seen.lock().unwrap();
        seen.running.clear();
    }

    async fn step(&mut self, life: &Life) {
        match self.chance.below(16) {
            0..=4 => self.add(life).await,
            5 => self.quarantine(life).await,
            6 | 7 => self.freeze(life).await,
            8 => self.send(life).await,
            9 | 10 => self.remove(life).await,
            11 => self.recover(life).await,
            12 => self.purge(life).await,
            13 => self.set_jobs(life).await,
            _ => self.pass_time(life).await,
        }
        let wrong = std::mem::take(&mut self.seen.lock().unwrap().wrong);
        assert!(wrong.is_empty(), "{wrong:?}");
    }

    fn mail(&mut self) -> (Add, String, Vec<u32>) {
        self.bodies += 1;
        let body = format!(
            "body {}\r\n{}",
            self.bodies,
            "x".repeat(self.chance.below(3) * 9000) + "\r\n"
        );
        let minute = RetryInterval::new(Duration::from_secs(60), Duration::from_secs(20));
        let retry = RetryPolicy {
            intervals: vec![minute; self.chance.below(4)],
            repeat_last: false,
            expire_after: None,
        };
        let recipients: Vec<u32> = (0..1 + self.chance.below(2))
            .map(|_| 1 + self.chance.below(3) as u32)
            .collect();
        let section = |count: &u32| Section {
            envelope: Envelope::new(
                ReversePath::parse("a@example.org").unwrap(),
                (0..*count).map(|number| format!("r{number}@example.net").parse().unwrap()),
            ),
            next_hops: [format!("hop{count}:25").parse::<Hop>().unwrap()].into(),
            retry: retry.clone(),
        };
        let add = Add::sections(
            recipients.iter().map(section).collect(),
            Bytes::from(body.clone()),
        );
        (add, body, recipients)
    }

    fn promise(&mut self, ids: &[MessageId], recipients: &[u32], body: &str, place: Place) {
        for (id, recipients) in ids.iter().zip(recipients) {
            let promise = Promise {
                recipients: *recipients,
                body: body.to_owned(),
                place,
            };
            assert!(
                self.reference.messages.insert(*id, promise).is_none(),
                "{id}: given twice"
            );
        }
    }

    async fn add(&mut self, life: &Life) {
        let (mut add, body, recipients) = self.mail();
        let frozen = self.chance.below(4) == 0;
        if frozen {
            add = add.frozen();
        }
        let key = (self.chance.below(3) == 0).then(|| format!("key {}", self.chance.below(8)));
        let key = key.filter(|key| !self.reference.doubtful.contains(key));
        if let Some(key) = &key {
            add = add.idempotency_key(key.clone());
        }
        let Some(Ok(ids)) = ask(life, add).await else {
            self.reference.doubtful.extend(key);
            return;
        };
        if let Some(key) = key {
            if let Some(known) = self.reference.keys.get(&key) {
                assert_eq!(&ids, known, "{key}: the ids of the first add");
                return;
            }
            self.reference.keys.insert(key, ids.clone());
        }
        let place = if frozen { Place::Frozen } else { Place::Spool };
        self.promise(&ids, &recipients, &body, place);
    }

    async fn quarantine(&mut self, life: &Life) {
        let (mail, body, recipients) = self.mail();
        let quarantine = Quarantine {
            reason: "odd".into(),
            mail,
        };
        if let Some(Ok(ids)) = ask(life, quarantine).await {
            self.promise(&ids, &recipients, &body, Place::Quarantine);
        }
    }

    /// Some of the messages that were ever added.
    fn some(&mut self) -> Vec<MessageId> {
        let all: Vec<MessageId> = self.reference.messages.keys().copied().collect();
        all.into_iter().filter(|_| self.chance.below(3) == 0).collect()
    }

    /// Notes where an operation has put its messages: those without an error are there, and after a cut nobody knows.
    fn put(
        &mut self,
        ids: &[MessageId],
        outcome: Option<Result<Outcome, SpoolError>>,
        to: Place,
        from: &[Place],
    ) {
        let failed = |id: &MessageId, outcome: &Outcome| {
            outcome
                .errors
                .iter()
                .any(|error| error.to_string().starts_with(&id.to_string()))
        };
        for id in ids {
            let promise = self.reference.messages.get_mut(id).unwrap();
            match &outcome {
                // A disk that fails names no message.
                Some(Ok(outcome)) if outcome.errors.iter().all(|error| !is_of_the_disk(error)) => {
                    if !failed(id, outcome) && from.contains(&promise.place) {
                        promise.place = to;
                    }
                }
                _ => promise.place = Place::Unknown,
            }
        }
    }

    async fn freeze(&mut self, life: &Life) {
        let ids = self.some();
        let outcome = ask(life, Freeze(ids.clone())).await;
        self.put(&ids, outcome, Place::Frozen, &[Place::Spool, Place::Frozen]);
        // A session that was begun before the freeze may reach the next hop after it: only once nothing runs is a new one
        // a fault for sure.
        if self.chance.below(2) == 0 && self.rests(life).await {
            let frozen = ids
                .into_iter()
                .filter(|id| self.reference.messages[id].place == Place::Frozen);
            self.seen.lock().unwrap().forbidden.extend(frozen);
        }
    }

    async fn send(&mut self, life: &Life) {
        let ids = self.some();
        {
            let mut seen = self.seen.lock().unwrap();
            seen.forbidden.retain(|id| !ids.contains(id));
        }
        let extra = RetryInterval::new(Duration::from_secs(10), Duration::ZERO);
        let retry_intervals = vec![extra; self.chance.below(2)];
        let outcome = ask(
            life,
            SendNow {
                which: Which::SomeMessages(ids.clone()),
                retry_intervals,
            },
        )
        .await;
        self.put(&ids, outcome, Place::Spool, &[Place::Spool, Place::Frozen]);
    }

    async fn remove(&mut self, life: &Life) {
        let ids = self.some();
        let outcome = ask(life, Remove(ids.clone())).await;
        self.tally.removed += outcome.as_ref().map_or(0, |outcome| {
            outcome.as_ref().map_or(0, |outcome| outcome.done as u64)
        });
        // What failed for good on the spool was frozen without a person.
        self.put(&ids, outcome, Place::Removed, &[Place::Spool, Place::Frozen]);
    }

    async fn recover(&mut self, life: &Life) {
        let ids = self.some();
        let from = Shelf::ALL[self.chance.below(2)];
        let place = match from {
            Shelf::Removed => Place::Removed,
            Shelf::Quarantine => Place::Quarantine,
        };
        let outcome = ask(
            life,
            Recover {
                ids: ids.clone(),
                from,
            },
        )
        .await;
        self.put(&ids, outcome, Place::Frozen, &[place]);
    }

    async fn purge(&mut self, life: &Life) {
        let purge = Purge {
            older_than: Duration::from_secs(120),
            ids: None,
        };
        let outcome = ask(life, purge).await;
        if outcome.is_none_or(|outcome| outcome.is_err()) || self.is_cut() {
            for promise in self
                .reference
                .messages
                .values_mut()
                .filter(|promise| promise.place == Place::Removed)
            {
                promise.place = Place::Unknown;
            }
            return;
        }
        let removed: Vec<MessageId> = self.placed(Place::Removed);
        for id in removed {
            if let Some(Err(SpoolError::NoSuchMessage(_))) = ask(life, Get(id)).await {
                self.reference.messages.get_mut(&id).unwrap().place = Place::Purged;
            }
        }
    }

    fn placed(&self, place: Place) -> Vec<MessageId> {
        let all = self.reference.messages.iter();
        all.filter(|(_, promise)| promise.place == place)
            .map(|(id, _)| *id)
            .collect()
    }

    fn is_cut(&self) -> bool {
        self.fs.is_cut()
    }

    async fn set_jobs(&mut self, life: &Life) {
        let (before, jobs) = (self.jobs, self.chance.below(4));
        self.seen.lock().unwrap().limit = None;
        if let Some(Ok(())) = ask(life, SetMaxConcurrentJobs(jobs)).await {
            self.jobs = jobs;
            // Those that run already are not affected.
            let _ = before;
            self.idle(life).await;
            self.seen.lock().unwrap().limit = Some(jobs);
        }
    }

    async fn pass_time(&mut self, life: &Life) {
        if let Some(next) = self.idle(life).await {
            let jump = self.chance.below(2) == 0;
            self.clock.set(if jump {
                next
            } else {
                self.clock.now().after(Duration::from_secs(45))
            });
        } else {
            self.clock.advance(Duration::from_secs(60));
        }
        self.idle(life).await;
    }

    /// Waits until nothing runs; `false` when the spool or its disk has ended.
    async fn rests(&self, life: &Life) -> bool {
        matches!(ask(life, WaitIdle).await, Some(Ok(_)))
    }

    async fn idle(&mut self, life: &Life) -> Option<Timestamp> {
        match ask(life, WaitIdle).await {
            Some(Ok(idle)) => idle.next_attempt,
            _ => None,
        }
    }

    /// Compares what is there with what was answered.
    async fn check(&mut self, life: &Life) {
        self.seen.lock().unwrap().limit = None;
        self.idle(life).await;
        let messages: Vec<(MessageId, Promise)> = self
            .reference
            .messages
            .iter()
            .map(|(id, promise)| (*id, promise.clone()))
            .collect();
        for (id, promise) in messages {
            self.check_message(life, id, &promise).await;
        }
        self.check_events(life).await;
    }

    async fn check_message(&mut self, life: &Life, id: MessageId, promise: &Promise) {
        let taken = self
            .seen
            .lock()
            .unwrap()
            .taken
            .get(&id)
            .cloned()
            .unwrap_or_default();
        let all_taken = (0..promise.recipients).all(|recipient| taken.contains(&recipient));
        let details = match ask(life, Get(id)).await.expect("the spool lives") {
            Ok(details) => details,
            Err(SpoolError::NoSuchMessage(_)) => {
                let purged = matches!(promise.place, Place::Purged | Place::Unknown);
                assert!(
                    all_taken || purged,
                    "{id}: lost; {promise:?}, taken for {taken:?}"
                );
                self.tally.delivered += 1;
                return;
            }
            Err(error) => panic!("{id}: {error}"),
        };
        assert_ne!(promise.place, Place::Purged, "{id}: it was purged and came back");
        let state = &details.message.state;
        for recipient in 0..promise.recipients {
            let known =
                state.remaining.contains(&recipient) || state.failed.iter().any(|f| f.recipient == recipient);
            assert!(
                known || taken.contains(&recipient),
                "{id}: recipient {recipient} is forgotten; {state:?}"
            );
        }
        match (promise.place, details.queue) {
            (Place::Frozen, Queue::Frozen)
            | (Place::Removed, Queue::Removed)
            | (Place::Quarantine, Queue::Quarantine)
            | (Place::Spool, Queue::Active | Queue::Frozen)
            | (Place::Unknown, _) => {}
            (place, queue) => panic!("{id}: is in {queue}, and was answered to be {place:?}"),
        }
        assert_eq!(
            ask(life, GetBody(id)).await.unwrap().unwrap(),
            promise.body,
            "{id}: its body"
        );
    }

    /// The log tells everything once, the same as before, and ends where the disk is.
    async fn check_events(&mut self, life: &Life) {
        let mut events = ask(life, Subscribe { since: Some(0) }).await.unwrap().unwrap();
        let last = self.told.keys().next_back().copied().unwrap_or(0);
        // The end is known by an event of its own.
        let (mail, body, recipients) = self.mail();
        let marker = ask(life, mail.frozen())
            .await
            .expect("the spool lives")
            .expect("the disk works");
        self.promise(&marker, &recipients, &body, Place::Frozen);
        self.seen.lock().unwrap().forbidden.extend(&marker);
        let mut expected = 1;
        let mut states: BTreeMap<MessageId, EventKind> = BTreeMap::new();
        loop {
            let event = tokio::time::timeout(PATIENCE, events.next())
                .await
                .expect("an event")
                .expect("the spool lives");
            if let EventKind::Gap(missing) = event.kind {
                // Of what nobody was answered for when the power was cut.
                assert_eq!(event.seq, expected + missing - 1, "{event:?}");
                let known = self.told.range(expected..=event.seq).count();
                assert_eq!(known, 0, "{event:?} over what was told before");
                expected = event.seq + 1;
                continue;
            }
            assert_eq!(event.seq, expected, "{event:?}");
            expected += 1;
            let id = event.id.unwrap();
            follow(&mut states, &event);
            let end = Some(&id) == marker.last();
            if let Some(told) = self.told.insert(event.seq, event.clone()) {
                assert_eq!(told, event, "told otherwise before");
            }
            if end {
                break;
            }
        }
        assert!(
            expected > last,
            "{last} events were told, and {expected} are left"
        );
        for (id, kind) in states {
            self.agree(life, id, &kind).await;
        }
    }

    /// The last event of a message says where it is.
    async fn agree(&self, life: &Life, id: MessageId, kind: &EventKind) {
        let queue = ask(life, Get(id)).await.unwrap().map(|details| details.queue);
        let agrees = match kind {
            EventKind::Spooled | EventKind::Recovered(_) => {
                matches!(queue, Ok(Queue::Active | Queue::Frozen))
            }
            EventKind::Frozen => queue == Ok(Queue::Frozen),
            EventKind::Unfrozen | EventKind::Delayed(_) | EventKind::DelayedRateLimited(_) => {
                queue == Ok(Queue::Active)
            }
            EventKind::Delivered => queue == Err(SpoolError::NoSuchMessage(id)),
            EventKind::Removed => matches!(queue, Ok(Queue::Removed) | Err(_)),
            EventKind::Quarantined(_) => queue == Ok(Queue::Quarantine),
            other => panic!("{id}: ends with {other:?}"),
        };
        assert!(agrees, "{id}: its last event is {kind:?}, and it is in {queue:?}");
    }
}

/// Nothing happens to a message before it is there or after it has gone.
fn follow(states: &mut BTreeMap<MessageId, EventKind>, event: &Event) {
    let id = event.id.unwrap();
    let before = states.insert(id, event.kind.clone());
    let gone = matches!(
        before,
        Some(EventKind::Delivered | EventKind::Removed | EventKind::Quarantined(_))
    );
    match &event.kind {
        EventKind::Spooled | EventKind::Quarantined(_) => assert_eq!(before, None, "{event:?}"),
        EventKind::Recovered(_) => assert!(gone, "{event:?} after {before:?}"),
        _ => assert!(before.is_some() && !gone, "{event:?} after {before:?}"),
    }
}

fn is_of_the_disk(error: &SpoolError) -> bool {
    matches!(
        error,
        SpoolError::Disk(_) | SpoolError::Full(_) | SpoolError::Killed
    )
}

/// `None` when the spool has ended.
async fn ask<M>(life: &Life, message: M) -> Option<M::Result>
where
    M: actix::Message + Send + 'static,
    M::Result: Send,
    SpoolActor: Handler<M>,
{
    let asked = tokio::time::timeout(PATIENCE, life.spool.send(message)).await;
    asked
        .unwrap_or_else(|_| panic!("no answer to {}", std::any::type_name::<M>()))
        .ok()
}
