//! The power is cut after every single operation of a busy scenario, and whatever was not synced is lost, kept or
//! torn. Whatever was answered must be there, unaltered, and nothing may come back.

use super::fs::Loss;
use super::*;
use std::collections::BTreeMap;

/// Every live message with its body.
type Snapshot = BTreeMap<u128, (MessageState, Bytes)>;

fn scenario() -> Vec<Vec<Change>> {
    vec![
        vec![add(&[1, 2], text(1, 20_000)), named("one", 3, 100)],
        vec![
            begin(1, 1001),
            freeze(2),
            add(&[4], text(3, 25_000)),
            begin(3, 1002),
        ],
        // Does not fit into the first segment any more.
        vec![defer(1, 3000), add(&[5], text(4, 30_000)), finish(3), freeze(5)],
        vec![finish(1), defer(2, 4000), freeze(2)],
        // The first segment is finished with this; its messages' ends stand in the second.
        vec![finish(2), add(&[6], text(5, 25_000)), finish(4)],
        // A segment of its own, then a roll in the middle of a batch.
        vec![
            add(&[7, 8, 9], text(6, 100_000)),
            begin(7, 1003),
            add(&[10], text(7, 30_000)),
        ],
        vec![finish(5), finish(6), defer(8, 5000), begin(8, 5001), finish(7)],
        vec![named("two", 11, 40_000), finish(9), freeze(10), note(90)],
        vec![finish(10), add(&[12], text(9, 500)), finish(8), begin(11, 6000)],
        vec![add(&[13], text(10, 40_000)), finish(12), defer(11, 9000)],
        // From here on more has ended than lives: old segments are emptied. 15 has a state and a mark elsewhere.
        vec![add(&[14, 15], text(11, 20_000)), begin(15, 7000), finish(13)],
        vec![add(&[16], text(12, 45_000)), finish(14), defer(15, 9500)],
        vec![finish(16), freeze(11), add(&[17], text(13, 45_000))],
        vec![finish(17), begin(15, 9600), add(&[18], text(14, 45_000))],
        vec![finish(18), add(&[19], text(15, 30_000)), finish(11)],
        vec![add(&[20], text(16, 50_000)), finish(19), finish(15)],
    ]
}

fn named(key: &str, number: u128, length: usize) -> Change {
    let mut change = add(&[number], text(2, length));
    if let Change::Add(addition) = &mut change {
        addition.key = Some(key.to_owned());
    }
    change
}

fn note(number: u128) -> Change {
    Change::Note {
        events: vec![event(number, EventKind::Quarantined("odd".to_owned()))],
    }
}

/// Reopens the store before this step, so that recovery is in the middle of the scenario too.
const RESTART: usize = 4;

#[derive(Default)]
struct Outcome {
    answered: Snapshot,
    /// The events that were answered, by number.
    told: BTreeMap<u64, (Option<MessageId>, EventKind)>,
    /// The names of adds that were answered.
    keys: Vec<String>,
    /// The batch that was under way.
    pending: Vec<Change>,
    /// Messages that compaction copied forward.
    moved: u64,
}

fn run(fs: &SimFs) -> Outcome {
    let mut outcome = Outcome::default();
    let Ok((mut store, _)) = try_open(fs) else {
        return outcome;
    };
    for (number, mut batch) in scenario().into_iter().enumerate() {
        if number == RESTART {
            drop(store);
            match try_open(fs) {
                Ok((reopened, _)) => store = reopened,
                Err(_) => return outcome,
            }
        }
        let results = store.commit(&mut batch);
        // Without power a new segment is refused as on a full disk; what was synced before it is answered all the same.
        for (change, result) in batch.into_iter().zip(&results) {
            match result {
                Ok(()) => {
                    apply_to(&mut outcome.answered, &change);
                    let told = change
                        .events()
                        .iter()
                        .map(|event| (event.seq, (event.id, event.kind.clone())));
                    outcome.told.extend(told);
                    if let Change::Add(Addition { key: Some(key), .. }) = change {
                        outcome.keys.push(key);
                    }
                }
                Err(_) => outcome.pending.push(change),
            }
        }
        if !outcome.pending.is_empty() {
            return outcome;
        }
        store.maintain();
        while store.compact() {
            store.maintain();
        }
        outcome.moved = outcome.moved.max(store.stats().moved);
    }
    outcome
}

fn apply_to(snapshot: &mut Snapshot, change: &Change) {
    match change {
        Change::Add(addition) => {
            for message in &addition.messages {
                let state = MessageState::new(&message.section, message.status, addition.spooled_at);
                snapshot.insert(message.id.as_u128(), (state, addition.body.clone()));
            }
        }
        Change::Mark {
            id,
            status,
            in_flight,
            ..
        } => {
            if let Some((state, _)) = snapshot.get_mut(&id.as_u128()) {
                state.status = *status;
                state.in_flight = *in_flight;
            }
        }
        Change::State { id, state, .. } => {
            if let Some(entry) = snapshot.get_mut(&id.as_u128()) {
                entry.0 = (**state).clone();
            }
        }
        Change::Finish { id, .. } => {
            snapshot.remove(&id.as_u128());
        }
        Change::Note { .. } | Change::Move(_) => {}
    }
}

fn snapshot(store: &Store, recovery: &Recovery) -> Snapshot {
    let mut all = Snapshot::new();
    for message in &recovery.messages {
        let loaded = store.load(message.id).unwrap();
        assert_eq!(
            (message.status, message.in_flight),
            (loaded.state.status, loaded.state.in_flight)
        );
        let body = store.body(message.id).unwrap();
        assert_eq!(message.body_size, body.len() as u64);
        all.insert(message.id.as_u128(), (loaded.state, body));
    }
    assert_eq!(store.stats().messages, all.len() as u64);
    all
}

/// Fails unless `found` is what was answered, with some subset of the pending changes, each of them whole.
fn check(found: &Snapshot, outcome: &Outcome, context: &str) {
    let pending = &outcome.pending;
    let possible = (0..1_u32 << pending.len()).any(|subset| {
        let mut expected = outcome.answered.clone();
        let taken = pending
            .iter()
            .enumerate()
            .filter(|(bit, _)| subset & (1 << bit) != 0);
        taken.for_each(|(_, change)| apply_to(&mut expected, change));
        expected == *found
    });
    let keys = |snapshot: &Snapshot| snapshot.keys().copied().collect::<Vec<_>>();
    assert!(
        possible,
        "{context}: {:?} answered, {:?} found",
        keys(&outcome.answered),
        keys(found)
    );
}

fn recover(fs: &SimFs, context: &str) -> Snapshot {
    let (store, recovery) = try_open(fs).unwrap_or_else(|error| panic!("{context}: {error}"));
    let found = snapshot(&store, &recovery);
    let probe = 1000 + recovery.messages.len() as u128;
    all_ok(&store.commit(&mut [add(&[probe], text(9, 700)), finish(probe)]));
    found
}

/// Every event is there once, with the number it was answered with, and every name is remembered. Where a batch that
/// nobody was answered for is torn in its middle, there is a gap.
fn check_logs(fs: &SimFs, outcome: &Outcome, context: &str) {
    let (store, recovery) = open(fs);
    let (mut cursor, mut events, mut last) = (EventCursor::new(0), BTreeMap::new(), 0);
    loop {
        let page = store.events_after(&mut cursor, 7).unwrap();
        if page.is_empty() {
            break;
        }
        for event in page {
            let step = if let EventKind::Gap(missing) = event.kind {
                missing
            } else {
                1
            };
            assert_eq!(event.seq, last + step, "{context}: {event:?}");
            last = event.seq;
            if step == 1 && event.id.is_some() {
                events.insert(event.seq, (event.id, event.kind));
            }
        }
    }
    assert_eq!(store.last_event(), last, "{context}");
    for (seq, told) in &outcome.told {
        assert_eq!(events.get(seq), Some(told), "{context}: event {seq}");
    }
    for key in &outcome.keys {
        let known = recovery.keys.iter().filter(|known| known.key == *key);
        assert_eq!(known.count(), 1, "{context}: {key}");
    }
}

/// Recovers a copy of `crashed`, twice, and checks it.
fn verify(crashed: &SimFs, outcome: &Outcome, context: &str) -> Snapshot {
    let copy = crashed.after_power_cut(Loss::Nothing);
    let outside = count_from_disk_on(Arc::new(copy.clone()), Path::new(DIR));
    check_logs(&copy, outcome, context);
    let found = recover(&copy, context);
    check(&found, outcome, context);
    if let Ok(count) = outside {
        assert_eq!(count, found.len() as u64, "{context}: counted from outside");
    }
    assert_eq!(
        recover(&copy, context),
        found,
        "{context}: the second recovery differs"
    );
    let (_, third) = open(&copy);
    assert!(
        third.damage.is_empty() && third.torn_bytes == 0,
        "{context}: {third:?}"
    );
    let checkup = checkup_on(Arc::new(copy.clone()), Path::new(DIR), false, &mut || {}).unwrap();
    assert!(checkup.findings.is_empty(), "{context}: {checkup:?}");
    assert_eq!(checkup.whole, found.len() as u64, "{context}");
    found
}

fn base() -> SimFs {
    let fs = SimFs::new();
    fs.plant(Path::new("/elsewhere"), b"");
    fs
}

#[test]
fn nothing_answered_is_lost_wherever_the_power_is_cut() {
    let whole = base();
    let outcome = run(&whole);
    assert!(
        outcome.pending.is_empty() && outcome.moved >= 2,
        "{}",
        outcome.moved
    );
    let total = whole.operations().len();
    let kinds = whole.operations();
    assert!(kinds.contains(&fs::OpKind::Unlink) && kinds.contains(&fs::OpKind::Rename));
    let mut states = 0;
    for cut in 0..=total {
        let disk = base();
        disk.cut_after(cut);
        let outcome = run(&disk);
        let torn = (0..6).map(|seed| Loss::Torn(seed * 1009 + cut as u64));
        for loss in [Loss::Everything, Loss::Nothing].into_iter().chain(torn) {
            let crashed = disk.after_power_cut(loss);
            verify(
                &crashed,
                &outcome,
                &format!("cut after {cut} of {total}, {loss:?}"),
            );
            states += 1;
        }
    }
    println!("{states} crash states, {total} operations");
}

#[test]
fn a_crash_during_recovery_changes_nothing() {
    let whole = base();
    run(&whole);
    let total = whole.operations().len();
    let mut states = 0;
    for cut in 0..=total {
        let disk = base();
        disk.cut_after(cut);
        let outcome = run(&disk);
        let crashed = disk.after_power_cut(Loss::Torn(cut as u64));
        let context = format!("cut after {cut}");
        let expected = verify(&crashed, &outcome, &context);
        let steps = {
            let copy = crashed.after_power_cut(Loss::Nothing);
            open(&copy);
            copy.operations().len()
        };
        for step in 0..steps {
            let again = crashed.after_power_cut(Loss::Nothing);
            again.cut_after(step);
            drop(try_open(&again));
            for loss in [Loss::Everything, Loss::Torn(step as u64)] {
                let context = format!("{context}, then after {step} of {steps} of the recovery, {loss:?}");
                assert_eq!(
                    recover(&again.after_power_cut(loss), &context),
                    expected,
                    "{context}"
                );
                states += 1;
            }
        }
    }
    println!("{states} crash states during recovery");
}
