//! What the engine answers, compared with what is on disk at that moment.

use super::world::Life;
use super::{Paper, Tally, World};
use crate::engine::{Answer, Work};
use crate::outcome::{NewRoute, Outcome};
use spool_core::{AddError, Fingerprint, FrozenReason, Hold, Message, MessageId, SpoolError, Status};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What an asker waits for.
#[derive(Debug, Clone)]
pub(super) enum Asked {
    Add {
        key: Option<String>,
        fingerprint: Option<Fingerprint>,
    },
    Operation(Operated),
    Idle,
    /// Whether an attempt at this message may begin.
    Begin(MessageId),
}

/// An operation that was asked for.
#[derive(Debug, Clone)]
pub(super) struct Operated {
    work: Work,
    ids: BTreeSet<MessageId>,
    /// Those that another operation was asked to change at the same time: nobody knows which came last.
    disputed: BTreeSet<MessageId>,
}

impl Operated {
    pub(super) fn new<'a>(
        work: &Work,
        ids: &[MessageId],
        others: impl Iterator<Item = &'a mut Self>,
    ) -> Self {
        let ids: BTreeSet<MessageId> = ids.iter().copied().collect();
        let mut disputed = BTreeSet::new();
        for other in others {
            let both: Vec<MessageId> = other.ids.intersection(&ids).copied().collect();
            other.disputed.extend(&both);
            disputed.extend(both);
        }
        Self {
            work: work.clone(),
            ids,
            disputed,
        }
    }
}

impl Operated {
    pub(super) fn names(&self, id: MessageId) -> bool {
        self.ids.contains(&id)
    }
}

/// The message that an error is about.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "errors that come later name none, or are met here"
)]
fn about(error: &SpoolError) -> Option<MessageId> {
    match error {
        SpoolError::NoSuchMessage(id)
        | SpoolError::NotFrozen(id)
        | SpoolError::OnSpool(id)
        | SpoolError::BeingSent(id)
        | SpoolError::NoRoute(id)
        | SpoolError::NullReversePath(id)
        | SpoolError::Unreadable { id, .. } => Some(*id),
        _ => None,
    }
}

impl Life {
    pub(super) fn reply(&mut self, asked: Asked) -> u64 {
        self.last_reply += 1;
        self.replies.insert(self.last_reply, asked);
        self.last_reply
    }

    /// Operations without an answer.
    pub(super) fn operations(&mut self) -> impl Iterator<Item = &mut Operated> {
        self.replies.values_mut().filter_map(|asked| match asked {
            Asked::Operation(operated) => Some(operated),
            Asked::Add { .. } | Asked::Idle | Asked::Begin(_) => None,
        })
    }

    pub(super) fn answered(&mut self, reply: <Paper as World>::Reply, answer: &Answer, tally: &mut Tally) {
        let asked = self.replies.remove(&reply).expect("one answer for each question");
        match (asked, answer) {
            (Asked::Add { key, fingerprint }, Answer::Added(added)) => {
                self.added(key.as_deref(), fingerprint, added, tally);
            }
            (Asked::Operation(operated), Answer::Operated(Ok(outcome))) => {
                self.operated(&operated, outcome, tally);
            }
            (Asked::Operation(_), Answer::Operated(Err(_))) => {}
            (Asked::Idle, Answer::Idle(_)) => self.is_idle(tally),
            (Asked::Begin(id), Answer::Begun(may)) => self.begun(id, *may),
            (asked, answer) => panic!("{answer:?} to {asked:?}"),
        }
    }

    /// What was added is on disk, or has ended since; one key has one set of ids.
    fn added(
        &self,
        key: Option<&str>,
        fingerprint: Option<Fingerprint>,
        added: &Result<Vec<MessageId>, AddError>,
        tally: &mut Tally,
    ) {
        // Where the clock was set back, the last of two adds under a name does not look like it after a restart.
        let key = key.filter(|_| !self.disk.was_set);
        let known = key.and_then(|name| self.disk.keys.iter().rev().find(|key| key.key == name));
        match added {
            Ok(ids) => {
                assert!(!ids.is_empty());
                for id in ids {
                    assert!(self.disk.knows(*id), "{id} was never on disk");
                }
                if key.is_some() {
                    tally.keys += 1;
                    let known = known.expect("the key is on disk");
                    assert_eq!((&known.ids, known.fingerprint), (ids, fingerprint));
                }
            }
            Err(AddError::KeyReused { ids }) if key.is_some() => {
                let known = known.expect("the key is on disk");
                assert_eq!(&known.ids, ids);
                assert_ne!(known.fingerprint, fingerprint);
            }
            Err(_) => {}
        }
    }

    /// Messages about which no error says otherwise are on disk as was asked for. One that is frozen stays so.
    fn operated(&mut self, operated: &Operated, outcome: &Outcome, tally: &mut Tally) {
        let Operated { work, ids, disputed } = operated;
        assert_eq!(
            outcome.done + outcome.errors.len(),
            ids.len(),
            "{operated:?}: {outcome:?}"
        );
        let failed: Option<BTreeSet<MessageId>> = outcome.errors.iter().map(about).collect();
        let Some(failed) = failed else { return };
        for id in ids.difference(&failed).filter(|id| !disputed.contains(id)) {
            tally.outcomes += 1;
            let message = self.disk.message(*id);
            let is_removed = self.disk.removed.contains_key(id);
            let frozen = |message: &Message| message.state.status == Status::Frozen;
            let is_held = |message: &Message| {
                let why = message.state.frozen.as_ref().map(|frozen| &frozen.why);
                matches!(why, Some(FrozenReason::Held { .. }))
            };
            let holds = match work {
                Work::Freeze | Work::Bounce(_) | Work::Expire => message.is_none_or(frozen),
                // A hook, and the end of an attempt, may freeze it again.
                Work::SendNow(_) => !message.is_some_and(is_held),
                Work::Remove => message.is_none() && is_removed,
                Work::Recover(_) => message.is_some_and(frozen) && !is_removed,
                Work::Reroute(NewRoute::To(hops)) => message.is_none_or(|message| message.next_hops == *hops),
                Work::Reroute(NewRoute::ByConfig) => true,
                Work::RemoveForHook | Work::GiveUp(_) | Work::Interrupted | Work::Divide => {
                    unreachable!("the engine's own work has no answer")
                }
            };
            assert!(holds, "{id} is not as was asked for: {operated:?}: {message:?}");
            if message.is_none() {
                continue;
            }
            if matches!(work, Work::Freeze) {
                self.disk.held.insert(*id);
            }
            if let Work::Reroute(NewRoute::To(hops)) = work {
                self.disk.routed.insert(*id, Arc::clone(hops));
            }
        }
    }

    /// Nothing is under way, and nothing is due that could go.
    fn is_idle(&self, tally: &mut Tally) {
        tally.idle += 1;
        assert!(self.is_quiet(), "something is under way");
        if self.max == 0 || self.disk.was_set {
            return;
        }
        for id in self.disk.ids() {
            let due = self.disk.message(id).map(|message| message.state.status);
            if due.is_none_or(|status| !matches!(status, Status::SendAt(at) if at <= self.now.wall)) {
                continue;
            }
            let mut explained = self.engine.explain(id, self.now).expect("it is on the spool");
            if let Some((destination, hops, ahead)) = explained.destination.take() {
                let holds = self.throttle.holds((destination, &hops), ahead, self.now);
                explained.holds.extend(holds);
            }
            let waits = |hold: &Hold| {
                matches!(
                    hold,
                    Hold::NoRoute { .. }
                        | Hold::RetryTime { .. }
                        | Hold::RateLimit { .. }
                        | Hold::Circuit { .. }
                        | Hold::NoRoom { .. }
                )
            };
            assert!(explained.holds.iter().any(waits), "{id} is due: {explained:?}");
        }
    }
}
