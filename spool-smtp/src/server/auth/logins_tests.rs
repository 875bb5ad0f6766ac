//! The pool in paused time: the hashes are real and cheap, the delays are virtual.

use super::super::hash_slots::{HashSlot, WAITING};
use super::*;
use crate::server::clients::Limits;
use crate::server::testing::RuntimeClock;
use std::net::Ipv4Addr;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// The hash of "pleaseletmein".
const HASH: &str =
    "$argon2id$v=19$m=256,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$Bn19f/rnxRNuF2Eo0rm4NcahjjjvV6uMJ5oMeXPK16k";
const RIGHT: &str = "pleaseletmein";

fn logins() -> Logins {
    let clients = Clients::new(Limits::default(), Arc::new(RuntimeClock::new()));
    let logins = Logins::new(clients);
    logins.set_users(Some(users()));
    logins
}

fn users() -> Users {
    Users::parse(&format!("ada:{HASH}\nbob:{HASH}\n")).unwrap()
}

fn address(number: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(0xc000_0200 + number))
}

/// All slots, so that nothing is hashed until they are dropped.
async fn every_place(logins: &Logins) -> Vec<HashSlot> {
    let mut all = Vec::new();
    for _ in 0..SLOTS {
        all.extend(logins.0.slots.find(true).await);
    }
    all
}

async fn try_it(logins: &Logins, client: u32, name: &str, password: &str) -> &'static str {
    match logins
        .check(address(client), LoginAttempt::of_test(name, password))
        .await
    {
        LoginResult::Accepted(user) if **user.name() == *name => "accepted",
        LoginResult::Accepted(_) => "someone else",
        LoginResult::Refused => "refused",
        LoginResult::Busy => "busy",
        LoginResult::Limited(_) => "limited",
    }
}

#[tokio::test(start_paused = true)]
async fn the_right_password_is_accepted_and_nothing_else() {
    let logins = logins();
    assert_eq!(try_it(&logins, 1, "ada", RIGHT).await, "accepted");
    assert_eq!(try_it(&logins, 2, "ada", "pleaseletmeout").await, "refused");
    assert_eq!(try_it(&logins, 3, "eve", RIGHT).await, "refused");
    assert_eq!(try_it(&logins, 4, "Ada", RIGHT).await, "refused");
    logins.set_users(None);
    assert_eq!(try_it(&logins, 1, "ada", RIGHT).await, "busy");
    assert!(!logins.are_offered());
    logins.set_users(Users::parse("").ok());
    assert_eq!(
        try_it(&logins, 1, "ada", RIGHT).await,
        "refused",
        "nothing is remembered of the file before"
    );
}

#[tokio::test(start_paused = true)]
async fn failures_delay_only_the_client_that_causes_them() {
    let logins = logins();
    let start = Instant::now();
    let mut ended = Vec::new();
    for guess in 0..8 {
        assert_eq!(
            try_it(&logins, 1, "ada", &format!("guess {guess}")).await,
            "refused"
        );
        ended.push(start.elapsed().as_secs());
    }
    assert_eq!(ended, [0, 1, 3, 7, 15, 31, 61, 91]);
    // The right password waits too.
    let (guesser, other) = (logins.clone(), logins.clone());
    let waiting = tokio::spawn(async move {
        let said = try_it(&guesser, 1, "ada", RIGHT).await;
        (said, Instant::now())
    });
    let start = Instant::now();
    assert_eq!(try_it(&other, 2, "ada", RIGHT).await, "accepted");
    assert_eq!(start.elapsed().as_secs(), 0);
    let (said, at) = waiting.await.unwrap();
    assert_eq!((said, at.duration_since(start).as_secs()), ("accepted", 30));
}

#[tokio::test(start_paused = true)]
async fn a_repeated_old_password_costs_no_hash_and_no_delay() {
    let logins = logins();
    let start = Instant::now();
    for _ in 0..10 {
        assert_eq!(try_it(&logins, 1, "ada", "old").await, "refused");
    }
    assert_eq!(start.elapsed().as_secs(), 9);
    let _all = every_place(&logins).await;
    assert_eq!(try_it(&logins, 1, "ada", "old").await, "refused");
}

#[tokio::test(start_paused = true)]
async fn a_success_is_not_hashed_again_by_the_same_client() {
    let logins = logins();
    assert_eq!(try_it(&logins, 1, "ada", RIGHT).await, "accepted");
    let all = every_place(&logins).await;
    assert_eq!(try_it(&logins, 1, "ada", RIGHT).await, "accepted");
    // An unknown name is hashed as well.
    for (client, name, password) in [
        (2, "ada", RIGHT),
        (1, "bob", RIGHT),
        (1, "ada", "wrong"),
        (3, "eve", RIGHT),
    ] {
        let hashed = tokio::time::timeout(Duration::from_secs(1), try_it(&logins, client, name, password));
        assert!(hashed.await.is_err(), "{client} {name} {password}");
    }
    drop(all);
    assert!(
        logins.0.turns.lock().is_empty(),
        "who gives up leaves nothing behind"
    );
    assert_eq!(logins.0.slots.waiting(), 0);
    tokio::time::sleep(Duration::from_secs(301)).await;
    let _all = every_place(&logins).await;
    let hashed = tokio::time::timeout(Duration::from_secs(1), try_it(&logins, 1, "ada", RIGHT));
    assert!(hashed.await.is_err(), "after five minutes it is");
}

/// The number of each result.
async fn all(logins: &Logins, attempts: impl Iterator<Item = (u32, String)>) -> HashMap<&'static str, usize> {
    let mut set = JoinSet::new();
    for (client, password) in attempts {
        let logins = logins.clone();
        set.spawn(async move { try_it(&logins, client, "ada", &password).await });
    }
    let mut counts = HashMap::new();
    for answer in set.join_all().await {
        *counts.entry(answer).or_default() += 1;
    }
    counts
}

#[tokio::test(start_paused = true)]
async fn few_concurrent_guesses_of_one_client_are_queued() {
    let logins = logins();
    // No hash ends before all guesses have arrived, because each that ends makes room for another.
    let places = every_place(&logins).await;
    let crowd = {
        let logins = logins.clone();
        tokio::spawn(async move { all(&logins, (0..100).map(|nth| (1, format!("guess {nth}")))).await })
    };
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(places);
    assert_eq!(
        crowd.await.unwrap(),
        HashMap::from([("refused", OF_ONE_CLIENT), ("busy", 100 - OF_ONE_CLIENT)])
    );
    assert!(logins.0.turns.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn concurrent_equal_logins_share_one_hash() {
    let logins = logins();
    let places = every_place(&logins).await;
    let same = |password: &'static str| {
        let logins = logins.clone();
        tokio::spawn(async move { all(&logins, (0..100).map(|_| (1, password.to_owned()))).await })
    };
    // The first of them is abandoned.
    let first = tokio::spawn({
        let logins = logins.clone();
        async move { try_it(&logins, 1, "ada", RIGHT).await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let crowd = same(RIGHT);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(logins.0.slots.waiting(), 1);
    first.abort();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(logins.0.slots.waiting(), 1);
    drop(places);
    assert_eq!(crowd.await.unwrap(), HashMap::from([("accepted", 100)]));
    // After a failure they count separately, and none is hashed again.
    let start = Instant::now();
    let counts = same("wrong").await.unwrap();
    let refused = 1 + OF_ONE_CLIENT;
    assert_eq!(
        counts,
        HashMap::from([("refused", refused), ("busy", 100 - refused)])
    );
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert!(logins.0.turns.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn many_unknown_clients_wait_in_a_bounded_queue() {
    let logins = logins();
    let places = every_place(&logins).await;
    let crowd = {
        let logins = logins.clone();
        tokio::spawn(async move { all(&logins, (1..=200).map(|client| (client, "guess".to_owned()))).await })
    };
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(logins.0.slots.waiting(), WAITING);
    drop(places);
    let counts = crowd.await.unwrap();
    assert_eq!(
        counts,
        HashMap::from([("refused", WAITING), ("busy", 200 - WAITING)])
    );
    assert!(logins.0.spare.lock().len() <= SLOTS);
    let free = every_place(&logins).await;
    assert_eq!(
        (free.len(), logins.0.slots.waiting()),
        (SLOTS, 0),
        "every place has come back"
    );
}

#[tokio::test(start_paused = true)]
async fn known_clients_precede_unknown_ones_latest_first() {
    let logins = logins();
    assert_eq!(try_it(&logins, 0, "bob", RIGHT).await, "accepted");
    let places = every_place(&logins).await;
    // In the order in which they end.
    let ended = Arc::new(Mutex::new(Vec::new()));
    let try_later = |client: u32, password: &'static str| {
        let (logins, ended) = (logins.clone(), Arc::clone(&ended));
        tokio::spawn(async move {
            let said = try_it(&logins, client, "ada", password).await;
            ended.lock().push(client);
            said
        })
    };
    let strangers: Vec<_> = (1..=50).map(|client| try_later(client, "guess")).collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let known = try_later(0, RIGHT);
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(places);
    assert_eq!(known.await.unwrap(), "accepted");
    for stranger in strangers {
        assert_eq!(stranger.await.unwrap(), "refused");
    }
    let ended = ended.lock().clone();
    let before = |client: u32| ended.iter().position(|one| *one == client).unwrap();
    // Others may overtake it while it is hashed. Without precedence it would be the last.
    assert!(before(0) <= 10, "{ended:?}");
    assert!(before(50) < 15 && before(1) > 35, "{ended:?}");
}
