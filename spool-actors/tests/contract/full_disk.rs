//! A disk without room for anything, not even the end of an attempt. It is simulated: no test fills a real one to the last
//! byte.

use crate::support::*;
use spool_actors::{Add, Freeze, Outcome, Spool, WhenLoaded};
use spool_core::store::fs::{OpKind, SimFs};
use spool_core::{EventKind, Hold, ManualClock, MessageId, NoDice, ShownStatus, SpoolConfig, SpoolError};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// A spool on a simulated disk.
pub(crate) async fn bench(fs: &SimFs) -> Bench {
    bench_with(fs, |_| {}).await
}

/// The same with other settings.
pub(crate) async fn bench_with(fs: &SimFs, set: impl FnOnce(&mut SpoolConfig)) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(std::path::Path::new("/"));
    config.store.segment_size = 64 << 10;
    config.max_concurrent_jobs = 1;
    set(&mut config);
    let (jobs, received) = mpsc::unbounded_channel();
    let clock = ManualClock::new(START);
    let (agent, hands) = (Arc::new(Scripted(jobs)), Arc::new(clock.clone()));
    let opened = Spool::start_on(
        Arc::new(fs.clone()),
        config.clone(),
        agent,
        hands,
        Arc::new(NoDice),
    )
    .await;
    let opened = opened.unwrap();
    let loaded = opened.addr.send(WhenLoaded).await.unwrap().unwrap();
    Bench {
        dir,
        config,
        clock,
        spool: opened.addr,
        jobs: Jobs(received),
        damage: loaded.damage,
    }
}

fn is_full(outcome: &Outcome) -> bool {
    matches!(outcome.errors.as_slice(), [SpoolError::Full(_)])
}

/// A frozen message whose states are the largest there are: they use up what is kept for changes of state.
async fn large(bench: &Bench) -> MessageId {
    let to: Vec<String> = (0..1000).map(|n| format!("{n}@example.net")).collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    let add = Add::new(envelope(&to), "x\r\n").next_hop("elsewhere:25");
    bench.add(add.frozen()).await
}

/// Leaves no room, not even for a change of state: the small ones fill what the large one left.
async fn fill_up(bench: &Bench, fs: &SimFs, large: MessageId, small: MessageId) {
    fs.set_capacity(Some(fs.used()));
    let mut rounds = 0;
    while !is_full(&bench.send(large).await) {
        assert!(rounds < 1000, "the disk is never full");
        rounds += 1;
        if is_full(&bench.freeze(large).await) {
            break;
        }
    }
    while !is_full(&bench.ask(Freeze(vec![small])).await.unwrap()) {
        if is_full(&bench.send(small).await) {
            break;
        }
    }
}

#[tokio::test]
async fn a_disk_without_any_room_delays_the_end_of_attempts_and_loses_none() {
    let fs = SimFs::new();
    let mut bench = bench(&fs).await;
    let mut events = Spool::subscribe(&bench.spool).await.unwrap();
    let large = large(&bench).await;
    let running = bench.add(mail("running").retry(&minutes(&[5]))).await;
    let (_, answer) = bench.jobs.next().await;
    let waiting = bench.add(mail("waiting").retry(&minutes(&[5]))).await;

    fill_up(&bench, &fs, large, waiting).await;

    answer.send(no_connection()).unwrap();
    let no_room = |holds: &[Hold]| matches!(holds, [Hold::NoRoom { .. }]);
    while !no_room(&bench.holds(running).await) {
        tokio::task::yield_now().await;
    }
    assert!(
        is_full(&bench.freeze(running).await),
        "whoever asks is told, and does not hang"
    );
    bench.idle().await;
    assert!(bench.jobs.none(), "nothing is sent whose begin cannot be written");

    fs.set_capacity(None);
    loop {
        let next = tokio::time::timeout(Duration::from_secs(20), events.next()).await;
        let event = next.expect("an event").expect("the spool lives");
        if event.id == Some(running) && matches!(event.kind, EventKind::Delayed(_)) {
            break;
        }
    }
    let later = bench.after(Duration::from_secs(300));
    assert_eq!(bench.status(running).await, Some(ShownStatus::SendAt(later)));
    assert_eq!(bench.details(running).await.message.state.attempts.total(), 1);
    assert_eq!(bench.freeze(running).await.errors, []);
}

#[tokio::test]
async fn a_freeze_of_a_message_being_sent_that_fails_does_not_freeze_it() {
    let fs = SimFs::new();
    let mut bench = bench(&fs).await;
    let mut events = Spool::subscribe(&bench.spool).await.unwrap();
    let large = large(&bench).await;
    let running = bench.add(mail("running").retry(&minutes(&[5]))).await;
    let (_, answer) = bench.jobs.next().await;
    let waiting = bench.add(mail("waiting").retry(&minutes(&[5]))).await;
    fill_up(&bench, &fs, large, waiting).await;
    assert!(is_full(&bench.freeze(running).await));
    fs.set_capacity(None);
    answer.send(no_connection()).unwrap();
    loop {
        let next = tokio::time::timeout(Duration::from_secs(20), events.next()).await;
        let event = next.expect("an event").expect("the spool lives");
        assert!(event.id != Some(running) || event.kind != EventKind::Frozen);
        if event.id == Some(running) && matches!(event.kind, EventKind::Delayed(_)) {
            break;
        }
    }
    let later = bench.after(Duration::from_secs(300));
    assert_eq!(bench.status(running).await, Some(ShownStatus::SendAt(later)));
    assert_eq!(done(&bench.freeze(running).await), 1);
    assert_eq!(bench.status(running).await, Some(ShownStatus::Frozen));
}

#[tokio::test]
async fn a_freeze_is_answered_when_the_hook_removes_the_message_and_the_archive_has_no_room() {
    let fs = SimFs::new();
    let (asked, mut calls) = mpsc::unbounded_channel();
    let bench = bench_with(&fs, |config| {
        config.hooks.presend(move |_| {
            let (decide, decision) = tokio::sync::oneshot::channel();
            asked.send(decide).unwrap();
            async move { decision.await.unwrap() }
        });
    })
    .await;
    let id = bench.add(mail("x").retry(&minutes(&[5]))).await;
    let decide = calls.recv().await.unwrap();
    let freeze = bench.spool.send(Freeze(vec![id]));
    // The freeze is in the mailbox before the decision is.
    bench.ask(spool_actors::GetJobs).await.unwrap();
    const ENOSPC: i32 = 28;
    fs.fail_all(&[OpKind::Create, OpKind::MakeDir], ENOSPC);
    decide.send(spool_core::Presend::Remove).unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(20), freeze).await;
    let outcome = answer.expect("at once").unwrap().unwrap();
    let frozen = bench.status(id).await == Some(ShownStatus::Frozen);
    assert_eq!((outcome.done == 1, outcome.errors.is_empty()), (frozen, frozen));
    fs.heal();
    end(bench.spool).await;
}
