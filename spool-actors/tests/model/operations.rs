//! What a history asks of its spool beside adding mail, and what is promised with each answer.

use crate::history::{History, Life, ask};
use crate::reference::Place;
use spool_actors::{
    Freeze, Get, NewRoute, Purge, Recover, Remove, Reroute, SendNow, SetMaxConcurrentJobs, WaitIdle, Which,
};
use spool_core::store::Archive;
use spool_core::{Clock, MessageId, RetryInterval, SpoolError, Timestamp};
use std::time::Duration;

impl History {
    pub(crate) async fn freeze(&mut self, life: &Life) {
        let ids = self.some();
        let outcome = ask(life, Freeze(ids.clone())).await;
        self.put(&ids, outcome, Place::Frozen, &[Place::Spool, Place::Frozen]);
        // A session that was begun before the freeze may reach the next hop after it: only once nothing runs is a new one
        // a fault for sure.
        if self.chance.below(2) == 0 && self.rests(life).await {
            let frozen = ids
                .into_iter()
                .filter(|id| self.reference.messages[id].place == Place::Frozen);
            self.seen.lock().unwrap().forbidden.extend(frozen);
        }
    }

    pub(crate) async fn send(&mut self, life: &Life) {
        let ids = self.some();
        {
            let mut seen = self.seen.lock().unwrap();
            seen.forbidden.retain(|id| !ids.contains(id));
        }
        let extra = RetryInterval::new(Duration::from_secs(10), Duration::ZERO);
        let retry_intervals = vec![extra; self.chance.below(2)];
        let outcome = ask(
            life,
            SendNow {
                which: Which::SomeMessages(ids.clone()),
                retry_intervals,
            },
        )
        .await;
        self.put(&ids, outcome, Place::Spool, &[Place::Spool, Place::Frozen]);
    }

    pub(crate) async fn reroute(&mut self, life: &Life) {
        let ids = self.some();
        for id in &ids {
            let recipients = self.reference.messages[id].recipients.clone();
            self.seen.lock().unwrap().rerouted.extend(recipients);
        }
        let to = match self.chance.below(2) {
            0 => NewRoute::ByConfig,
            _ => NewRoute::To([format!("hop{}:25", 1 + self.chance.below(3)).parse().unwrap()].into()),
        };
        let asked = ids.clone();
        if let Some(Ok(outcome)) = ask(life, Reroute { ids: asked, to }).await {
            self.tally.rerouted += outcome.done as u64;
        }
    }

    pub(crate) async fn remove(&mut self, life: &Life) {
        let ids = self.some();
        let outcome = ask(life, Remove(ids.clone())).await;
        self.tally.removed += outcome.as_ref().map_or(0, |outcome| {
            outcome.as_ref().map_or(0, |outcome| outcome.done as u64)
        });
        // What failed for good on the spool was frozen without a person.
        self.put(&ids, outcome, Place::Removed, &[Place::Spool, Place::Frozen]);
    }

    pub(crate) async fn recover(&mut self, life: &Life) {
        let ids = self.some();
        let from = Archive::ALL[self.chance.below(2)];
        let place = match from {
            Archive::Removed => Place::Removed,
            Archive::Quarantine => Place::Quarantine,
        };
        let outcome = ask(
            life,
            Recover {
                ids: ids.clone(),
                from,
            },
        )
        .await;
        self.put(&ids, outcome, Place::Frozen, &[place]);
    }

    pub(crate) async fn purge(&mut self, life: &Life) {
        let purge = Purge {
            older_than: Duration::from_secs(120),
            ids: None,
        };
        let outcome = ask(life, purge).await;
        if outcome.is_none_or(|outcome| outcome.is_err()) || self.is_cut() {
            for promise in self
                .reference
                .messages
                .values_mut()
                .filter(|promise| promise.place == Place::Removed)
            {
                promise.place = Place::Unknown;
            }
            return;
        }
        let removed: Vec<MessageId> = self.placed(Place::Removed);
        for id in removed {
            if let Some(Err(SpoolError::NoSuchMessage(_))) = ask(life, Get(id)).await {
                self.reference.messages.get_mut(&id).unwrap().place = Place::Purged;
            }
        }
    }

    pub(crate) fn placed(&self, place: Place) -> Vec<MessageId> {
        let all = self.reference.messages.iter();
        all.filter(|(_, promise)| promise.place == place)
            .map(|(id, _)| *id)
            .collect()
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.fs.is_cut()
    }

    pub(crate) async fn set_jobs(&mut self, life: &Life) {
        let (before, jobs) = (self.jobs, self.chance.below(4));
        self.seen.lock().unwrap().limit = None;
        if let Some(Ok(())) = ask(life, SetMaxConcurrentJobs(jobs)).await {
            self.jobs = jobs;
            // Those that run already are not affected.
            let _ = before;
            self.idle(life).await;
            self.seen.lock().unwrap().limit = Some(jobs);
        }
    }

    pub(crate) async fn pass_time(&mut self, life: &Life) {
        if let Some(next) = self.idle(life).await {
            let jump = self.chance.below(2) == 0;
            self.clock.set(if jump {
                next
            } else {
                self.clock.now().after(Duration::from_secs(45))
            });
        } else {
            self.clock.advance(Duration::from_secs(60));
        }
        self.idle(life).await;
    }

    /// Waits until nothing runs; `false` when the spool or its disk has ended.
    pub(crate) async fn rests(&self, life: &Life) -> bool {
        matches!(ask(life, WaitIdle).await, Some(Ok(_)))
    }

    pub(crate) async fn idle(&mut self, life: &Life) -> Option<Timestamp> {
        match ask(life, WaitIdle).await {
            Some(Ok(idle)) => idle.next_attempt,
            _ => None,
        }
    }
}
