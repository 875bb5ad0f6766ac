//! One life of an engine: the world that carries out its effects, late and in another order, and watches it.

use super::disk::Disk;
use super::{AT, Chance, Now, Paper, Tally, World};
use crate::engine::DestinationId;
use crate::engine::{
    Answer, Answered, Effect, Engine, Input, Job, Moment, NewMail, Operation, Setup, Tag, Wanted, Work,
};
use crate::outcome::NewRoute;
use crate::supervision::Ending;
use crate::throttle::Machine;
use bytes::Bytes;
use spool_core::disposition::Decisions;
use spool_core::store::{Change, Recovery, Shelf, StoreError};
use spool_core::{
    Attempt, AttemptReport, AttemptResult, Budget, Envelope, IdSource, InitialStatus, MessageId, NextHop,
    Policies, Presend, RandomDice, Reply, RetryInterval, RetryPolicy, ReversePath, RouteOrigin, Routing,
    Section, Submission, Waiting,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Steps of a life.
const STEPS: usize = 40;
/// Turns in which everything must come to rest.
const PATIENCE: usize = 2_000;

/// A session that runs.
#[derive(Debug)]
struct Session {
    job: spool_core::Job,
    permit: u64,
}

/// What an asker waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Add,
    Operation,
    Idle,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Life {
    engine: Engine<Paper>,
    now: Now,
    disk: Disk,
    budget: Budget,
    inputs: VecDeque<Input<Paper>>,
    /// Changes that wait for the disk, in order.
    unwritten: VecDeque<(Change, Tag<Paper>)>,
    jobs: Vec<Job<Paper>>,
    sessions: Vec<Session>,
    waiting: Vec<(Pin<Box<Waiting>>, Option<Wanted>)>,
    questions: Vec<Input<Paper>>,
    throttle: Machine,
    contended: bool,
    permits: BTreeMap<u64, (DestinationId, u64)>,
    last_permit: u64,
    epoch: u64,
    max: usize,
    /// Sessions that started since the maximum was set.
    under_max: BTreeSet<u64>,
    replies: BTreeMap<u64, Asked>,
    last_reply: u64,
    wake: Option<spool_core::Timestamp>,
    ended: Option<Ending>,
    closed: bool,
    full: bool,
    /// Recipients that were taken: of each message, how often.
    taken: BTreeMap<MessageId, usize>,
    /// Messages of which a duplicate is in order: a crash left them in doubt.
    doubtful: BTreeSet<MessageId>,
}

fn hops(number: usize) -> Arc<[NextHop]> {
    [format!("hop{number}:25").parse().unwrap()].into()
}

/// The answer to a question; what the presend hook says is `presend`.
fn said(mut answer: Input<Paper>, presend: Option<Presend>) -> Input<Paper> {
    if let Input::Presented(_, decision) = &mut answer {
        *decision = presend;
    }
    answer
}

impl Life {
    pub(super) fn begin(chance: &mut Chance, disk: Option<Disk>, tally: &mut Tally) -> Self {
        let disk = disk.unwrap_or_default();
        let now = Now { wall: AT, inside: AT };
        let budget = Budget::new([6_000, 60_000, 1 << 20][chance.below(3)]);
        let max = 1 + chance.below(5);
        let engine = Engine::new(Setup {
            now,
            budget: budget.clone(),
            dice: Arc::new(RandomDice),
            ids: IdSource::after(disk.ids().last().copied().max(disk.removed().last().copied())),
            policies: Policies::default(),
            learned: Vec::new(),
            routing: Routing::default(),
            keys: Vec::new(),
            key_window: Duration::from_secs(60),
            max_keys: 10,
            max_jobs: max,
            max_jobs_per_destination: 1 + chance.below(4),
            max_recipients: 10,
            presend: chance.one_in(4),
            on_error: chance.one_in(4),
            signs: false,
            notices: None,
        });
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
            throttle: Machine::new(max),
            contended: false,
            permits: BTreeMap::new(),
            last_permit: 0,
            epoch: 0,
            max,
            under_max: BTreeSet::new(),
            replies: BTreeMap::new(),
            last_reply: 0,
            wake: None,
            ended: None,
            closed: false,
            full: false,
            taken: BTreeMap::new(),
            doubtful: disk.in_flight().collect(),
            disk,
        };
        tally.in_doubt += life.doubtful.len();
        life.inputs.push_back(Input::Recovered(life.disk.recovered()));
        life.inputs
            .push_back(Input::LoadingOver(Some(Recovery::default())));
        life.turn(tally);
        life
    }

    /// Random steps.
    pub(super) fn go_on(&mut self, chance: &mut Chance, tally: &mut Tally) {
        for _ in 0..STEPS {
            match chance.below(14) {
                0..=2 => self.add(chance, tally),
                3 => self.operate(chance, tally),
                4 => self.set_max(chance),
                5 => self.full = chance.one_in(3),
                6 => {
                    self.now.inside = self
                        .now
                        .inside
                        .after(Duration::from_millis(1 << chance.below(20)));
                    self.now.wall = self.now.wall.after(Duration::from_millis(1 << chance.below(20)));
                }
                // Somebody sets the clock.
                7 if chance.one_in(4) => self.now.wall.0 += chance.below(1 << 32) as i64 - (1 << 31),
                8 => self.ask_idle(),
                9 => {
                    let hop = hops(chance.below(3))[0].clone();
                    self.inputs.push_back(Input::RoomAt(hop));
                }
                _ => self.happen(chance, tally),
            }
            if chance.one_in(2) {
                self.turn(tally);
            }
        }
        self.full = false;
    }

    fn reply(&mut self, asked: Asked) -> u64 {
        self.last_reply += 1;
        self.replies.insert(self.last_reply, asked);
        self.last_reply
    }

    fn add(&mut self, chance: &mut Chance, tally: &mut Tally) {
        let section = |chance: &mut Chance| Section {
            envelope: Envelope::new(
                ReversePath::parse("a@example.org").unwrap(),
                (0..=chance.below(2)).map(|n| format!("r{n}@example.net").parse().unwrap()),
            ),
            next_hops: hops(chance.below(3)),
            origin: RouteOrigin::Named,
            retry: RetryPolicy {
                intervals: vec![RetryInterval::with_jitter(Duration::from_secs(60), 0.0); chance.below(3)],
                repeat_last: chance.one_in(2),
                expire_after: chance.one_in(3).then(|| Duration::from_secs(600)),
            },
        };
        let sections: Vec<_> = (0..=chance.below(2)).map(|_| section(chance)).collect();
        tally.messages += sections.len();
        let submission = Submission {
            sections,
            body: Bytes::from(vec![b'x'; chance.below(2_000)]),
            initial: match chance.one_in(6) {
                true => InitialStatus::Frozen,
                false => InitialStatus::SendNow,
            },
            flows: Vec::new(),
            parent: None,
            related: Vec::new(),
            key: chance.one_in(4).then(|| format!("{}", chance.below(4))),
        };
        let mail = Box::new(NewMail {
            submission,
            routing: None,
            fingerprint: None,
            unknown_submitter: false,
        });
        let reply = self.reply(Asked::Add);
        self.inputs.push_back(Input::Add(mail, reply));
    }

    fn operate(&mut self, chance: &mut Chance, tally: &mut Tally) {
        tally.operations += 1;
        let work = match chance.below(7) {
            0 | 1 => Work::Freeze,
            2 | 3 => Work::SendNow([].into()),
            4 => Work::Remove,
            5 => Work::Recover(Shelf::Removed),
            _ => Work::Reroute(NewRoute::To(hops(chance.below(3)))),
        };
        let mut ids = match matches!(work, Work::Recover(_)) {
            true => self.disk.removed(),
            false => self.disk.ids(),
        };
        ids.retain(|_| chance.one_in(2));
        ids.push(MessageId::from_u128(1));
        let reply = self.reply(Asked::Operation);
        self.inputs
            .push_back(Input::Operate(Operation { work, ids }, reply));
    }

    fn set_max(&mut self, chance: &mut Chance) {
        self.max = chance.below(6);
        self.epoch += 1;
        self.under_max.clear();
        self.throttle.set_max(self.max);
        self.inputs.push_back(Input::SetMaxJobs(self.max));
        self.grant();
    }

    fn ask_idle(&mut self) {
        let reply = self.reply(Asked::Idle);
        self.inputs.push_back(Input::WaitIdle(reply));
    }

    /// Something of what is under way comes to its end.
    fn happen(&mut self, chance: &mut Chance, tally: &mut Tally) {
        match chance.below(4) {
            0 => self.write(chance, tally),
            1 if !self.jobs.is_empty() => {
                let job = self.jobs.swap_remove(chance.below(self.jobs.len()));
                let done = self.disk.run(&self.budget, job);
                self.inputs.push_back(Input::Done(done));
            }
            2 if !self.questions.is_empty() => {
                let answer = self.questions.swap_remove(chance.below(self.questions.len()));
                self.inputs.push_back(said(answer, Self::presend(chance)));
            }
            _ if !self.sessions.is_empty() => {
                let session = self.sessions.swap_remove(chance.below(self.sessions.len()));
                self.end_session(session, chance.below(6));
            }
            _ => {}
        }
        self.feed();
    }

    fn presend(chance: &mut Chance) -> Option<Presend> {
        Some(match chance.below(6) {
            0 => Presend::SendAt(AT.after(Duration::from_secs(30))),
            1 => Presend::Freeze,
            2 => Presend::Remove,
            3 => return None,
            _ => Presend::SendNow,
        })
    }

    fn end_session(&mut self, session: Session, how: usize) {
        let Session { job, permit } = session;
        let id = job.message;
        let result = match how {
            0 => AttemptResult::Refused {
                stage: spool_core::Stage::Mail,
                reply: Reply::new(450, "4.2.0 later"),
            },
            1 => AttemptResult::NoConnection {
                error: "no answer".to_owned(),
            },
            2 => AttemptResult::NotBegun {
                reason: "all connections are in use".to_owned(),
            },
            _ => {
                *self.taken.entry(id).or_default() += 1;
                AttemptResult::Accepted(Reply::new(250, "2.0.0 ok"))
            }
        };
        self.under_max.remove(&permit);
        let of_now = self
            .permits
            .get(&permit)
            .is_some_and(|(_, epoch)| *epoch == self.epoch);
        if !of_now {
            self.release(permit);
        }
        self.inputs.push_back(Input::AttemptEnded {
            id,
            attempt: Attempt {
                at: self.now.wall,
                duration_ms: 1,
                report: AttemptReport::new(result),
            },
            permit: of_now.then_some(permit),
        });
    }

    /// The disk answers for some of what waits for it, in order.
    fn write(&mut self, chance: &mut Chance, tally: &mut Tally) {
        let count = 1 + chance.below(self.unwritten.len().max(1));
        let mut answers = Vec::new();
        for (mut change, tag) in self.unwritten.drain(..count.min(self.unwritten.len())) {
            // A full disk takes small changes, and no mail.
            let refused = self.full && matches!(change, Change::Add(_) | Change::State { .. });
            tally.full += usize::from(refused);
            let result = match refused {
                true => Err(StoreError::Full("no room".to_owned())),
                false => {
                    self.disk.write(&mut change);
                    Ok(())
                }
            };
            answers.push(Answered { change, tag, result });
        }
        if !answers.is_empty() {
            self.inputs.push_back(Input::Committed(answers));
        }
    }

    /// Memory that has come free.
    fn feed(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        for (waiting, wanted) in &mut self.waiting {
            if let Poll::Ready(held) = waiting.as_mut().poll(&mut context)
                && let Some(wanted) = wanted.take()
            {
                self.inputs.push_back(Input::Memory(wanted, held));
            }
        }
        self.waiting.retain(|(_, wanted)| wanted.is_some());
    }

    fn turn(&mut self, tally: &mut Tally) {
        if self.wake.is_some_and(|at| at <= self.now.inside) {
            self.wake = None;
            self.inputs.push_back(Input::Woken);
        }
        let moment = Moment {
            now: self.now,
            ended: self.ended.clone(),
        };
        for effect in self.engine.turn(moment, &mut self.inputs) {
            self.perform(effect, tally);
        }
        self.grant();
        assert!(
            self.max == 0 || self.under_max.len() <= self.max,
            "more sessions than allowed"
        );
        assert_eq!(
            self.engine.running(),
            self.sessions.len() + self.ended_but_not_told()
        );
    }

    /// Sessions whose end the engine has yet to be told.
    fn ended_but_not_told(&self) -> usize {
        let told = |input: &&Input<Paper>| matches!(input, Input::AttemptEnded { .. });
        self.inputs.iter().filter(told).count()
    }

    fn perform(&mut self, effect: Effect<Paper>, tally: &mut Tally) {
        match effect {
            Effect::Commit { change, tag, .. } | Effect::Sign { change, tag, .. } => {
                self.unwritten.push_back((change, tag));
            }
            Effect::Work(job) => self.jobs.push(job),
            Effect::WaitForMemory { bytes, wanted } => {
                let waiting = Box::pin(self.budget.wait(bytes));
                self.waiting.push((waiting, Some(wanted)));
            }
            Effect::Start { job, permit } => self.start(job, permit, tally),
            Effect::Ask { destination, more } => self.throttle.demand(destination, more),
            Effect::Return(permit) => self.release(permit),
            Effect::AskPresend(message) => self.questions.push(Input::Presented(message.id, None)),
            Effect::AskOnError {
                message,
                body,
                attempt,
            } => {
                let decisions = Decisions::by_default(&attempt.report);
                self.questions.push(Input::Decided {
                    message,
                    body,
                    attempt,
                    decisions,
                });
            }
            Effect::Publish(events) => {
                assert!(events.is_sorted_by_key(|event| event.seq));
            }
            Effect::Answer(reply, answer) => self.answered(reply, &answer),
            Effect::Loaded(_) => {}
            Effect::Wake(at) => self.wake = Some(at),
            Effect::Close(_) => {
                assert!(self.sessions.is_empty() && self.unwritten.is_empty() && self.jobs.is_empty());
                self.closed = true;
            }
        }
    }

    /// Nothing is sent but what the disk says is being sent, to where it says, and once at a time.
    fn start(&mut self, job: spool_core::Job, permit: u64, tally: &mut Tally) {
        tally.sessions += 1;
        assert_eq!(self.ended, None, "nothing starts once the spool has ended");
        let id = job.message;
        let message = self.disk.message(id).expect("what is sent is on disk");
        assert!(
            message.state.in_flight.is_some(),
            "the start of {id} is not on disk"
        );
        assert_eq!(message.next_hops, job.next_hops, "{id} goes elsewhere");
        assert_eq!(message.state.remaining, job.recipients);
        assert!(!job.recipients.is_empty());
        assert!(
            self.sessions.iter().all(|session| session.job.message != id),
            "{id} twice at a time"
        );
        let (_, epoch) = self.permits.get(&permit).expect("a permit that was granted");
        if *epoch == self.epoch {
            assert!(self.under_max.insert(permit), "one session for each permit");
        }
        self.sessions.push(Session { job, permit });
    }

    fn release(&mut self, permit: u64) {
        let (destination, epoch) = self.permits.remove(&permit).expect("a permit comes back once");
        self.throttle.release(destination, epoch);
    }

    fn grant(&mut self) {
        while let Some((destination, epoch)) = self.throttle.next() {
            self.last_permit += 1;
            self.permits.insert(self.last_permit, (destination, epoch));
            self.inputs
                .push_back(Input::Granted(destination, self.last_permit));
        }
        let contended = self.throttle.is_contended();
        if contended != self.contended {
            self.contended = contended;
            self.inputs.push_back(Input::Contended(contended));
        }
    }

    fn answered(&mut self, reply: <Paper as World>::Reply, answer: &Answer) {
        let asked = self.replies.remove(&reply).expect("one answer for each question");
        match (asked, answer) {
            (Asked::Add, Answer::Added(Ok(ids))) => {
                for id in ids {
                    let known = self.disk.message(*id).is_some() || self.taken.contains_key(id);
                    assert!(known || self.disk.removed().contains(id) || !ids.is_empty());
                }
            }
            (Asked::Add, Answer::Added(Err(_)))
            | (Asked::Operation, Answer::Operated(_))
            | (Asked::Idle, Answer::Idle(_)) => {}
            (asked, answer) => panic!("{answer:?} to {asked:?}"),
        }
    }

    /// Everything goes well from now on, for as long as it takes: nothing is left to do, and everyone is answered.
    pub(super) fn finish(&mut self, tally: &mut Tally) {
        let mut chance = Chance::new(1);
        self.full = false;
        self.max = 3;
        self.epoch += 1;
        self.under_max.clear();
        self.throttle.set_max(3);
        self.inputs.push_back(Input::SetMaxJobs(3));
        for turns in 0.. {
            assert!(turns < PATIENCE, "it never comes to rest: {self:#?}");
            self.settle(&mut chance, tally);
            let waits = self
                .disk
                .ids()
                .into_iter()
                .filter_map(|id| self.disk.message(id))
                .any(|message| message.state.status != spool_core::Status::Frozen);
            if !waits && self.is_quiet() && self.waiting.is_empty() {
                break;
            }
            // Time passes, the faster the longer nothing happens: the clock of another life may have been ahead.
            let span = Duration::from_secs(60 * (1 + turns as u64 * turns as u64));
            self.now.inside = self.now.inside.after(span);
            self.now.wall = self.now.wall.after(span);
            self.inputs.push_back(Input::Tick);
            self.turn(tally);
        }
        assert_eq!(self.replies, BTreeMap::new(), "questions without an answer");
        let twice = self
            .taken
            .iter()
            .find(|(id, times)| **times > 1 && !self.doubtful.contains(id));
        assert_eq!(twice, None, "sent twice, and never in doubt");
        assert_eq!(self.engine.waiting(), 0);
    }

    /// Everything that is under way comes to its end.
    fn settle(&mut self, chance: &mut Chance, tally: &mut Tally) {
        for turns in 0.. {
            assert!(
                turns < PATIENCE,
                "it never settles: {:#?}",
                (
                    &self.inputs,
                    &self.unwritten,
                    &self.jobs,
                    &self.sessions,
                    &self.questions,
                    &self.engine
                )
            );
            self.write(chance, tally);
            for job in std::mem::take(&mut self.jobs) {
                let done = self.disk.run(&self.budget, job);
                self.inputs.push_back(Input::Done(done));
            }
            for question in std::mem::take(&mut self.questions) {
                self.inputs.push_back(said(question, Some(Presend::SendNow)));
            }
            for session in std::mem::take(&mut self.sessions) {
                self.end_session(session, 5);
            }
            self.feed();
            self.turn(tally);
            if self.is_quiet() && self.inputs.is_empty() {
                return;
            }
        }
    }

    fn is_quiet(&self) -> bool {
        let under_way = [
            self.unwritten.len(),
            self.jobs.len(),
            self.questions.len(),
            self.sessions.len(),
            self.inputs.len(),
        ];
        under_way.iter().all(|count| *count == 0)
    }

    /// The end of this life, by a crash or in order. Gives the disk.
    pub(super) fn end(mut self, crash: bool, tally: &mut Tally) -> Disk {
        if crash {
            return self.disk;
        }
        self.full = false;
        self.ended = Some(Ending::Killed);
        self.inputs.push_back(Input::Close);
        self.turn(tally);
        let mut chance = Chance::new(2);
        while !self.closed {
            self.settle(&mut chance, tally);
        }
        // Permits that were on their way.
        while !self.inputs.is_empty() {
            self.turn(tally);
        }
        let held: Vec<_> = self.permits.keys().collect();
        assert!(
            self.sessions.is_empty() && held.is_empty(),
            "permits that did not come back: {held:?}"
        );
        self.disk
    }
}
