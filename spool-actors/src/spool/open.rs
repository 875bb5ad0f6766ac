//! Opening a spool: the directory, the writer thread, the actors, and the threads they run on.

use super::loading::{self, LoadState};
use super::{Brought, SpoolActor};
use crate::engine::{Engine, Input, InsideClock, Now, Setup};
use crate::event_hub::{EventHub, READERS, Subscription};
use crate::gate::Gate;
use crate::spool::messages::{Subscribe, WhenEnded};
use crate::supervision::{Ending, Part, Sentinel, Supervision};
use crate::throttle::{LimitsSetup, Throttle};
use crate::workers::Workers;
use crate::writer::Writer;
use actix::{Addr, AsyncContext, Context, MailboxError, System, WeakAddr};
use spool_core::store::fs::{Fs, RealFs};
use spool_core::store::{Begun, OpenError, Store};
use spool_core::{
    Budget, Clock, DeliveryAgent, Dice, Hooks, IdSource, LearnedDestination, RandomDice, SpoolConfig,
    SpoolError, SystemClock,
};
use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{Semaphore, oneshot};

/// The start of a spool.
#[derive(Debug)]
pub struct Spool;

/// The agent, hooks and clocks that a spool works with.
struct Hands {
    agent: Arc<dyn DeliveryAgent>,
    clock: Arc<dyn Clock>,
    dice: Arc<dyn Dice>,
}

/// Sets hooks that know the address of the spool.
type SetHooks = Box<dyn FnOnce(WeakAddr<SpoolActor>, &mut Hooks) + Send>;

/// An open spool, with what a service needs beside its address. It accepts mail while messages from before are still being loaded;
/// [`WhenLoaded`](crate::WhenLoaded) replies when that is over.
#[derive(Debug)]
#[non_exhaustive]
pub struct OpenSpool {
    /// The address for all messages.
    pub addr: Addr<SpoolActor>,
    /// Tells whether an add would be accepted at present.
    pub gate: Gate,
    /// Its worker threads, which listeners for mail may share.
    pub workers: Workers,
    supervision: Supervision,
}

impl OpenSpool {
    /// Waits until the spool has ended, and returns the reason. After the end no session starts and no mail is accepted; send
    /// [`KillAndFlush`](crate::KillAndFlush) to wait for running sessions and to release the directory. Waiting does not keep the spool open.
    pub fn ended(&self) -> impl Future<Output = Ending> + Send + use<> {
        self.supervision.ended()
    }

    /// Makes `part` panic the next time it runs, for tests. It does not exist in release builds.
    #[cfg(any(test, debug_assertions))]
    #[doc(hidden)]
    pub fn panic_in(&self, part: Part) {
        self.supervision.panic_in(part);
    }

    /// A guard for a part of the service that the spool depends on: the spool ends when that part does.
    pub fn sentinel(&self, part: Part) -> Sentinel {
        self.supervision.sentinel(part)
    }
}

impl Spool {
    /// Opens the spool in `config.dir` and starts delivering through `agent`. Works inside an actix system and from a
    /// plain tokio program alike: the spool runs on threads of its own.
    ///
    /// # Errors
    /// [`OpenError`]: the directory is in use, no spool, of a newer format, or cannot be read or written.
    pub async fn open(config: SpoolConfig, agent: impl DeliveryAgent) -> Result<Addr<SpoolActor>, OpenError> {
        Self::open_with(config, agent, |_, _| {}).await
    }

    /// As [`Spool::open`], for hooks that send messages to the spool. `set` is called once, on the spool's thread, before anything is
    /// delivered. The address is weak, because a hook with a strong one would keep the spool open for ever.
    ///
    /// # Errors
    /// As [`Spool::open`].
    pub async fn open_with(
        config: SpoolConfig,
        agent: impl DeliveryAgent,
        set: impl FnOnce(WeakAddr<SpoolActor>, &mut Hooks) + Send + 'static,
    ) -> Result<Addr<SpoolActor>, OpenError> {
        let hands = Hands {
            agent: Arc::new(agent),
            clock: Arc::new(SystemClock),
            dice: Arc::new(RandomDice),
        };
        let opened = Self::start_with(Arc::new(RealFs), config, hands, Some(Box::new(set)));
        Ok(opened.await?.addr)
    }

    /// As [`Spool::open`], with the clock and the dice from the caller, and with all that a service needs.
    ///
    /// # Errors
    /// As [`Spool::open`].
    pub async fn start(
        config: SpoolConfig,
        agent: Arc<dyn DeliveryAgent>,
        clock: Arc<dyn Clock>,
        dice: Arc<dyn Dice>,
    ) -> Result<OpenSpool, OpenError> {
        Self::start_on(Arc::new(RealFs), config, agent, clock, dice).await
    }

    /// As [`Spool::start`], on another file system.
    ///
    /// # Errors
    /// As [`Spool::open`].
    pub async fn start_on(
        fs: Arc<dyn Fs>,
        config: SpoolConfig,
        agent: Arc<dyn DeliveryAgent>,
        clock: Arc<dyn Clock>,
        dice: Arc<dyn Dice>,
    ) -> Result<OpenSpool, OpenError> {
        Self::start_with(fs, config, Hands { agent, clock, dice }, None).await
    }

    async fn start_with(
        fs: Arc<dyn Fs>,
        config: SpoolConfig,
        hands: Hands,
        set: Option<SetHooks>,
    ) -> Result<OpenSpool, OpenError> {
        let (tell, told) = oneshot::channel();
        let dir = config.dir.clone();
        let run = move || {
            let system = System::new();
            let opened = system.block_on(async { start_here(fs, config, hands, set) });
            let sentinel = opened.as_ref().ok().map(|opened| opened.sentinel(Part::Spool));
            if tell.send(opened).is_err() || sentinel.is_none() {
                if let Some(sentinel) = sentinel {
                    sentinel.done();
                }
                return;
            }
            if let Err(error) = system.run() {
                tracing::error!(%error, "the spool's system ended badly");
            }
        };
        let thread = std::thread::Builder::new().name("spool".into()).spawn(run);
        thread.map_err(|source| no_thread(dir.clone(), source))?;
        told.await
            .unwrap_or_else(|_| Err(no_thread(dir, io::Error::other("the spool's thread panicked"))))
    }

    /// Waits until `spool` has ended, and returns the reason; see [`OpenSpool::ended`]. Waiting does not keep the spool open.
    pub fn ended(spool: &Addr<SpoolActor>) -> impl Future<Output = Ending> + Send + use<> {
        // Asked now: a future that held the address would keep the spool open.
        let asked = spool.send(WhenEnded);
        async move { asked.await.unwrap_or(Ending::Killed) }
    }

    /// Subscribes to the new events of `spool`.
    ///
    /// # Errors
    /// [`SpoolError::Killed`] when the spool has ended.
    pub async fn subscribe(spool: &Addr<SpoolActor>) -> Result<Subscription, SpoolError> {
        Self::subscription(spool, None).await
    }

    /// Subscribes to the events of `spool` that follow the event with the number `seq`: first those in the event log on disk, then each
    /// as it happens. 0 starts with the oldest event in the log. An event that is no longer in the log is counted in a
    /// [`Gap`](spool_core::EventKind::Gap).
    ///
    /// # Errors
    /// [`SpoolError::Killed`] when the spool has ended.
    pub async fn subscribe_since(spool: &Addr<SpoolActor>, seq: u64) -> Result<Subscription, SpoolError> {
        Self::subscription(spool, Some(seq)).await
    }

    async fn subscription(spool: &Addr<SpoolActor>, since: Option<u64>) -> Result<Subscription, SpoolError> {
        spool
            .send(Subscribe { since })
            .await
            .unwrap_or_else(|_: MailboxError| Err(SpoolError::Killed))
    }
}

fn no_thread(path: PathBuf, source: io::Error) -> OpenError {
    OpenError::Io {
        action: "start the spool's threads",
        path,
        source,
    }
}

fn start_here(
    fs: Arc<dyn Fs>,
    mut config: SpoolConfig,
    hands: Hands,
    set: Option<SetHooks>,
) -> Result<OpenSpool, OpenError> {
    let ctx = Context::<SpoolActor>::new();
    // Weak: a strong one would keep the actor alive for ever.
    let weak = ctx.address().downgrade();
    if let Some(set) = set {
        set(weak.clone(), &mut config.hooks);
    }
    let (store, begun) = Store::begin(fs, &config.dir, &config.store)?;
    tracing::info!(dir = %config.dir.display(), "spool opened: mail is taken while the rest is loaded");
    let workers = Workers::start(config.threads).map_err(|source| no_thread(config.dir.clone(), source))?;
    let supervision = Supervision::new();
    workers.watch(&supervision);
    let hooks = &config.hooks;
    let for_hooks = match hooks.has_presend() || hooks.has_on_error() {
        true => workers
            .for_hooks(&supervision)
            .map_err(|source| no_thread(config.dir.clone(), source))?,
        false => workers.clone(),
    };
    let report = supervision.clone();
    store.on_failure(move |failure| report.end(Ending::from(failure)));
    let (store, dir) = (Arc::new(store), config.dir.clone());
    let mut actor = actor(
        Arc::clone(&store),
        begun,
        config,
        hands,
        (workers.clone(), for_hooks),
        supervision.clone(),
        weak.clone(),
    );
    let loader = weak.clone();
    let answer = move |answers| {
        if let Some(spool) = weak.upgrade() {
            spool.do_send(Brought(Input::Committed(answers)));
        }
    };
    let no_thread = |source| no_thread(dir.clone(), source);
    let work = actor.gate.writing.clone();
    let sentinel = supervision.sentinel(Part::Writer);
    actor.writer = Some(Writer::start(Arc::clone(&store), sentinel, work, answer).map_err(no_thread)?);
    loading::start(store, loader, supervision.sentinel(Part::Loader)).map_err(no_thread)?;
    let gate = actor.gate.clone();
    Ok(OpenSpool {
        addr: supervision.run(Part::Spool, ctx, actor),
        gate,
        workers,
        supervision,
    })
}

fn throttle(
    config: &SpoolConfig,
    learned: Vec<LearnedDestination>,
    hands: &Hands,
    supervision: &Supervision,
    spool: WeakAddr<SpoolActor>,
    now: Now,
) -> Addr<Throttle> {
    let setup = LimitsSetup {
        max_jobs: config.max_concurrent_jobs,
        max_sessions: config.max_sessions,
        max_per_path: config.max_jobs_per_destination,
        policies: config.policies.clone(),
        learned,
        dice: Arc::clone(&hands.dice),
    };
    Throttle::start(
        supervision,
        setup,
        Arc::clone(&hands.agent),
        spool.recipient(),
        now,
    )
}

/// Makes the actor. Its writer is not started yet.
fn actor(
    store: Arc<Store>,
    begun: Begun,
    config: SpoolConfig,
    hands: Hands,
    (workers, for_hooks): (Workers, Workers),
    supervision: Supervision,
    own: WeakAddr<SpoolActor>,
) -> SpoolActor {
    let clock = Arc::clone(&hands.clock);
    let last_event = begun.last_event;
    let budget = Budget::new(config.memory_limit);
    let gate = Gate::new(Arc::downgrade(&store), budget.clone(), supervision.clone());
    let (hub, listening) = EventHub::start(
        &supervision,
        config.event_buffer,
        config.ping_interval,
        Arc::clone(&clock),
        last_event,
    );
    let (wall, steady) = clock.now_and_steady();
    let now = Now { wall, inside: wall };
    let throttle = throttle(&config, begun.destinations, &hands, &supervision, own, now);
    let Hands { agent, dice, .. } = hands;
    let engine = Engine::new(Setup {
        now,
        budget: budget.clone(),
        dice,
        ids: IdSource::after(begun.last_id),
        routing: config.routing,
        keys: begun.keys,
        key_window: config.store.key_window,
        max_keys: config.store.max_keys,
        max_jobs: config.max_concurrent_jobs,
        max_recipients: config.max_recipients,
        presend: config.hooks.has_presend(),
        on_error: config.hooks.has_on_error(),
        signs: config.signer.is_some(),
        notices: config.notices,
    });
    SpoolActor {
        engine,
        inbox: VecDeque::new(),
        turn_due: false,
        store,
        writer: None,
        commits: 0,
        clock,
        inside: InsideClock::new(wall, steady),
        hooks: config.hooks,
        signer: config.signer,
        budget,
        gate,
        supervision,
        throttle: Some(throttle),
        hub,
        listening,
        agent,
        workers,
        for_hooks,
        loaded: LoadState::new(None),
        scrub_rate: config.scrub_rate,
        cleaning: false,
        keeping: false,
        watching: false,
        upkeep: 0,
        wake: None,
        last_event: tokio::sync::watch::Sender::new(last_event),
        log_readers: Arc::new(Semaphore::new(READERS)),
        ping: config.ping_interval,
        killed: None,
        closing: false,
    }
}
