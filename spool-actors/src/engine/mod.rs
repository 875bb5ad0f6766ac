//! The engine: all decisions about queued mail. It is pure: it has no clock, no threads, no sockets and no disk.
//!
//! It gets everything that happens as [`Input`]s and returns what must be done as [`Effect`]s; the
//! [`SpoolActor`](crate::SpoolActor) carries them out and returns their results as inputs. One [`Engine::turn`] handles all inputs
//! since the last one. The same inputs give the same effects, so a test can run the engine through thousands of histories in seconds. The
//! design is that of `quinn-proto` and of openraft's engine.
//!
//! Guarantees: a reply or an event is sent only after the disk has answered for what it reports; a session starts only after the start of its
//! attempt is on disk; no attempt starts once the spool has ended.

mod add;
mod attempts;
mod bulk;
mod claimed;
mod commit;
mod content;
mod divide;
mod effect;
mod ending;
mod explain;
mod input;
mod jobs;
mod keys;
mod learning;
mod limits;
mod notes;
mod notice;
mod presend;
mod pump;
mod queue;
mod recover;
mod reroute;
mod returning;
mod round;
mod routes;
mod tag;
mod time;
mod unwritten;
mod work;

#[cfg(test)]
mod histories;
#[cfg(test)]
mod testing;

pub(crate) use content::Content;
pub(crate) use divide::groups;
pub(crate) use effect::{Answer, AskedAttempt, Effect};
pub(crate) use input::Input;
pub(crate) use jobs::{DiskJob, Done, Fetched, ReadFor, Wanted};
pub(crate) use limits::{News, Outlook, PathId, PermitId, Told};
pub(crate) use queue::DestinationCounts;
pub(crate) use tag::{Answered, Tag, ToCommit};
pub(crate) use time::{InsideClock, Now};
pub(crate) use work::Work;

use crate::supervision::Ending;
use bulk::Bulks;
use ending::ClosingStage;
use keys::Keys;
use learning::Expiring;
use queue::Queue;
use returning::Returning;
use routes::Looking;
use spool_core::bounce::NoticeConfig;
use spool_core::store::{Change, RememberedKey};
use spool_core::{
    Budget, Dice, EnvelopeSummary, Event, EventKind, IdSource, Message, MessageId, Routing, Timestamp,
};
use std::collections::{HashSet, VecDeque};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;
use unwritten::Unwritten;

/// Names one list of next hops, while it has messages. A name is not used again.
pub(crate) type DestinationId = u64;

/// Values that the engine passes on and does not inspect.
pub(crate) trait World: Debug + Default + Sized + 'static {
    /// The channel of an answer. When it is dropped, the receiver learns that there is no answer.
    type Reply: Debug;
    /// The right to make attempts.
    type Permit: Debug;

    /// The name of a permit.
    fn name(permit: &Self::Permit) -> PermitId;

    /// How many times the maximum of jobs had been set when a permit was granted.
    fn epoch(permit: &Self::Permit) -> u64;
}

/// What an engine starts with.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) now: Now,
    pub(crate) budget: Budget,
    pub(crate) dice: Arc<dyn Dice>,
    pub(crate) ids: IdSource,
    pub(crate) routing: Routing,
    pub(crate) keys: Vec<RememberedKey>,
    pub(crate) key_window: Duration,
    pub(crate) max_keys: usize,
    pub(crate) max_jobs: usize,
    pub(crate) max_recipients: usize,
    /// Whether the embedding program is asked before each attempt.
    pub(crate) presend: bool,
    /// Whether it is asked about refusals.
    pub(crate) on_error: bool,
    /// Whether notices are signed.
    pub(crate) signs: bool,
    pub(crate) notices: Option<NoticeConfig>,
}

/// The queue and everything that is decided about it. See the module.
#[derive(Debug)]
pub(crate) struct Engine<W: World> {
    now: Now,
    ended: Option<Ending>,
    effects: Vec<Effect<W>>,
    budget: Budget,
    dice: Arc<dyn Dice>,
    ids: IdSource,
    /// All messages; the shell lists and counts them.
    pub(crate) queue: Queue<W>,
    pub(crate) keys: Keys<W>,
    bulks: Bulks<W>,
    looking: Looking,
    unwritten: Unwritten,
    expiring: Expiring,
    pub(crate) returning: Returning,
    presend: bool,
    on_error: bool,
    signs: bool,
    pub(crate) max_jobs: usize,
    max_recipients: usize,
    /// Changes handed to the writer or the signer and not yet answered.
    pub(crate) pending: usize,
    /// Jobs and questions to hooks that are under way, and the loading of what was there at the start.
    working: usize,
    /// Whether what was there at the start has come.
    loaded: bool,
    /// Messages that a former process was sending when it ended.
    interrupted: Vec<MessageId>,
    /// Those of them that were given another route meanwhile.
    rerouted: HashSet<MessageId>,
    /// Whether other destinations wait for permits: then no free permit is kept.
    contended: bool,
    /// Whether unused permits are returned at the end of this turn.
    returns_idle: bool,
    /// When the next turn was asked for.
    wake: Option<Timestamp>,
    /// Attempts whose start is on disk, with the channels of their sessions.
    begun: Vec<(MessageId, W::Reply)>,
    /// Callers that wait until the spool is idle.
    idle: Vec<W::Reply>,
    pub(crate) delivered: u64,
    /// The stage of the closing, once it was requested.
    closing: Option<ClosingStage>,
}

impl<W: World> Engine<W> {
    pub(crate) fn new(setup: Setup) -> Self {
        let mut queue = Queue::new(setup.routing);
        queue.pause(setup.max_jobs == 0);
        Self {
            now: setup.now,
            ended: None,
            effects: Vec::new(),
            budget: setup.budget,
            dice: setup.dice,
            ids: setup.ids,
            queue,
            keys: Keys::new(setup.keys, setup.key_window, setup.max_keys, setup.now),
            bulks: Bulks::default(),
            looking: Looking::default(),
            unwritten: Unwritten::default(),
            expiring: Expiring::default(),
            returning: Returning::new(setup.notices),
            presend: setup.presend,
            on_error: setup.on_error,
            signs: setup.signs,
            max_jobs: setup.max_jobs,
            max_recipients: setup.max_recipients,
            pending: 0,
            // The loading.
            working: 1,
            loaded: false,
            interrupted: Vec::new(),
            rerouted: HashSet::new(),
            contended: false,
            returns_idle: false,
            wake: None,
            begun: Vec::new(),
            idle: Vec::new(),
            delivered: 0,
            closing: None,
        }
    }

    /// Handles `inputs` in order and returns the effects, in the order in which they must be carried out; `ended`: the spool has ended by
    /// `now`.
    pub(crate) fn turn(
        &mut self,
        now: Now,
        ended: Option<Ending>,
        inputs: &mut VecDeque<Input<W>>,
    ) -> Vec<Effect<W>> {
        self.now = now;
        if self.ended.is_none() && ended.is_some() {
            self.ended = ended;
            self.has_ended();
        }
        while let Some(input) = inputs.pop_front() {
            self.take_in(input);
        }
        self.follow();
        std::mem::take(&mut self.effects)
    }

    /// What follows in every turn, after its inputs.
    fn follow(&mut self) {
        self.budget.set_standing(self.queue.standing());
        self.let_begin();
        self.give_up_expired();
        self.look_on();
        self.go_on();
        self.pump();
        // Not before: one that was granted a moment ago would go back unused, and be asked for again.
        if std::mem::take(&mut self.returns_idle) || self.budget.is_tight() {
            self.return_idle_permits();
        }
        self.answer_idle();
        self.close_when_flushed();
        for destination in self.queue.take_gone() {
            self.effects.push(Effect::Tell(Told::Gone(destination)));
        }
        // Destinations may have gone.
        self.budget.set_standing(self.queue.standing());
    }

    fn commit(&mut self, change: Change, tag: Tag<W>, urgent: bool) {
        self.pending += 1;
        self.effects
            .push(Effect::Commit(ToCommit { change, tag, urgent }));
    }

    /// Requests work on the disk; [`Input::Done`] brings the result.
    fn work(&mut self, job: DiskJob<W>) {
        self.working += 1;
        self.effects.push(Effect::Work(job));
    }

    fn answer(&mut self, reply: W::Reply, answer: Answer) {
        self.effects.push(Effect::Answer(reply, answer));
    }

    /// Whether the spool has ended: nothing starts, and nothing is changed.
    const fn is_over(&self) -> bool {
        self.ended.is_some()
    }

    /// Makes an event for a change; the store numbers it.
    fn tell(&self, kind: EventKind, message: &Message) -> Event {
        let mut event = Event::new(0, self.now.wall, kind);
        event.id = Some(message.id);
        event.flows.clone_from(&message.flows);
        event.envelope = Some(Arc::new(EnvelopeSummary::whole(message)));
        if event.kind == EventKind::Frozen {
            event.reason = message.state.frozen.as_ref().map(ToString::to_string);
        }
        event
    }
}
