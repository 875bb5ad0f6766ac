//! Disks that are full or fail.

use super::*;
use crate::store::fs::{Loss, OpKind};
use std::collections::BTreeMap;
use std::io::ErrorKind;

fn is_full(result: &Result<(), StoreError>) -> bool {
    matches!(result, Err(StoreError::Full(_)))
}

pub(super) fn end_pause_after_failure(store: &Store) {
    locked(&store.writer).new_segments.end_pause();
}

#[test]
fn a_full_disk_refuses_mail_and_takes_every_state_change() {
    let fs = SimFs::new();
    let (store, _) = open(&fs);
    fs.set_capacity(Some(fs.used() + 3 * MIN_SEGMENT));
    let mut taken = Vec::new();
    let refused = loop {
        let number = 1 + taken.len() as u128;
        match store.commit(&mut [add(&[number], text(1, 9000))]).remove(0) {
            Ok(()) => taken.push(number),
            Err(error) => break error,
        }
        store.maintain();
        assert!(taken.len() < 1000);
    };
    assert!(matches!(refused, StoreError::Full(_)), "{refused}");
    assert!(is_full(&store.admit(100)));
    assert!(taken.len() > 10);
    let results = store.commit(&mut [add(&[500], "x\r\n"), freeze(1), add(&[501], "y\r\n")]);
    assert!(
        is_full(&results[0]) && results[1].is_ok() && is_full(&results[2]),
        "{results:?}"
    );
    for number in &taken {
        all_ok(&store.commit(&mut [begin(*number, 1)]));
        all_ok(&store.commit(&mut [defer(*number, 5000)]));
        all_ok(&store.commit(&mut [begin(*number, 2), finish(*number)]));
    }
    end_pause_after_failure(&store);
    store.maintain();
    assert_eq!(store.admit(100), Ok(()));
    all_ok(&store.commit(&mut [add(&[600], "x\r\n")]));
    drop(store);
    assert_eq!(open(&fs).1.messages.len(), 1);
}

#[test]
fn whether_mail_would_be_accepted_is_answered_without_the_disk() {
    // The segment finds no room, or the free space is below the floor.
    for min_free_space in [0, 1] {
        let fs = SimFs::new();
        let limits = StoreOptions {
            min_free_space,
            ..options()
        };
        let (store, _) = Store::open_on(Arc::new(fs.clone()), Path::new(DIR), &limits).unwrap();
        fs.set_capacity(Some(fs.used() + 3 * MIN_SEGMENT));
        let mut results = (1..).map(|number| store.commit(&mut [add(&[number], text(1, 9000))]).remove(0));
        assert!(is_full(&results.find(Result::is_err).unwrap()));
        fs.set_capacity(None);
        end_pause_after_failure(&store);
        {
            let _stall = fs.stall();
            assert!(is_full(&store.admit(9000)), "the disk was not looked at since");
        }
        locked(&store.space).end_age();
        store.look_for_room();
        let _stall = fs.stall();
        assert_eq!(store.admit(9000), Ok(()));
    }
}

#[test]
fn a_full_disk_does_not_hinder_a_restart() {
    let fs = SimFs::new();
    let (store, _) = open(&fs);
    all_ok(&store.commit(&mut [add(&[1], text(1, 9000)), add(&[2], text(2, 9000))]));
    drop(store);
    fs.set_capacity(Some(fs.used()));
    let (store, recovery) = open(&fs);
    assert_eq!(recovery.messages.len(), 2);
    all_ok(&store.commit(&mut [begin(1, 1), finish(1), freeze(2)]));
    assert_eq!(store.body(id(2)).unwrap(), text(2, 9000));
}

#[test]
fn a_failed_sync_poisons_the_store() {
    for kind in [OpKind::Sync, OpKind::Write] {
        let fs = SimFs::new();
        let (store, _) = open(&fs);
        all_ok(&store.commit(&mut [add(&[1], "x\r\n")]));
        store.maintain();
        fs.fail(kind, 0, ErrorKind::Other);
        let syncs = store.stats().syncs;
        let results = store.commit(&mut [add(&[2], "y\r\n"), finish(99), freeze(1)]);
        assert!(
            results.iter().all(|r| matches!(r, Err(StoreError::Failed(_)))),
            "{results:?}"
        );
        let after = fs.operations().len();
        for number in 3..20 {
            let result = store.commit(&mut [add(&[number], "z\r\n")]).remove(0);
            assert!(matches!(result, Err(StoreError::Failed(_))), "{result:?}");
            store.maintain();
            assert!(matches!(store.admit(1), Err(StoreError::Failed(_))));
        }
        assert_eq!(fs.operations().len(), after, "the disk is left alone");
        assert!(store.stats().syncs <= syncs + 1);
        assert_eq!(store.load(id(2)), Err(StoreError::NoSuchMessage(id(2))));
        assert_eq!(store.body(id(1)).unwrap(), "x\r\n");
    }
}

#[test]
fn a_failed_sync_of_a_new_segment_poisons_the_store_too() {
    for kind in [OpKind::SyncDir, OpKind::Sync] {
        let fs = SimFs::new();
        let (store, _) = open(&fs);
        fs.fail(kind, 0, ErrorKind::Other);
        let first = store.commit(&mut [add(&[1], "x\r\n")]).remove(0);
        assert!(matches!(first, Err(StoreError::Failed(_))), "{kind:?}: {first:?}");
        assert!(matches!(
            store.commit(&mut [add(&[2], "x\r\n")])[0],
            Err(StoreError::Failed(_))
        ));
    }
}

#[test]
fn no_room_for_a_new_segment_is_no_failure() {
    for kind in [OpKind::Allocate, OpKind::Create] {
        let fs = SimFs::new();
        let (store, _) = open(&fs);
        all_ok(&store.commit(&mut [add(&[1], "x\r\n")]));
        fs.fail(kind, 0, ErrorKind::StorageFull);
        let results = store.commit(&mut [add(&[2], "y\r\n"), freeze(1)]);
        assert!(is_full(&results[0]) && results[1].is_ok(), "{results:?}");
        end_pause_after_failure(&store);
        all_ok(&store.commit(&mut [add(&[2], "y\r\n")]));
        assert_eq!(store.stats().messages, 2);
    }
}

#[test]
fn no_more_messages_than_allowed() {
    let limits = StoreOptions {
        max_messages: 3,
        ..options()
    };
    let (store, _) = Store::open_on(Arc::new(SimFs::new()), Path::new(DIR), &limits).unwrap();
    let results = store.commit(&mut [add(&[1, 2], "x\r\n"), add(&[3, 4], "y\r\n"), add(&[5], "z\r\n")]);
    assert!(
        results[0].is_ok() && is_full(&results[1]) && results[2].is_ok(),
        "{results:?}"
    );
    assert!(is_full(&store.admit(1)));
    all_ok(&store.commit(&mut [finish(1)]));
    assert_eq!(store.admit(1), Ok(()));
}

#[test]
fn free_space_is_left_to_others() {
    let fs = SimFs::new();
    let limits = StoreOptions {
        min_free_space: 1 << 20,
        ..options()
    };
    let (store, _) = Store::open_on(Arc::new(fs.clone()), Path::new(DIR), &limits).unwrap();
    all_ok(&store.commit(&mut [add(&[1], "x\r\n")]));
    store.maintain();
    fs.set_capacity(Some(fs.used() + (1 << 20) + 100));
    assert_eq!(store.admit(50), Ok(()));
    let results = store.commit(&mut [add(&[2], text(1, 101)), freeze(1), add(&[3], text(1, 100))]);
    assert!(
        is_full(&results[0]) && results[1].is_ok() && results[2].is_ok(),
        "{results:?}"
    );
}

/// What was answered about the messages of a run: body by id.
type Answered = BTreeMap<u128, Vec<u8>>;

/// Mail that comes and mostly goes, so that segments are given back and what is left in them is copied forward. Stops at
/// the first failure; what that was about is in neither.
fn come_and_go(store: &Store, from: u128, answered: &mut Answered) -> Result<(), StoreError> {
    for number in from..from + 30 {
        let body = text(number as u8, 9000);
        // Unknown from here on: it may be there or not.
        let gone = (number > from + 2 && number % 7 != 0).then(|| number - 2);
        let body_gone = gone.and_then(|gone| answered.remove(&gone));
        let mut batch = vec![add(&[number], body.clone())];
        if body_gone.is_some() {
            batch.push(finish(number - 2));
        }
        for result in store.commit(&mut batch) {
            result?;
        }
        answered.insert(number, body);
        store.maintain();
        while store.compact() {
            store.maintain();
        }
    }
    Ok(())
}

fn all_there(store: &Store, answered: &Answered, context: &str) {
    for (number, body) in answered {
        let read = store.body(id(*number));
        assert_eq!(read.as_deref(), Ok(body.as_slice()), "{context}: {number}");
    }
}

#[test]
fn after_a_failed_sync_a_restart_does_not_trust_the_cache() {
    let whole = SimFs::new();
    let (store, _) = open(&whole);
    come_and_go(&store, 1, &mut Answered::new()).unwrap();
    assert!(store.stats().moved > 3, "{:?}", store.stats());
    let operations = whole.operations();
    let mut failures = 0;
    for kind in [OpKind::Sync, OpKind::SyncDir] {
        for nth in 0..operations.iter().filter(|other| **other == kind).count() {
            let context = format!("{kind:?} {nth}");
            let (fs, mut answered) = (SimFs::new(), Answered::new());
            fs.fail(kind, nth, ErrorKind::Other);
            if let Ok((store, _)) = try_open(&fs) {
                let ended = come_and_go(&store, 1, &mut answered);
                failures += usize::from(ended.is_err());
            }
            // Compaction looks for a time, not for a number of steps: the last failures may not have been met.
            fs.heal();
            // The process is started again; the machine is not, and shows what its disk does not hold.
            let (store, _) = open(&fs);
            all_there(&store, &answered, &context);
            come_and_go(&store, 101, &mut answered).unwrap();
            drop(store);
            let (store, _) = open(&fs.after_power_cut(Loss::Everything));
            all_there(&store, &answered, &context);
        }
    }
    assert!(failures > 30, "{failures}");
}

#[test]
fn a_failed_sync_of_keys_fails_the_store_and_of_events_does_not() {
    for (nth, fails) in [(0, false), (1, true)] {
        let fs = SimFs::new();
        let (store, _) = open(&fs);
        all_ok(&store.commit(&mut [add(&[1], "x\r\n")]));
        store.maintain();
        let mut named = add(&[2], "x\r\n");
        if let Change::Add(addition) = &mut named {
            addition.key = Some(AddKey::new("once"));
        }
        all_ok(&store.commit(&mut [named, finish(1), finish(2)]));
        // Nothing is needed of the segment any more: the logs are synced, the events first.
        fs.fail(OpKind::Sync, nth, ErrorKind::Other);
        store.maintain();
        let next = store.commit(&mut [add(&[3], "y\r\n")]);
        assert_eq!(next[0].is_ok(), !fails, "{nth}: {next:?}");
        assert_eq!(store.admit(1).is_err(), fails);
        drop(store);
        let (store, recovery) = open(&fs.after_power_cut(Loss::Everything));
        assert_eq!(recovery.keys.len(), 1);
        // Or after a start on the same machine, whose memory shows more than the disk holds, and which gives the segment back.
        drop(open(&fs));
        assert_eq!(open(&fs.after_power_cut(Loss::Everything)).1.keys.len(), 1);
        let mut cursor = EventCursor::new(0);
        let told = store.events_after(&mut cursor, 100).unwrap();
        assert_eq!(told.len(), if fails { 4 } else { 5 }, "{told:?}");
    }
}

#[test]
fn a_clock_that_was_set_back_loses_no_key() {
    const TEN_YEARS: i64 = 10 * 365 * 86_400_000;
    let fs = SimFs::new();
    for (number, at) in [(1, TEN_YEARS), (2, 5000), (3, 6000)] {
        let (store, _) = open(&fs);
        let mut named = add(&[number], "x\r\n");
        if let Change::Add(addition) = &mut named {
            addition.key = Some(AddKey::new(format!("name {number}")));
            addition.spooled_at = Timestamp(at);
        }
        all_ok(&store.commit(&mut [named, finish(number)]));
        store.maintain();
    }
    let (_, recovery) = open(&fs);
    let names: Vec<_> = recovery.keys.iter().map(|key| key.key.as_str()).collect();
    assert_eq!(names, ["name 2", "name 3", "name 1"]);
}
