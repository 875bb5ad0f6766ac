//! Adds with many messages and messages with many recipients: work and bytes grow with them, and nothing is cut.

use super::*;
use crate::message::FailedRecipient;

/// Bytes beyond which lines of logs and metadata files were cut once.
const OLD_CUT: usize = 16 << 20;

#[test]
fn messages_of_one_add_are_read_with_one_read_of_it() {
    const SECTIONS: u128 = 1000;
    let fs = SimFs::new();
    let (store, _) = open(&fs);
    let ids: Vec<u128> = (1..=SECTIONS).collect();
    let other: Vec<u128> = (SECTIONS + 1..=2 * SECTIONS).collect();
    all_ok(&store.commit(&mut [add(&ids, "x\r\n"), add(&other, "y\r\n")]));
    let before = store.stats().frames_read;
    let mut load = store.sequential();
    for number in ids.iter().chain(&other) {
        assert_eq!(load(id(*number)).unwrap().id, id(*number));
    }
    assert_eq!(store.stats().frames_read - before, 2);
    // One by one as well, while no other large add comes in between.
    let before = store.stats().frames_read;
    for number in &ids {
        assert_eq!(store.load(id(*number)).unwrap().id, id(*number));
    }
    assert_eq!(store.stats().frames_read - before, 1);
    let one = store.load(id(1)).unwrap();
    assert!(one.related.is_shared_with(&store.load(id(2)).unwrap().related));
    assert_eq!(one.related.to_vec().len(), ids.len() - 1);
}

#[test]
fn long_log_lines_and_metadata_are_not_damage() {
    let fs = SimFs::new();
    let (store, _) = open(&fs);
    all_ok(&store.commit(&mut [add(&[1], "x\r\n"), add(&[2], "y\r\n")]));
    let long = "a".repeat(OLD_CUT + 1000);
    let told = event(1, EventKind::Quarantined(long.clone()));
    all_ok(&store.commit(&mut [Change::Note { events: vec![told] }]));
    store.maintain();
    drop(store);
    let (store, _) = open(&fs);
    let mut cursor = EventCursor::new(0);
    let events = store.events_after(&mut cursor, 10).unwrap();
    assert_eq!(events.len(), 3);
    assert!(
        events
            .iter()
            .all(|event| !matches!(event.kind, EventKind::Gap(_)))
    );
    let (message, body) = (store.load(id(1)).unwrap(), store.body(id(1)).unwrap());
    let mut archived = Archived {
        message,
        at: Timestamp(5),
        reason: Some(long),
    };
    archived.message.state.set_status(Status::Frozen, None);
    let laid = store.archive(Archive::Removed, &[(archived.clone(), body)]);
    assert_eq!(laid, [Ok(())]);
    assert_eq!(store.archived(Archive::Removed, id(1)).unwrap().0, archived);
    all_ok(&store.commit(&mut [finish(1)]));
    drop(store);
    let arc: Arc<dyn Fs> = Arc::new(fs.clone());
    let checkup = checkup_on(arc, Path::new(DIR), Timestamp(1), false, &mut || {}).unwrap();
    assert_eq!(
        (checkup.findings, checkup.whole, checkup.archived),
        (vec![], 1, 1)
    );
}

#[test]
fn many_recipients_come_back_from_an_archive() {
    const MANY: u32 = 20_000;
    let fs = SimFs::new();
    let (store, _) = open(&fs);
    let to = |number: u32| Address::parse(&format!("r{number}@example.net")).unwrap();
    let mut section = section(1);
    section.envelope = Envelope::of(ReversePath::Null, (0..MANY).map(to).collect::<Vec<_>>());
    let mut state = MessageState::new(&section, Status::Frozen, Timestamp(999));
    // A third each is done, has failed, remains.
    state.remaining.retain(|recipient| recipient % 3 == 2);
    let failed = (0..MANY).filter(|recipient| recipient % 3 == 1);
    state.failed = failed
        .map(|recipient| FailedRecipient {
            recipient,
            reply: None,
            reason: "r".to_owned(),
        })
        .collect();
    let Change::Add(mut addition) = add(&[1], "x\r\n") else {
        panic!();
    };
    addition.messages[0].section = section;
    addition.messages[0].state = Some(Box::new(state.clone()));
    all_ok(&store.commit(&mut [Change::Add(addition)]));
    let message = store.load(id(1)).unwrap();
    let archived = Archived {
        message,
        at: Timestamp(5),
        reason: None,
    };
    let laid = store.archive(Archive::Removed, &[(archived, store.body(id(1)).unwrap())]);
    assert_eq!(laid, [Ok(())]);
    let back = store.archived(Archive::Removed, id(1)).unwrap().0.message.state;
    assert_eq!((back.remaining, back.failed), (state.remaining, state.failed));
}

#[test]
fn after_a_restart_the_memory_of_the_history_is_known() {
    let fs = SimFs::new();
    let (store, _) = open(&fs);
    all_ok(&store.commit(&mut [add(&[1, 2, 3], "x\r\n")]));
    let mut tried = state(1, 5000);
    tried.failed = vec![FailedRecipient {
        recipient: 0,
        reply: None,
        reason: "r".repeat(10_000),
    }];
    let change = Change::State {
        id: id(1),
        state: Box::new(tried),
        events: Vec::new(),
    };
    all_ok(&store.commit(&mut [change]));
    drop(store);
    let (store, recovery) = open(&fs);
    assert_eq!(recovery.messages.len(), 3);
    for message in &recovery.messages {
        assert_eq!(message.footprint, store.load(message.id).unwrap().footprint());
    }
}
