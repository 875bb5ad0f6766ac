//! Routes that change, reasons for which messages are frozen, and adds that say what becomes of another message.

use super::*;
use crate::frozen::{FrozenKind, FrozenReason};
use crate::next_hop::NextHop;

fn route(number: u128, hop: &str, origin: RouteOrigin) -> Change {
    Change::Route {
        id: id(number),
        next_hops: [hop.parse().unwrap()].into(),
        origin,
        events: vec![],
    }
}

fn hops(hop: &str) -> Arc<[NextHop]> {
    [hop.parse().unwrap()].into()
}

fn concluding(number: u128, of: u128, outcome: Outcome, kind: EventKind) -> Change {
    let mut change = add(&[number], "a bounce\r\n");
    if let Change::Add(addition) = &mut change {
        addition.conclusion = Some(Conclusion { id: id(of), outcome });
        addition.events.push(event(of, kind));
    }
    change
}

/// After a restart, and after everything was moved to another segment.
fn restarted_and_moved(fs: &SimFs, store: Store) -> [(Store, Recovery); 2] {
    drop(store);
    let restarted = open(fs);
    let copy = fs.after_power_cut(crate::store::fs::Loss::Nothing);
    let (store, _) = open(&copy);
    for number in 900..960 {
        all_ok(&store.commit(&mut [add(&[number], text(1, 10_000))]));
        all_ok(&store.commit(&mut [finish(number)]));
        store.maintain();
        while store.compact() {
            store.maintain();
        }
    }
    assert!(store.stats().moved > 0);
    drop(store);
    [restarted, open(&copy)]
}

#[test]
fn another_route_outlives_states_restarts_and_moves() {
    let fs = SimFs::new();
    let (store, _) = open(&fs);
    all_ok(&store.commit(&mut [add(&[1, 2], "x\r\n"), route(1, "a:25", RouteOrigin::Configured)]));
    all_ok(&store.commit(&mut [
        route(1, "b:25", RouteOrigin::BuiltInSink),
        defer(1, 2000),
        begin(1, 9),
    ]));
    let none: Arc<[NextHop]> = [].into();
    let empty = Change::Route {
        id: id(1),
        next_hops: none,
        origin: RouteOrigin::Named,
        events: vec![],
    };
    let refused = store.commit(&mut [empty, route(9, "a:25", RouteOrigin::Named)]);
    assert!(matches!(refused[0], Err(StoreError::Invalid(_))));
    assert_eq!(refused[1], Err(StoreError::NoSuchMessage(id(9))));
    let expected = store.load(id(1)).unwrap();
    assert_eq!(
        (
            &expected.next_hops,
            expected.origin,
            expected.state.attempts.total()
        ),
        (&hops("b:25"), RouteOrigin::BuiltInSink, 1)
    );
    for (store, recovery) in restarted_and_moved(&fs, store) {
        let one = store.load(id(1)).unwrap();
        let other = store.load(id(2)).unwrap();
        assert_eq!(
            (one.next_hops, one.origin),
            (hops("b:25"), RouteOrigin::BuiltInSink)
        );
        assert_eq!(
            (other.next_hops, other.origin),
            (section(2).next_hops, RouteOrigin::Named)
        );
        let routes: Vec<_> = recovery
            .messages
            .iter()
            .map(|one| (one.id, Arc::clone(&one.next_hops), one.origin))
            .collect();
        assert_eq!(
            routes,
            [
                (id(1), hops("b:25"), RouteOrigin::BuiltInSink),
                (id(2), section(2).next_hops, RouteOrigin::Named)
            ]
        );
    }
}

#[test]
fn the_reason_of_a_freeze_survives_restarts_and_moves() {
    let fs = SimFs::new();
    let (store, _) = open(&fs);
    let why = |number: u128| match number {
        1 => FrozenReason::Held {
            by: Some("ada".to_owned()),
        },
        2 => FrozenReason::Expired,
        _ => FrozenReason::Hook,
    };
    let frozen = |number| Some(Box::new(Frozen::new(Timestamp(7), why(number))));
    all_ok(&store.commit(&mut [add(&[1, 2], "x\r\n"), add(&[4], "y\r\n")]));
    let mut late = add(&[3], "z\r\n");
    if let Change::Add(addition) = &mut late {
        addition.messages[0].status = Status::Frozen;
        addition.messages[0].frozen = frozen(3);
    }
    let mut expired = state(2, 2000);
    expired.set_status(Status::Frozen, frozen(2));
    let hold = Change::Mark {
        id: id(1),
        status: Status::Frozen,
        frozen: frozen(1),
        in_flight: None,
        events: vec![],
    };
    let expire = Change::State {
        id: id(2),
        state: Box::new(expired),
        events: vec![],
    };
    all_ok(&store.commit(&mut [late, hold, expire, freeze(4), begin(4, 3)]));
    for (store, recovery) in restarted_and_moved(&fs, store) {
        for number in [1, 2, 3] {
            let state = store.load(id(number)).unwrap().state;
            assert_eq!((state.status, state.frozen), (Status::Frozen, frozen(number)));
        }
        assert_eq!(
            store.load(id(4)).unwrap().state.frozen,
            None,
            "it is frozen no longer"
        );
        let kinds: Vec<_> = recovery.messages.iter().map(|one| one.frozen).collect();
        let (held, expired, hook) = (FrozenKind::Held, FrozenKind::Expired, FrozenKind::Hook);
        assert_eq!(kinds, [Some(held), Some(expired), Some(hook), None]);
    }
}

#[test]
fn an_add_and_its_conclusion_are_one_change() {
    let fs = SimFs::new();
    let (store, _) = open(&fs);
    all_ok(&store.commit(&mut [add(&[1], "x\r\n"), add(&[2], "y\r\n")]));
    let finished = Outcome::Finish(Finish::Delivered);
    let deferred = Outcome::State(Box::new(state(2, 5000)));
    all_ok(&store.commit(&mut [
        concluding(3, 1, finished.clone(), EventKind::Bounced),
        concluding(4, 2, deferred, EventKind::Delayed(Timestamp(5000))),
    ]));
    let itself = concluding(5, 5, finished.clone(), EventKind::Bounced);
    let unknown = concluding(6, 77, finished, EventKind::Bounced);
    let refused = store.commit(&mut [itself, unknown]);
    assert!(matches!(refused[0], Err(StoreError::Invalid(_))));
    assert_eq!(refused[1], Err(StoreError::NoSuchMessage(id(77))));
    for (store, recovery) in restarted_and_moved(&fs, store) {
        let ids: Vec<MessageId> = recovery.messages.iter().map(|one| one.id).collect();
        assert_eq!(ids, [2, 3, 4].map(id));
        assert_eq!(store.load(id(2)).unwrap().state, state(2, 5000));
        assert_eq!(store.body(id(3)).unwrap(), "a bounce\r\n");
        let mut cursor = EventCursor::new(0);
        let events = store.events_after(&mut cursor, 100).unwrap();
        let bounced = events.iter().find(|event| event.kind == EventKind::Bounced);
        assert_eq!(bounced.unwrap().id, Some(id(1)));
    }
}
