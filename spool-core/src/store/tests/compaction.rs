//! Old segments are emptied and given back, and nobody misses anything.

use super::*;
use std::collections::BTreeMap;

fn compact(store: &Store) {
    let mut steps = 0;
    while store.compact() {
        store.maintain();
        steps += 1;
        assert!(steps < 10_000, "compaction has no end");
    }
}

/// Everything about every live message.
fn everything(store: &Store, ids: &[u128]) -> BTreeMap<u128, (Message, Bytes)> {
    let one = |number: &u128| {
        let (message, body) = (store.load(id(*number)).unwrap(), store.body(id(*number)).unwrap());
        (*number, (message, body))
    };
    ids.iter().map(one).collect()
}

fn sort(mut message: Message) -> Message {
    let mut related = message.related.to_vec();
    related.sort_unstable();
    message.related = related.into();
    message
}

/// Bytes of the journal's segments, the head and the spare left out.
fn sealed(fs: &SimFs) -> u64 {
    let mut logs: Vec<_> = fs.files();
    logs.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    logs.pop();
    logs.iter().map(|path| fs.read(path).unwrap().len() as u64).sum()
}

#[test]
fn long_lived_mail_does_not_keep_what_came_and_went() {
    let fs = SimFs::new();
    let (store, _) = open(&fs);
    let mut kept: Vec<u128> = Vec::new();
    let mut live = 0;
    for round in 0..400_u128 {
        let number = 10 * round + 1;
        let body = text(round as u8, 3000);
        all_ok(&store.commit(&mut [add(&[number, number + 1], body.clone()), begin(number, 5)]));
        let mut ends = vec![finish(number)];
        if round % 20 == 0 {
            // One of two stays, with a state and a mark in other segments.
            kept.push(number + 1);
            live += body.len() as u64 + 1000;
            ends.push(defer(number + 1, 7000));
        } else {
            ends.push(finish(number + 1));
        }
        all_ok(&store.commit(&mut ends));
        if round % 40 == 39 {
            all_ok(&store.commit(&mut [freeze(kept[kept.len() / 2])]));
        }
        let before = everything(&store, &kept);
        store.maintain();
        compact(&store);
        let after = everything(&store, &kept);
        for (number, (message, body)) in before {
            let (moved, same) = &after[&number];
            assert_eq!((sort(moved.clone()), same), (sort(message), &body), "{number}");
        }
        let bound = 2 * live + 2 * MIN_SEGMENT;
        assert!(sealed(&fs) <= bound, "round {round}: {} of {bound}", sealed(&fs));
    }
    assert!(store.stats().moved >= 20, "{:?}", store.stats());
    let before = everything(&store, &kept);
    drop(store);
    let (store, recovery) = open(&fs);
    assert_eq!(recovery.messages.len(), kept.len());
    assert!(recovery.damage.is_empty());
    assert_eq!(everything(&store, &kept), before);
    let ends = kept.iter().map(|number| finish(*number)).collect::<Vec<_>>();
    all_ok(&store.commit(&mut { ends }));
    drop(store);
    assert_eq!(open(&fs).1.messages.len(), 0, "nothing comes back");
}

#[test]
fn one_old_message_does_not_keep_the_ends_of_its_neighbours() {
    let fs = SimFs::new();
    let (store, _) = open(&fs);
    // A full segment of long-lived mail, and then segments that hold the end of one of its neighbours each.
    let old: Vec<u128> = (1..=18).collect();
    for number in &old {
        all_ok(&store.commit(&mut [add(&[*number], text(1, 3000))]));
    }
    for number in old.iter().take(8) {
        for filler in 0..18 {
            let filler = 1000 * number + filler;
            all_ok(&store.commit(&mut [add(&[filler], text(2, 3000)), finish(filler)]));
        }
        all_ok(&store.commit(&mut [finish(*number)]));
        store.maintain();
        compact(&store);
    }
    assert!(store.stats().segments <= 4, "{:?}", store.stats());
    drop(store);
    assert_eq!(open(&fs).1.messages.len(), 10);
}

#[test]
fn a_route_changed_during_an_attempt_stays_after_its_start() {
    let route = |number| Change::Route {
        id: id(number),
        next_hops: ["named:25".parse().unwrap()].into(),
        origin: RouteOrigin::Named,
        events: Vec::new(),
    };
    let fs = SimFs::new();
    let (store, _) = open(&fs);
    all_ok(&store.commit(&mut [add(&[1, 2, 3], "x\r\n"), route(2), begin(1, 5), begin(2, 5)]));
    all_ok(&store.commit(&mut [route(1), route(3)]));
    let rerouted = |fs: &SimFs| -> BTreeMap<MessageId, (bool, bool)> {
        let (store, recovery) = open(fs);
        let messages = recovery.messages.iter();
        let known = messages.map(|one| (one.id, (one.in_flight.is_some(), one.rerouted)));
        let known = known.collect();
        drop(store);
        known
    };
    drop(store);
    let expected = [(1, (true, true)), (2, (true, false)), (3, (false, false))];
    let expected = expected.map(|(number, known)| (id(number), known));
    assert_eq!(rerouted(&fs), expected.into());
    let (store, _) = open(&fs);
    for number in 10..200 {
        all_ok(&store.commit(&mut [add(&[number], text(1, 3000))]));
        all_ok(&store.commit(&mut [finish(number)]));
    }
    compact(&store);
    assert!(store.stats().moved >= 3, "{:?}", store.stats());
    drop(store);
    let known = rerouted(&fs);
    assert_eq!((known[&id(1)], known[&id(3)]), ((true, true), (false, false)));
}

#[test]
fn what_cannot_be_read_stays_and_stops_nothing() {
    let fs = SimFs::new();
    let (store, _) = open(&fs);
    all_ok(&store.commit(&mut [add(&[1], text(1, 3000)), add(&[2], text(2, 3000))]));
    for filler in 100..160 {
        all_ok(&store.commit(&mut [add(&[filler], text(3, 3000)), finish(filler)]));
    }
    let path = Path::new(DIR).join("journal/0000000001.log");
    let mut bytes = fs.read(&path).unwrap();
    let body = bytes
        .windows(64)
        .position(|window| window == &text(1, 3000)[..64])
        .unwrap();
    bytes[body + 100] ^= 1;
    fs.plant(&path, &bytes);
    store.maintain();
    compact(&store);
    assert!(matches!(store.body(id(1)), Err(StoreError::Damaged { .. })));
    assert_eq!(store.body(id(2)).unwrap(), text(2, 3000));
    assert!(
        fs.read(&path).is_some(),
        "its bytes are kept for whoever can repair them"
    );
    assert!(store.stats().segments <= 4, "{:?}", store.stats());
    all_ok(&store.commit(&mut [add(&[3], "x\r\n")]));
}

#[test]
fn a_full_disk_puts_it_off() {
    let fs = SimFs::new();
    let (store, _) = open(&fs);
    for number in 1..=40 {
        all_ok(&store.commit(&mut [add(&[number], text(1, 3000))]));
        if number % 4 != 0 {
            all_ok(&store.commit(&mut [finish(number)]));
        }
    }
    store.maintain();
    fs.set_capacity(Some(fs.used()));
    let live: Vec<u128> = (1..=40).filter(|number| number % 4 == 0).collect();
    let before = everything(&store, &live);
    compact(&store);
    assert_eq!(everything(&store, &live), before);
    fs.set_capacity(None);
    super::faults::end_pause_after_failure(&store);
    compact(&store);
    assert_eq!(everything(&store, &live), before);
    assert!(store.stats().moved > 0);
}
