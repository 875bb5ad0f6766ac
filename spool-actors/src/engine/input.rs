//! The inputs of the engine, and what each of them causes.

use super::commit::Answered;
use super::{Answer, Content, Done, Engine, Now, Outlook, PathId, Tag, Told, Wanted, Work, World};
use crate::engine::DestinationId;
use crate::outcome::Loaded;
use crate::supervision::Ending;
use bytes::Bytes;
use spool_core::bounce::NoticeConfig;
use spool_core::disposition::Decisions;
use spool_core::store::{Change, Recovered, Recovery};
use spool_core::{
    AddError, Attempt, Held, LearnedDestination, Message, MessageId, Presend, Routing, Submission, Timestamp,
};

/// When a turn takes place, and whether the spool has ended by then.
#[derive(Debug, Clone)]
pub(crate) struct Moment {
    pub(crate) now: Now,
    pub(crate) ended: Option<Ending>,
}

/// Something that has happened.
#[derive(Debug)]
pub(crate) enum Input<W: World> {
    /// A caller adds mail.
    Add(Box<Submission>, W::Reply),
    /// A caller puts mail in quarantine, for this reason.
    Quarantine(Box<Submission>, String, W::Reply),
    /// A caller starts an operation on messages.
    Operate(Work, Vec<MessageId>, W::Reply),
    /// A caller deletes messages that were removed longer ago than this.
    Purge(std::time::Duration, Option<Vec<MessageId>>, W::Reply),
    /// A caller waits until the spool is idle.
    WaitIdle(W::Reply),
    /// The writer has answered for a batch of changes.
    Committed(Vec<Answered<W>>),
    /// A notice is signed, or stays unsigned.
    Signed {
        change: Change,
        tag: Tag<W>,
        urgent: bool,
    },
    /// Work on the disk is done.
    Done(Done<W>),
    /// There is memory.
    Memory(Wanted, Held),
    /// A permit was granted.
    Granted(DestinationId, W::Permit),
    /// A permit was granted under a former maximum, and is not used.
    Lapsed(DestinationId),
    /// Whether others wait for permits.
    Contended(bool),
    /// The path of a destination.
    Path(DestinationId, PathId),
    /// The outlook of a path.
    Outlook(PathId, Outlook),
    /// A path did not answer, for this reason, and its circuit is open.
    Unanswered(PathId, String),
    /// The throttle has forgotten a destination that has gone.
    Left(DestinationId),
    /// A path is forgotten.
    Forgotten(PathId),
    /// When the throttle must be called for a path again.
    Opens(Option<Timestamp>),
    /// What was learned of paths is to be kept on disk.
    Keep(Vec<LearnedDestination>),
    /// An attempt has its session and asks whether it may start.
    MayBegin(MessageId, W::Reply),
    /// An attempt has ended. Not `again`: its permit is of a former maximum, and starts no other one.
    AttemptEnded {
        id: MessageId,
        attempt: Attempt,
        permit: Option<W::Permit>,
        again: bool,
    },
    /// What the presend hook said; `None`: it failed.
    Presented(MessageId, Option<Presend>),
    /// What the `on_error` hook said.
    Decided {
        message: Box<Message>,
        body: Bytes,
        attempt: Attempt,
        decisions: Decisions,
    },
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
            Input::Operate(work, ids, reply) => self.start_bulk(work, ids, reply),
            Input::Purge(older_than, ids, reply) => self.purge(older_than, ids, reply),
            Input::WaitIdle(reply) => self.idle.push(reply),
            Input::Committed(answers) => self.committed_all(answers),
            Input::Signed { change, tag, urgent } => {
                self.pending = self.pending.saturating_sub(1);
                self.commit(change, tag, urgent);
            }
            Input::Done(done) => {
                self.working = self.working.saturating_sub(1);
                self.done(done);
            }
            Input::Memory(wanted, held) => self.has_memory(wanted, held),
            Input::Granted(destination, permit) => self.granted(destination, permit),
            Input::Lapsed(destination) => self.queue.lapsed(destination),
            Input::Contended(contended) => self.set_contended(contended),
            Input::Path(destination, path) => self.queue.set_path(destination, path),
            Input::Outlook(path, outlook) => self.queue.set_outlook(path, outlook),
            Input::Unanswered(path, reason) => self.unanswered(path, &reason),
            Input::Left(destination) => self.queue.left(destination),
            Input::Forgotten(path) => self.queue.forget_path(path),
            Input::Opens(at) => self.queue.set_opens(at),
            Input::Keep(learned) => self.keep_learned(learned),
            Input::MayBegin(id, reply) => self.may_begin(id, reply),
            Input::AttemptEnded {
                id,
                attempt,
                permit,
                again,
            } => self.attempt_ended(id, attempt, permit, again),
            Input::Presented(id, decision) => {
                self.working = self.working.saturating_sub(1);
                self.presented(id, decision);
            }
            Input::Decided {
                message,
                body,
                attempt,
                decisions,
            } => {
                self.working = self.working.saturating_sub(1);
                self.settle(*message, body, attempt, &decisions);
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
            Done::Loaded(loaded) => self.loaded_all(loaded),
            Done::ReadTaken {
                bulk,
                work,
                read,
                held,
            } => self.read_taken_done(bulk, &work, read, &held),
            Done::ReadUnattended { read, held } => self.unattended_read(read, held),
            Done::Routed { routes, generation } => self.routed(routes, generation),
            Done::ReadWhole(read) => self.read_to_divide(read),
            Done::ArchivedPresented { id, laid, events } => self.archived_presented(id, laid, events),
            Done::Fetched { bulk, archive, pairs } => self.fetched(bulk, archive, pairs),
            Done::DroppedPair { bulk, id, discarded } => self.dropped_pair(bulk, id, discarded),
            Done::TakenOff {
                archive,
                discarded,
                back,
            } => {
                if let Err(error) = discarded {
                    tracing::warn!(%error, archive = archive.name(), "files of an operation that failed stay in the archive");
                }
                if let Some((id, status)) = back {
                    self.queue.waits(id, status, self.now);
                }
            }
            Done::Quarantined {
                ids,
                laid,
                events,
                held,
                reply,
            } => self.laid_in_quarantine(ids, laid, events, held, reply),
            Done::Purged { outcome, reply } => self.answer(reply, Answer::Operated(outcome)),
            Done::Kept => self.keeping.kept(),
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

    fn tick(&mut self) {
        self.write_again();
        self.settle_interrupted();
        self.queue.let_go_if_starved();
        self.returns_idle = true;
        self.effects.push(super::Effect::Tell(Told::Tick));
    }

    fn set_max_jobs(&mut self, max: usize) {
        self.max_jobs = max;
        self.queue.pause(max == 0);
        // They were granted under another maximum.
        self.return_all_permits();
    }

    /// Whether an add may be tried at all.
    pub(super) fn may_add(&self) -> Result<(), AddError> {
        match &self.ended {
            Some(ending) => Err(ending.add_error()),
            None => Ok(()),
        }
    }
}
