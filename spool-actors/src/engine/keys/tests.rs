//! Idempotency keys: how long they are remembered, how many, and what is answered under them.

use super::*;
use crate::engine::testing::Paper;

const MAX: usize = 1000;
const START: Now = Now {
    wall: Timestamp(0),
    inside: Timestamp(0),
};

fn from(remembered: Vec<RememberedKey>, max: usize) -> Keys<Paper> {
    Keys::new(remembered, Duration::from_secs(60), max, START)
}

fn keys() -> Keys<Paper> {
    let mut keys = from(Vec::new(), MAX);
    keys.complete(Vec::new(), START);
    keys
}

fn key(name: &str) -> AddKey {
    of(name, "body")
}

fn of(name: &str, body: &str) -> AddKey {
    AddKey {
        key: name.to_owned(),
        fingerprint: Some(Fingerprint::of(&[], body.as_bytes())),
    }
}

fn id(number: u128) -> Vec<MessageId> {
    vec![MessageId::from_u128(number)]
}

const fn at(second: i64) -> Timestamp {
    Timestamp(second * 1000)
}

fn remembered(name: &str, number: u128, second: i64) -> RememberedKey {
    let mut remembered = RememberedKey::default();
    remembered.key = name.to_owned();
    (remembered.ids, remembered.at) = (id(number), at(second));
    remembered
}

#[test]
fn a_key_is_known_within_its_window_and_free_after_it_or_after_a_failure() {
    let mut keys = keys();
    assert_eq!(keys.look_up(&key("a"), at(0)), Ok(LookUp::New));
    keys.expect_answer(&key("a"));
    assert_eq!(keys.look_up(&key("a"), at(0)), Ok(LookUp::Expected));
    keys.wait(&key("a"), 2);
    let killed = Err(AddError::Killed);
    assert_eq!(keys.answered(&key("a"), &killed, at(0)), [(2, killed)]);
    assert_eq!(keys.look_up(&key("a"), at(0)), Ok(LookUp::New));
    keys.expect_answer(&key("a"));
    keys.wait(&key("a"), 3);
    assert_eq!(keys.answered(&key("a"), &Ok(id(7)), at(1)), [(3, Ok(id(7)))]);
    assert_eq!(keys.look_up(&key("a"), at(61)), Ok(LookUp::Known(id(7))));
    assert_eq!(keys.look_up(&key("a"), at(62)), Ok(LookUp::New));
    assert!(keys.known.is_empty() && keys.ages.is_empty());
}

#[test]
fn the_callers_that_wait_for_one_key_are_bounded() {
    let mut keys = keys();
    keys.expect_answer(&key("a"));
    for number in 0..MAX_WAITING {
        assert_eq!(keys.look_up(&key("a"), at(0)), Ok(LookUp::Expected));
        keys.wait(&key("a"), u64::try_from(number).unwrap());
    }
    assert!(keys.look_up(&key("a"), at(0)).is_err());
}

#[test]
fn the_oldest_key_is_forgotten_when_there_are_too_many() {
    let mut keys = keys();
    for number in 0..3 * MAX {
        let name = key(&number.to_string());
        assert_eq!(keys.look_up(&name, at(0)), Ok(LookUp::New), "{number}");
        keys.expect_answer(&name);
        keys.answered(&name, &Ok(id(number as u128)), at(0));
        assert!(keys.known.len() <= MAX && keys.ages.len() <= MAX);
    }
    assert_eq!(keys.counts(), (MAX, 2 * MAX as u64));
    let last_evicted = key(&(2 * MAX - 1).to_string());
    assert_eq!(keys.look_up(&last_evicted, at(0)), Ok(LookUp::New));
    let oldest = key(&(2 * MAX).to_string());
    assert_eq!(
        keys.look_up(&oldest, at(0)),
        Ok(LookUp::Known(id(2 * MAX as u128)))
    );
}

#[test]
fn a_key_that_may_still_be_loaded_is_not_taken_for_a_new_one() {
    let mut keys = from(vec![remembered("logged", 7, 0)], MAX);
    assert_eq!(keys.look_up(&key("logged"), at(1)), Ok(LookUp::Known(id(7))));
    assert!(keys.look_up(&key("in the journal"), at(1)).is_err());
    keys.complete(vec![remembered("in the journal", 7, 0)], START);
    for name in ["logged", "in the journal"] {
        assert_eq!(keys.look_up(&key(name), at(1)), Ok(LookUp::Known(id(7))));
    }
    assert_eq!(keys.look_up(&key("new"), at(1)), Ok(LookUp::New));
}

#[test]
fn the_window_of_a_key_that_was_used_again_starts_with_the_last_add() {
    let all = vec![
        remembered("a", 1, 0),
        remembered("b", 2, 50),
        remembered("a", 3, 70),
    ];
    let mut keys = from(all.clone(), MAX);
    // An older add under a key that is known.
    keys.complete(vec![remembered("b", 4, 20), remembered("c", 5, 60)], START);
    assert_eq!(keys.counts(), (3, 0));
    let mut look = |name: &str, second| keys.look_up(&key(name), at(second)).unwrap();
    assert_eq!(look("b", 100), LookUp::Known(id(2)));
    assert_eq!(look("a", 100), LookUp::Known(id(3)));
    assert_eq!(look("b", 115), LookUp::New);
    assert_eq!(look("c", 115), LookUp::Known(id(5)));
    assert_eq!(look("a", 130), LookUp::Known(id(3)));
    assert_eq!(look("a", 131), LookUp::New);
    assert!(keys.known.is_empty() && keys.ages.is_empty());
    // With too many keys, the one whose last add is the oldest is forgotten.
    let mut keys = from(all, 1);
    keys.complete(Vec::new(), START);
    assert_eq!(keys.look_up(&key("b"), at(70)), Ok(LookUp::New));
    assert_eq!(keys.look_up(&key("a"), at(70)), Ok(LookUp::Known(id(3))));
}

#[test]
fn a_key_is_remembered_for_the_same_time_after_the_wall_clock_was_set() {
    let later = Now {
        wall: Timestamp(3_600_000),
        inside: at(10),
    };
    let mut keys = from(Vec::new(), MAX);
    // Added 5 seconds ago by the wall clock of now, which was set an hour forward.
    keys.complete(vec![remembered("a", 7, 3_595)], later);
    assert_eq!(keys.look_up(&key("a"), at(64)), Ok(LookUp::Known(id(7))));
    assert_eq!(keys.look_up(&key("a"), at(66)), Ok(LookUp::New));
}

#[test]
fn a_key_with_other_mail_is_refused_with_the_first_ids() {
    let mut keys = keys();
    let reused = Err(AddError::KeyReused { ids: id(7) });
    keys.expect_answer(&of("a", "one"));
    keys.wait(&of("a", "one"), 1);
    keys.wait(&of("a", "two"), 2);
    let answers = keys.answered(&of("a", "one"), &Ok(id(7)), at(0));
    assert_eq!(answers, [(1, Ok(id(7))), (2, reused.clone())]);
    assert_eq!(keys.look_up(&of("a", "two"), at(0)).map(drop), reused.map(drop));
    // A key of format 1 does not say what was added.
    let mut old = RememberedKey::default();
    (old.key, old.ids) = ("b".to_owned(), id(8));
    keys.complete(vec![old], START);
    assert_eq!(
        keys.look_up(&of("b", "anything"), at(0)),
        Ok(LookUp::Known(id(8)))
    );
}
