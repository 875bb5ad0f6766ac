//! Disks that cannot be read in places, and disks that are read-only.

use super::*;

#[test]
fn a_read_only_disk_fails_the_store_and_stays_readable() {
    let fs = SimFs::new();
    let (store, _) = open(&fs);
    all_ok(&store.commit(&mut [add(&[1], "x\r\n"), add(&[2], "y\r\n")]));
    store.maintain();
    fs.set_read_only(true);
    let results = store.commit(&mut [add(&[3], "z\r\n"), freeze(1)]);
    assert!(
        results.iter().all(|r| matches!(r, Err(StoreError::Failed(_)))),
        "{results:?}"
    );
    assert!(matches!(store.admit(1), Err(StoreError::Failed(_))));
    assert_eq!(store.body(id(1)).unwrap(), "x\r\n");
    drop(store);
    let error = try_open(&fs).map(drop).unwrap_err().to_string();
    assert!(
        error.contains("/spool/lock") && error.contains("Read-only"),
        "{error}"
    );
    assert_eq!(
        count_from_disk_on(Arc::new(fs.clone()), Path::new(DIR)).unwrap(),
        2
    );
    fs.set_read_only(false);
    assert_eq!(open(&fs).1.messages.len(), 2);
}

/// Two segments: the first with the messages 1 to 5 of one frame of 9,000 bytes each, the second with a change.
pub(super) fn two_segments() -> SimFs {
    let fs = SimFs::new();
    let (store, _) = open(&fs);
    for number in 1..6 {
        all_ok(&store.commit(&mut [add(&[number], text(number as u8, 9000))]));
    }
    drop(store);
    let (store, _) = open(&fs);
    all_ok(&store.commit(&mut [freeze(1)]));
    drop(store);
    fs
}

#[test]
fn unreadable_bytes_stop_no_start_and_stay() {
    let path = Path::new(DIR).join("journal/0000000001.log");
    let at = |nth: usize| crate::store::tests::damage::frames(&two_segments())[nth].0 as u64;
    // In the header of the third message, in the body of the last, all of it.
    for (corrupt, gone) in [
        (at(2)..at(2) + 1, vec![3]),
        (at(4) + 9000..at(4) + 9001, vec![]),
        (0..100_000, vec![1, 2, 3, 4, 5]),
    ] {
        let fs = two_segments();
        let bytes = fs.read(&path);
        fs.make_unreadable(&path, corrupt.clone());
        for _ in 0..2 {
            let (store, recovery) = open(&fs);
            assert_eq!(recovery.messages.len(), 5 - gone.len(), "{corrupt:?}");
            if gone.is_empty() {
                // A body in a segment that was synced long ago is read when it is needed.
                let unread = store.body(id(5));
                assert!(matches!(unread, Err(StoreError::Damaged { .. })), "{unread:?}");
                assert!(recovery.damage.is_empty());
            } else {
                let [damage] = recovery.damage.as_slice() else {
                    panic!("{:?}", recovery.damage);
                };
                assert_eq!(damage.kept_as, "journal/0000000001.log");
                assert!(damage.reason.contains("does not give"), "{damage:?}");
            }
            for number in (1..5).filter(|number| !gone.contains(number)) {
                assert_eq!(store.body(id(number)).unwrap(), text(number as u8, 9000));
            }
            store.maintain();
            while store.compact() {
                store.maintain();
            }
            let found = store.commit(&mut [add(&[9], "x\r\n"), finish(9)]);
            all_ok(&found);
            drop(store);
            assert_eq!(fs.read(&path), bytes, "{corrupt:?}: left as it is");
            let checkup = checkup_on(
                Arc::new(fs.clone()),
                Path::new(DIR),
                Timestamp(1),
                true,
                &mut || {},
            )
            .unwrap();
            assert!(!checkup.findings.is_empty() && checkup.findings.iter().all(|f| !f.repairable));
        }
        // A disk that comes to its senses has all of it.
        fs.heal();
        let (store, recovery) = open(&fs);
        assert_eq!(recovery.messages.len(), 5);
        for number in 1..6 {
            assert_eq!(store.body(id(number)).unwrap(), text(number as u8, 9000));
        }
    }
}

#[test]
fn an_unreadable_end_is_not_cut_off() {
    let fs = SimFs::new();
    let (store, _) = open(&fs);
    for number in 1..4 {
        all_ok(&store.commit(&mut [add(&[number], text(number as u8, 9000))]));
    }
    drop(store);
    let path = Path::new(DIR).join("journal/0000000001.log");
    let bytes = fs.read(&path);
    let corrupt = crate::store::tests::damage::frames(&fs)[2].0 as u64 + 5000;
    fs.make_unreadable(&path, corrupt..corrupt + 1);
    let (_, recovery) = open(&fs);
    assert_eq!((recovery.messages.len(), recovery.torn_bytes), (2, 0));
    assert_eq!(recovery.damage.len(), 1);
    assert_eq!(fs.read(&path), bytes);
    fs.heal();
    assert_eq!(open(&fs).1.messages.len(), 3);
}
