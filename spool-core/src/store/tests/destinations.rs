//! The destinations file: replaced as a whole, and never in the way.

use super::*;
use crate::destination::{LearnedCircuit, LearnedDestination, LearnedRate, LearnedSessions};
use crate::store::MAX_DESTINATIONS;
use crate::store::fs::{Loss, Mode, OpKind};

fn learned(nth: usize) -> LearnedDestination {
    LearnedDestination {
        next_hops: [format!("mx{nth}.example:25").parse().unwrap()].into(),
        at: Timestamp(1_800_000_000_000),
        sessions: Some(LearnedSessions {
            limit: 3.25,
            reason: "421 4.7.0 too many".into(),
        }),
        rate: nth.is_multiple_of(2).then(|| LearnedRate {
            per_second: 0.1,
            reason: "450 4.7.28 \"slow\"".into(),
        }),
        circuit: nth.is_multiple_of(3).then(|| LearnedCircuit {
            until: Timestamp(1_800_000_005_000),
            failures: 7,
            pauses: 3,
            reason: "refused".into(),
        }),
        next_message: None,
    }
}

fn remembered(fs: &SimFs) -> Vec<LearnedDestination> {
    Store::begin(Arc::new(fs.clone()), Path::new(DIR), &options())
        .unwrap()
        .1
        .destinations
}

#[test]
fn a_restart_finds_the_new_or_the_old_file() {
    let (old, new): (Vec<_>, Vec<_>) = ((0..3).map(learned).collect(), (5..40).map(learned).collect());
    let mut outcomes = [0; 2];
    for cut in 0.. {
        let fs = SimFs::new();
        let (store, _) = open(&fs);
        store.keep_destinations(&old).unwrap();
        fs.cut_after(fs.operations().len() + cut);
        let kept = store.keep_destinations(&new);
        drop(store);
        for loss in [Loss::Everything, Loss::Nothing, Loss::Torn(cut as u64)] {
            let found = remembered(&fs.after_power_cut(loss));
            if kept.is_ok() {
                assert_eq!(found, new);
            } else {
                assert!(found == old || found == new, "{found:?}");
            }
            outcomes[usize::from(found == new)] += 1;
        }
        if kept.is_ok() {
            break;
        }
    }
    assert!(outcomes[0] > 3 && outcomes[1] > 0, "{outcomes:?}");
}

#[test]
fn a_damaged_file_costs_no_more_than_its_lines() {
    let fs = SimFs::new();
    let path = Path::new(DIR).join("destinations.jsonl");
    assert_eq!(remembered(&fs), []);
    let (store, _) = open(&fs);
    store.keep_destinations(&[learned(1), learned(2)]).unwrap();
    drop(store);
    let file = fs.open(&path, Mode::Write).unwrap();
    file.write_at(0, b"\xff\0{").unwrap();
    assert_eq!(remembered(&fs), [learned(2)]);
    // Longer than anything that was ever written: not read at all.
    file.set_len(1 << 30).unwrap();
    assert_eq!(remembered(&fs), []);
}

#[test]
fn it_remembers_so_many_and_no_more() {
    let fs = SimFs::new();
    let (store, _) = open(&fs);
    let many: Vec<_> = (0..MAX_DESTINATIONS + 3).map(learned).collect();
    store.keep_destinations(&many).unwrap();
    fs.fail(OpKind::Rename, 0, std::io::ErrorKind::Other);
    assert!(store.keep_destinations(&[]).is_err());
    drop(store);
    assert_eq!(remembered(&fs), many[..MAX_DESTINATIONS]);
}
