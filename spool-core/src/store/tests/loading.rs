//! Mail is taken while what was there at the start is still being read.

use super::*;
use crate::store::fs::{Loss, OpKind};
use std::collections::BTreeSet;

fn begin_on(fs: &SimFs, options: &StoreOptions) -> (Store, Begun) {
    Store::begin(Arc::new(fs.clone()), Path::new(DIR), options).unwrap()
}

fn loaded(store: &Store) -> (BTreeSet<u128>, Recovery) {
    let mut ids = BTreeSet::new();
    let mut last = 0;
    let recovery = store.load_all(&mut |chunk| {
        for message in chunk {
            assert!(message.id.as_u128() > last, "in the order of ids");
            last = message.id.as_u128();
            ids.insert(last);
        }
    });
    (ids, recovery.unwrap())
}

/// A few segments: 1 to 30 live but for those that 3 divides, 2 with a state and a mark.
fn earlier_life() -> SimFs {
    let fs = SimFs::new();
    let (store, _) = open(&fs);
    for number in 1..=30 {
        all_ok(&store.commit(&mut [add(&[number], text(number as u8, 9000))]));
        store.maintain();
    }
    for number in (3..=30).step_by(3) {
        all_ok(&store.commit(&mut [finish(number)]));
    }
    all_ok(&store.commit(&mut [defer(2, 7000), freeze(2)]));
    fs
}

fn living() -> BTreeSet<u128> {
    (1..=30).filter(|number| number % 3 != 0).collect()
}

#[test]
fn mail_is_accepted_before_loading_ends() {
    let fs = earlier_life();
    let (store, begun) = begin_on(&fs, &options());
    assert_eq!(begun.last_id, Some(id(30)));
    assert!(store.loading().is_some());
    all_ok(&store.commit(&mut [add(&[100], "new\r\n"), add(&[101], "gone\r\n"), finish(101)]));
    all_ok(&store.commit(&mut [begin(100, 5)]));
    assert_eq!(store.body(id(100)).unwrap(), "new\r\n");
    // Of what was there nobody can say anything yet, and nothing can be done to it.
    assert_eq!(store.load(id(2)), Err(StoreError::Loading));
    assert_eq!(store.commit(&mut [finish(2)]), [Err(StoreError::Loading)]);
    assert!(!store.compact());
    store.maintain();
    let before = store.stats().segments;
    let (ids, recovery) = loaded(&store);
    assert_eq!(ids, living());
    assert!(recovery.damage.is_empty() && recovery.torn_bytes == 0);
    assert_eq!(store.loading(), None);
    assert!(store.stats().segments > before);
    assert_eq!(store.stats().messages, living().len() as u64 + 1);
    assert_eq!(store.load(id(2)).unwrap().state.status, Status::Frozen);
    assert_eq!(store.load(id(3)), Err(StoreError::NoSuchMessage(id(3))));
    assert_eq!(store.load(id(100)).unwrap().state.in_flight, Some(Timestamp(5)));
    assert_eq!(store.body(id(29)).unwrap(), text(29, 9000));
    // A second time there is nothing more to do.
    assert!(loaded(&store).0.is_empty());
    // And both lives together are compacted and found again.
    let ends = living().into_iter().filter(|number| *number > 3).map(finish);
    all_ok(&store.commit(&mut ends.collect::<Vec<_>>()));
    store.maintain();
    while store.compact() {
        store.maintain();
    }
    assert!(store.stats().segments <= 4, "{:?}", store.stats());
    drop(store);
    let (store, recovery) = open(&fs);
    let ids: BTreeSet<_> = recovery
        .messages
        .iter()
        .map(|message| message.id.as_u128())
        .collect();
    assert_eq!(ids, [1, 2, 100].into());
    assert_eq!(store.body(id(2)).unwrap(), text(2, 9000));
}

#[test]
fn events_of_both_runs_are_in_order() {
    let fs = earlier_life();
    // The log forgets what the journal still knows.
    let log = fs
        .files()
        .into_iter()
        .find(|path| path.starts_with("/spool/events"))
        .unwrap();
    let text = fs.read(&log).unwrap();
    let half = text
        .split_inclusive(|byte| *byte == b'\n')
        .take(20)
        .map(<[u8]>::len)
        .sum();
    fs.plant(&log, &text[..half]);
    let (store, begun) = begin_on(&fs, &options());
    // 30 adds, 10 ends, a delay and a freeze.
    assert_eq!(begun.last_event, 42);
    all_ok(&store.commit(&mut [add(&[100], "new\r\n")]));
    store.maintain();
    let follow = |store: &Store| -> Vec<u64> {
        let mut cursor = EventCursor::new(0);
        store
            .events_after(&mut cursor, 1000)
            .unwrap()
            .iter()
            .map(|event| event.seq)
            .collect()
    };
    assert_eq!(
        follow(&store),
        (1..=20).collect::<Vec<_>>(),
        "nothing new before what is older"
    );
    loaded(&store);
    assert_eq!(follow(&store), (1..=43).collect::<Vec<_>>());
}

#[test]
fn a_limit_on_messages_waits_until_they_are_counted() {
    let fs = earlier_life();
    let limits = StoreOptions {
        max_messages: 22,
        ..options()
    };
    let (store, _) = begin_on(&fs, &limits);
    assert_eq!(store.admit(1), Err(StoreError::Loading));
    assert_eq!(
        store.commit(&mut [add(&[100], "x\r\n")]),
        [Err(StoreError::Loading)]
    );
    loaded(&store);
    all_ok(&store.commit(&mut [add(&[100], "x\r\n"), add(&[101], "x\r\n")]));
    assert!(matches!(
        store.commit(&mut [add(&[102], "x\r\n")])[0],
        Err(StoreError::Full(_))
    ));
}

#[test]
fn a_journal_that_cannot_be_loaded_fails_the_store() {
    let fs = earlier_life();
    let (store, _) = begin_on(&fs, &options());
    all_ok(&store.commit(&mut [add(&[100], "x\r\n")]));
    store.cancel_loading();
    let error = store.load_all(&mut |_| panic!("nothing is known")).unwrap_err();
    assert!(error.to_string().contains("cannot read all of"), "{error}");
    let StoreError::Failed(why) = store.admit(1).unwrap_err() else {
        panic!("mail is taken all the same");
    };
    assert!(why.contains("cannot be loaded"), "{why}");
    drop(store);
    assert_eq!(
        open(&fs).1.messages.len(),
        living().len() + 1,
        "what was answered is there"
    );
}

#[test]
fn nothing_is_lost_wherever_the_power_is_cut_while_loading() {
    let life = |fs: &SimFs| -> BTreeSet<u128> {
        let mut answered = BTreeSet::new();
        let Ok((store, _)) = Store::begin(Arc::new(fs.clone()), Path::new(DIR), &options()) else {
            return answered;
        };
        for number in 100..110 {
            if number == 106 && store.load_all(&mut |_| {}).is_err() {
                break;
            }
            if store.commit(&mut [add(&[number], text(1, 12_000))])[0].is_err() {
                break;
            }
            answered.insert(number);
            store.maintain();
        }
        answered
    };
    // The earlier life ended in the middle of a write.
    let crashed = {
        let fs = earlier_life();
        let (store, _) = open(&fs);
        all_ok(&store.commit(&mut [add(&[40], "x\r\n")]));
        fs.fail(OpKind::Sync, 0, std::io::ErrorKind::Other);
        assert!(store.commit(&mut [add(&[41], text(1, 30_000))])[0].is_err());
        drop(store);
        fs.after_power_cut(Loss::Torn(3))
    };
    let whole = crashed.after_power_cut(Loss::Nothing);
    assert_eq!(life(&whole).len(), 10);
    let mut states = 0;
    for cut in 0..=whole.operations().len() {
        let disk = crashed.after_power_cut(Loss::Nothing);
        disk.cut_after(cut);
        let answered = life(&disk);
        for loss in [
            Loss::Everything,
            Loss::Nothing,
            Loss::Torn(cut as u64),
            Loss::Torn(7 * cut as u64 + 1),
        ] {
            let copy = disk.after_power_cut(loss);
            let found = |context: &str| {
                let (store, recovery) = open(&copy);
                assert!(recovery.damage.is_empty(), "{context}: {:?}", recovery.damage);
                let ids = recovery.messages.iter().map(|message| message.id.as_u128());
                let ids: BTreeSet<_> = ids.filter(|number| *number != 41).collect();
                for number in ids.iter().filter(|number| **number >= 100) {
                    assert_eq!(store.body(id(*number)).unwrap(), text(1, 12_000));
                }
                ids
            };
            let context = format!("cut after {cut}, {loss:?}");
            let ids = found(&context);
            let mut least = living();
            least.insert(40);
            least.extend(&answered);
            assert!(ids.is_superset(&least), "{context}: {ids:?}");
            // At most the one that was under way is there as well.
            assert!(ids.len() <= least.len() + 1, "{context}: {ids:?}");
            assert_eq!(found(&context), ids, "{context}: the second recovery differs");
            states += 1;
        }
    }
    println!("{states} crash states while loading");
}

#[test]
fn messages_are_handed_over_in_chunks_of_bounded_size() {
    let fs = SimFs::new();
    let options = StoreOptions {
        segment_size: 16 << 20,
        ..options()
    };
    let (store, _) = begin_on(&fs, &options);
    store.load_all(&mut drop).unwrap();
    let many: Vec<u128> = (1..=4_097).collect();
    all_ok(&store.commit(&mut [add(&many, "x\r\n")]));
    drop(store);
    let (store, _) = begin_on(&fs, &options);
    let mut chunks = Vec::new();
    store.load_all(&mut |chunk| chunks.push(chunk.len())).unwrap();
    assert_eq!(chunks, [4096, 1]);
}
