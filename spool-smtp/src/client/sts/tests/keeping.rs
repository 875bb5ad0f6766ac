//! The cache of policies. Time is virtual.

use super::super::{Fetch, Mode, PolicyCache};
use crate::client::Lookup;
use crate::client::resolve::LookupError;
use crate::client::resolve::tests::Names;
use spool_core::BoxFuture;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const NAME: &str = "_mta-sts.d.example";
const ANNOUNCED: [&str; 1] = ["v=STSv1; id=1;"];
const HOUR: Duration = Duration::from_secs(3600);

/// Returns the current text after a delay, and counts the fetches.
#[derive(Debug)]
struct Script {
    text: Mutex<Result<String, String>>,
    takes: Duration,
    fetched: Mutex<usize>,
}

impl Script {
    fn new(mode: &str) -> Arc<Self> {
        let script = Self {
            text: Mutex::new(Err(String::new())),
            takes: Duration::from_secs(2),
            fetched: Mutex::default(),
        };
        script.say(mode);
        Arc::new(script)
    }

    /// A policy with this mode, valid for ten hours.
    fn say(&self, mode: &str) {
        self.say_for(mode, 36_000);
    }

    fn say_for(&self, mode: &str, max_age: u32) {
        let text = format!("version: STSv1\nmode: {mode}\nmx: mx.d.example\nmax_age: {max_age}\n");
        *self.text.lock().unwrap() = Ok(text);
    }

    fn fail(&self) {
        *self.text.lock().unwrap() = Err("HTTP status 404 Not Found".to_owned());
    }

    fn fetched(&self) -> usize {
        *self.fetched.lock().unwrap()
    }
}

fn server(script: Arc<Script>) -> Fetch {
    Lookup::new(move |domain: &str| -> BoxFuture<Result<String, String>> {
        assert_eq!(domain, "d.example");
        *script.fetched.lock().unwrap() += 1;
        let (text, takes) = (script.text.lock().unwrap().clone(), script.takes);
        Box::pin(async move {
            tokio::time::sleep(takes).await;
            text
        })
    })
}

fn started(mode: &str) -> (Arc<Names>, Arc<Script>, PolicyCache) {
    let (names, script) = (Arc::new(Names::default()), Script::new(mode));
    names.set_texts(NAME, Ok(&ANNOUNCED));
    let policies = PolicyCache::new(names.clone(), server(script.clone()));
    (names, script, policies)
}

async fn mode(policies: &PolicyCache) -> Option<Mode> {
    policies.of("d.example").await.map(|policy| policy.mode)
}

#[tokio::test(start_paused = true)]
async fn a_policy_is_fetched_once_for_its_id_and_again_for_another() {
    let (names, script, policies) = started("enforce");
    let both = tokio::join!(mode(&policies), mode(&policies));
    assert_eq!(both, (Some(Mode::Enforce), Some(Mode::Enforce)));
    assert_eq!(
        (mode(&policies).await, script.fetched()),
        (Some(Mode::Enforce), 1)
    );
    script.say("none");
    assert_eq!(
        (mode(&policies).await, script.fetched()),
        (Some(Mode::Enforce), 1)
    );
    names.set_texts(NAME, Ok(&["v=STSv1; id=2;"]));
    assert_eq!((mode(&policies).await, script.fetched()), (Some(Mode::None), 2));
}

#[tokio::test(start_paused = true)]
async fn without_a_record_no_policy_is_fetched() {
    let (names, script, policies) = started("enforce");
    for texts in [Ok(&[][..]), Ok(&["v=spf1 -all"]), Err(LookupError::NoSuchDomain)] {
        names.set_texts(NAME, texts);
        assert_eq!((mode(&policies).await, script.fetched()), (None, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_good_policy_outlives_every_failure_until_it_expires() {
    let (names, script, policies) = started("enforce");
    assert_eq!(mode(&policies).await, Some(Mode::Enforce));
    script.fail();
    for texts in [
        Err(LookupError::Temporary("SERVFAIL".to_owned())),
        Err(LookupError::NoSuchDomain),
        Ok(&["v=STSv1; id=9;"][..]),
        Ok(&ANNOUNCED),
    ] {
        tokio::time::advance(HOUR * 2).await;
        names.set_texts(NAME, texts);
        assert_eq!(mode(&policies).await, Some(Mode::Enforce));
    }
    tokio::time::advance(HOUR * 2).await;
    assert_eq!(mode(&policies).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_policy_is_fetched_again_after_half_of_its_lifetime() {
    let (_names, script, policies) = started("enforce");
    for hours in [0, 4, 2, 4, 2] {
        tokio::time::advance(HOUR * hours).await;
        assert_eq!(mode(&policies).await, Some(Mode::Enforce));
    }
    assert_eq!(script.fetched(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_policy_with_a_tiny_max_age_is_kept_to_and_fetched_no_more_than_once_in_five_minutes() {
    for max_age in [0, 1, 299] {
        let (names, script, policies) = started("enforce");
        script.say_for("enforce", max_age);
        for _ in 0..290 {
            assert_eq!(mode(&policies).await, Some(Mode::Enforce));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(script.fetched(), 1);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(
            (mode(&policies).await, script.fetched()),
            (Some(Mode::Enforce), 2)
        );
        // Without an announcement.
        names.set_texts(NAME, Ok(&[]));
        tokio::time::advance(Duration::from_secs(300)).await;
        assert_eq!((mode(&policies).await, script.fetched()), (None, 2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_failed_waits_five_minutes_but_for_a_new_id() {
    let (names, script, policies) = started("enforce");
    script.fail();
    for _ in 0..3 {
        assert_eq!((mode(&policies).await, script.fetched()), (None, 1));
    }
    tokio::time::advance(Duration::from_secs(301)).await;
    assert_eq!((mode(&policies).await, script.fetched()), (None, 2));
    names.set_texts(NAME, Ok(&["v=STSv1; id=2;"]));
    script.say("testing");
    assert_eq!(
        (mode(&policies).await, script.fetched()),
        (Some(Mode::Testing), 3)
    );
}

#[tokio::test(start_paused = true)]
async fn a_policy_server_that_hangs_is_left_after_a_minute() {
    let names = Arc::new(Names::default());
    names.set_texts(NAME, Ok(&ANNOUNCED));
    let mut script = Script::new("enforce");
    Arc::get_mut(&mut script).unwrap().takes = HOUR;
    let policies = PolicyCache::new(names, server(script));
    let start = tokio::time::Instant::now();
    assert_eq!(mode(&policies).await, None);
    assert_eq!(start.elapsed(), Duration::from_secs(60));
}
