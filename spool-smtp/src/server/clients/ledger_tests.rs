//! The ledger, with times that the tests choose.

use super::*;
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr};

const SECOND: Duration = Duration::from_secs(1);

fn client(number: u32) -> ClientKey {
    ClientKey::address(IpAddr::V4(Ipv4Addr::from_bits(number)))
}

fn rate(messages: u32, per: Duration) -> Option<Rate> {
    Rate::new(messages, per).ok()
}

fn limits() -> Limits {
    Limits {
        messages_per_client: rate(3, 60 * SECOND),
        failed_logins_per_client: rate(5, 3600 * SECOND),
        recipients_per_user: rate(2, 60 * SECOND),
        ..Limits::default()
    }
}

fn failure(number: u8) -> Tag {
    Tag::of_test(number)
}

#[test]
fn a_limit_is_per_client_and_kind_and_counts_no_refusal() {
    let mut ledger = ClientLedger::new(limits(), 10, 10);
    let (one, two) = (client(1), client(2));
    let now = 500 * SECOND;
    for _ in 0..3 {
        assert_eq!(ledger.take(&one, Kind::Messages, now), Ok(()));
    }
    let wait = ledger.take(&one, Kind::Messages, now).unwrap_err();
    for _ in 0..100 {
        assert_eq!(
            ledger.take(&one, Kind::Messages, now),
            Err(wait),
            "refusals cost nothing"
        );
    }
    assert_eq!(ledger.take(&two, Kind::Messages, now), Ok(()));
    assert_eq!(ledger.take(&one, Kind::Recipients, now), Ok(()), "no limit");
    assert_eq!(ledger.take(&one, Kind::Messages, now + wait), Ok(()));
    ledger.give_back(&one, Kind::Messages);
    assert!(ledger.lift(&one) && !ledger.lift(&client(9)));
    assert_eq!(ledger.wait(&one, Kind::Messages, now), Duration::ZERO);
}

#[test]
fn users_and_addresses_have_limits_of_their_own() {
    let mut ledger = ClientLedger::new(limits(), 10, 10);
    let (user, now) = (ClientKey::User("ada".into()), SECOND);
    for _ in 0..9 {
        assert_eq!(ledger.take(&user, Kind::Messages, now), Ok(()));
        assert_eq!(ledger.take(&client(1), Kind::Recipients, now), Ok(()));
    }
    assert!(ledger.take(&user, Kind::Recipients, now).is_ok());
    assert!(ledger.take(&user, Kind::Recipients, now).is_ok());
    assert!(ledger.take(&user, Kind::Recipients, now).is_err());
}

#[test]
fn new_limits_hold_at_once_for_what_was_counted_before() {
    let mut ledger = ClientLedger::new(limits(), 10, 10);
    let now = SECOND;
    for _ in 0..3 {
        ledger.count(&client(1), Kind::Messages, now);
    }
    ledger.set_limits(Limits {
        messages_per_client: rate(2, 60 * SECOND),
        ..limits()
    });
    assert!(ledger.take(&client(1), Kind::Messages, now).is_err());
    ledger.set_limits(Limits {
        messages_per_client: rate(2, 30 * SECOND),
        ..limits()
    });
    assert!(
        ledger.take(&client(1), Kind::Messages, now).is_ok(),
        "another span counts anew"
    );
    ledger.set_limits(Limits::default());
    for _ in 0..9 {
        assert!(ledger.take(&client(1), Kind::Messages, now).is_ok());
    }
}

#[test]
fn guesses_are_delayed_and_repetitions_are_not() {
    let mut ledger = ClientLedger::new(Limits::default(), 10, 10);
    let (key, mut now) = (client(1), 1000 * SECOND);
    let mut delays = Vec::new();
    for nth in 0..8 {
        ledger.login_failed(&key, failure(nth), now);
        let delay = ledger.login_delay(&key, now).unwrap();
        delays.push(delay.as_secs());
        now += delay;
        assert_eq!(ledger.login_delay(&key, now), Ok(Duration::ZERO));
    }
    assert_eq!(delays, [1, 2, 4, 8, 16, 30, 30, 30]);
    assert_eq!(
        ledger.login_delay(&client(2), now),
        Ok(Duration::ZERO),
        "others wait for nothing"
    );
    // A success in between does not reset the failures.
    ledger.logged_in(&key, now);
    assert!(ledger.is_known(&key, now) && !ledger.is_known(&key, now + 86_400 * SECOND));
    ledger.login_failed(&key, failure(99), now);
    assert_eq!(ledger.login_delay(&key, now), Ok(30 * SECOND));
    // Ten minutes without a failure do.
    now += 600 * SECOND;
    ledger.login_failed(&key, failure(100), now);
    for _ in 0..20 {
        assert_eq!(ledger.login_delay(&key, now), Ok(SECOND));
        assert!(ledger.has_failed(&key, &failure(100)));
        now += SECOND;
        ledger.login_failed(&key, failure(100), now);
    }
    assert!(ledger.lift(&key));
    assert_eq!(ledger.login_delay(&key, now), Ok(Duration::ZERO));
}

#[test]
fn too_many_failed_logins_are_refused_for_a_time() {
    let mut ledger = ClientLedger::new(limits(), 10, 10);
    let (key, now) = (client(1), SECOND);
    for nth in 0..5 {
        assert_eq!(ledger.wait(&key, Kind::FailedLogins, now), Duration::ZERO);
        ledger.login_failed(&key, failure(nth), now);
    }
    let wait = ledger.login_delay(&key, now).unwrap_err();
    assert!(wait >= 3600 * SECOND, "{wait:?}");
    assert!(ledger.login_delay(&key, now + wait).is_ok());
}

#[test]
fn an_old_password_does_not_block_its_network() {
    let mut ledger = ClientLedger::new(limits(), 10, 10);
    let (key, mut now) = (client(1), 1000 * SECOND);
    for _ in 0..100 {
        ledger.login_failed(&key, failure(1), now);
        assert_eq!(ledger.login_delay(&key, now), Ok(SECOND));
        now += 2 * SECOND;
    }
    // Guesses of other clients in the network are counted.
    for nth in 2..6 {
        assert!(ledger.login_delay(&key, now).is_ok());
        ledger.login_failed(&key, failure(nth), now);
    }
    assert!(ledger.login_delay(&key, now).is_err());
}

#[test]
fn the_table_is_bounded_and_keeps_connected_clients() {
    let mut ledger = ClientLedger::new(limits(), 1000, 10);
    let kept = client(0);
    ledger.opened(&kept, SECOND);
    ledger.count(&kept, Kind::Messages, SECOND);
    for number in 1..=100_000 {
        let now = SECOND + Duration::from_millis(u64::from(number));
        ledger.opened(&client(number), now);
        ledger.count(&client(number), Kind::Connections, now);
        ledger.closed(&client(number), now);
        let (all, idle) = ledger.addresses.sizes();
        assert!(all <= 1000 && idle < 1000);
    }
    let known = |ledger: &ClientLedger, key| ledger.addresses.get(&key).map(|entry| entry.connections);
    assert_eq!(known(&ledger, kept.clone()), Some(1));
    assert_eq!(known(&ledger, client(100_000)), Some(0));
    assert_eq!(known(&ledger, client(1)), None);
    ledger.closed(&kept, 200 * SECOND);
    assert_eq!(ledger.addresses.sizes(), (1000, 1000));
    let entry = size_of::<ClientEntry>() + 2 * size_of::<ClientKey>();
    assert!(entry <= 450, "{entry} bytes, without what the tables leave free");
}

#[test]
fn many_new_clients_displace_no_limited_or_known_one() {
    let mut ledger = ClientLedger::new(limits(), 1000, 10);
    let (limited, failed, known, user) = (client(1), client(2), client(3), ClientKey::User("ada".into()));
    let now = 1000 * SECOND;
    for _ in 0..3 {
        ledger.count(&limited, Kind::Messages, now);
        ledger.count(&user, Kind::Recipients, now);
    }
    ledger.login_failed(&failed, failure(1), now);
    ledger.logged_in(&known, now);
    for number in 100..100_000 {
        ledger.count(&client(number), Kind::Connections, now + SECOND / 2);
    }
    assert!(ledger.take(&limited, Kind::Messages, now + SECOND).is_err());
    assert!(ledger.take(&user, Kind::Recipients, now + SECOND).is_err());
    assert!(ledger.has_failed(&failed, &failure(1)) && ledger.is_known(&known, now + SECOND));
    // When they no longer matter, they are removed like all others.
    for number in 100..2000 {
        ledger.count(&client(number), Kind::Connections, now + 700 * SECOND);
    }
    assert!(ledger.addresses.get(&limited).is_none() && ledger.addresses.get(&failed).is_none());
    assert!(ledger.is_known(&known, now + 700 * SECOND));
    assert!(ledger.addresses.sizes() == (1000, 1000) && ledger.addresses.is_sound());
}

#[test]
fn many_limited_clients_leave_room_for_others() {
    let mut ledger = ClientLedger::new(limits(), 1000, 10);
    let (known, now) = (client(1), 1000 * SECOND);
    ledger.logged_in(&known, now);
    for number in 100..5000 {
        ledger.login_failed(&client(number), failure(1), now);
    }
    // The counts of 200 others are not lost.
    for _ in 0..3 {
        for number in 10_000..10_200 {
            assert!(ledger.take(&client(number), Kind::Messages, now).is_ok());
        }
    }
    assert!((10_000..10_200).all(|number| ledger.take(&client(number), Kind::Messages, now).is_err()));
    assert!(ledger.is_known(&known, now));
    assert!(ledger.addresses.sizes() == (1000, 1000) && ledger.addresses.is_sound());
}

#[test]
fn users_are_bounded_too() {
    let mut ledger = ClientLedger::new(limits(), 10, 100);
    for number in 0..1000 {
        ledger.count(
            &ClientKey::User(number.to_string().into()),
            Kind::Messages,
            SECOND,
        );
    }
    assert_eq!(
        (ledger.users.sizes(), ledger.addresses.sizes()),
        ((100, 100), (0, 0))
    );
}

proptest! {
    #[test]
    fn the_idle_ones_are_those_without_a_connection(
        steps in proptest::collection::vec((0_u32..6, 0_u8..8), 1..200),
    ) {
        let mut ledger = ClientLedger::new(limits(), 4, 4);
        let mut open = [0_usize; 6];
        let mut now = Duration::ZERO;
        for (number, step) in steps {
            now += SECOND;
            let (key, open) = (client(number), &mut open[number as usize]);
            match step {
                0 => {
                    ledger.opened(&key, now);
                    *open += 1;
                }
                1 if *open > 0 => {
                    ledger.closed(&key, now);
                    *open -= 1;
                }
                1 => ledger.closed(&client(77), now),
                2 => ledger.login_failed(&key, failure(3), now),
                3 => ledger.give_back(&key, Kind::Messages),
                4 => ledger.logged_in(&key, now),
                5 => drop(ledger.lift(&key)),
                6 => ledger.set_limits(if number > 2 { limits() } else { Limits::default() }),
                _ => drop(ledger.take(&key, Kind::Messages, now)),
            }
            prop_assert!(ledger.addresses.is_sound());
            prop_assert!(ledger.addresses.sizes().0 <= 6);
        }
        for (number, open) in open.iter().enumerate().filter(|(_, open)| **open > 0) {
            let entry = ledger.addresses.get(&client(number as u32));
            prop_assert_eq!(entry.map(|entry| entry.connections), Some(*open));
        }
    }
}
