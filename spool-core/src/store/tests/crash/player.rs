//! Plays a scenario on a disk until its power goes, and keeps account of what was answered.
//!
//! Removing, recovering and quarantining are done as the actors do them: the new place first.

use super::super::*;
use crate::store::fs::Loss;
use crate::store::tests::crash::scenario::{Scenario, Step};
use crate::store::tests::crash::world::{Move, Place, Tracker};

pub(super) fn try_open(fs: &SimFs, options: &StoreOptions) -> Result<(Store, Recovery), OpenError> {
    Store::open_on(Arc::new(fs.clone()), Path::new(DIR), options)
}

/// How a first life ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct First {
    /// After so many operations.
    pub(super) at: usize,
    /// `None`: the process is killed, and the next one finds all that it wrote, synced or not. Else the power goes.
    pub(super) loss: Option<Loss>,
}

/// Plays until the power goes after `power` operations, with another life before that, perhaps. Gives the disk as well.
pub(super) fn play(scenario: &Scenario, first: Option<First>, power: usize) -> (SimFs, Tracker) {
    let fs = SimFs::new();
    fs.plant(Path::new("/elsewhere"), b"");
    let mut player = Player {
        fs,
        options: &scenario.options,
        tracker: Tracker {
            forgets: scenario.options.event_log_size < 1 << 20,
            ..Tracker::default()
        },
    };
    let mut steps = scenario.steps.iter();
    if let Some(First { at, loss }) = first {
        player.fs.cut_after(at);
        player.live(&mut steps);
        if let Some(loss) = loss {
            player.fs = player.fs.after_power_cut(loss);
        }
    }
    player.fs.cut_after(power);
    player.live(&mut steps);
    (player.fs, player.tracker)
}

struct Player<'a> {
    fs: SimFs,
    options: &'a StoreOptions,
    tracker: Tracker,
}

impl Player<'_> {
    /// One life after the other, until no step is left or the power is gone.
    fn live<'s>(&mut self, steps: &mut impl Iterator<Item = &'s Step>) {
        while let Some(store) = self.open() {
            loop {
                match steps.next() {
                    None => return,
                    Some(Step::Restart) => break,
                    Some(step) => self.step(&store, step),
                }
                store.maintain();
                while store.compact() {
                    store.maintain();
                }
                self.tracker.moved = self.tracker.moved.max(store.stats().moved);
                if self.fs.is_cut() {
                    return;
                }
            }
        }
    }

    fn open(&mut self) -> Option<Store> {
        match try_open(&self.fs, self.options) {
            // When the power was cut during the start, its result is not used.
            Ok(_) if self.fs.is_cut() => None,
            Ok((store, recovery)) => {
                self.tracker.settle(&store, &recovery, "a start in between");
                Some(store)
            }
            Err(error) => {
                assert!(self.fs.is_cut(), "{error}");
                None
            }
        }
    }

    fn step(&mut self, store: &Store, step: &Step) {
        match step {
            Step::Commit(batch) => {
                self.commit(store, batch.clone());
            }
            Step::Quarantine(ids, body) => self.quarantine(store, ids, body),
            Step::Remove(ids) => self.remove(store, ids),
            Step::Recover(archive, ids) => ids.iter().for_each(|id| self.recover(store, *archive, *id)),
            Step::Purge(ids) => self.purge(store, ids),
            Step::Restart => {}
        }
    }

    /// Whether all of it was answered well. Without power a new segment is refused as on a full disk; what was synced before
    /// is answered all the same.
    fn commit(&mut self, store: &Store, mut batch: Vec<Change>) -> bool {
        let results = store.commit(&mut batch);
        let mut all = true;
        for (change, result) in batch.into_iter().zip(results) {
            match result {
                Ok(()) => self.tracker.answered(&change),
                // Of something that an earlier end of the process has left undone.
                Err(StoreError::NoSuchMessage(_) | StoreError::Invalid(_)) => all = false,
                Err(error) => {
                    assert!(self.fs.is_cut(), "{error}");
                    self.tracker.pending.push(Move::Change(change));
                    all = false;
                }
            }
        }
        all
    }

    /// Whether all of them lie there. If so, it is still under way.
    fn archive(&mut self, store: &Store, archive: Archive, pairs: &[(Archived, Bytes)]) -> bool {
        let lay = |(archived, body): &(Archived, Bytes)| {
            Move::Lay(Place::archive(archive, archived.clone(), body.clone()))
        };
        self.tracker.pending.extend(pairs.iter().map(lay));
        let laid = store.archive(archive, pairs);
        let all = laid.iter().all(Result::is_ok);
        assert!(all || self.fs.is_cut(), "{laid:?}");
        all
    }

    fn quarantine(&mut self, store: &Store, ids: &[u128], body: &Bytes) {
        let pairs: Vec<_> = ids
            .iter()
            .map(|id| (new_archived(*id, body), body.clone()))
            .collect();
        if !self.archive(store, Archive::Quarantine, &pairs) {
            return;
        }
        let kind = || EventKind::Quarantined("odd".to_owned());
        let events = ids.iter().map(|id| event(*id, kind())).collect();
        if self.commit(store, vec![Change::Note { events }]) {
            self.tracker.done();
        }
    }

    fn remove(&mut self, store: &Store, ids: &[u128]) {
        let pair = |number: &u128| {
            let message = store.load(id(*number)).ok()?;
            let body = store.body(id(*number)).ok()?;
            let (at, reason) = (Timestamp(5000), None);
            Some((Archived { message, at, reason }, body))
        };
        let pairs: Vec<_> = ids.iter().filter_map(pair).collect();
        if !self.archive(store, Archive::Removed, &pairs) {
            return;
        }
        let end = |(archived, _): &(Archived, Bytes)| Change::Finish {
            id: archived.message.id,
            how: Finish::Removed,
            events: vec![event(archived.message.id.as_u128(), EventKind::Removed)],
        };
        if self.commit(store, pairs.iter().map(end).collect()) {
            self.tracker.done();
        }
    }

    fn recover(&mut self, store: &Store, archive: Archive, number: u128) {
        let Ok((archived, body)) = store.archived(archive, id(number)) else {
            return;
        };
        let message = archived.message;
        let kind = EventKind::Recovered(archive.queue());
        let new = NewMessage {
            id: message.id,
            section: Section {
                envelope: message.envelope.as_ref().clone(),
                next_hops: message.next_hops,
                origin: RouteOrigin::Named,
                retry: RetryPolicy::default(),
            },
            status: Status::Frozen,
            frozen: None,
            in_flight: None,
            state: Some(Box::new(message.state)),
        };
        let add = Change::Add(Addition {
            messages: vec![new],
            body,
            flows: message.flows,
            parent: message.parent,
            related: message.related.to_vec(),
            spooled_at: message.spooled_at,
            key: None,
            conclusion: None,
            events: vec![event(number, kind)],
        });
        if self.commit(store, vec![add]) {
            let discarded = store.discard(archive, &[id(number)]);
            assert!(discarded.is_ok() || self.fs.is_cut(), "{discarded:?}");
        }
    }

    fn purge(&mut self, store: &Store, ids: &[u128]) {
        let there = |id: &&u128| {
            matches!(
                self.tracker.world.get(id),
                Some(Place::Archive(Archive::Removed, ..))
            )
        };
        let there: Vec<u128> = ids.iter().filter(there).copied().collect();
        self.tracker
            .pending
            .extend(there.iter().map(|id| Move::Purge(*id)));
        let names: Vec<MessageId> = there.iter().map(|number| id(*number)).collect();
        match store.discard(Archive::Removed, &names) {
            Ok(()) => self.tracker.done(),
            Err(error) => assert!(self.fs.is_cut(), "{error}"),
        }
    }
}

fn new_archived(number: u128, body: &Bytes) -> Archived {
    let section = section(number);
    let state = MessageState::new(&section, Status::Frozen, Timestamp(999));
    Archived {
        message: Message {
            id: id(number),
            parent: Some(id(77)),
            related: vec![id(78)].into(),
            flows: vec![crate::id::FlowId::from_u128(7)],
            spooled_at: Timestamp(999),
            next_hops: section.next_hops,
            origin: section.origin,
            envelope: Arc::new(section.envelope),
            body_size: body.len() as u64,
            state,
        },
        at: Timestamp(5000),
        reason: Some("odd".to_owned()),
    }
}
