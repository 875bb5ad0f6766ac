//! Opening, adding, trying, ending: the life of a spool and of its messages, on real files and the real clock.

use crate::support::*;
use bytes::Bytes;
use spool_actors::{
    Add, Ending, Flushed, Freeze, GetJobs, GetStats, KillAndFlush, ListMessages, Part, SetMaxConcurrentJobs,
    Spool,
};
use spool_core::store::OpenError;
use spool_core::{
    AddError, AttemptReport, AttemptResult, Dice, EventKind, RefusedRecipient, Reply, RetryInterval,
    RetryPolicy, ShownStatus, SpoolError, Stage, SystemClock,
};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

#[tokio::test]
async fn a_deferred_message_is_tried_again_and_every_attempt_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, mut jobs) = open(dir.path()).await;
    let mut events = Spool::subscribe(&spool).await.unwrap();
    spool.send(mail("x").retry(&soon())).await.unwrap().unwrap();
    for _ in 0..2 {
        jobs.answer(no_connection()).await;
    }
    assert_eq!(event(&mut events).await, EventKind::Spooled);
    assert!(matches!(event(&mut events).await, EventKind::Delayed(_)));
    assert!(matches!(event(&mut events).await, EventKind::Delayed(_)));
    let (job, answer) = jobs.next().await;
    assert_eq!(job.body, "x\r\n");
    assert_eq!(on_disk(dir.path())[0].state.attempts.total(), 2);
    answer.send(accepted()).unwrap();
    assert_eq!(event(&mut events).await, EventKind::Delivered);
    end(spool).await;
}

#[tokio::test]
async fn no_interval_left_or_a_permanent_refusal_freezes() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, mut jobs) = open(dir.path()).await;
    let mut events = Spool::subscribe(&spool).await.unwrap();
    spool.send(mail("x").retry(&soon())).await.unwrap().unwrap();
    assert_eq!(event(&mut events).await, EventKind::Spooled);
    for _ in 0..3 {
        jobs.answer(no_connection()).await;
        assert!(matches!(event(&mut events).await, EventKind::Delayed(_)));
    }
    jobs.answer(no_connection()).await;
    assert_eq!(event(&mut events).await, EventKind::Frozen);
    spool.send(mail("y")).await.unwrap().unwrap();
    let refused = AttemptResult::Refused {
        stage: Stage::Mail,
        reply: Reply::new(550, "5.7.1 no"),
    };
    jobs.answer(AttemptReport::new(refused)).await;
    assert_eq!(event(&mut events).await, EventKind::Spooled);
    assert_eq!(event(&mut events).await, EventKind::Frozen);
    let listed = spool
        .send(ListMessages {
            envelopes: true,
            ..ListMessages::default()
        })
        .await
        .unwrap()
        .unwrap();
    assert!(listed.len() == 2 && listed.iter().all(|message| message.status == ShownStatus::Frozen));
    assert_eq!(listed[0].envelope.as_ref().unwrap().recipients, ["b@example.net"]);
    end(spool).await;
}

#[tokio::test]
async fn a_failed_recipient_is_kept_while_the_others_are_delivered_later() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, mut jobs) = open(dir.path()).await;
    let mut events = Spool::subscribe(&spool).await.unwrap();
    let add = Add::new(
        envelope(&["gone@x.example", "full@x.example", "fine@x.example"]),
        "x",
    )
    .next_hop("x:25");
    spool.send(add.retry(&soon())).await.unwrap().unwrap();
    let refused = |recipient, code| RefusedRecipient {
        recipient,
        reply: Reply::new(code, ""),
    };
    let mut partial = accepted();
    partial.refused = vec![refused(0, 550), refused(1, 452)];
    jobs.answer(partial).await;
    let job = jobs.answer(accepted()).await;
    assert_eq!(job.recipients, [1]);
    assert_eq!(event(&mut events).await, EventKind::Spooled);
    assert!(matches!(event(&mut events).await, EventKind::Delayed(_)));
    assert_eq!(event(&mut events).await, EventKind::Frozen);
    let failed = &on_disk(dir.path())[0].state.failed;
    assert_eq!((failed.len(), failed[0].recipient), (1, 0));
    end(spool).await;
}

#[tokio::test]
async fn at_most_n_sessions_start_and_zero_pauses() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.max_concurrent_jobs = 0;
    let (spool, mut jobs) = open_with(config).await;
    for _ in 0..6 {
        spool.send(mail("x")).await.unwrap().unwrap();
    }
    let state = spool.send(GetJobs).await.unwrap().unwrap();
    assert_eq!((state.max, state.running, state.waiting), (0, 0, 6));
    assert!(jobs.none());
    spool.send(SetMaxConcurrentJobs(2)).await.unwrap().unwrap();
    let mut running: VecDeque<_> = [jobs.next().await, jobs.next().await].into();
    for _ in 0..4 {
        assert_eq!(spool.send(GetJobs).await.unwrap().unwrap().running, 2);
        assert!(jobs.none());
        running.pop_front().unwrap().1.send(accepted()).unwrap();
        running.push_back(jobs.next().await);
    }
    for (_, answer) in running {
        answer.send(accepted()).unwrap();
    }
    end(spool).await;
    assert_eq!(on_disk(dir.path()).len(), 0);
}

#[tokio::test]
async fn kill_and_flush_waits_for_running_sessions_and_starts_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.max_concurrent_jobs = 1;
    let (spool, mut jobs) = open_with(config.clone()).await;
    for _ in 0..5 {
        spool.send(mail("x")).await.unwrap().unwrap();
    }
    let (_, answer) = jobs.next().await;
    let timeout = Some(Duration::from_millis(50));
    assert_eq!(
        spool.send(KillAndFlush { timeout }).await.unwrap(),
        Flushed::Timeout
    );
    assert_eq!(spool.send(mail("x")).await.unwrap(), Err(AddError::Killed));
    assert_eq!(spool.send(GetStats).await.unwrap(), Err(SpoolError::Killed));
    answer.send(accepted()).unwrap();
    end(spool).await;
    assert!(jobs.none());
    // What was about to start is not in doubt; and the lock is free.
    let left = on_disk(dir.path());
    assert_eq!(left.len(), 4);
    assert!(
        left.iter()
            .all(|message| message.state.in_flight.is_none() && message.state.attempts.is_empty())
    );
    let (spool, mut jobs) = open_with(config).await;
    for _ in 0..4 {
        jobs.answer(accepted()).await;
    }
    end(spool).await;
}

#[tokio::test]
async fn an_attempt_that_panics_is_a_failed_attempt_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, mut jobs) = open(dir.path()).await;
    let mut events = Spool::subscribe(&spool).await.unwrap();
    spool.send(mail("panic")).await.unwrap().unwrap();
    assert_eq!(event(&mut events).await, EventKind::Spooled);
    assert_eq!(event(&mut events).await, EventKind::InDoubt);
    assert!(matches!(event(&mut events).await, EventKind::Delayed(_)));
    spool.send(mail("fine")).await.unwrap().unwrap();
    jobs.answer(accepted()).await;
    assert_eq!(event(&mut events).await, EventKind::Spooled);
    assert_eq!(event(&mut events).await, EventKind::Delivered);
    let kept = on_disk(dir.path());
    assert!(
        kept[0].state.attempts[0]
            .report
            .result
            .to_string()
            .contains("told to panic")
    );
    end(spool).await;
}

#[tokio::test]
async fn an_attempt_that_a_crash_cut_short_is_in_doubt_and_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, mut jobs) = open(dir.path()).await;
    // Not even an interval need be left: the message did nothing wrong.
    let last_try = RetryPolicy {
        intervals: vec![],
        repeat_last: false,
        expire_after: None,
    };
    let ids = spool.send(mail("x").retry(&last_try)).await.unwrap().unwrap();
    let (_, held) = jobs.next().await;
    // As after a crash: the files as they are now, while the attempt runs.
    let copy = tempfile::tempdir().unwrap();
    copy_dir(&dir.path().join("spool"), &copy.path().join("spool"));
    held.send(accepted()).unwrap();
    end(spool).await;

    let (spool, mut jobs) = open(copy.path()).await;
    let mut events = Spool::subscribe(&spool).await.unwrap();
    let (job, answer) = jobs.next().await;
    assert_eq!((job.message, job.body), (ids[0], Bytes::from_static(b"x\r\n")));
    let on_disk = on_disk(copy.path());
    let attempts = &on_disk[0].state.attempts;
    assert_eq!(attempts.len(), 1);
    assert_eq!(attempts[0].report.result, AttemptResult::Interrupted);
    assert_eq!(
        attempts[0].report.peer.as_ref().unwrap().to_string(),
        "mx.example.net:25"
    );
    answer.send(accepted()).unwrap();
    loop {
        if event(&mut events).await == EventKind::Delivered {
            break;
        }
    }
    end(spool).await;
}

#[tokio::test]
async fn a_directory_has_one_holder_and_a_dropped_address_lets_go() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, mut jobs) = open(dir.path()).await;
    spool.send(mail("x").frozen()).await.unwrap().unwrap();
    let again = Spool::open(config(dir.path()), Scripted(mpsc::unbounded_channel().0)).await;
    assert!(matches!(again, Err(OpenError::Locked { pid: Some(pid), .. }) if pid == std::process::id()));
    drop(spool);
    // The spool notices within a second that its address was dropped, and closes. Its agent goes with it, and the test's jobs end.
    let over = tokio::time::timeout(Duration::from_secs(20), jobs.0.recv());
    assert!(over.await.unwrap().is_none());
    let (spool, _jobs) = open(dir.path()).await;
    assert_eq!(
        spool.send(ListMessages::default()).await.unwrap().unwrap().len(),
        1
    );
    end(spool).await;
}

#[tokio::test]
async fn two_spools_live_in_one_process() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let ((first, mut first_jobs), (second, mut second_jobs)) =
        (open(one.path()).await, open(two.path()).await);
    first.send(mail("first")).await.unwrap().unwrap();
    second.send(mail("second")).await.unwrap().unwrap();
    let job = second_jobs.answer(accepted()).await;
    assert_eq!(job.body, "second\r\n");
    end(second).await;
    let job = first_jobs.answer(accepted()).await;
    assert_eq!(job.body, "first\r\n");
    end(first).await;
}

/// Chance that fails in the middle of a decision, on the spool's own thread.
#[derive(Debug)]
struct BrokenDice;

impl Dice for BrokenDice {
    fn draw(&self, _: RetryInterval) -> Duration {
        panic!("told to panic")
    }
}

#[tokio::test]
async fn a_panic_in_the_spool_actor_is_reported_and_costs_neither_mail_nor_answers() {
    let dir = tempfile::tempdir().unwrap();
    let (jobs, received) = mpsc::unbounded_channel();
    let (agent, clock) = (Arc::new(Scripted(jobs)), Arc::new(SystemClock));
    let opened = Spool::start(config(dir.path()), agent, clock, Arc::new(BrokenDice))
        .await
        .unwrap();
    let mut jobs = Jobs(received);
    let ended = opened.ended();
    let gate = opened.gate.clone();
    let spool = opened.addr;
    let id = spool.send(mail("x")).await.unwrap().unwrap()[0];
    jobs.answer(no_connection()).await;
    let ending = tokio::time::timeout(Duration::from_secs(20), ended).await;
    assert_eq!(ending, Ok(Ending::Panicked(Part::Spool)));
    assert_eq!(Spool::ended(&spool).await, Ending::Panicked(Part::Spool));
    // Every request is answered; none waits for ever.
    let why = "the spool actor panicked".to_owned();
    assert_eq!(
        spool.send(mail("y")).await.unwrap(),
        Err(AddError::Ended(why.clone()))
    );
    assert_eq!(gate.admit(0), Err(AddError::Ended(why.clone())));
    let frozen = spool.send(Freeze(vec![id])).await.unwrap();
    assert_eq!(frozen, Err(SpoolError::Ended(why)));
    end(spool).await;
    let (spool, mut jobs) = open(dir.path()).await;
    let (job, answer) = jobs.next().await;
    assert_eq!(job.message, id);
    assert!(on_disk(dir.path())[0].state.attempts[0].report.in_doubt());
    answer.send(accepted()).unwrap();
    end(spool).await;
}
