//! When the end of a segment is written, and what a power cut or a failure at that moment leaves.

use super::ends::{check, end, ids, mail, plant, sample};
use super::*;
use crate::store::fs::{Loss, OpKind};
use crate::store::tests::damage::{frames_of, segment_path};
use std::io::ErrorKind;

#[test]
fn the_newest_segment_is_torn_until_it_is_sealed() {
    let (fs, store) = sample();
    drop(store);
    let (at, length) = *frames_of(&fs, 3).last().unwrap();
    for sealed in [false, true] {
        let fs = fs.after_power_cut(Loss::Nothing);
        if sealed {
            drop(open(&fs));
        }
        let mut bytes = fs.read(&segment_path(3)).unwrap();
        bytes[at + length - 1] ^= 1;
        plant(&fs, 3, &bytes);
        let (_store, recovery) = open(&fs);
        assert_eq!(ids(&recovery), (1..=11).collect::<Vec<_>>());
        match recovery.damage.as_slice() {
            [] => assert!(!sealed && recovery.torn_bytes == length as u64),
            [damage] => assert!(sealed && recovery.torn_bytes == 0 && damage.length == length as u64),
            more => panic!("{more:?}"),
        }
    }
}

#[test]
fn a_segment_without_a_write_is_intact() {
    let fs = SimFs::new();
    let (store, _) = open(&fs);
    all_ok(&store.commit(&mut [add(&[1], "one\r\n")]));
    drop(store);
    // As a power cut leaves it after the name and before the first byte.
    let empty = vec![0; usize::try_from(MIN_SEGMENT).unwrap()];
    for bytes in [&empty[..], &[]] {
        let fs = fs.after_power_cut(Loss::Nothing);
        plant(&fs, 2, bytes);
        assert!(check(&fs, false).findings.is_empty());
        let (store, _) = Store::begin(Arc::new(fs.clone()), Path::new(DIR), &options()).unwrap();
        assert_eq!(end(&fs, 2), End::At(segment::HEADER as u32));
        // It continues before everything is loaded, and ends there.
        all_ok(&store.commit(&mut [add(&[2], "two\r\n")]));
        drop(store);
        assert!(check(&fs, false).findings.is_empty());
        let (_store, recovery) = open(&fs);
        assert_eq!((ids(&recovery), recovery.damage.len()), (vec![1, 2], 0));
        assert_eq!(fs.read(&segment_path(2)), None, "nothing in it is needed");
    }
}

#[test]
fn a_power_cut_in_a_start_leaves_no_wrong_end() {
    // A process is killed between its last write and the sync of it; the next start takes what memory shows.
    let killed = || {
        let (fs, store) = sample();
        fs.cut_after(fs.operations().len() + 1);
        assert!(store.commit(&mut [add(&[13], mail(13))])[0].is_err());
        fs.cut_after(usize::MAX);
        fs
    };
    let whole = killed();
    let before = whole.operations().len();
    drop(open(&whole));
    let (mut sealed, mut torn) = (0, 0);
    for cut in before..=whole.operations().len() {
        for seed in 0..30 {
            let fs = killed();
            fs.cut_after(cut);
            drop(try_open(&fs));
            let fs = fs.after_power_cut(Loss::Torn(seed));
            let is_sealed = matches!(end(&fs, 3), End::At(_));
            let (_store, recovery) = open(&fs);
            let context = format!("cut after {cut}, {seed}: {recovery:?}");
            assert!(recovery.damage.is_empty(), "{context}");
            let messages = recovery.messages.len();
            assert!(messages == 13 || messages == 12 && !is_sealed, "{context}");
            sealed += usize::from(is_sealed);
            torn += usize::from(recovery.torn_bytes > 0);
        }
    }
    assert!(sealed > 0 && torn > 0, "{sealed}, {torn}");
}

#[test]
fn a_segment_that_cannot_be_sealed_fails_the_store() {
    let mut failed = 0;
    for kind in [OpKind::Write, OpKind::Sync] {
        for nth in 0..5 {
            let fs = SimFs::new();
            let (store, _) = open(&fs);
            for number in 1..=5 {
                all_ok(&store.commit(&mut [add(&[number], mail(number))]));
            }
            store.maintain();
            fs.fail(kind, nth, ErrorKind::Other);
            let done = store.commit(&mut [add(&[6], mail(6))]).remove(0);
            fs.fail(kind, usize::MAX, ErrorKind::Other);
            failed += usize::from(done.is_err());
            assert!(done.is_ok() || matches!(store.admit(1), Err(StoreError::Failed(_))));
            let count = 5 + u128::from(done.is_ok());
            drop(store);
            for loss in [Loss::Everything, Loss::Nothing, Loss::Torn(nth as u64)] {
                let (store, recovery) = open(&fs.after_power_cut(loss));
                assert!(
                    recovery.damage.is_empty(),
                    "{kind:?} {nth} {loss:?}: {recovery:?}"
                );
                for number in 1..=count {
                    assert_eq!(store.body(id(number)).unwrap(), mail(number));
                }
            }
        }
    }
    // Of the end of the old segment, and of the beginning of the new one.
    assert_eq!(failed, 4);
}
