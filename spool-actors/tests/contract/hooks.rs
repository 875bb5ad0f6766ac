//! The hooks before an attempt and about its refusals, and what follows when a hook fails.

use crate::support::*;
use spool_actors::{Add, Spool};
use spool_core::{AttemptReport, AttemptResult, EventKind, OnError, Presend, ShownStatus, Stage};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A hook before the attempt that gives these decisions, one for each call.
fn decide(decisions: Vec<Presend>) -> impl Fn(&mut spool_core::SpoolConfig) {
    move |config| {
        let decisions = Arc::new(Mutex::new(decisions.clone().into_iter()));
        config.hooks.presend(move |_| {
            let next = decisions
                .lock()
                .unwrap()
                .next()
                .expect("the hook was asked too often");
            async move { next }
        });
    }
}

/// A hook about refusals that decides by the recipient and the code of the reply.
fn on_error(
    decide: impl Fn(Option<u32>, Option<u16>) -> OnError + Send + Sync + 'static,
) -> impl FnOnce(&mut spool_core::SpoolConfig) {
    move |config| {
        config.hooks.on_error(move |refusal| {
            let decision = decide(refusal.recipient, refusal.reply.map(|reply| reply.code));
            async move { decision }
        });
    }
}

#[tokio::test]
async fn presend_send_now_goes_on() {
    let mut bench = Bench::with(decide(vec![Presend::SendNow])).await;
    let mut events = Spool::subscribe(&bench.spool).await.unwrap();
    bench.add(mail("x")).await;
    bench.answer(accepted()).await;
    assert_eq!(event(&mut events).await, EventKind::Spooled);
    assert_eq!(event(&mut events).await, EventKind::Presend(Presend::SendNow));
    assert_eq!(event(&mut events).await, EventKind::Delivered);
    end(bench.spool).await;
}

#[tokio::test]
async fn presend_send_at_waits_and_takes_no_interval() {
    let until = START.after(Duration::from_secs(90));
    let mut bench = Bench::with(decide(vec![Presend::SendAt(until), Presend::SendNow])).await;
    let mut events = Spool::subscribe(&bench.spool).await.unwrap();
    let id = bench.add(mail("x").retry(&minutes(&[5]))).await;
    assert_eq!(bench.idle().await, Some(until));
    assert_eq!(event(&mut events).await, EventKind::Spooled);
    assert_eq!(
        event(&mut events).await,
        EventKind::Presend(Presend::SendAt(until))
    );
    assert_eq!(event(&mut events).await, EventKind::Delayed(until));
    let state = bench.details(id).await.message.state;
    assert_eq!((state.schedule.intervals.len(), state.attempts.total()), (1, 0));
    bench.skip().await;
    bench.answer(accepted()).await;
    end(bench.spool).await;
}

#[tokio::test]
async fn presend_freeze_and_remove() {
    let mut bench = Bench::with(decide(vec![Presend::Freeze, Presend::Remove])).await;
    let frozen = bench.add(mail("x")).await;
    bench.idle().await;
    assert_eq!(bench.status(frozen).await, Some(ShownStatus::Frozen));
    let removed = bench.add(mail("y")).await;
    bench.idle().await;
    assert_eq!(bench.status(removed).await, None);
    assert_eq!(bench.details(removed).await.status, ShownStatus::Removed);
    assert!(bench.jobs.none());
    let bench = bench.crash().await;
    assert_eq!(bench.status(frozen).await, Some(ShownStatus::Frozen));
    assert_eq!(bench.details(removed).await.status, ShownStatus::Removed);
    end(bench.spool).await;
}

#[tokio::test]
async fn all_of_many_messages_that_presend_removes_end_in_the_archive() {
    let mut bench = Bench::with(decide(vec![Presend::Remove; 100])).await;
    let mut ids = Vec::new();
    for _ in 0..100 {
        ids.push(bench.add(mail("x")).await);
    }
    bench.idle().await;
    for id in ids {
        assert_eq!(bench.details(id).await.status, ShownStatus::Removed);
    }
    assert!(bench.jobs.none());
    end(bench.spool).await;
}

#[tokio::test]
async fn presend_that_panics_or_hangs_waits_for_the_next_interval_and_loses_nothing() {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let mut bench = Bench::with(move |config| {
        config.hooks.timeout = Duration::from_millis(20);
        config.hooks.presend(move |_| {
            let call = count.fetch_add(1, Ordering::SeqCst);
            assert!(call != 0, "told to panic before it gives a future");
            async move {
                assert!(call != 1, "told to panic");
                if call == 2 {
                    std::future::pending::<()>().await;
                }
                Presend::SendNow
            }
        });
    })
    .await;
    bench.add(mail("x").retry(&minutes(&[5]))).await;
    for call in 1..=3 {
        assert_eq!(bench.idle().await, Some(bench.after(Duration::from_secs(300))));
        assert_eq!(calls.load(Ordering::SeqCst), call);
        assert!(bench.jobs.none());
        bench.skip().await;
    }
    bench.answer(accepted()).await;
    end(bench.spool).await;
}

#[tokio::test]
async fn a_hook_that_blocks_its_thread_does_not_block_the_spool() {
    let (go_on, wait) = std::sync::mpsc::channel::<()>();
    let (asked, mut calls) = tokio::sync::mpsc::unbounded_channel();
    let wait = Arc::new(std::sync::Mutex::new(wait));
    let mut bench = Bench::with(move |config| {
        config.threads = 0;
        config.hooks.presend(move |_| {
            let (asked, wait) = (asked.clone(), Arc::clone(&wait));
            async move {
                asked.send(()).unwrap();
                let _ = wait.lock().unwrap().recv();
                Presend::SendNow
            }
        });
    })
    .await;
    bench.add(mail("x")).await;
    calls.recv().await.unwrap();
    let answer = bench.spool.send(spool_actors::GetPulse);
    let answer = tokio::time::timeout(Duration::from_secs(10), answer).await;
    go_on.send(()).unwrap();
    assert!(answer.is_ok(), "the spool is stuck");
    bench.answer(accepted()).await;
    end(bench.spool).await;
}

#[tokio::test]
async fn some_refused_asks_on_error_for_each_and_forgets_none() {
    let hook = on_error(|recipient, _| match recipient {
        Some(0) => OnError::Done,
        Some(1) => OnError::FailPermanently,
        Some(2) => OnError::TryLaterRateLimited,
        _ => panic!("asked about {recipient:?}"),
    });
    let mut bench = Bench::with(hook).await;
    let mut events = Spool::subscribe(&bench.spool).await.unwrap();
    let to = envelope(&["a@x.example", "b@x.example", "c@x.example", "d@x.example"]);
    let id = bench
        .add(Add::new(to, "x").next_hop("x:25").retry(&minutes(&[1])))
        .await;
    let verdict = partly(&[(0, 550, ""), (1, 450, ""), (2, 550, "")]);
    bench.answer(verdict).await;
    let due = bench.idle().await.unwrap();
    assert_eq!(event(&mut events).await, EventKind::Spooled);
    assert_eq!(event(&mut events).await, EventKind::DelayedRateLimited(due));
    bench.skip().await;
    let job = bench.answer(accepted()).await;
    assert_eq!(job.recipients, [2]);
    bench.idle().await;
    // The failed one is not forgotten when the last of the others is delivered.
    assert_eq!(event(&mut events).await, EventKind::Frozen);
    let state = bench.details(id).await.message.state;
    assert_eq!((state.remaining.len(), state.failed[0].recipient), (0, 1));
    end(bench.spool).await;
}

#[tokio::test]
async fn all_refused_and_done_elsewhere_is_delivered() {
    let mut bench = Bench::with(on_error(|_, _| OnError::Done)).await;
    let id = bench.add(mail("x")).await;
    let mut all = partly(&[(0, 550, "5.1.1 gone")]);
    all.result = AttemptResult::AllRefused;
    bench.answer(all).await;
    bench.idle().await;
    assert_eq!(bench.status(id).await, None);
    end(bench.spool).await;
}

#[tokio::test]
async fn sender_data_or_body_refused_asks_on_error_once_for_the_message() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let hook = on_error(move |recipient, code| {
        count.fetch_add(1, Ordering::SeqCst);
        assert_eq!((recipient, code), (None, Some(554)));
        OnError::TryLater
    });
    let mut bench = Bench::with(hook).await;
    let to = envelope(&["a@x.example", "b@x.example"]);
    bench
        .add(Add::new(to, "x").next_hop("x:25").retry(&minutes(&[1, 1, 1])))
        .await;
    for (nth, stage) in [Stage::Mail, Stage::Data, Stage::FinalReply]
        .into_iter()
        .enumerate()
    {
        bench.answer(refused(stage, 554, "5.0.0 no")).await;
        bench.idle().await;
        assert_eq!(asked.load(Ordering::SeqCst), nth + 1);
        bench.skip().await;
    }
    bench.answer(accepted()).await;
    end(bench.spool).await;
}

#[tokio::test]
async fn no_connection_timeout_and_broken_session_ask_on_error_too() {
    let hook = on_error(|recipient, code| {
        assert_eq!((recipient, code), (None, None));
        OnError::FailPermanently
    });
    let mut bench = Bench::with(hook).await;
    let broken = AttemptResult::Broken {
        stage: Stage::Body,
        error: "timeout".into(),
        in_doubt: false,
    };
    for verdict in [no_connection(), AttemptReport::new(broken)] {
        let id = bench.add(mail("x")).await;
        bench.answer(verdict).await;
        bench.idle().await;
        assert_eq!(bench.status(id).await, Some(ShownStatus::Frozen));
    }
    end(bench.spool).await;
}

#[tokio::test]
async fn on_error_default() {
    let mut bench = Bench::new().await;
    for (nth, (verdict, expected)) in [
        (refused(Stage::Mail, 550, "5.7.1 no"), None),
        (refused(Stage::Data, 421, "4.7.28 rate limit"), Some(true)),
        (
            refused(Stage::FinalReply, 452, "4.3.1 too many messages"),
            Some(true),
        ),
        (refused(Stage::FinalReply, 451, "4.3.0 later"), Some(false)),
        (refused(Stage::Connect, 554, "5.7.1 not today"), Some(false)),
        (no_connection(), Some(false)),
    ]
    .into_iter()
    .enumerate()
    {
        let mut events = Spool::subscribe(&bench.spool).await.unwrap();
        // Each at a next hop of its own: what one has asked for does not slow the others.
        let add = Add::new(envelope(&["b@example.net"]), "x").next_hop(&format!("mx{nth}.example.net:25"));
        let id = bench.add(add.retry(&minutes(&[1]))).await;
        bench.answer(verdict.clone()).await;
        bench.idle().await;
        assert_eq!(event(&mut events).await, EventKind::Spooled);
        let told = match event(&mut events).await {
            EventKind::Frozen => None,
            EventKind::Delayed(_) => Some(false),
            EventKind::DelayedRateLimited(_) => Some(true),
            other => panic!("{other:?}"),
        };
        assert_eq!(told, expected, "{verdict:?}");
        bench.freeze(id).await;
    }
    end(bench.spool).await;
}

#[tokio::test]
async fn on_error_that_fails_counts_as_try_later() {
    let mut bench = Bench::with(|config| {
        config.hooks.timeout = Duration::from_millis(20);
        let calls = AtomicUsize::new(0);
        config.hooks.on_error(move |_| {
            let call = calls.fetch_add(1, Ordering::SeqCst);
            assert!(call != 0, "told to panic");
            async { std::future::pending().await }
        });
    })
    .await;
    bench.add(mail("x").retry(&minutes(&[1, 1]))).await;
    for _ in 0..2 {
        bench.answer(refused(Stage::Mail, 550, "5.7.1 no")).await;
        assert_eq!(bench.idle().await, Some(bench.after(Duration::from_secs(60))));
        bench.skip().await;
    }
    bench.answer(accepted()).await;
    end(bench.spool).await;
}
