//! What happens in a life: mail, operators, next hops, and a disk that answers late.

use super::answers::{Asked, Operated};
use super::sessions::{Session, Stage};
use super::settings::{KEY_WINDOW, hops, routing};
use super::world::{Life, Room};
use super::{AT, Chance, Paper, Tally};
use crate::engine::tag::Made;
use crate::engine::{Answered, Input, Tag, Work};
use crate::outcome::NewRoute;
use bytes::Bytes;
use spool_core::store::{Archive, Change, StoreError};
use spool_core::{
    Attempt, AttemptReport, AttemptResult, Envelope, Fingerprint, MessageId, Presend, RefusedRecipient,
    Reply, RetryInterval, RetryPolicy, ReversePath, RouteOrigin, Routing, Section, Submission,
};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Steps of a life.
const STEPS: usize = 40;
/// How a session ends in which all goes well.
pub(super) const WELL: usize = 9;
/// The result of an attempt that was refused its start.
pub(super) const NOT_BEGUN: usize = 2;
/// How one ends in which the first recipient is refused for good, and the others for now.
pub(super) const PARTLY: usize = 10;

/// The answer to a question; what the presend hook says is `presend`.
pub(super) fn said(mut answer: Input<Paper>, presend: Option<Presend>) -> Input<Paper> {
    if let Input::Presented(_, decision) = &mut answer {
        *decision = presend;
    }
    answer
}

impl Life {
    /// Random steps.
    pub(super) fn go_on(&mut self, chance: &mut Chance, tally: &mut Tally) {
        for _ in 0..STEPS {
            match chance.below(16) {
                0..=2 => self.add(chance, tally),
                3 => self.operate(chance, tally),
                4 => self.set_max(chance.below(6)),
                5 => self.room = [Room::Plenty, Room::Plenty, Room::Little, Room::None][chance.below(4)],
                6 => self.pass(Duration::from_millis(1 << chance.below(20))),
                // Somebody sets the clock.
                7 if chance.one_in(4) => {
                    self.disk.was_set = true;
                    self.now.wall.0 += chance.below(1 << 32) as i64 - (1 << 31);
                }
                8 => self.ask_idle(),
                9 => {
                    let lookup = chance.below(self.lookups.len().max(1));
                    self.look_up(lookup);
                }
                10 if chance.one_in(2) && matches!(self.routing, Routing::ByRules(_)) => {
                    self.set_routing(routing(chance.below(4)));
                }
                11 => self.turn_out(tally),
                12 => self.inputs.push_back(Input::Tick),
                _ => self.happen(chance, tally),
            }
            if chance.one_in(2) {
                self.turn(tally);
            }
        }
        self.room = Room::Plenty;
    }

    pub(super) fn pass(&mut self, span: Duration) {
        self.now.inside = self.now.inside.after(span);
        self.now.wall = self.now.wall.after(span);
    }

    fn add(&mut self, chance: &mut Chance, tally: &mut Tally) {
        let mut sections = Vec::new();
        // The caller may have used the former routing.
        let by = match chance.one_in(4) {
            true => self.former.clone(),
            false => self.routing.clone(),
        };
        for _ in 0..=chance.below(2) {
            let recipients: Vec<_> = (0..=chance.below(3))
                .map(|_| self.disk.ledger.address(chance.below(3)).parse().unwrap())
                .collect();
            let envelope = Envelope::of(ReversePath::parse("a@d1.example").unwrap(), recipients);
            let retry = RetryPolicy {
                intervals: vec![RetryInterval::with_jitter(Duration::from_secs(60), 0.0); chance.below(3)],
                repeat_last: chance.one_in(2),
                expire_after: chance.one_in(3).then(|| Duration::from_secs(600)),
            };
            if let Routing::ByRules(router) = &by
                && !chance.one_in(4)
            {
                sections.extend(router.split(envelope, &retry));
                continue;
            }
            sections.push(Section {
                envelope,
                next_hops: hops(chance.below(3)),
                origin: RouteOrigin::Named,
                retry,
            });
        }
        tally.messages += sections.len();
        let key = chance.one_in(4).then(|| format!("{}", chance.below(4)));
        let fingerprint = key
            .is_some()
            .then(|| Fingerprint::of(&[], if chance.one_in(4) { b"other" } else { b"same" }));
        let submission = Submission {
            sections,
            body: Bytes::from(vec![b'x'; chance.below(2_000)]),
            frozen: chance.one_in(6),
            key: key.clone(),
            fingerprint,
            routing: Some(by),
            ..Submission::default()
        };
        let reply = self.reply(Asked::Add { key, fingerprint });
        self.inputs.push_back(Input::Add(Box::new(submission), reply));
    }

    fn operate(&mut self, chance: &mut Chance, tally: &mut Tally) {
        tally.operations += 1;
        let work = match chance.below(10) {
            0 | 1 => Work::Freeze,
            2 | 3 => Work::SendNow([].into()),
            4 => Work::Remove,
            5 => Work::Recover(Archive::Removed),
            6 if self.notices => Work::Bounce("no longer wanted".into()),
            7 => Work::Expire,
            8 if matches!(self.routing, Routing::ByRules(_)) => Work::Reroute(NewRoute::ByConfig),
            _ => Work::Reroute(NewRoute::To(hops(chance.below(3)))),
        };
        let mut ids = match matches!(work, Work::Recover(_)) {
            true => self.disk.removed(),
            false => self.message_ids(),
        };
        let share = 1 + chance.below(3);
        ids.retain(|_| chance.one_in(share));
        ids.push(MessageId::from_u128(1));
        if matches!(work, Work::SendNow(_)) {
            self.disk.held.retain(|id| !ids.contains(id));
            self.over.retain(|id| !ids.contains(id));
        }
        if matches!(work, Work::Reroute(_)) {
            self.disk.routed.retain(|id, _| !ids.contains(id));
        }
        let operated = Operated::new(&work, &ids, self.operations());
        let reply = self.reply(Asked::Operation(operated));
        self.inputs.push_back(Input::Operate(work, ids, reply));
    }

    pub(super) fn ask_idle(&mut self) {
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
                self.inputs.push_back(said(answer, Self::presend_says(chance)));
            }
            _ if !self.sessions.is_empty() => {
                let place = chance.below(self.sessions.len());
                let how = chance.below(WELL + 1);
                self.go_on_with(place, how, chance);
            }
            _ => {}
        }
        self.feed();
    }

    fn presend_says(chance: &mut Chance) -> Option<Presend> {
        Some(match chance.below(6) {
            0 => Presend::SendAt(AT.after(Duration::from_secs(30))),
            1 => Presend::Freeze,
            2 => Presend::Remove,
            3 => return None,
            _ => Presend::SendNow,
        })
    }

    /// The attempt at this place takes its next step: it finds a session or none, asks whether it may begin, and ends.
    pub(super) fn go_on_with(&mut self, place: usize, how: usize, chance: &mut Chance) {
        match self.sessions[place].stage {
            Stage::Opening | Stage::Asking if how == 1 => {}
            Stage::Opening => return self.ask_to_begin(place),
            Stage::Asking => return,
            Stage::Begun | Stage::Refused => {}
        }
        let session = self.sessions.swap_remove(place);
        let how = match session.stage {
            Stage::Refused => NOT_BEGUN,
            Stage::Begun if how == NOT_BEGUN => WELL,
            Stage::Opening | Stage::Asking | Stage::Begun => how,
        };
        self.end_session(session, how, chance);
    }

    pub(super) fn end_session(&mut self, session: Session, how: usize, chance: &mut Chance) {
        let Session { job, permit, .. } = session;
        let id = job.message;
        let refused_with = |code, text: &str| AttemptResult::Refused {
            stage: spool_core::Stage::Mail,
            reply: Reply::new(code, text),
        };
        let mut refused = Vec::new();
        let result = match how {
            0 => refused_with(450, "4.2.0 later"),
            1 => AttemptResult::NoConnection {
                error: "no answer".to_owned(),
            },
            NOT_BEGUN => AttemptResult::NotBegun {
                reason: "the start was refused".to_owned(),
            },
            3 => refused_with(550, "5.7.1 no"),
            4 | 5 => {
                for recipient in &job.recipients {
                    let (code, text) =
                        [(250, ""), (450, "4.2.0 later"), (550, "5.1.1 unknown")][chance.below(3)];
                    if code != 250 {
                        let reply = Reply::new(code, text);
                        refused.push(RefusedRecipient {
                            recipient: *recipient,
                            reply,
                        });
                    }
                }
                match refused.len() == job.recipients.len() {
                    true => AttemptResult::AllRefused,
                    false => AttemptResult::Accepted(Reply::new(250, "2.0.0 ok")),
                }
            }
            PARTLY => {
                refused = job
                    .recipients
                    .iter()
                    .map(|recipient| RefusedRecipient {
                        recipient: *recipient,
                        reply: Reply::new(if *recipient == 0 { 550 } else { 450 }, "no"),
                    })
                    .collect();
                AttemptResult::AllRefused
            }
            _ => AttemptResult::Accepted(Reply::new(250, "2.0.0 ok")),
        };
        if matches!(result, AttemptResult::Accepted(_)) {
            let mut taken = job.recipients.clone();
            taken.retain(|recipient| refused.iter().all(|refused| refused.recipient != *recipient));
            let disk = &mut self.disk;
            let (message, _) = disk.messages.get(&id).expect("what is sent is on disk");
            disk.ledger.take(message, &taken);
        }
        if matches!(result, AttemptResult::NotBegun { .. }) {
            self.is_not_begun(id);
        }
        self.under_max.remove(&permit);
        let mut report = AttemptReport::new(result);
        report.peer = job.next_hops.first().cloned();
        report.refused = refused;
        self.inputs.push_back(Input::AttemptEnded {
            id,
            attempt: Attempt {
                at: self.now.wall,
                duration_ms: 1,
                report,
            },
            permit: Some(permit),
        });
    }

    /// A message that was not begun is given up, if its time is over and no operation has it.
    fn is_not_begun(&mut self, id: MessageId) {
        let end = self.disk.message(id).and_then(|message| message.state.expires_at);
        let is_over = end.is_some_and(|end| end <= self.now.wall) && !self.disk.was_set;
        if is_over && !self.operations().any(|operated| operated.names(id)) {
            self.over.insert(id);
        }
    }

    /// The disk answers for some of what waits for it, in order.
    pub(super) fn write(&mut self, chance: &mut Chance, tally: &mut Tally) {
        let count = 1 + chance.below(self.unwritten.len().max(1));
        let batch: Vec<_> = self.unwritten.drain(..count.min(self.unwritten.len())).collect();
        let mut answers = Vec::new();
        for (mut change, tag) in batch {
            let refused = match self.room {
                Room::Plenty => false,
                Room::Little => matches!(change, Change::Add(_) | Change::State { .. }),
                Room::None => true,
            };
            tally.full += usize::from(refused);
            self.tries_without_notice(&change, &tag, refused);
            let result = match refused {
                true => Err(StoreError::Full("no room".to_owned())),
                false => {
                    if let Change::Add(addition) = &change
                        && let Some(key) = &addition.key
                    {
                        let until = self.now.inside.after(KEY_WINDOW);
                        let known = self.keys.insert(key.key.clone(), until);
                        assert!(
                            known.is_none_or(|known| known < self.now.inside),
                            "the key {} was known",
                            key.key
                        );
                    }
                    self.disk.write(&mut change);
                    Ok(())
                }
            };
            answers.push(Answered { change, tag, result });
        }
        self.committed(answers);
    }

    /// The end of an attempt that found no room with a notice is written without it.
    fn tries_without_notice(&mut self, change: &Change, tag: &Tag<Paper>, refused: bool) {
        let (Tag::Settled { .. }, Some(made)) = (tag, Made::by(change)) else {
            return;
        };
        let id = made.id;
        match (change, refused) {
            (Change::Add(_), true) => assert!(self.no_room.insert(id), "a notice about {id} again"),
            (_, true) => {}
            (_, false) => {
                self.no_room.remove(&id);
            }
        }
    }

    /// Memory that has come free.
    pub(super) fn feed(&mut self) {
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
}
