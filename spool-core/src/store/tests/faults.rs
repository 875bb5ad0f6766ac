//! Disks that are full or fail.

use super::fs::OpKind;
use super::*;
use std::io::ErrorKind;

fn is_full(result: &Result<(), StoreError>) -> bool {
    matches!(result, Err(StoreError::Full(_)))
}

pub(super) fn wait_for_the_next_try() {
    // A failed attempt to get a spare holds off the next for this long: the one real wait of these tests.
    std::thread::sleep(writer::SPARE_PAUSE);
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
    wait_for_the_next_try();
    store.maintain();
    assert_eq!(store.admit(100), Ok(()));
    all_ok(&store.commit(&mut [add(&[600], "x\r\n")]));
    drop(store);
    assert_eq!(open(&fs).1.messages.len(), 1);
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
        wait_for_the_next_try();
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
