//! The inputs of the engine, and what each of them causes.

use super::effect::AskedAttempt;
use super::jobs::{Done, ReadFor, Wanted};
use super::tag::{Answered, Tag, ToCommit};
use super::work::Work;
use super::{Content, DestinationId, Engine, News, World};
use crate::outcome::Loaded;
use spool_core::bounce::NoticeConfig;
use spool_core::disposition::Decisions;
use spool_core::store::{Recovered, Recovery};
use spool_core::{Attempt, Held, MessageId, Presend, Routing, Submission};

/// Something that has happened.
#[derive(Debug)]
pub(crate) enum Input<W: World> {
    /// A caller adds mail.
    Add(Box<Submission>, W::Reply),
    /// A caller puts mail in quarantine, for this reason.
    Quarantine(Box<Submission>, String, W::Reply),
    /// A caller starts an operation on messages.
    Operate(Work, Vec<MessageId>, W::Reply),
    /// A caller waits until the spool is idle.
    WaitIdle(W::Reply),
    /// The writer has answered for a batch of changes.
    Committed(Vec<Answered<Tag<W>>>),
    /// A notice is signed, or stays unsigned.
    Signed(ToCommit<W>),
    /// Work on the disk is done.
    Done(Done<W>),
    /// There is memory.
    Memory(Wanted, Held),
    /// A permit was granted.
    Granted(DestinationId, W::Permit),
    /// The throttle reports something.
    News(News),
    /// An attempt has its session and asks whether it may start.
    MayBegin(MessageId, W::Reply),
    /// An attempt has ended.
    AttemptEnded {
        id: MessageId,
        attempt: Attempt,
        permit: Option<W::Permit>,
    },
    /// What the presend hook said; `None`: it failed.
    Presented(MessageId, Option<Presend>),
    /// What the `on_error` hook said.
    Decided(AskedAttempt, Decisions),
    /// Some of the messages that were on disk at the start.
    Recovered(Vec<Recovered>),
    /// All of it has come; `None`: the rest never will.
    LoadingOver(Option<Recovery>),
    /// A second has passed.
    Tick,
    /// The time of a [`Wake`](super::Effect::Wake) has come.
    Woken,
    SetMaxJobs(usize),
    SetRouting(Routing),
    SetNotices(Option<NoticeConfig>),
    /// The spool is to be closed.
    Close,
    /// It is closed: nothing is left but to answer why.
    Closed,
}

impl<W: World> Engine<W> {
    pub(super) fn take_in(&mut self, input: Input<W>) {
        match input {
            Input::Add(mail, reply) => self.take_add(*mail, reply),
            Input::Quarantine(mail, reason, reply) => self.take_quarantine(*mail, reason, reply),
            Input::Operate(work, ids, reply) => self.operate(work, ids, reply),
            Input::WaitIdle(reply) => self.idle.push(reply),
            Input::Committed(answers) => self.committed_all(answers),
            Input::Signed(ToCommit { change, tag, urgent }) => {
                self.pending = self.pending.saturating_sub(1);
                self.commit(change, tag, urgent);
            }
            Input::Done(done) => {
                self.working = self.working.saturating_sub(1);
                self.done(done);
            }
            Input::Memory(wanted, held) => self.has_memory(wanted, held),
            Input::Granted(destination, permit) => self.granted(destination, permit),
            Input::News(news) => self.hear(news),
            Input::MayBegin(id, reply) => self.may_begin(id, reply),
            Input::AttemptEnded { id, attempt, permit } => self.attempt_ended(id, attempt, permit),
            Input::Presented(id, decision) => {
                self.working = self.working.saturating_sub(1);
                self.presented(id, decision);
            }
            Input::Decided(asked, decisions) => {
                self.working = self.working.saturating_sub(1);
                self.settle(*asked.message, asked.body, asked.attempt, &decisions);
            }
            Input::Recovered(messages) => self.recovered_some(messages),
            Input::LoadingOver(recovery) => self.loading_over(recovery),
            Input::Tick => self.tick(),
            Input::Woken => self.wake = None,
            Input::SetMaxJobs(max) => self.set_max_jobs(max),
            Input::SetRouting(routing) => self.set_routing(routing),
            Input::SetNotices(config) => self.returning.set(config),
            Input::Close => self.close(),
            Input::Closed => self.closed(),
        }
    }

    fn done(&mut self, done: Done<W>) {
        match done {
            Done::Read(ReadFor::Attempts, read) => self.loaded_all(read),
            Done::Read(ReadFor::Work { id, work, .. }, read) => self.claimed_were_read(id, &work, read),
            Done::Routed { routes, generation } => self.routed(routes, generation),
            Done::Fetched { work, archive, pairs } => self.fetched(work, archive, pairs),
            Done::Discarded {
                archive,
                ids,
                recovered,
                discarded,
            } => self.discarded(archive, ids, recovered, discarded),
            Done::Quarantined(laid, quarantining) => self.laid_in_quarantine(laid, quarantining),
            Done::Lost => {}
        }
    }

    /// What was read for attempts is there.
    fn loaded_all(&mut self, loaded: Vec<(MessageId, Result<Box<Content>, spool_core::store::StoreError>)>) {
        for (id, content) in loaded {
            match content {
                Ok(content) => {
                    self.queue.keep(content);
                    self.about_to_try(id);
                }
                Err(error) => self.unreadable(id, &error),
            }
        }
    }

    fn recovered_some(&mut self, messages: Vec<Recovered>) {
        if !self.is_over() {
            for message in messages.iter().filter(|message| message.in_flight.is_some()) {
                self.interrupted.push(message.id);
                if message.rerouted {
                    self.rerouted.insert(message.id);
                }
            }
        }
        // Even when the disk has failed meanwhile: a listing shows either all messages or the error that loading did not end.
        if self.readable() {
            self.queue.recover(messages, self.now);
        }
        self.settle_interrupted();
    }

    fn loading_over(&mut self, recovery: Option<Recovery>) {
        self.working = self.working.saturating_sub(1);
        // Closed meanwhile: what came last was not taken in.
        let Some(recovery) = recovery.filter(|_| self.readable()) else {
            return;
        };
        self.loaded = true;
        self.keys.complete(recovery.keys, self.now);
        self.look_at_all();
        self.effects.push(super::Effect::Loaded(Loaded {
            messages: self.queue.len(),
            torn_bytes: recovery.torn_bytes,
            damage: recovery.damage,
        }));
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Path(destination, path) => self.queue.set_path(destination, path),
            News::Outlook(path, outlook) => self.queue.set_outlook(path, outlook),
            News::Unanswered(path, reason) => self.unanswered(path, &reason),
            News::Forgotten(path) => self.queue.forget_path(path),
            News::Contended(contended) => self.set_contended(contended),
            News::Opens(at) => self.queue.opens = at,
        }
    }

    fn tick(&mut self) {
        self.write_again();
        self.settle_interrupted();
        self.queue.let_go_if_starved();
        self.returns_idle = true;
    }

    fn set_max_jobs(&mut self, max: usize) {
        self.max_jobs = max;
        self.return_all_permits();
        self.queue.pause(max == 0);
    }
}
