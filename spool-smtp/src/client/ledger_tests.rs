//! The books of connections, with sessions that are nothing but a number.

use super::super::source::Source;
use super::*;
use proptest::prelude::*;
use spool_core::{NextHop, TlsPolicy};

/// A session.
struct Fake {
    number: usize,
    _permit: Permit<Fake>,
}

fn want(host: &str, tls: TlsPolicy, limit: usize) -> Want {
    let hop: NextHop = format!("{host}:25").parse().unwrap();
    Want {
        key: Key {
            hop,
            tls,
            dane: None,
            credentials: None,
            source: Source::Any,
            route: None,
        },
        limit,
    }
}

fn to(host: &str, limit: usize) -> Want {
    want(host, TlsPolicy::Opportunistic, limit)
}

fn ask(ledger: &Arc<Ledger<Fake>>, want: &Want) -> Answer<Fake> {
    ledger.ask(want.clone(), false, |_| false)
}

fn session(turn: Turn<Fake>, number: usize) -> Fake {
    match turn {
        Turn::Cached(session) => session,
        Turn::Open(permit) => Fake {
            number,
            _permit: permit,
        },
    }
}

/// A session that there is at once.
fn now(ledger: &Arc<Ledger<Fake>>, want: &Want, number: usize) -> Fake {
    match ask(ledger, want) {
        Answer::Now(turn) => session(turn, number),
        Answer::Later(_) | Answer::TooMany => panic!("there is none now"),
    }
}

fn later(ledger: &Arc<Ledger<Fake>>, want: &Want) -> oneshot::Receiver<Turn<Fake>> {
    match ask(ledger, want) {
        Answer::Now(_) | Answer::TooMany => panic!("there is one now, or never"),
        Answer::Later(turn) => turn,
    }
}

#[test]
fn limits_hold_and_what_becomes_free_goes_to_the_destination_with_the_fewest() {
    let ledger = Ledger::new(4);
    let (a, b, c) = (to("a", 2), to("b", 9), to("c", 9));
    let one = now(&ledger, &a, 1);
    let _two = now(&ledger, &a, 2);
    let mut third = later(&ledger, &a);
    let _three = now(&ledger, &b, 3);
    let _four = now(&ledger, &b, 4);
    // All four are out. The second destination waits for more, and then one that has none comes.
    let mut more = later(&ledger, &b);
    let mut none = later(&ledger, &c);
    drop(one);
    assert!(more.try_recv().is_err(), "it has two already");
    let got = session(none.try_recv().unwrap(), 5);
    assert!(third.try_recv().is_err(), "all four are out again");
    drop(got);
    assert!(third.try_recv().is_ok(), "it has one, the other two");
    assert!(more.try_recv().is_ok());
}

#[test]
fn for_one_limit_only_a_few_wait() {
    let ledger = Ledger::new(16);
    let (a, b) = (to("a", 8), to("b", 1));
    let _held: Vec<_> = (0..8).map(|n| now(&ledger, &a, n)).collect();
    let mut waiting: Vec<_> = (0..3).map(|_| later(&ledger, &a)).collect();
    assert!(matches!(ask(&ledger, &a), Answer::TooMany));
    drop(waiting.pop());
    waiting.push(later(&ledger, &a));
    assert!(matches!(ask(&ledger, &a), Answer::TooMany));
    let _one = now(&ledger, &b, 4);
    let _two = later(&ledger, &b);
    assert!(matches!(ask(&ledger, &b), Answer::TooMany), "another limit");
}

/// Has a ledger tell of room, and gives what it has told since it was asked last.
fn told(ledger: &Arc<Ledger<Fake>>) -> impl FnMut() -> Vec<String> {
    let (tell, heard) = std::sync::mpsc::channel();
    ledger.on_room(Arc::new(move |hop| tell.send(hop.to_string()).is_ok()));
    move || heard.try_iter().collect()
}

#[test]
fn room_is_told_once_for_each_that_was_turned_away() {
    let ledger = Ledger::new(16);
    let (a, b) = (to("a", 2), to("b", 2));
    let mut told = told(&ledger);
    let one = now(&ledger, &a, 1);
    let two = now(&ledger, &a, 2);
    let mut third = later(&ledger, &a);
    for _ in 0..3 {
        assert!(matches!(ask(&ledger, &a), Answer::TooMany));
    }
    // Of another host, nobody was turned away.
    drop(now(&ledger, &b, 9));
    assert_eq!(told(), [""; 0]);
    // Whoever waits is served first, and leaves his place.
    ledger.park(&a.key, one);
    let one = session(third.try_recv().unwrap(), 9);
    assert_eq!(told(), ["a:25"]);
    // Idle, and closed.
    ledger.park(&a.key, one);
    drop(two);
    assert_eq!(told(), ["a:25", "a:25"]);
    drop(now(&ledger, &a, 3));
    assert_eq!(told(), [""; 0]);
}

#[test]
fn a_connection_of_all_that_becomes_free_is_told_to_the_host_that_gets_it() {
    let ledger = Ledger::new(2);
    let (a, b) = (to("a", 1), to("b", 1));
    let mut told = told(&ledger);
    let (one, _two) = (now(&ledger, &a, 1), now(&ledger, &to("c", 1), 2));
    let mut waiting = later(&ledger, &b);
    assert!(matches!(ask(&ledger, &b), Answer::TooMany));
    drop(one);
    assert!(waiting.try_recv().is_ok());
    assert_eq!(told(), ["b:25"], "its place in line is free");
}

#[test]
fn whoever_listens_no_more_is_forgotten() {
    let ledger = Ledger::new(4);
    let a = to("a", 1);
    drop(told(&ledger));
    let one = now(&ledger, &a, 1);
    let _waits = later(&ledger, &a);
    assert!(matches!(ask(&ledger, &a), Answer::TooMany));
    drop(one);
    assert!(ledger.listeners.lock().unwrap().is_empty());
}

#[test]
fn no_destination_takes_all() {
    let ledger = Ledger::new(8);
    let held: Vec<_> = (0..6).map(|n| now(&ledger, &to("hog", 100), n)).collect();
    let mut seventh = later(&ledger, &to("hog", 100));
    let others: Vec<_> = (0..2)
        .map(|n| now(&ledger, &to(&format!("h{n}"), 100), n))
        .collect();
    drop(others);
    assert!(seventh.try_recv().is_err());
    drop(held);
    assert!(seventh.try_recv().is_ok());
}

#[test]
fn an_idle_session_stands_in_nobodys_way() {
    let ledger = Ledger::new(2);
    for (number, host) in [(1, "a"), (2, "b")] {
        let session = now(&ledger, &to(host, 2), number);
        ledger.park(&to(host, 2).key, session);
    }
    // All are out, and idle. The one that has been idle longest is closed.
    let mut third = later(&ledger, &to("c", 2));
    let third = session(third.try_recv().unwrap(), 3);
    assert_eq!(now(&ledger, &to("b", 2), 9).number, 2);
    drop(third);
    // The limit of one destination: its sessions of another kind make room.
    let (plain, verified) = (to("a", 1), want("a", TlsPolicy::Verify, 1));
    let plaintext = now(&ledger, &plain, 4);
    ledger.park(&plain.key, plaintext);
    let mut turn = later(&ledger, &verified);
    assert_eq!(session(turn.try_recv().unwrap(), 5).number, 5);
}

#[test]
fn a_session_that_is_done_goes_to_whoever_waits_for_it() {
    let ledger = Ledger::new(4);
    let (plain, verified) = (to("a", 1), want("a", TlsPolicy::Verify, 1));
    let first = now(&ledger, &plain, 1);
    let gone = later(&ledger, &plain);
    drop(gone);
    let mut same = later(&ledger, &plain);
    assert!(!ledger.park(&plain.key, first), "it was not kept");
    let first = session(same.try_recv().unwrap(), 9);
    assert_eq!(first.number, 1);
    let mut other = later(&ledger, &verified);
    // The next one is of another kind: the connection is closed for it.
    assert!(!ledger.park(&plain.key, first));
    let second = session(other.try_recv().unwrap(), 2);
    assert_eq!(second.number, 2);
    assert!(ledger.park(&verified.key, second), "kept, and to be looked after");
    let (open, counts) = ledger.counts();
    assert_eq!((open, counts.len(), counts[0].idle), (1, 1, 1));
    // One that is asked for anew is not the idle one.
    match ledger.ask(verified.clone(), true, |_| true) {
        Answer::Now(turn) => assert_eq!(session(turn, 3).number, 3),
        Answer::Later(_) | Answer::TooMany => panic!("the idle one was closed"),
    }
    assert_eq!(ledger.counts(), (0, Vec::new()));
}

#[derive(Debug, Clone)]
enum Op {
    Ask(usize, bool),
    Drop(usize),
    Park(usize),
    Expire,
    GiveUp(usize),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => (0..6_usize, any::<bool>()).prop_map(|(kind, fresh)| Op::Ask(kind, fresh)),
        2 => (0..8_usize).prop_map(Op::Drop),
        3 => (0..8_usize).prop_map(Op::Park),
        1 => Just(Op::Expire),
        1 => (0..4_usize).prop_map(Op::GiveUp),
    ];
    proptest::collection::vec(op, 0..60)
}

proptest! {
    #[test]
    fn the_books_are_always_right_and_nobody_waits_in_vain(ops in ops(), total in 1..6_usize) {
        let kinds: Vec<Want> = (0..6)
            .map(|n| want(["a", "b", "c"][n % 3], [TlsPolicy::None, TlsPolicy::Verify][n / 3], 1 + n % 3))
            .collect();
        let ledger = Ledger::new(total);
        let mut held: Vec<(usize, Fake)> = Vec::new();
        let mut waiting: Vec<(usize, oneshot::Receiver<Turn<Fake>>)> = Vec::new();
        for op in ops {
            match op {
                Op::Ask(kind, fresh) => match ledger.ask(kinds[kind].clone(), fresh, |_| false) {
                    Answer::Now(turn) => held.push((kind, session(turn, 0))),
                    Answer::Later(turn) => waiting.push((kind, turn)),
                    Answer::TooMany => {
                        let host = kinds[kind].key.scope();
                        let others = waiting.iter().filter(|(other, _)| kinds[*other].key.scope() == host);
                        prop_assert!(others.count() >= waiting_places(kinds[kind].limit.min(ledger.share())));
                    }
                },
                Op::Drop(n) if n < held.len() => drop(held.remove(n)),
                Op::Park(n) if n < held.len() => {
                    let (kind, session) = held.remove(n);
                    ledger.park(&kinds[kind].key, session);
                }
                Op::Expire => drop(ledger.take_idle(|_| true)),
                Op::GiveUp(n) if n < waiting.len() => drop(waiting.remove(n)),
                Op::Drop(_) | Op::Park(_) | Op::GiveUp(_) => {}
            }
            let mut still = Vec::new();
            for (kind, mut turn) in waiting {
                match turn.try_recv() {
                    Ok(turn) => held.push((kind, session(turn, 0))),
                    Err(_) => still.push((kind, turn)),
                }
            }
            waiting = still;
            let (open, counts) = ledger.counts();
            let all_idle: usize = counts.iter().map(|count| count.idle).sum();
            prop_assert!(open <= total);
            prop_assert_eq!(open, held.len() + all_idle);
            for (host, kind) in kinds.iter().enumerate().take(3) {
                let same = |kind: usize| kind % 3 == host;
                let of_it = |count: &&Count| count.key.hop == kind.key.hop;
                let open: usize = counts.iter().filter(of_it).map(|count| count.open).sum();
                let limit = kind.limit.min(ledger.share());
                prop_assert!(open <= limit);
                let waits = waiting.iter().any(|(kind, _)| same(*kind));
                let room = open < limit && counts.iter().map(|count| count.open).sum::<usize>() < total;
                prop_assert!(!(waits && room), "somebody waits although there is room");
                prop_assert!(!(waits && open < limit && all_idle > 0), "an idle session stands in the way");
                let idle: usize = counts.iter().filter(of_it).map(|count| count.idle).sum();
                prop_assert!(!(waits && idle > 0), "somebody waits for a connection that is idle");
            }
        }
        drop(held);
        drop(waiting);
        drop(ledger.take_idle(|_| true));
        prop_assert_eq!(ledger.counts(), (0, Vec::new()));
    }
}
