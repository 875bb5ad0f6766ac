//! One life of an engine: the world that carries out its effects and watches it.

use super::answers::Asked;
use super::disk::Disk;
use super::sessions::Session;
use super::settings::{KEY_WINDOW, notices, routing};
use super::{AT, Chance, Now, Paper, Tally};
use crate::engine::{
    Answered, DestinationId, DiskJob, Effect, Engine, Input, News, ReadFor, Setup, Tag, Wanted,
};
use crate::supervision::Ending;
use crate::throttle::{self, Limits};
use spool_core::disposition::Decisions;
use spool_core::store::{Change, Recovery};
use spool_core::{Budget, IdSource, MessageId, NextHop, Policies, RandomDice, Routing, Waiting};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::pin::Pin;
use std::sync::Arc;

/// Turns in a row that nothing but permits brings about.
const OF_PERMITS_ALONE: usize = 100;

/// What the disk has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    Plenty,
    /// For small changes, and for no mail.
    Little,
    /// For nothing.
    None,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) engine: Engine<Paper>,
    pub(super) now: Now,
    pub(super) disk: Disk,
    pub(super) budget: Budget,
    pub(super) inputs: VecDeque<Input<Paper>>,
    /// Changes that wait for the disk, in order.
    pub(super) unwritten: VecDeque<(Change, Tag<Paper>)>,
    pub(super) jobs: Vec<DiskJob<Paper>>,
    pub(super) sessions: Vec<Session>,
    pub(super) waiting: Vec<(Pin<Box<Waiting>>, Option<Wanted>)>,
    pub(super) questions: Vec<Input<Paper>>,
    pub(super) throttle: Limits,
    /// Paths that are being looked up.
    pub(super) lookups: Vec<(DestinationId, Arc<[NextHop]>)>,
    /// Whether that takes its time.
    pub(super) slow_lookups: bool,
    pub(super) opens: Option<spool_core::Timestamp>,
    pub(super) permits: BTreeMap<u64, (DestinationId, u64)>,
    pub(super) epoch: u64,
    pub(super) max: usize,
    /// Whether it was 0 when the last turn ended.
    pub(super) was_paused: bool,
    /// Sessions that started since the maximum was set.
    pub(super) under_max: BTreeSet<u64>,
    /// Turns since something happened that is no matter of permits.
    of_permits: usize,
    pub(super) routing: Routing,
    /// The routing before that one.
    pub(super) former: Routing,
    pub(super) notices: bool,
    pub(super) presend: bool,
    pub(super) replies: BTreeMap<u64, Asked>,
    pub(super) last_reply: u64,
    /// Until when each idempotency key is known at least, by the time inside.
    pub(super) keys: BTreeMap<String, spool_core::Timestamp>,
    pub(super) wake: Option<spool_core::Timestamp>,
    pub(super) ended: Option<Ending>,
    pub(super) closed: bool,
    pub(super) room: Room,
    /// Messages in doubt at the start of this life.
    pub(super) inherited: BTreeSet<MessageId>,
    /// Messages whose time was over when their attempt was not begun.
    pub(super) over: BTreeSet<MessageId>,
    /// Messages whose end found no room on the disk with a notice.
    pub(super) no_room: BTreeSet<MessageId>,
}

impl Life {
    pub(super) fn begin(chance: &mut Chance, disk: Option<Disk>, tally: &mut Tally) -> Self {
        let mut disk = disk.unwrap_or_default();
        tally.in_doubt += disk.start();
        let now = Now { wall: AT, inside: AT };
        let budget = Budget::new([6_000, 60_000, 1 << 20][chance.below(3)]);
        let max = 1 + chance.below(5);
        let routing = match chance.one_in(2) {
            true => routing(chance.below(4)),
            false => Routing::default(),
        };
        let (presend, notices) = (chance.one_in(4), chance.one_in(2).then(|| notices(chance)));
        let at_once = chance.below(disk.keys.len() + 1);
        let (later, at_first) = disk.keys.split_at(at_once);
        let engine = Engine::new(Setup {
            now,
            budget: budget.clone(),
            dice: Arc::new(RandomDice),
            ids: IdSource::after(disk.last_id()),
            routing: routing.clone(),
            keys: at_first.to_vec(),
            key_window: KEY_WINDOW,
            max_keys: 10,
            max_jobs: max,
            max_recipients: 10,
            presend,
            on_error: chance.one_in(4),
            signs: chance.one_in(4),
            notices: notices.clone(),
        });
        let mut recovery = Recovery::default();
        recovery.keys = later.to_vec();
        let known_until = |key: &spool_core::store::RememberedKey| {
            (key.key.clone(), now.inside_of(key.at).after(KEY_WINDOW))
        };
        let mut life = Self {
            engine,
            now,
            budget,
            inputs: VecDeque::new(),
            unwritten: VecDeque::new(),
            jobs: Vec::new(),
            sessions: Vec::new(),
            waiting: Vec::new(),
            questions: Vec::new(),
            throttle: limits(chance, max, now),
            lookups: Vec::new(),
            slow_lookups: chance.one_in(3),
            opens: None,
            permits: BTreeMap::new(),
            epoch: 0,
            max,
            was_paused: false,
            under_max: BTreeSet::new(),
            of_permits: 0,
            former: routing.clone(),
            routing,
            notices: notices.is_some(),
            presend,
            replies: BTreeMap::new(),
            last_reply: 0,
            keys: disk.keys.iter().map(known_until).collect(),
            wake: None,
            ended: None,
            closed: false,
            room: Room::Plenty,
            no_room: BTreeSet::new(),
            inherited: disk.in_flight().collect(),
            over: BTreeSet::new(),
            disk,
        };
        // The rest comes while other things happen already.
        let recovered = life.disk.recovered();
        let (first, rest) = recovered.split_at(chance.below(recovered.len() + 1));
        life.inputs.push_back(Input::Recovered(first.to_vec()));
        if chance.one_in(2) {
            life.turn(tally);
        }
        life.inputs.push_back(Input::Recovered(rest.to_vec()));
        life.inputs.push_back(Input::LoadingOver(Some(recovery)));
        life.turn(tally);
        life
    }

    pub(super) fn turn(&mut self, tally: &mut Tally) {
        if self.wake.is_some_and(|at| at <= self.now.inside) {
            self.wake = None;
            self.inputs.push_back(Input::Woken);
        }
        let of_permits = |input: &Input<Paper>| {
            matches!(
                input,
                Input::Granted(..) | Input::News(News::Contended(_) | News::Outlook(..) | News::Opens(_))
            )
        };
        self.of_permits = match self.inputs.iter().all(of_permits) {
            true => self.of_permits + 1,
            false => 0,
        };
        assert!(
            self.of_permits < OF_PERMITS_ALONE,
            "permits go to and fro for ever: {:#?}",
            self.engine
        );
        for effect in self.engine.turn(self.now, self.ended.clone(), &mut self.inputs) {
            self.perform(effect, tally);
        }
        self.was_paused = self.max == 0;
        self.grant();
        assert!(
            self.max == 0 || self.under_max.len() <= self.max,
            "more sessions than allowed"
        );
        assert_eq!(
            self.engine.queue.counts.running,
            self.sessions.len() + self.ended_but_not_told()
        );
        if self.ended.is_none() {
            let due = self.engine.queue.next_due().map(|due| due.max(self.now.inside));
            let stuck = |id: &MessageId| self.engine.unwritten.error(*id).is_some();
            assert_eq!(
                self.engine.bulks.parked().find(stuck),
                None,
                "an operation waits for room"
            );
            assert!(
                self.wake.is_some_and(|at| due
                    .into_iter()
                    .chain(self.opens)
                    .all(|due| at <= due.max(self.now.inside))),
                "nobody wakes it"
            );
            // What is being written may have places and permits that no message has; a notice that is being signed as well.
            self.engine
                .queue
                .check(self.unwritten.is_empty() && self.questions.is_empty());
        }
    }

    /// Takes turns until nothing is left to be told but what comes from outside.
    pub(super) fn turn_out(&mut self, tally: &mut Tally) {
        while !self.inputs.is_empty() {
            self.turn(tally);
        }
    }

    /// Sessions whose end the engine has yet to be told.
    fn ended_but_not_told(&self) -> usize {
        let told = |input: &&Input<Paper>| matches!(input, Input::AttemptEnded { .. });
        self.inputs.iter().filter(told).count()
    }

    fn perform(&mut self, effect: Effect<Paper>, tally: &mut Tally) {
        match effect {
            Effect::Commit(commit) => self.unwritten.push_back((commit.change, commit.tag)),
            Effect::Sign(commit) => self.questions.push(Input::Signed(commit)),
            Effect::Work(job) => {
                let is_paused = self.was_paused && self.max == 0;
                assert!(
                    !(is_paused && matches!(job, DiskJob::Read(ReadFor::Attempts, _))),
                    "nothing is read while it is paused"
                );
                self.jobs.push(job);
            }
            Effect::WaitForMemory { bytes, wanted } => {
                let waiting = Box::pin(self.budget.wait(bytes));
                self.waiting.push((waiting, Some(wanted)));
            }
            Effect::Start {
                job,
                permit,
                recorded,
            } => self.start(job, permit, recorded, tally),
            Effect::Tell(told) => self.throttle.hear(told, self.now),
            Effect::Return(permit, signal) => self.release(permit, signal),
            Effect::AskPresend(message) => {
                assert_eq!(self.ended, None, "no hook is asked once the spool has ended");
                self.questions.push(Input::Presented(message.id, None));
            }
            Effect::AskOnError(asked) => {
                let decisions = Decisions::by_default(&asked.attempt.report);
                self.questions.push(Input::Decided(asked, decisions));
            }
            Effect::Publish(events) => {
                assert!(events.is_sorted_by_key(|event| event.seq));
            }
            Effect::Answer(reply, answer) => self.answered(reply, &answer, tally),
            Effect::Loaded(_) => {}
            Effect::Wake(at) => self.wake = Some(at),
            Effect::Close => {
                assert!(self.sessions.is_empty() && self.unwritten.is_empty() && self.jobs.is_empty());
                assert!(self.questions.is_empty());
                self.closed = true;
            }
        }
    }

    pub(super) fn set_routing(&mut self, routing: Routing) {
        self.former = std::mem::replace(&mut self.routing, routing.clone());
        self.inputs.push_back(Input::SetRouting(routing));
    }

    /// Nothing is under way but lookups, and what waits for memory or for time.
    pub(super) fn is_quiet(&self) -> bool {
        let under_way = [
            self.unwritten.len(),
            self.jobs.len(),
            self.questions.len(),
            self.sessions.len(),
            self.inputs.len(),
        ];
        under_way.iter().all(|count| *count == 0)
    }

    /// Permits that are out.
    pub(super) fn permits(&self) -> Vec<u64> {
        self.permits.keys().copied().collect()
    }

    /// The answers of the disk for what it has been given.
    pub(super) fn committed(&mut self, answers: Vec<Answered<Tag<Paper>>>) {
        if !answers.is_empty() {
            self.inputs.push_back(Input::Committed(answers));
        }
    }

    pub(super) fn message_ids(&self) -> Vec<MessageId> {
        self.disk.ids()
    }
}

fn limits(chance: &mut Chance, max_jobs: usize, now: Now) -> Limits {
    let setup = throttle::LimitsSetup {
        max_jobs,
        max_sessions: [usize::MAX, 3][chance.below(2)],
        max_per_path: 1 + chance.below(4),
        policies: Policies::default(),
        learned: Vec::new(),
        dice: Arc::new(RandomDice),
    };
    Limits::new(setup, now)
}
