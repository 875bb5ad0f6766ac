//! The power is cut after every single operation of scenarios in which everything happens, and whatever was not synced is
//! lost, kept or torn. Whatever was answered must be there afterwards, unaltered and in one place, and nothing may come back.
//!
//! `SPOOL_CRASHES` sets how many crash states are visited at least, `SPOOL_SEED` with which scenario it begins. One that
//! fails prints its seed. Without `SPOOL_CRASHES` it is every place of one scenario, in fewer ways.

mod player;
mod scenario;
mod world;

use super::*;
use crate::store::fs::{Loss, OpKind};
use player::{First, play, try_open};
use scenario::{Dice, Scenario};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use world::{Tracker, World, look};

/// Where a scenario is cut off.
#[derive(Debug, Clone, Copy)]
struct Cut {
    /// Another life comes before.
    first: Option<First>,
    /// The power goes after so many operations.
    power: usize,
    /// And goes again after each operation of the recovery.
    again: bool,
}

/// In how many ways a scenario is cut off.
#[derive(Debug, Clone, Copy)]
struct Share {
    /// Ways in which unsynced data is torn, for each cut.
    torn: u64,
    /// One of so many cuts is also the end of a first life.
    first: u64,
    /// One of so many states has its recovery cut off everywhere.
    again: u64,
}

const SUITE: Share = Share {
    torn: 2,
    first: 6,
    again: 120,
};
const CAMPAIGN: Share = Share {
    torn: 3,
    first: 2,
    again: 30,
};

/// What was visited.
#[derive(Debug, Default)]
struct Tally {
    scenarios: u64,
    operations: usize,
    kinds: BTreeSet<OpKind>,
    moved: u64,
    states: usize,
    /// Of these: in a second life.
    second_life: usize,
    /// Of these: in the middle of the recovery.
    in_recovery: usize,
}

/// Whether a file is a segment whose header says where it ends.
fn is_sealed(fs: &SimFs, file: &str) -> bool {
    let path = Path::new(DIR).join(file);
    let seq = path
        .file_name()
        .and_then(|name| layout::parse_segment_name(name.to_str()?));
    let header = |seq| Some(segment::decode_header(&fs.read(&path)?, seq));
    matches!(
        seq.and_then(header),
        Some(HeaderKind::Own { end: End::At(_), .. })
    )
}

/// One crash state: recovers a copy of it in one of two ways, twice, and looks whether it holds what was answered.
fn verify(
    crashed: &SimFs,
    tracker: &Tracker,
    options: &StoreOptions,
    by_repair: bool,
    context: &str,
) -> World {
    let copy = crashed.after_power_cut(Loss::Nothing);
    let arc = || -> Arc<dyn Fs> { Arc::new(copy.clone()) };
    let outside = count_from_disk_on(arc(), Path::new(DIR));
    let mut repaired: Vec<String> = Vec::new();
    if by_repair && outside.is_ok() {
        let checkup = checkup_on(arc(), Path::new(DIR), Timestamp(6000), true, &mut || {})
            .unwrap_or_else(|error| panic!("{context}: {error}"));
        repaired.extend(checkup.findings.into_iter().map(|finding| finding.file));
    }
    let (store, recovery) = try_open(&copy, options).unwrap_or_else(|error| panic!("{context}: {error}"));
    repaired.extend(recovery.damage.iter().map(|damage| damage.file.clone()));
    for file in repaired {
        assert!(
            !is_sealed(crashed, &file),
            "{context}: a power cut takes nothing from {file}"
        );
    }
    let found = look(&store, &recovery, context);
    tracker.check_world(&found, context);
    tracker.check_logs(&store, &recovery, context);
    let live = recovery.messages.len() as u64;
    if let Ok(count) = outside {
        assert_eq!(count, live, "{context}: counted from outside");
    }
    all_ok(&store.commit(&mut [add(&[5000], text(9, 700)), finish(5000)]));
    drop(store);
    let (store, again) = try_open(&copy, options).unwrap();
    assert!(
        again.damage.is_empty() && again.torn_bytes == 0,
        "{context}: {again:?}"
    );
    assert_eq!(
        look(&store, &again, context),
        found,
        "{context}: the second recovery differs"
    );
    drop(store);
    let checkup = checkup_on(arc(), Path::new(DIR), Timestamp(6000), false, &mut || {}).unwrap();
    assert!(checkup.findings.is_empty(), "{context}: {checkup:?}");
    assert_eq!(
        (checkup.whole, checkup.whole + checkup.archived),
        (live, found.len() as u64),
        "{context}"
    );
    found
}

/// The power goes again after each operation of the recovery of `crashed`: what it leads to is the same. Gives the number of
/// states.
fn crash_again(crashed: &SimFs, expected: &World, options: &StoreOptions, seed: u64, context: &str) -> usize {
    let copy = crashed.after_power_cut(Loss::Nothing);
    drop(try_open(&copy, options));
    let (steps, mut states) = (copy.operations().len(), 0);
    for step in 0..steps {
        let disk = crashed.after_power_cut(Loss::Nothing);
        disk.cut_after(step);
        drop(try_open(&disk, options));
        for loss in [Loss::Everything, Loss::Torn(seed + step as u64)] {
            let context = format!("{context}, then after {step} of {steps} of the recovery, {loss:?}");
            let again = disk.after_power_cut(loss);
            let (store, recovery) =
                try_open(&again, options).unwrap_or_else(|error| panic!("{context}: {error}"));
            assert_eq!(&look(&store, &recovery, &context), expected, "{context}");
            states += 1;
        }
    }
    states
}

/// Every place to cut off a scenario of `total` operations.
fn cuts(seed: u64, total: usize, share: Share) -> Vec<Cut> {
    let mut dice = Dice(seed ^ 0x00c0_ffee);
    let mut all = Vec::new();
    for power in 0..=total {
        let mut again = || dice.below(share.again) == 0;
        all.push(Cut {
            first: None,
            power,
            again: again(),
        });
        let again = again();
        if dice.below(share.first) == 0 {
            let loss = (dice.below(2) == 0).then(|| Loss::Torn(dice.below(u64::MAX)));
            // A new disk counts its operations from 0.
            let before = if loss.is_none() { power } else { 0 };
            all.push(Cut {
                first: Some(First { at: power, loss }),
                power: before + 1 + dice.below(80) as usize,
                again,
            });
        }
    }
    all
}

/// Cuts `scenario` off at `cut`, in each way the disk may be left then.
fn crash(seed: u64, scenario: &Scenario, cut: Cut, share: Share, tally: &mut Tally) {
    let (disk, tracker) = play(scenario, cut.first, cut.power);
    let first = cut.first.map_or(0, |first| first.at);
    let mut dice = Dice(seed ^ (cut.power as u64) << 20 ^ (first as u64) << 40);
    let mut losses = vec![Loss::Everything, Loss::Nothing];
    losses.extend((0..share.torn).map(|_| Loss::Torn(dice.below(u64::MAX))));
    for loss in losses {
        let context = format!("SPOOL_SEED={seed} SPOOL_CRASHES=1, {cut:?}, {loss:?}");
        let crashed = disk.after_power_cut(loss);
        let by_repair = dice.below(4) == 0;
        let found = verify(&crashed, &tracker, &scenario.options, by_repair, &context);
        tally.states += 1;
        tally.second_life += usize::from(cut.first.is_some());
        if cut.again && matches!(loss, Loss::Torn(_)) {
            let states = crash_again(&crashed, &found, &scenario.options, dice.below(1 << 40), &context);
            tally.states += states;
            tally.in_recovery += states;
        }
    }
}

/// Visits every state of the scenario `seed`, on every core.
fn visit(seed: u64, share: Share, tally: &mut Tally) {
    let scenario = Scenario::new(seed);
    let (whole, outcome) = play(&scenario, None, usize::MAX);
    assert!(outcome.pending.is_empty());
    let operations = whole.operations();
    let cuts = cuts(seed, operations.len(), share);
    let (next, cores) = (
        AtomicUsize::new(0),
        std::thread::available_parallelism().map_or(1, usize::from),
    );
    let work = || {
        let mut tally = Tally::default();
        while let Some(cut) = cuts.get(next.fetch_add(1, Ordering::Relaxed)) {
            crash(seed, &scenario, *cut, share, &mut tally);
        }
        tally
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            let done = worker.join().unwrap();
            tally.states += done.states;
            tally.second_life += done.second_life;
            tally.in_recovery += done.in_recovery;
        }
    });
    tally.scenarios += 1;
    tally.operations += operations.len();
    tally.kinds.extend(operations);
    tally.moved += outcome.moved;
}

#[test]
fn nothing_answered_is_lost_wherever_the_power_is_cut() {
    let number = |name: &str| -> Option<u64> {
        let set = std::env::var(name).ok();
        set.map(|text| text.parse().expect("a number"))
    };
    let (states, mut seed) = (number("SPOOL_CRASHES"), number("SPOOL_SEED").unwrap_or(1));
    let share = if states.is_some() { CAMPAIGN } else { SUITE };
    let mut tally = Tally::default();
    // A single scenario must have compaction in it.
    while states.is_none() && play(&Scenario::new(seed), None, usize::MAX).1.moved == 0 {
        seed += 1;
    }
    while tally.states == 0 || (tally.states as u64) < states.unwrap_or_default() {
        visit(seed, share, &mut tally);
        seed += 1;
    }
    println!("{tally:?}");
    let all = [
        OpKind::Write,
        OpKind::Allocate,
        OpKind::SetLen,
        OpKind::Sync,
        OpKind::SyncDir,
        OpKind::Create,
        OpKind::MakeDir,
        OpKind::Rename,
        OpKind::Unlink,
    ];
    assert!(all.iter().all(|kind| tally.kinds.contains(kind)), "{tally:?}");
    assert!(tally.moved > 0 && tally.second_life > 0 && tally.in_recovery > 0);
}
