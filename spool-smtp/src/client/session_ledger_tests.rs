//! The ledger with fake sessions that are only numbers.

use super::super::resolve::Target;
use super::super::source_address::SourceAddress;
use super::*;
use proptest::prelude::*;
use spool_core::{NextHop, TlsPolicy};
use std::time::Duration;

/// A session.
struct Fake {
    number: usize,
    _permit: ConnectionPermit<Fake>,
}

fn hops(hosts: &str) -> Arc<[NextHop]> {
    let hosts = hosts.split(' ').map(|host| format!("{host}:25").parse().unwrap());
    hosts.collect()
}

/// A session with `host`, counted for `path`.
fn want(host: &str, path: &str, limit: usize) -> SessionRequest<'static> {
    let hop = hops(host)[0].clone();
    SessionRequest {
        target: Box::leak(Box::new(Target::configured(&hop))),
        end: Instant::now(),
        key: SessionKey {
            hop,
            tls: TlsPolicy::Opportunistic,
            dane: None,
            credentials: None,
            source: SourceAddress::default(),
            path: hops(path),
        },
        limit,
    }
}

fn to(host: &str, limit: usize) -> SessionRequest<'static> {
    want(host, host, limit)
}

fn session(turn: SessionGrant<Fake>, number: usize) -> Fake {
    match turn {
        SessionGrant::Cached(session) => session,
        SessionGrant::New(permit) => Fake {
            number,
            _permit: permit,
        },
    }
}

/// A session, if one is available without waiting.
fn now(ledger: &Arc<SessionLedger<Fake>>, want: &SessionRequest<'static>, number: usize) -> Option<Fake> {
    let turn = ledger.try_acquire(want, false, |_| false);
    turn.map(|turn| session(turn, number))
}

fn park(ledger: &SessionLedger<Fake>, want: &SessionRequest<'static>, sessions: Vec<Fake>) {
    for session in sessions {
        ledger.park(&want.key, session);
    }
}

fn waiting(ledger: &SessionLedger<Fake>) -> usize {
    ledger
        .snapshot()
        .destinations
        .iter()
        .map(|sessions| sessions.waiting)
        .sum()
}

fn assert_nothing_left(ledger: &SessionLedger<Fake>) {
    let PoolSnapshot {
        open, destinations, ..
    } = ledger.snapshot();
    assert_eq!((open, destinations), (0, Vec::new()));
}

/// Starts to wait for a session; none is available now.
async fn later(
    ledger: &Arc<SessionLedger<Fake>>,
    want: &SessionRequest<'static>,
) -> tokio::task::JoinHandle<Option<usize>> {
    let before = waiting(ledger);
    let (waits, want) = (Arc::clone(ledger), want.clone());
    let give_up = Instant::now() + Duration::from_secs(30);
    let turn = tokio::spawn(async move {
        let turn = waits.acquire(&want, false, |_| false, give_up).await;
        turn.map(|turn| session(turn, 0).number)
    });
    while waiting(ledger) == before {
        tokio::task::yield_now().await;
    }
    turn
}

#[test]
fn no_path_has_more_than_its_limit_or_three_quarters_of_all() {
    let ledger = SessionLedger::new(8);
    let two: Vec<_> = (0..3).filter_map(|n| now(&ledger, &to("a", 2), n)).collect();
    assert_eq!(two.len(), 2);
    drop(two);
    let hog: Vec<_> = (0..8).filter_map(|n| now(&ledger, &to("hog", 100), n)).collect();
    assert_eq!(hog.len(), 6);
    let others: Vec<_> = (0..3)
        .filter_map(|n| now(&ledger, &to(&format!("h{n}"), 100), n))
        .collect();
    assert_eq!((others.len(), ledger.snapshot().open), (2, 8));
    // With a total of one, a path may use it.
    assert!(now(&SessionLedger::new(1), &to("a", 9), 0).is_some());
}

#[test]
fn hosts_of_one_path_share_its_limit() {
    let ledger = SessionLedger::new(100);
    let (a, b) = (want("a", "a b", 2), want("b", "a b", 2));
    let held = [now(&ledger, &a, 1), now(&ledger, &b, 2)];
    assert!(held.iter().all(Option::is_some));
    assert!(now(&ledger, &a, 3).is_none() && now(&ledger, &b, 3).is_none());
    assert!(
        now(&ledger, &to("a", 2), 3).is_some(),
        "another path to the same host"
    );
}

#[test]
fn idle_sessions_are_dropped_to_make_room_the_longest_idle_first() {
    let ledger = SessionLedger::new(2);
    for (number, host) in [(1, "a"), (2, "b")] {
        let session = now(&ledger, &to(host, 2), number).unwrap();
        ledger.park(&to(host, 2).key, session);
    }
    let third = now(&ledger, &to("c", 2), 3).unwrap();
    assert_eq!(now(&ledger, &to("b", 2), 9).unwrap().number, 2);
    drop(third);
    // If the path is full, its own idle sessions are dropped, as many as the limit was lowered by.
    let ledger = SessionLedger::new(9);
    let elsewhere = now(&ledger, &to("c", 2), 0).unwrap();
    ledger.park(&to("c", 2).key, elsewhere);
    let (a, b) = (want("a", "a b", 3), want("b", "a b", 1));
    let three: Vec<_> = (1..4).filter_map(|n| now(&ledger, &a, n)).collect();
    park(&ledger, &a, three);
    let fourth = now(&ledger, &b, 4).unwrap();
    assert_eq!((fourth.number, ledger.snapshot().open), (4, 2));
}

#[test]
fn of_idle_sessions_the_preferred_one_is_taken_or_the_last() {
    let ledger = SessionLedger::new(9);
    let a = to("a", 9);
    let three: Vec<_> = (1..4).filter_map(|n| now(&ledger, &a, n)).collect();
    park(&ledger, &a, three);
    let take = |number: usize| {
        let turn = ledger.try_acquire(&a, false, |session| session.number == number);
        session(turn.unwrap(), 9).number
    };
    assert_eq!([take(1), take(8), take(8), take(8)], [1, 3, 2, 9]);
}

#[test]
fn the_idle_ones_are_looked_after_from_the_first_on() {
    let ledger = SessionLedger::new(9);
    let a = to("a", 9);
    let [one, two] = [1, 2].map(|n| now(&ledger, &a, n).unwrap());
    assert!(ledger.park(&a.key, one));
    assert!(!ledger.park(&a.key, two));
    let (old, others) = ledger.take_idle(|session| session.number == 1);
    assert_eq!((old.len(), others), (1, true));
    let (old, others) = ledger.take_idle(|_| true);
    assert_eq!((old.len(), others), (1, false));
    let one = now(&ledger, &a, 1).unwrap();
    assert!(ledger.park(&a.key, one));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_being_closed_is_waited_for_and_a_session_that_becomes_idle() {
    let ledger = SessionLedger::new(9);
    let (a, b) = (want("a", "a b", 1), want("b", "a b", 1));
    let closing = now(&ledger, &a, 1).unwrap();
    let turn = later(&ledger, &b).await;
    drop(closing);
    assert_eq!(turn.await.unwrap(), Some(0));
    // A session with the same key, and one of another key that is dropped to make room.
    for (other, number) in [(&a, 1), (&b, 0)] {
        let used = now(&ledger, &a, 1).unwrap();
        let turn = later(&ledger, other).await;
        ledger.park(&a.key, used);
        assert_eq!(turn.await.unwrap(), Some(number));
    }
    assert_nothing_left(&ledger);
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_times_out_is_counted_until_then() {
    let ledger = SessionLedger::new(1);
    let _held = now(&ledger, &to("a", 1), 1).unwrap();
    let (turn, given_up) = (
        later(&ledger, &to("b", 1)).await,
        later(&ledger, &to("b", 1)).await,
    );
    assert_eq!(waiting(&ledger), 2);
    given_up.abort();
    assert!(given_up.await.unwrap_err().is_cancelled());
    assert_eq!(waiting(&ledger), 1);
    assert_eq!(turn.await.unwrap(), None);
    let PoolSnapshot {
        open, destinations, ..
    } = ledger.snapshot();
    assert_eq!((open, destinations.len(), destinations[0].waiting), (1, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_fresh_session_is_none_of_the_idle_ones_and_ends_them() {
    let ledger = SessionLedger::new(9);
    let a = to("a", 9);
    for session in [1, 2].map(|n| now(&ledger, &a, n).unwrap()) {
        ledger.park(&a.key, session);
    }
    let turn = ledger.acquire(&a, true, |_| true, Instant::now()).await;
    assert_eq!(session(turn.unwrap(), 3).number, 3);
    assert_nothing_left(&ledger);
}

#[derive(Debug, Clone)]
enum Op {
    Ask { kind: usize, limit: usize, fresh: bool },
    Close(usize),
    Park(usize),
    Expire,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let ask = (0..6_usize, 1..5_usize, any::<bool>());
    let op = prop_oneof![
        4 => ask.prop_map(|(kind, limit, fresh)| Op::Ask { kind, limit, fresh }),
        2 => (0..8_usize).prop_map(Op::Close),
        3 => (0..8_usize).prop_map(Op::Park),
        1 => Just(Op::Expire),
    ];
    proptest::collection::vec(op, 0..60)
}

/// The open and idle sessions, in total or of one path.
fn sums(ledger: &SessionLedger<Fake>, path: Option<&Arc<[NextHop]>>) -> (usize, usize) {
    let path_of = |sessions: &DestinationSessions| match &sessions.route {
        Some(route) => route.clone(),
        None => vec![sessions.next_hop.clone()],
    };
    let counts = ledger.snapshot().destinations.into_iter();
    let counts = counts.filter(|sessions| path.is_none_or(|path| path_of(sessions)[..] == **path));
    counts.fold((0, 0), |(open, idle), sessions| {
        (open + sessions.open, idle + sessions.idle)
    })
}

proptest! {
    #[test]
    fn limits_hold_in_any_order_and_idle_sessions_make_room(ops in ops(), total in 1..7_usize) {
        let kinds = [("a", "a"), ("a", "a b"), ("b", "a b"), ("b", "b"), ("c", "c"), ("a", "c")];
        let ledger = SessionLedger::new(total);
        let mut held: Vec<(SessionKey, Fake)> = Vec::new();
        for op in ops {
            match op {
                Op::Ask { kind, limit, fresh } => {
                    let want = want(kinds[kind].0, kinds[kind].1, limit);
                    let path = &want.key.path;
                    let turn = ledger.try_acquire(&want, fresh, |_| false);
                    let is_new = matches!(turn, Some(SessionGrant::New(_)));
                    let was_given = turn.is_some();
                    held.extend(turn.map(|turn| (want.key.clone(), session(turn, 0))));
                    let ((open, idle), (all, all_idle)) = (sums(&ledger, Some(path)), sums(&ledger, None));
                    let most = ledger.limit(&want);
                    prop_assert!(!is_new || open <= most, "{open} on a path that may have {most}");
                    let in_use = (open >= most && idle == 0) || (all == total && all_idle == 0);
                    prop_assert!(was_given || in_use, "refused with room, or with an idle session in the way");
                }
                Op::Close(n) if n < held.len() => drop(held.remove(n)),
                Op::Park(n) if n < held.len() => {
                    let (key, session) = held.remove(n);
                    ledger.park(&key, session);
                }
                Op::Expire => drop(ledger.take_idle(|_| true)),
                Op::Close(_) | Op::Park(_) => {}
            }
            let (open, idle) = sums(&ledger, None);
            prop_assert!(open <= total);
            prop_assert_eq!(open, held.len() + idle);
            prop_assert_eq!(open, ledger.snapshot().open);
        }
        drop(held);
        drop(ledger.take_idle(|_| true));
        assert_nothing_left(&ledger);
    }
}
