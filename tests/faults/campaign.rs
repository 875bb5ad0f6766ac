//! The campaign: every call of a run fails in turn, once and for good, or is the last one.

use crate::trace::{self, CALLS, Run};
use crate::{check, service};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::TempDir;

/// Set: everything is run, not a sample.
const ALL: &str = "SPOOL_CAMPAIGN";
/// Failed syncs that the whole campaign counts.
const SYNC_FAILURES: usize = 1000;

fn fresh() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let spool = dir.path().join("spool");
    (dir, spool)
}

/// One run with this fault; gives what it said.
fn with(seed: u64, fault: &str) -> Run {
    let (_dir, spool) = fresh();
    let run = trace::run(&spool, seed, Some(fault));
    check::after(&spool, seed, &run, fault);
    run
}

fn baseline(seed: u64) -> BTreeMap<&'static str, (usize, usize)> {
    let (_dir, spool) = fresh();
    let run = trace::run(&spool, seed, None);
    assert_eq!(
        run.said.iter().filter(|line| *line == "end").count(),
        1,
        "{:?}",
        run.said
    );
    assert!(
        !run.said.iter().any(|line| line.starts_with("err")),
        "{:?}",
        run.said
    );
    check::after(&spool, seed, &run, "without a fault");
    trace::count(&run, &spool)
}

/// Every fault of one call of a run.
fn faults(call: &str, number: usize) -> Vec<String> {
    let mut faults = vec![
        format!("{call}:error=EIO:when={number}"),
        format!("{call}:error=ENOSPC:when={number}"),
        format!("{call}:error=EIO:when={number}+"),
        format!("{call}:signal=KILL:when={number}"),
    ];
    if call == "openat" {
        faults.push(format!("{call}:error=EMFILE:when={number}"));
        faults.push(format!("{call}:error=EMFILE:when={number}+"));
    }
    faults
}

/// Spreads `work` over the processors.
fn all<T: Sync>(work: &[T], each: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(one) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
                    each(one);
                }
            });
        }
    });
}

#[test]
fn every_failing_call_and_every_kill_leaves_what_was_answered() {
    if !trace::is_possible() {
        return;
    }
    let whole = std::env::var_os(ALL).is_some();
    let counts = baseline(0);
    let mut work = Vec::new();
    for (nth, call) in CALLS.into_iter().enumerate() {
        let (before, total) = counts[call];
        assert!(total > before, "{call} is never called for the spool: {counts:?}");
        let each: Vec<Vec<String>> = (before + 1..=total).map(|number| faults(call, number)).collect();
        if whole {
            work.extend(each.into_iter().flatten());
        } else {
            // One of each kind of fault, somewhere else for each call.
            let at = |kind: usize| (each.len() * (2 * kind + 1) / 8 + nth) % each.len();
            work.extend((0..4).map(|kind| each[at(kind)][kind].clone()));
        }
    }
    let (killed, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    all(&work, |fault| {
        let run = with(0, fault);
        let ended = run
            .said
            .iter()
            .any(|line| line == "end" || line.starts_with("refused"));
        let count = if ended { &failed } else { &killed };
        count.fetch_add(1, Ordering::Relaxed);
        if !fault.contains("KILL") {
            assert!(ended, "{fault}: {:?}", run.said);
        }
        if fault.contains("sync:error") && !fault.ends_with('+') {
            assert!(
                check::nothing_answered_after_a_failed_sync(&run, fault),
                "{fault}"
            );
        }
    });
    println!(
        "{} runs: {failed:?} with a failing call, {killed:?} killed; calls {counts:?}",
        work.len()
    );
}

#[test]
fn a_failed_sync_is_never_answered_ok() {
    if !trace::is_possible() {
        return;
    }
    let wanted = std::env::var_os(ALL).map_or(20, |_| SYNC_FAILURES);
    let mut work = Vec::new();
    for seed in 1.. {
        let counts = baseline(seed);
        for call in ["fdatasync", "fsync"] {
            let (before, total) = counts[call];
            work.extend((before + 1..=total).map(|number| (seed, call, number, before + 1)));
        }
        if work.len() >= wanted {
            break;
        }
    }
    let step = work.len() / wanted;
    let work: Vec<_> = work.into_iter().step_by(step).take(wanted).collect();
    all(&work, |&(seed, call, number, first)| {
        // Adds that come together share a sync, so that one run may have a few fewer than another: then an earlier one fails.
        let happened = (first..=number).rev().any(|number| {
            let fault = format!("{call}:error=EIO:when={number}");
            check::nothing_answered_after_a_failed_sync(&with(seed, &fault), &fault)
        });
        assert!(happened, "{call} {number} of seed {seed} did not happen");
    });
    println!("{} failed syncs, 0 answered Ok", work.len());
}

#[test]
fn the_service_keeps_what_it_answered_through_failing_calls_and_kills() {
    if !trace::is_possible() {
        return;
    }
    let most = std::env::var_os(ALL).map_or(1, |_| 40);
    let mut tally = service::Tally::default();
    for call in ["pwrite64", "fdatasync", "fsync", "fallocate", "rename", "sendto"] {
        for number in 0..most {
            let faults: &[&str] = match call {
                "sendto" => &["signal=KILL"],
                _ => &["error=EIO", "signal=KILL"],
            };
            for fault in faults {
                service::run(call, fault, number, &mut tally);
            }
        }
    }
    println!("{tally:?}");
    assert!(
        tally.answered > 0 && tally.killed > 0 && tally.failed > 0,
        "{tally:?}"
    );
}
