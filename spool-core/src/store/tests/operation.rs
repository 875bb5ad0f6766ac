//! Adds, changes and reads on a disk that works.

use super::*;

#[test]
fn what_was_committed_is_read_back_now_and_after_a_restart() {
    let fs = SimFs::new();
    let (store, recovery) = open(&fs);
    assert!(recovery.messages.is_empty());
    all_ok(&store.commit(&mut [
        add(&[1, 2], text(1, 3000)),
        add(&[3], text(2, 10)),
        begin(3, 1500),
    ]));
    all_ok(&store.commit(&mut [defer(1, 9000), freeze(1), finish(2)]));
    let check = |store: &Store| {
        let one = store.load(id(1)).unwrap();
        assert_eq!(one.related.to_vec(), [id(2)]);
        assert_eq!(one.parent, Some(id(77)));
        assert_eq!(one.envelope.as_ref(), &section(1).envelope);
        assert_eq!(one.body_size, 3000);
        let expected = MessageState {
            status: Status::Frozen,
            frozen: Some(Box::new(Frozen::unrecorded(&state(1, 9000)))),
            ..state(1, 9000)
        };
        assert_eq!(one.state, expected);
        assert_eq!(store.load(id(2)), Err(StoreError::NoSuchMessage(id(2))));
        assert_eq!(store.load(id(3)).unwrap().state.in_flight, Some(Timestamp(1500)));
        assert_eq!(store.body(id(1)).unwrap(), text(1, 3000));
        assert_eq!(store.body(id(3)).unwrap(), text(2, 10));
        assert_eq!(store.stats().messages, 2);
    };
    check(&store);
    assert_eq!(store.stats().commits, 2);
    assert_eq!(store.stats().changes, 6);
    drop(store);
    let (store, recovery) = open(&fs);
    check(&store);
    let mut messages = recovery.messages;
    messages.sort_by_key(|message| message.id);
    let seen: Vec<_> = messages
        .iter()
        .map(|m| (m.id, m.status, m.in_flight, m.body_size))
        .collect();
    let due = Status::SendAt(Timestamp(1000));
    assert_eq!(
        seen,
        [
            (id(1), Status::Frozen, None, 3000),
            (id(3), due, Some(Timestamp(1500)), 10)
        ]
    );
    assert!(Arc::ptr_eq(&messages[0].next_hops, &messages[1].next_hops));
    assert_eq!(recovery.last_id, Some(id(3)));
    assert_eq!((recovery.torn_bytes, recovery.damage.len()), (0, 0));
}

#[test]
fn a_later_state_overrides_a_mark() {
    let fs = SimFs::new();
    let (store, _) = open(&fs);
    all_ok(&store.commit(&mut [add(&[1], "x\r\n"), freeze(1), defer(1, 5000)]));
    assert_eq!(store.load(id(1)).unwrap().state, state(1, 5000));
    drop(store);
    let (store, recovery) = open(&fs);
    assert_eq!(recovery.messages[0].status, Status::SendAt(Timestamp(5000)));
    assert_eq!(store.load(id(1)).unwrap().state, state(1, 5000));
}

#[test]
fn one_wrong_change_does_not_touch_the_others() {
    let (store, _) = open(&SimFs::new());
    let results = store.commit(&mut [
        finish(9),
        add(&[1], "x\r\n"),
        add(&[1], "y\r\n"),
        add(&[], "z\r\n"),
        finish(1),
        freeze(1),
    ]);
    assert_eq!(results[0], Err(StoreError::NoSuchMessage(id(9))));
    assert_eq!(results[1], Ok(()));
    assert!(matches!(results[2], Err(StoreError::Invalid(_))), "{results:?}");
    assert!(matches!(results[3], Err(StoreError::Invalid(_))), "{results:?}");
    assert_eq!(results[4], Ok(()));
    assert_eq!(results[5], Err(StoreError::NoSuchMessage(id(1))));
    assert_eq!(store.stats().messages, 0);
    assert!(store.commit(&mut []).is_empty());
}

#[test]
fn a_batch_is_one_write_and_one_sync() {
    let fs = SimFs::new();
    let (store, _) = open(&fs);
    all_ok(&store.commit(&mut [add(&[1], "x\r\n")]));
    store.maintain();
    let before = fs.operations().len();
    let mut batch: Vec<_> = (2..10).map(|n| add(&[n], text(1, 2048))).collect();
    all_ok(&store.commit(&mut batch));
    assert_eq!(fs.operations()[before..], [fs::OpKind::Write, fs::OpKind::Sync]);
}

#[test]
fn finished_segments_are_deleted_and_large_frames_get_their_own() {
    let fs = SimFs::new();
    let (store, _) = open(&fs);
    for number in 1..40 {
        let size = if number % 7 == 0 { 300_000 } else { 20_000 };
        all_ok(&store.commit(&mut [add(&[number], text(number as u8, size))]));
        assert_eq!(store.body(id(number)).unwrap(), text(number as u8, size));
        if number > 3 {
            all_ok(&store.commit(&mut [finish(number - 3)]));
        }
        store.maintain();
    }
    assert!(store.stats().segments < 9, "{:?}", store.stats());
    assert!(fs.used() < 9 * MIN_SEGMENT + 2 * 300_000, "{}", fs.used());
    drop(store);
    let (store, recovery) = open(&fs);
    assert_eq!(recovery.messages.len(), 3);
    for number in 37..40 {
        all_ok(&store.commit(&mut [finish(number)]));
    }
    all_ok(&store.commit(&mut [add(&[100], "x\r\n"), finish(100)]));
    store.maintain();
    assert_eq!(store.stats().segments, 1);
}

#[test]
fn a_look_from_outside_sees_what_is_live() {
    let fs = SimFs::new();
    let (store, _) = open(&fs);
    let arc = || -> Arc<dyn Fs> { Arc::new(fs.clone()) };
    assert_eq!(count_from_disk_on(arc(), Path::new(DIR)).unwrap(), 0);
    for number in 1..20 {
        all_ok(&store.commit(&mut [add(&[number, number + 100], text(1, 9000)), freeze(number)]));
    }
    all_ok(&store.commit(&mut [finish(5), defer(6, 7777)]));
    assert_eq!(count_from_disk_on(arc(), Path::new(DIR)).unwrap(), 37);
    let mut seen = Vec::new();
    mail_from_disk_on(arc(), Path::new(DIR), &mut |message, _| seen.push(message)).unwrap();
    seen.sort_by_key(|message| message.id);
    assert_eq!(seen.len(), 37);
    for message in seen {
        assert_eq!(message, store.load(message.id).unwrap());
    }
    let no_spool = count_from_disk_on(arc(), Path::new("/"));
    assert!(matches!(no_spool, Err(OpenError::NotASpool(_))), "{no_spool:?}");
}
