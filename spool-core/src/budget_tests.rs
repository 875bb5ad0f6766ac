//! The ledger, tried with one thread and a waker that does nothing but count.

use super::*;
use proptest::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn poll(waiting: &mut Waiting, count: &Arc<Count>) -> Option<Held> {
    let waker = Waker::from(Arc::clone(count));
    match Pin::new(waiting).poll(&mut Context::from_waker(&waker)) {
        Poll::Ready(held) => Some(held),
        Poll::Pending => None,
    }
}

#[test]
fn bytes_come_back_and_the_limit_holds() {
    let budget = Budget::new(10_000);
    let first = budget.hold(6_000).unwrap();
    assert!(budget.hold(6_000).is_none() && !budget.has_room(6_000) && budget.is_tight());
    assert!(budget.hold_first(6_000).is_none());
    drop(first);
    assert_eq!(budget.used(), 0);
    assert!(budget.hold(u64::MAX).is_none());
    let mut alone = budget.hold_first(20_000).unwrap();
    assert!(alone.grow(90_000), "a single one may outgrow the limit");
    assert!(budget.hold_first(1).is_none());
    drop(alone);
    let (mut one, other) = (budget.hold(1_000).unwrap(), budget.hold(1_000).unwrap());
    assert!(!one.grow(9_000) && one.grow(1_000));
    let part = one.split(500);
    assert_eq!((part.bytes(), one.bytes(), budget.used()), (500, 1_500, 3_000));
    one.resize(20_000);
    assert_eq!(budget.used(), 21_500);
    one.resize(1);
    drop((one, other, part));
    assert_eq!(budget.used(), 0);
}

#[test]
fn a_body_is_charged_until_its_last_holder_lets_go() {
    let budget = Budget::new(10_000);
    let body = budget
        .hold(5_000)
        .unwrap()
        .carried_by(Bytes::from(vec![b'x'; 5_000]));
    let (clone, slice) = (body.clone(), body.slice(10..20));
    drop(body);
    drop(clone);
    assert_eq!((budget.used(), slice.as_ref()), (5_000, &b"xxxxxxxxxx"[..]));
    drop(slice);
    assert_eq!(budget.used(), 0);
}

#[test]
fn a_large_message_is_not_starved_by_small_ones() {
    let (budget, count) = (Budget::new(100), Arc::default());
    let mut small: Vec<Held> = (0..10).map(|_| budget.hold(10).unwrap()).collect();
    let mut large = budget.wait(30);
    let mut behind = budget.wait(5);
    assert!(poll(&mut large, &count).is_none() && poll(&mut behind, &count).is_none());
    for _ in 0..2 {
        small.pop();
        assert!(budget.hold(10).is_none(), "nothing overtakes the large one");
        assert!(poll(&mut behind, &count).is_none());
    }
    small.pop();
    assert_eq!(count.0.load(Ordering::Relaxed), 1);
    let held = poll(&mut large, &count).unwrap();
    assert!(poll(&mut behind, &count).is_none() && budget.used() == 100);
    drop(held);
    assert!(poll(&mut behind, &count).is_some());
}

#[test]
fn mail_read_from_disk_takes_at_most_half() {
    let (budget, count) = (Budget::new(100), Arc::default());
    let mut first = budget.wait(40);
    let held = poll(&mut first, &count).unwrap();
    let mut second = budget.wait(20);
    assert!(poll(&mut second, &count).is_none());
    assert!(budget.read_now(1).is_none(), "the line is kept");
    let mail = budget.hold(60).unwrap();
    drop(held);
    assert!(poll(&mut second, &count).is_some());
    drop(mail);
}

#[test]
fn one_that_is_larger_than_the_limit_is_served_alone() {
    let (budget, count) = (Budget::new(100), Arc::default());
    let small = budget.hold(10).unwrap();
    let mut huge = budget.wait(500);
    assert!(poll(&mut huge, &count).is_none());
    drop(small);
    assert_eq!(poll(&mut huge, &count).unwrap().bytes(), 500);
}

#[test]
fn a_wait_that_is_given_up_leaves_nothing_behind() {
    let (budget, count) = (Budget::new(100), Arc::default());
    let full = budget.hold(100).unwrap();
    let mut first = budget.wait(50);
    let mut second = budget.wait(10);
    assert!(poll(&mut first, &count).is_none() && poll(&mut second, &count).is_none());
    drop(first);
    drop(full);
    drop(second);
    assert_eq!(budget.used(), 0);
    assert!(budget.hold(100).is_some());
}

#[test]
fn the_index_and_listings_have_their_shares() {
    let budget = Budget::new(100);
    budget.set_standing(76);
    assert!(!budget.may_stand() && budget.hold(26).is_none());
    budget.set_standing(1_000);
    assert!(budget.hold(25).is_some() && budget.hold(26).is_none());
    budget.set_standing(0);
    let first = budget.look(60).unwrap();
    assert!(budget.look(1).is_none() && budget.hold(40).is_some());
    drop(first);
    let _two = (budget.look(20).unwrap(), budget.look(5).unwrap());
    assert!(budget.look(1).is_none());
}

proptest! {
    #[test]
    fn the_books_balance_and_everyone_is_served(
        steps in proptest::collection::vec((0..5_u8, 1..60_u64), 1..80),
    ) {
        let (budget, count) = (Budget::new(100), Arc::default());
        let (mut held, mut waiting) = (Vec::new(), Vec::new());
        for (step, bytes) in steps {
            match step {
                0 | 1 => held.extend(budget.hold(bytes)),
                2 => waiting.push(budget.wait(bytes)),
                3 if !held.is_empty() => drop(held.swap_remove(usize::try_from(bytes).unwrap() % held.len())),
                _ if !waiting.is_empty() => drop(waiting.remove(usize::try_from(bytes).unwrap() % waiting.len())),
                _ => {}
            }
            waiting.retain_mut(|waiting| match poll(waiting, &count) {
                Some(granted) => { held.push(granted); false }
                None => true,
            });
            prop_assert_eq!(budget.used(), held.iter().map(Held::bytes).sum::<u64>());
            prop_assert!(budget.used() <= 100);
        }
        while !waiting.is_empty() {
            prop_assert!(!held.is_empty(), "somebody waits though nothing is held");
            held.remove(0);
            waiting.retain_mut(|waiting| match poll(waiting, &count) {
                Some(granted) => { held.push(granted); false }
                None => true,
            });
        }
        held.clear();
        prop_assert_eq!(budget.used(), 0);
    }
}
