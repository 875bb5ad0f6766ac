//! How [`Work`] on many messages is done.
//!
//! It is done in small steps, so that adds and deliveries go on meanwhile: a step claims some messages, reads them off the actor's thread,
//! commits, and gives them back as the disk has them. An operation answers when all of its messages are durable; it never stops at one that
//! fails. What the engine has to do by itself is done one after the other within each kind of work.

use super::jobs::Wanted;
use super::queue::Claim;
use super::work::{Work, WorkId};
use super::{Answer, Effect, Engine, World};
use crate::errors::operation_error;
use crate::outcome::{NewRoute, Outcome};
use spool_core::store::StoreError;
use spool_core::{MessageId, Routing, SpoolError};
use std::collections::{HashMap, HashSet, VecDeque};

/// Bytes of memory that one step asks for, and one message more; with a small limit, an eighth of that.
const STEP_BYTES: u64 = 4 << 20;
/// The most operations at once; others are refused with `Busy`.
const MAX_OPERATIONS: usize = 64;
/// Operations are numbered from here; below are the kinds of the engine's own work ([`Work::own_kind`]).
const FIRST_OPERATION: WorkId = 4;

/// Work under way.
#[derive(Debug)]
struct UnderWay<W: World> {
    work: Work,
    left: std::vec::IntoIter<MessageId>,
    in_hand: usize,
    outcome: Outcome,
    /// `None`: it is the engine's own.
    reply: Option<W::Reply>,
}

impl<W: World> UnderWay<W> {
    /// The messages of the next step, of up to `most` bytes and one more.
    fn take_step(&mut self, most: u64, footprint: impl Fn(MessageId) -> u64) -> Vec<MessageId> {
        let (mut ids, mut bytes) = (Vec::new(), 0_u64);
        while ids.len() < self.work.step()
            && bytes < most
            && let Some(id) = self.left.next()
        {
            bytes = bytes.saturating_add(footprint(id));
            ids.push(id);
        }
        self.in_hand = ids.len();
        ids
    }
}

/// All work, and what waits for which message.
#[derive(Debug, Default)]
pub(super) struct Bulks<W: World> {
    running: HashMap<WorkId, UnderWay<W>>,
    /// The engine's own work that waits until the running work of its kind is done, by kind.
    own: HashMap<WorkId, VecDeque<(Work, Vec<MessageId>)>>,
    /// Work that has finished a step and takes the next one.
    stepping: Vec<WorkId>,
    /// How many operations there were.
    operations: u64,
    /// What waits until a message is no longer being written.
    parked: HashMap<MessageId, Vec<WorkId>>,
    /// Messages of an archive that are being written to the journal again.
    pub(super) recovering: HashSet<MessageId>,
}

impl<W: World> Bulks<W> {
    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty() && self.own.values().all(VecDeque::is_empty)
    }

    /// Ends all of it; callers learn that the spool is closed.
    pub(super) fn cancel(&mut self) {
        self.running.clear();
        self.own.clear();
        self.parked.clear();
    }

    fn operations_under_way(&self) -> usize {
        let all = self.running.values();
        all.filter(|under_way| under_way.reply.is_some()).count()
    }

    pub(super) fn work(&self, id: WorkId) -> Option<Work> {
        self.running.get(&id).map(|under_way| under_way.work.clone())
    }
}

#[cfg(test)]
impl<W: World> Bulks<W> {
    /// Messages for which operations wait.
    pub(super) fn parked(&self) -> impl Iterator<Item = MessageId> {
        self.parked.keys().copied()
    }
}

impl<W: World> Engine<W> {
    /// Starts an operation; `reply` is answered when all of its messages are as asked for, or cannot be.
    pub(super) fn operate(&mut self, work: Work, mut ids: Vec<MessageId>, reply: W::Reply) {
        if let Err(error) = self.may_start(&work) {
            return self.answer(reply, Answer::Operated(Err(error)));
        }
        // Named twice, a message is meant once.
        ids.sort_unstable();
        ids.dedup();
        let id = FIRST_OPERATION + self.bulks.operations;
        self.bulks.operations += 1;
        self.start_work(id, work, ids, Some(reply));
    }

    fn may_start(&self, work: &Work) -> Result<(), SpoolError> {
        if matches!(work, Work::Bounce(_)) && !self.returning.is_on() {
            return Err(SpoolError::NoNotices);
        }
        self.alive()?;
        match (work, &self.queue.routing) {
            (Work::Reroute(NewRoute::To(next_hops)), _) if next_hops.is_empty() => Err(SpoolError::NoNextHop),
            (Work::Reroute(NewRoute::ByConfig), routing) if !matches!(routing, Routing::ByRules(_)) => {
                Err(SpoolError::NoConfiguration)
            }
            _ if self.bulks.operations_under_way() >= MAX_OPERATIONS => Err(SpoolError::Busy),
            _ => Ok(()),
        }
    }

    /// Starts work of the engine's own, after what there is already of its kind.
    pub(super) fn start_own(&mut self, work: Work, ids: Vec<MessageId>) {
        let Some(kind) = work.own_kind().filter(|_| !ids.is_empty()) else {
            return;
        };
        let waiting = self.bulks.own.entry(kind).or_default();
        match (waiting.back_mut(), &work) {
            // The hook names one message at a time: steps of several share the syncs of the archive.
            (Some((Work::RemoveForHook, more)), Work::RemoveForHook) => more.extend(ids),
            // These are not claimed before their step, and may have been found again meanwhile.
            (Some((Work::Divide, more)), Work::Divide) => {
                more.extend(ids);
                more.sort_unstable();
                more.dedup();
            }
            _ => waiting.push_back((work, ids)),
        }
        self.go_on_with_own(kind);
    }

    fn go_on_with_own(&mut self, kind: WorkId) {
        if !self.is_over()
            && !self.bulks.running.contains_key(&kind)
            && let Some((work, ids)) = self.bulks.own.get_mut(&kind).and_then(VecDeque::pop_front)
        {
            self.start_work(kind, work, ids, None);
        }
    }

    fn start_work(&mut self, id: WorkId, work: Work, ids: Vec<MessageId>, reply: Option<W::Reply>) {
        let under_way = UnderWay {
            work,
            left: ids.into_iter(),
            in_hand: 0,
            outcome: Outcome::default(),
            reply,
        };
        self.bulks.running.insert(id, under_way);
        self.step(id);
    }

    /// Starts on the next messages, or ends the work when none is left.
    fn step(&mut self, id: WorkId) {
        // With a small limit a step must not wait until nobody else holds anything.
        let most = STEP_BYTES.min(self.budget.limit() / 8).max(1);
        let notices = self.returning.is_on();
        while let Some(under_way) = self.bulks.running.get_mut(&id) {
            if under_way.in_hand > 0 {
                return;
            }
            let bodies = under_way.work.reads_bodies(notices);
            let ids = under_way.take_step(most, |id| self.queue.footprint(id, bodies));
            let work = under_way.work.clone();
            if !ids.is_empty() {
                self.claim(id, &work, ids);
                continue;
            }
            if let Some(under_way) = self.bulks.running.remove(&id)
                && let Some(reply) = under_way.reply
            {
                self.answer(reply, Answer::Operated(Ok(under_way.outcome)));
            }
            return self.go_on_with_own(id);
        }
    }

    pub(super) fn claim(&mut self, work_id: WorkId, work: &Work, ids: Vec<MessageId>) {
        if let Work::Recover(archive) = work {
            return self.fetch(work_id, *archive, ids);
        }
        if work.has_claimed() {
            return self.read_claimed(work_id, work, ids);
        }
        let mut claimed = Vec::new();
        for id in ids {
            match self.claim_one(id, work) {
                Err(error) => self.done_with(work_id, Err(error)),
                Ok(Claim::Claimed) => {
                    // What the disk says of its recipients may be outdated: it is looked at again when it comes back.
                    self.looking.asked.remove(&id);
                    claimed.push(id);
                }
                // One that is busy is looked at again when it comes back.
                Ok(_) if matches!(work, Work::Divide) => self.done_with(work_id, Ok(())),
                Ok(Claim::WhileSending) => self.note_for_end(work_id, work, id),
                Ok(Claim::Already) => {
                    if matches!(work, Work::SendNow(_)) {
                        self.hurry(id);
                    }
                    self.done_with(work_id, Ok(()));
                }
                Ok(Claim::Later) => self.park(work_id, id),
            }
        }
        if !claimed.is_empty() {
            self.read_claimed(work_id, work, claimed);
        }
    }

    fn claim_one(&mut self, id: MessageId, work: &Work) -> Result<Claim, SpoolError> {
        if matches!(work, Work::SendNow(_)) && self.queue.has_no_route(id) {
            return Err(SpoolError::NoRoute(id));
        }
        if matches!(work, Work::Divide) && !self.has_room_to_divide() {
            self.looking.several.insert(id);
            return Ok(Claim::Already);
        }
        self.queue.claim(id, work, self.now)
    }

    /// Reads claimed messages off this thread, as soon as there is memory for them.
    fn read_claimed(&mut self, work_id: WorkId, work: &Work, ids: Vec<MessageId>) {
        let bodies = work.reads_bodies(self.returning.is_on());
        let footprints = ids.iter().map(|id| self.queue.footprint(*id, bodies));
        let bytes = footprints.fold(0, u64::saturating_add);
        if let Some(held) = self.budget.read_now(bytes) {
            return self.read_charged(work_id, work.clone(), ids, held);
        }
        // What can be read again makes room.
        self.queue.let_go_of_all();
        let wanted = Wanted::Claimed(work_id, work.clone(), ids);
        self.effects.push(Effect::WaitForMemory { bytes, wanted });
    }

    /// Lets an operation wait until the change of a message is on disk. It fails at once when the spool has ended.
    fn park(&mut self, work: WorkId, id: MessageId) {
        if let Err(error) = self.alive() {
            return self.done_with(work, Err(error));
        }
        match self.unwritten.error(id) {
            Some(error) => self.done_with(work, Err(operation_error(error.clone()))),
            None => self.bulks.parked.entry(id).or_default().push(work),
        }
    }

    /// The start or the end of an attempt could not be written: operations that wait for it fail with the reason.
    pub(super) fn stuck(&mut self, id: MessageId, error: &StoreError) {
        for work in self.bulks.parked.remove(&id).unwrap_or_default() {
            self.done_with(work, Err(operation_error(error.clone())));
        }
    }

    /// Notes the result for one message of some work. [`Engine::go_on`] takes the next step.
    pub(super) fn done_with(&mut self, work: WorkId, result: Result<(), SpoolError>) {
        let Some(under_way) = self.bulks.running.get_mut(&work) else {
            return;
        };
        under_way.in_hand = under_way.in_hand.saturating_sub(1);
        match result {
            Ok(()) => under_way.outcome.done += 1,
            Err(error) if under_way.reply.is_some() => under_way.outcome.errors.push(error),
            // Nobody is told of the engine's own work; it is logged.
            Err(_) => {}
        }
        if under_way.in_hand == 0 {
            self.bulks.stepping.push(work);
        }
    }

    /// Lets work go on for which something has changed: each message that is no longer being written may have some that waits for it.
    pub(super) fn go_on(&mut self) {
        loop {
            let (released, stepping) = (
                std::mem::take(&mut self.queue.released),
                std::mem::take(&mut self.bulks.stepping),
            );
            if released.is_empty() && stepping.is_empty() {
                return;
            }
            for id in released {
                for work_id in self.bulks.parked.remove(&id).unwrap_or_default() {
                    if let Some(work) = self.bulks.work(work_id) {
                        self.claim(work_id, &work, vec![id]);
                    }
                }
            }
            for work in stepping {
                self.step(work);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::Paper;

    #[test]
    fn steps_take_bounded_memory() {
        let under_way = || UnderWay::<Paper> {
            work: Work::GiveUp("no answer".into()),
            left: (0..4096)
                .map(MessageId::from_u128)
                .collect::<Vec<_>>()
                .into_iter(),
            in_hand: 0,
            outcome: Outcome::default(),
            reply: None,
        };
        let (mut large, mut read) = (under_way(), 0);
        while large.left.len() > 0 {
            let bytes = large.take_step(STEP_BYTES, |_| 1 << 19).len() << 19;
            assert!(
                bytes < usize::try_from(STEP_BYTES).unwrap() + (1 << 19),
                "{bytes}"
            );
            read += bytes >> 19;
        }
        assert_eq!(read, 4096);
        let step = under_way().take_step(STEP_BYTES, |_| 1);
        assert_eq!(step.len(), Work::Freeze.step());
    }
}
