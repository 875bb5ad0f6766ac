//! Adds with many messages and messages with many recipients: work and bytes grow with them, and nothing is cut.

use super::*;
use crate::message::FailedRecipient;
use crate::summary::EnvelopeSummary;

/// Bytes beyond which lines of logs and slips were cut once.
const OLD_CUT: usize = 16 << 20;

/// A section with recipients whose addresses are as long as they may be.
fn crowd(recipients: usize) -> Section {
    let address = |number: usize| {
        let label = "d".repeat(60);
        let text = format!("{}{number:08}@{label}.{label}.{label}.example", "l".repeat(50));
        Address::parse(&text).unwrap()
    };
    Section {
        envelope: Envelope::new(
            ReversePath::Null,
            (0..recipients).map(address).collect::<Vec<_>>(),
        ),
        ..section(1)
    }
}

#[test]
fn messages_of_one_add_are_read_with_one_read_of_it() {
    const SECTIONS: u128 = 1000;
    let fs = SimFs::new();
    let (store, _) = open(&fs);
    let ids: Vec<u128> = (1..=SECTIONS).collect();
    let other: Vec<u128> = (SECTIONS + 1..=2 * SECTIONS).collect();
    all_ok(&store.commit(&mut [add(&ids, "x\r\n"), add(&other, "y\r\n")]));
    let before = store.stats().frames_read;
    let mut row = store.in_a_row();
    for number in ids.iter().chain(&other) {
        assert_eq!(row.load(id(*number)).unwrap().id, id(*number));
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
fn a_message_with_very_many_recipients_is_read_by_everyone() {
    let fs = SimFs::new();
    let (store, _) = open(&fs);
    let section = crowd(OLD_CUT / 200);
    let Change::Add(mut addition) = add(&[1], "x\r\n") else {
        panic!();
    };
    addition.messages[0].section = section.clone();
    all_ok(&store.commit(&mut [Change::Add(addition), add(&[2], "y\r\n")]));
    let message = store.load(id(1)).unwrap();
    let mut told = event(1, EventKind::Bounced);
    told.envelope = Some(Arc::new(EnvelopeSummary::whole(&message)));
    all_ok(&store.commit(&mut [Change::Note { events: vec![told] }]));
    store.maintain();
    drop(store);
    let sizes = |fs: &SimFs, dir: &str| {
        let files = fs
            .files()
            .into_iter()
            .filter(|path| path.starts_with(Path::new(DIR).join(dir)));
        files.map(|path| fs.read(&path).unwrap().len()).max()
    };
    assert!(sizes(&fs, "events") > Some(OLD_CUT));
    let (store, _) = open(&fs);
    let mut cursor = EventCursor::new(0);
    let events = store.events_after(&mut cursor, 10).unwrap();
    assert!(
        events
            .iter()
            .all(|event| !matches!(event.kind, EventKind::Gap(_))),
        "{}",
        events.len()
    );
    // Half of them have failed; then it goes to a shelf and comes back.
    let body = store.body(id(1)).unwrap();
    let mut message = message;
    let half = message.state.remaining.len() / 2;
    let failed = message
        .state
        .remaining
        .drain(..half)
        .map(|recipient| FailedRecipient {
            recipient,
            reply: Some(Reply::new(550, "5.1.1 nobody here")),
            reason: String::new(),
        });
    message.state.failed = failed.collect();
    message.state.status = Status::Frozen;
    let shelved = Shelved {
        message,
        at: Timestamp(5),
        reason: None,
    };
    store
        .shelve(Shelf::Removed, &[(shelved.clone(), body)])
        .remove(0)
        .unwrap();
    assert!(sizes(&fs, "removed") > Some(OLD_CUT));
    assert_eq!(store.shelved(Shelf::Removed, id(1)).unwrap().0, shelved);
    all_ok(&store.commit(&mut [finish(1)]));
    drop(store);
    let arc: Arc<dyn Fs> = Arc::new(fs.clone());
    let checkup = checkup_on(arc, Path::new(DIR), Timestamp(1), false, &mut || {}).unwrap();
    assert_eq!((checkup.findings, checkup.whole, checkup.shelved), (vec![], 1, 1));
}
