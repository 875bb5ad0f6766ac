//! What must hold after a run, however it ended.

use crate::probe::{MESSAGES, body, id, key, options};
use crate::trace::{Run, injected};
use spool_core::store::{Archive, OpenError, Store, checkup};
use spool_core::{EventKind, Status, Timestamp};
use spool_tests::process::until;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What was said about one message.
#[derive(Debug, Default)]
struct Told {
    tried: BTreeSet<String>,
    answered: BTreeSet<String>,
}

fn told(run: &Run) -> BTreeMap<u64, Told> {
    let mut all: BTreeMap<u64, Told> = BTreeMap::new();
    for line in &run.said {
        let words: Vec<&str> = line.split(' ').collect();
        let ([what, verb, number, ..], true) = (words.as_slice(), words.len() >= 3) else {
            continue;
        };
        let Ok(number) = number.parse() else { continue };
        let told = all.entry(number).or_default();
        match *what {
            "try" => drop(told.tried.insert((*verb).to_owned())),
            "ack" => drop(told.answered.insert((*verb).to_owned())),
            _ => {}
        }
    }
    all
}

/// Everything answered is there and unaltered, nothing is half there, and the spool is whole and works.
pub(crate) fn after(spool: &Path, seed: u64, run: &Run, context: &str) {
    if !spool.exists() {
        assert!(!run.said.iter().any(|line| line.starts_with("ack")), "{context}");
        return;
    }
    let (store, recovery) =
        Store::open(spool, &options()).unwrap_or_else(|error| panic!("{context}: {error}"));
    assert_eq!(recovery.damage, [], "{context}");
    let told = told(run);
    for message in &recovery.messages {
        let number = u64::try_from(message.id.as_u128()).unwrap();
        assert!((1..=MESSAGES).contains(&number), "{context}: {number}");
        let tried = told.get(&number).is_some_and(|told| told.tried.contains("add"));
        assert!(tried, "{context}: nobody added {number}");
        let loaded = store
            .load(message.id)
            .unwrap_or_else(|error| panic!("{context}: {error}"));
        assert_eq!(loaded.envelope.recipients.len(), 1);
        let read = store
            .body(message.id)
            .unwrap_or_else(|error| panic!("{context}: {error}"));
        assert!(
            read == body(number, seed),
            "{context}: the text of {number} is another"
        );
    }
    for (number, told) in &told {
        let live = recovery.messages.iter().find(|message| message.id == id(*number));
        let (has, may) = (
            |verb: &str| told.answered.contains(verb),
            |verb: &str| told.tried.contains(verb),
        );
        if has("add") && !may("finish") && !may("archive") {
            assert!(live.is_some(), "{context}: {number} was answered and is lost");
        }
        if has("finish") || has("archive") {
            assert!(live.is_none(), "{context}: {number} has come back");
        }
        if let Some(live) = live.filter(|_| has("freeze")) {
            assert_eq!(live.status, Status::Frozen, "{context}: {number}");
        }
        if has("archive") {
            let (archived, text) = store.archived(Archive::Removed, id(*number)).unwrap();
            assert_eq!(archived.message.id, id(*number));
            assert!(
                text == body(*number, seed),
                "{context}: the archived text of {number}"
            );
        }
        if has("add")
            && let Some(key) = key(*number)
        {
            assert!(
                recovery.keys.iter().any(|known| known.key == key),
                "{context}: {key} is forgotten"
            );
        }
    }
    works(&store, context);
    drop(store);
    // Another thread of this test may just be starting a program, which holds all our files until it has begun.
    let checkup = until("the lock is free", || {
        match checkup(spool, Timestamp(1), false, &mut || {}) {
            Err(OpenError::Locked { .. }) => None,
            done => Some(done.unwrap()),
        }
    });
    assert_eq!(checkup.findings, [], "{context}");
    assert_eq!(checkup.whole, recovery.messages.len() as u64, "{context}");
}

fn works(store: &Store, context: &str) {
    let mut events = vec![spool_core::Event::new(
        0,
        spool_core::Timestamp(1),
        EventKind::Ping,
    )];
    events[0].kind = EventKind::Quarantined(context.to_owned());
    let note = spool_core::store::Change::Note { events };
    assert_eq!(store.commit(&mut [note]), [Ok(())], "{context}");
    store.maintain();
}

/// After a sync that failed nothing is answered that depends on it. Gives whether a sync was made to fail at all.
pub(crate) fn nothing_answered_after_a_failed_sync(run: &Run, context: &str) -> bool {
    let Some((line, behind)) = injected(run) else {
        return false;
    };
    let answers = |what: &str| behind.iter().filter(|line| line.contains(what)).count();
    let place = |name: &str| line.contains(&format!("/{name}/")) || line.contains(&format!("/{name}>"));
    let ok = if place("journal") || place("keys") {
        answers("\"ack ")
    } else if place("removed") {
        answers("\"ack archive")
    } else if place("events") {
        // An event may come late or be a gap: no answer depends on it.
        0
    } else {
        answers("\"opened")
    };
    assert_eq!(ok, 0, "{context}: answered after {line}");
    true
}
