//! One history: random operations on one spool through several lives.

use crate::next_hop::{NextHop, Seen};
use crate::notices;
use crate::reference::{Chance, Place, Promise, Reference};
use crate::tally::Tally;
use actix::{Addr, Handler};
use bytes::Bytes;
use spool_actors::{Add, KillAndFlush, Outcome, Quarantine, SetRouting, Spool, SpoolActor, WhenLoaded};
use spool_core::bounce::NoticeConfig;
use spool_core::store::fs::{Loss, SimFs};
use spool_core::{
    DestinationPolicy, DomainPattern, Envelope, Event, ManualClock, MessageId, NextHop as Hop, Policies,
    RandomDice, Rate, RetryInterval, RetryPolicy, ReversePath, RouteOrigin, Router, Routing, Rule, Section,
    SpoolConfig, SpoolError, Timestamp,
};
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

/// How long anything may take before it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// One life of the spool, from an open to a restart or a power cut.
pub(crate) struct Life {
    pub(crate) spool: Addr<SpoolActor>,
    pub(crate) cut: watch::Sender<bool>,
}

/// The routes that histories change between.
fn router(number: usize) -> Router {
    let hop = |text: &str| -> Arc<[Hop]> { [text.parse().unwrap()].into() };
    let rule = |domain, to| Rule {
        domain: DomainPattern::parse(domain).unwrap(),
        next_hops: hop(to),
        policy: DestinationPolicy::default(),
    };
    match number {
        0 => Router::new(vec![], hop("hop1:25"), 25),
        1 => Router::new(vec![rule("d0.example", "hop2:25")], hop("hop3:25"), 25),
        _ => Router::new(vec![rule("d1.example", "hop1:25")], hop("hop2:25"), 25),
    }
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
    pub(crate) chance: Chance,
    pub(crate) fs: SimFs,
    pub(crate) clock: ManualClock,
    pub(crate) seen: Arc<Mutex<Seen>>,
    pub(crate) reference: Reference,
    pub(crate) jobs: usize,
    /// Which routes.
    pub(crate) routes: usize,
    /// Messages that came of others, which were divided.
    pub(crate) divided: BTreeSet<MessageId>,
    pub(crate) tally: Tally,
    /// Whether the life before this one ended with a power cut.
    pub(crate) was_cut: bool,
    pub(crate) bodies: u64,
    /// How notices are returned.
    pub(crate) notices: Option<NoticeConfig>,
    /// Every event that a subscriber was given, by number.
    pub(crate) told: BTreeMap<u64, Event>,
}

impl History {
    pub(crate) fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        Self {
            notices: notices::config(&mut chance),
            chance,
            fs: SimFs::new(),
            clock: ManualClock::new(Timestamp(1_800_000_000_000)),
            seen: Arc::default(),
            reference: Reference::default(),
            jobs: 3,
            routes: 0,
            divided: BTreeSet::new(),
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
        self.tally.notices = self.seen.lock().unwrap().told.ids.len() as u64;
        self.tally
    }

    pub(crate) async fn open(&mut self) -> Life {
        let mut config = SpoolConfig::new("/spool");
        config.store.segment_size = 64 << 10;
        config.store.min_free_space = 0;
        // Old segments are emptied as often as can be.
        config.store.slack_segments = 0;
        config.max_concurrent_jobs = self.jobs;
        config.max_jobs_per_destination = 2;
        config.threads = 1;
        config.policies = policies();
        config.notices.clone_from(&self.notices);
        config.routing = Routing::ByRules(Arc::new(router(self.routes)));
        self.seen.lock().unwrap().routes = Some(router(self.routes));
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
        // A batch that was not answered may be torn in its middle; that is reported as damage.
        assert!(damage.is_empty() || self.was_cut, "{damage:?}");
        Life {
            spool: opened.addr,
            cut,
        }
    }

    pub(crate) async fn end(&mut self, life: Life, cut: bool) {
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

    pub(crate) async fn step(&mut self, life: &Life) {
        match self.chance.below(21) {
            0..=4 => self.add(life).await,
            5 => self.quarantine(life).await,
            6 | 7 => self.freeze(life).await,
            8 => self.send(life).await,
            9 | 10 => self.remove(life).await,
            11 => self.recover(life).await,
            12 => self.purge(life).await,
            13 => self.set_jobs(life).await,
            14 | 15 => self.set_routes(life).await,
            16 => self.reroute(life).await,
            17 => self.bounce(life).await,
            18 => self.expire(life).await,
            _ => self.pass_time(life).await,
        }
        let wrong = std::mem::take(&mut self.seen.lock().unwrap().wrong);
        assert!(wrong.is_empty(), "{wrong:?}");
    }

    /// Other routes; what follows them when is sure only once nothing runs.
    async fn set_routes(&mut self, life: &Life) {
        self.routes = self.chance.below(3);
        let routes = router(self.routes);
        self.seen.lock().unwrap().routes = None;
        let set = SetRouting(Routing::ByRules(Arc::new(routes.clone())));
        if matches!(ask(life, set).await, Some(Ok(()))) && self.rests(life).await {
            self.seen.lock().unwrap().routes = Some(routes);
        }
    }

    /// A mail with its body, and the recipients of each of its messages.
    pub(crate) fn mail(&mut self) -> (Add, String, Vec<Vec<String>>) {
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
        let mut sections = Vec::new();
        for nth in 0..1 + self.chance.below(2) {
            let (count, named) = (1 + self.chance.below(3), self.chance.below(2) == 0);
            let kind = if named { "named" } else { "configured" };
            let to = (0..count).map(|n| format!("{kind}-{}.{nth}.{n}@d{}.example", self.bodies, n % 2));
            let envelope = Envelope::of(
                ReversePath::parse("a@example.org").unwrap(),
                to.map(|to| to.parse().unwrap()),
            );
            if named {
                sections.push(Section {
                    envelope,
                    next_hops: [format!("named{count}:25").parse::<Hop>().unwrap()].into(),
                    origin: RouteOrigin::Named,
                    retry: retry.clone(),
                });
            } else {
                sections.extend(router(self.routes).split(envelope, &retry));
            }
        }
        let recipients = |section: &Section| {
            let all = section.envelope.recipients.iter();
            all.map(|recipient| recipient.address.to_string()).collect()
        };
        let recipients = sections.iter().map(recipients).collect();
        let add = Add::sections(sections, Bytes::from(body.clone()));
        (add, body, recipients)
    }

    pub(crate) fn promise(
        &mut self,
        ids: &[MessageId],
        recipients: &[Vec<String>],
        body: &str,
        place: Place,
    ) {
        assert_eq!(ids.len(), recipients.len());
        for (id, recipients) in ids.iter().zip(recipients) {
            let promise = Promise {
                recipients: recipients.clone(),
                body: body.to_owned(),
                place,
            };
            assert!(
                self.reference.messages.insert(*id, promise).is_none(),
                "{id}: given twice"
            );
        }
    }

    pub(crate) async fn add(&mut self, life: &Life) {
        let (mut add, body, recipients) = self.mail();
        if self.chance.below(4) == 0 {
            add = add.of_unknown_submitter();
        }
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

    pub(crate) async fn quarantine(&mut self, life: &Life) {
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
    pub(crate) fn some(&mut self) -> Vec<MessageId> {
        let all: Vec<MessageId> = self.reference.messages.keys().copied().collect();
        all.into_iter().filter(|_| self.chance.below(3) == 0).collect()
    }

    /// Notes where an operation has put its messages: those without an error are there, and after a power cut it is not known.
    pub(crate) fn put(
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
}

pub(crate) fn is_of_the_disk(error: &SpoolError) -> bool {
    matches!(
        error,
        SpoolError::Disk(_) | SpoolError::Full(_) | SpoolError::Killed
    )
}

/// `None` when the spool has ended.
pub(crate) async fn ask<M>(life: &Life, message: M) -> Option<M::Result>
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
