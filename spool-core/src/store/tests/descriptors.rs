//! A process that has no file descriptors left.

use super::faults::end_pause_after_failure;
use super::unreadable::two_segments;
use super::*;
use crate::store::fs::OpKind;

#[test]
fn a_shortage_of_descriptors_loses_nothing_and_passes() {
    let fs = SimFs::new();
    let (store, _) = open(&fs);
    for number in 1..4 {
        all_ok(&store.commit(&mut [add(&[number], text(1, 30_000))]));
        store.maintain();
    }
    drop(store);
    let (store, _) = open(&fs);
    fs.fail_all(&[OpKind::Open, OpKind::Create], libc::EMFILE);
    let unread = store.body(id(1));
    assert!(matches!(unread, Err(StoreError::NotNow { .. })), "{unread:?}");
    // The segment that is ready needs no descriptor more, and its name is synced all the same.
    all_ok(&store.commit(&mut [add(&[4], text(4, 30_000)), finish(2)]));
    store.maintain();
    while store.compact() {}
    let results = store.commit(&mut [add(&[5], text(5, 60_000)), freeze(1)]);
    let is_short = |result: &Result<(), StoreError>| matches!(result, Err(StoreError::Shortage(_)));
    assert!(is_short(&results[0]) && results[1].is_ok(), "{results:?}");
    assert!(is_short(&store.admit(100)));
    fs.heal();
    end_pause_after_failure(&store);
    store.look_for_room();
    assert_eq!(store.admit(100), Ok(()));
    all_ok(&store.commit(&mut [add(&[5], text(5, 60_000))]));
    assert_eq!(store.body(id(1)).unwrap(), text(1, 30_000));
    assert_eq!(store.body(id(5)).unwrap(), text(5, 60_000));
    drop(store);
    fs.fail_all(&[OpKind::Open], libc::ENFILE);
    let refused = try_open(&fs);
    assert!(matches!(refused, Err(OpenError::Io { .. })), "{refused:?}");
    fs.heal();
    assert_eq!(open(&fs).1.messages.len(), 4);
}

#[test]
fn loading_waits_for_descriptors_and_gives_up_in_the_end() {
    let fs = two_segments();
    let begin = || {
        Store::begin(Arc::new(fs.clone()), Path::new(DIR), &options())
            .unwrap()
            .0
    };
    let store = begin();
    fs.fail_all(&[OpKind::Open], libc::EMFILE);
    let loaded = std::thread::scope(|scope| {
        let loader = scope.spawn(|| {
            let mut messages = 0;
            store
                .load_all(&mut |chunk| messages += chunk.len())
                .map(|_| messages)
        });
        while fs.refused() == 0 {
            std::thread::yield_now();
        }
        assert_eq!(store.admit(100), Ok(()), "mail is taken meanwhile");
        fs.heal();
        loader.join().unwrap()
    });
    assert_eq!(loaded.unwrap(), 5);
    drop(store);
    // Whoever ends the service meanwhile does not wait for it.
    let store = begin();
    fs.fail_all(&[OpKind::Open], libc::EMFILE);
    store.cancel_loading();
    assert!(store.load_all(&mut |_| {}).is_err());
    drop(store);
    fs.heal();
    let store = begin();
    fs.fail_all(&[OpKind::Open], libc::EMFILE);
    let given_up = store.load_all(&mut |_| {}).map(drop).unwrap_err().to_string();
    assert!(
        given_up.contains("cannot open") && given_up.contains("os error 24"),
        "{given_up}"
    );
    assert!(matches!(store.admit(100), Err(StoreError::Failed(_))));
    drop(store);
    fs.heal();
    assert_eq!(open(&fs).1.messages.len(), 5);
}
