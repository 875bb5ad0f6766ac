//! A spool with a delivery agent that does what the test says. Real files, no network.

use actix::{Addr, Handler};
use bytes::Bytes;
use spool_actors::{
    Add, Details, Flushed, Freeze, Get, KillAndFlush, ListMessages, Outcome, Recover, Remove, SendNow,
    SetRouting, Spool, SpoolActor, Subscription, WaitIdle, WhenLoaded, Which,
};
use spool_core::store::{Archive, Damage, status_from_disk};
use spool_core::{
    AttemptReport, AttemptResult, BoxFuture, Clock, DeliveryAgent, Envelope, EventKind, Job, ManualClock,
    Message, MessageId, NextHop, NoDice, PathLookup, RefusedRecipient, Reply, RetryInterval, RetryPolicy,
    ReversePath, Routing, ShownStatus, SpoolConfig, Stage, Timestamp,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};

/// The result of an attempt.
pub(crate) type Verdict = AttemptReport;

/// Every job is sent to the test, which answers it.
#[derive(Clone)]
pub(crate) struct Scripted(pub(crate) mpsc::UnboundedSender<(Job, oneshot::Sender<Verdict>)>);

impl DeliveryAgent for Scripted {
    fn deliver(&self, job: Job) -> BoxFuture<AttemptReport> {
        let (answer, answered) = oneshot::channel();
        assert!(job.body != "panic\r\n", "told to panic");
        let jobs = self.0.clone();
        Box::pin(async move {
            if job.begin.record().await.is_err() {
                return not_begun();
            }
            jobs.send((job, answer)).expect("the test has ended");
            match answered.await {
                Ok(report) => report,
                // The test dropped the sender: the attempt hangs for ever, like one whose next hop does not answer.
                Err(_) => std::future::pending().await,
            }
        })
    }
}

/// Every job goes to the test before its start is recorded. All destinations have one path.
struct Opening {
    jobs: mpsc::UnboundedSender<(Job, oneshot::Sender<Verdict>)>,
    path: Arc<[NextHop]>,
}

impl DeliveryAgent for Opening {
    fn deliver(&self, job: Job) -> BoxFuture<AttemptReport> {
        let (answer, answered) = oneshot::channel();
        let sent = self.jobs.send((job, answer));
        Box::pin(async move {
            sent.expect("the test has ended");
            answered.await.expect("the test answers")
        })
    }

    fn path(&self, _: &Arc<[NextHop]>) -> PathLookup {
        let path = Arc::clone(&self.path);
        PathLookup::Lookup(Box::pin(std::future::ready(path)))
    }
}

pub(crate) struct Jobs(pub(crate) mpsc::UnboundedReceiver<(Job, oneshot::Sender<Verdict>)>);

impl Jobs {
    pub(crate) async fn next(&mut self) -> (Job, oneshot::Sender<Verdict>) {
        tokio::time::timeout(Duration::from_secs(20), self.0.recv())
            .await
            .expect("an attempt")
            .expect("an agent")
    }

    /// The next attempt, which ends with this verdict.
    pub(crate) async fn answer(&mut self, verdict: Verdict) -> Job {
        let (job, answer) = self.next().await;
        answer.send(verdict).expect("the attempt waits for its verdict");
        job
    }

    pub(crate) fn none(&mut self) -> bool {
        self.0.try_recv().is_err()
    }
}

pub(crate) fn config(dir: &Path) -> SpoolConfig {
    let mut config = SpoolConfig::new(dir.join("spool"));
    config.store.segment_size = 1 << 20;
    config.store.min_free_space = 0;
    config.threads = 1;
    config
}

pub(crate) async fn open(dir: &Path) -> (actix::Addr<SpoolActor>, Jobs) {
    open_with(config(dir)).await
}

pub(crate) async fn open_with(config: SpoolConfig) -> (actix::Addr<SpoolActor>, Jobs) {
    let (jobs, received) = mpsc::unbounded_channel();
    (Spool::open(config, Scripted(jobs)).await.unwrap(), Jobs(received))
}

pub(crate) fn envelope(to: &[&str]) -> Envelope {
    Envelope::of(
        ReversePath::parse("a@example.org").unwrap(),
        to.iter().map(|to| to.parse().unwrap()),
    )
}

pub(crate) fn mail(body: &'static str) -> Add {
    Add::new(envelope(&["b@example.net"]), Bytes::from_static(body.as_bytes())).next_hop("mx.example.net:25")
}

pub(crate) fn not_begun() -> Verdict {
    let reason = "the start was refused".to_owned();
    AttemptReport::new(AttemptResult::NotBegun { reason })
}

pub(crate) fn accepted() -> Verdict {
    AttemptReport::new(AttemptResult::Accepted(Reply::new(250, "2.0.0 ok")))
}

pub(crate) fn no_connection() -> Verdict {
    AttemptReport::new(AttemptResult::NoConnection {
        error: "refused".into(),
    })
}

pub(crate) fn soon() -> RetryPolicy {
    let interval = RetryInterval::new(Duration::from_millis(20), Duration::ZERO);
    RetryPolicy {
        intervals: vec![interval; 3],
        repeat_last: false,
        expire_after: None,
    }
}

pub(crate) async fn event(events: &mut Subscription) -> EventKind {
    let next = tokio::time::timeout(Duration::from_secs(20), events.next());
    next.await.expect("an event").expect("the spool lives").kind
}

pub(crate) fn on_disk(dir: &Path) -> Vec<Message> {
    let mut messages = Vec::new();
    status_from_disk(&dir.join("spool"), &mut |message| messages.push(message)).unwrap();
    messages
}

pub(crate) async fn end(spool: actix::Addr<SpoolActor>) {
    let ended = tokio::time::timeout(
        Duration::from_secs(20),
        spool.send(KillAndFlush { timeout: None }),
    );
    let flushed = ended.await.expect("every attempt was answered").unwrap();
    assert_eq!(flushed, Flushed::Finished);
}

/// A spool with a manual clock and without jitter: intervals are exactly as long as configured.
pub(crate) struct Bench {
    pub(crate) dir: TempDir,
    pub(crate) config: SpoolConfig,
    pub(crate) clock: ManualClock,
    pub(crate) spool: Addr<SpoolActor>,
    pub(crate) jobs: Jobs,
    pub(crate) damage: Vec<Damage>,
}

/// When every [`Bench`] begins.
pub(crate) const START: Timestamp = Timestamp(1_800_000_000_000);

impl Bench {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(set: impl FnOnce(&mut SpoolConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path());
        set(&mut config);
        Self::start(dir, config, ManualClock::new(START)).await
    }

    /// One whose agent names this path for every destination, and leaves it to the test when an attempt begins.
    pub(crate) async fn on_path(path: &str, set: impl FnOnce(&mut SpoolConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path());
        set(&mut config);
        let (jobs, received) = mpsc::unbounded_channel();
        let agent = Arc::new(Opening {
            jobs,
            path: [path.parse().unwrap()].into(),
        });
        Self::start_with(dir, config, ManualClock::new(START), agent, received).await
    }

    async fn start(dir: TempDir, config: SpoolConfig, clock: ManualClock) -> Self {
        let (jobs, received) = mpsc::unbounded_channel();
        let agent = Arc::new(Scripted(jobs));
        Self::start_with(dir, config, clock, agent, received).await
    }

    async fn start_with(
        dir: TempDir,
        config: SpoolConfig,
        clock: ManualClock,
        agent: Arc<dyn DeliveryAgent>,
        received: mpsc::UnboundedReceiver<(Job, oneshot::Sender<Verdict>)>,
    ) -> Self {
        let opened = Spool::start(config.clone(), agent, Arc::new(clock.clone()), Arc::new(NoDice))
            .await
            .unwrap();
        let loaded = opened.addr.send(WhenLoaded).await.unwrap().unwrap();
        let (spool, jobs, damage) = (opened.addr, Jobs(received), loaded.damage);
        Self {
            dir,
            config,
            clock,
            spool,
            jobs,
            damage,
        }
    }

    /// Another spool on the directory of one that has ended.
    pub(crate) async fn on(config: &SpoolConfig) -> Addr<SpoolActor> {
        open_with(config.clone()).await.0
    }

    /// Ends the spool and opens it again, with other settings if need be.
    pub(crate) async fn reopen(self, set: impl FnOnce(&mut SpoolConfig)) -> Self {
        let Self {
            dir,
            mut config,
            clock,
            spool,
            ..
        } = self;
        end(spool).await;
        set(&mut config);
        Self::start(dir, config, clock).await
    }

    /// Opens it again after it was ended.
    pub(crate) async fn reopen_ended(self) -> Self {
        let Self {
            dir, config, clock, ..
        } = self;
        Self::start(dir, config, clock).await
    }

    /// As after `kill -9` at this moment: a spool on a copy of the files as they are, and the old one ended.
    pub(crate) async fn crash(self) -> Self {
        let Self {
            dir,
            config,
            clock,
            spool,
            jobs,
            ..
        } = self;
        let copy = tempfile::tempdir().unwrap();
        copy_dir(&config.dir, &copy.path().join("spool"));
        drop(jobs);
        spool.do_send(KillAndFlush { timeout: None });
        drop((spool, dir));
        let mut config = config;
        config.dir = copy.path().join("spool");
        Self::start(copy, config, clock).await
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.config.dir.join(name)
    }

    pub(crate) async fn ask<M>(&self, message: M) -> M::Result
    where
        M: actix::Message + Send + 'static,
        M::Result: Send,
        SpoolActor: Handler<M>,
    {
        let asked = tokio::time::timeout(Duration::from_secs(20), self.spool.send(message));
        asked.await.expect("an answer").expect("the spool lives")
    }

    pub(crate) async fn add(&self, add: Add) -> MessageId {
        self.ask(add).await.unwrap()[0]
    }

    /// See [`Jobs::answer`].
    pub(crate) async fn answer(&mut self, verdict: Verdict) -> Job {
        self.jobs.answer(verdict).await
    }

    /// Waits until nothing is left to do at this time.
    pub(crate) async fn idle(&self) -> Option<Timestamp> {
        self.ask(WaitIdle).await.unwrap().next_attempt
    }

    /// Lets the clock go on to the next attempt.
    pub(crate) async fn skip(&self) {
        let next = self.idle().await.expect("something to wait for");
        self.clock.set(next);
    }

    pub(crate) async fn status(&self, id: MessageId) -> Option<ShownStatus> {
        let listed = self.ask(ListMessages::default()).await.unwrap();
        listed
            .into_iter()
            .find(|message| message.id == id)
            .map(|message| message.status)
    }

    pub(crate) async fn details(&self, id: MessageId) -> Details {
        self.ask(Get(id)).await.unwrap()
    }

    pub(crate) async fn send(&self, id: MessageId) -> Outcome {
        let which = Which::SomeMessages(vec![id]);
        self.ask(SendNow {
            which,
            retry_intervals: vec![],
        })
        .await
        .unwrap()
    }

    pub(crate) async fn freeze(&self, id: MessageId) -> Outcome {
        self.ask(Freeze(vec![id])).await.unwrap()
    }

    pub(crate) async fn remove(&self, id: MessageId) -> Outcome {
        self.ask(Remove(vec![id])).await.unwrap()
    }

    pub(crate) async fn recover(&self, id: MessageId, from: Archive) -> Outcome {
        self.ask(Recover { ids: vec![id], from }).await.unwrap()
    }

    pub(crate) async fn set_routing(&self, routing: Routing) {
        self.ask(SetRouting(routing)).await.unwrap();
    }

    /// The time after this span from now.
    pub(crate) fn after(&self, span: Duration) -> Timestamp {
        self.clock.now().after(span)
    }
}

/// All that was done.
pub(crate) fn done(outcome: &Outcome) -> usize {
    assert_eq!(outcome.errors, []);
    outcome.done
}

pub(crate) fn refused(stage: Stage, code: u16, text: &str) -> Verdict {
    let reply = Reply::new(code, text);
    AttemptReport::new(AttemptResult::Refused { stage, reply })
}

/// Accepted, but for these recipients.
pub(crate) fn partly(refused: &[(u32, u16, &str)]) -> Verdict {
    let one = |(recipient, code, text): &(u32, u16, &str)| RefusedRecipient {
        recipient: *recipient,
        reply: Reply::new(*code, text),
    };
    let mut report = accepted();
    report.refused = refused.iter().map(one).collect();
    report
}

pub(crate) fn minutes(list: &[u64]) -> RetryPolicy {
    let interval = |m: &u64| RetryInterval::new(Duration::from_secs(m * 60), Duration::ZERO);
    RetryPolicy {
        intervals: list.iter().map(interval).collect(),
        repeat_last: false,
        expire_after: None,
    }
}

pub(crate) fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_dir(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}
