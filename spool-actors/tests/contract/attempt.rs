//! One attempt: the gate, the outcomes, the schedule.

use crate::support::*;
use spool_actors::{Add, Spool};
use spool_core::{EventKind, RetryPolicy, ShownStatus, Stage, Timestamp};
use std::time::Duration;

#[tokio::test]
async fn gate_lets_one_attempt_at_a_time_start_and_only_of_due_messages() {
    let mut bench = Bench::new().await;
    let id = bench.add(mail("x").retry(&minutes(&[1]))).await;
    let (_, answer) = bench.jobs.next().await;
    bench.send(id).await;
    bench.clock.advance(Duration::from_secs(600));
    assert!(bench.jobs.none());
    answer.send(no_connection()).unwrap();
    let due = bench.idle().await.unwrap();
    bench.clock.set(Timestamp(due.0 - 1));
    assert_eq!(bench.idle().await, Some(due));
    assert!(bench.jobs.none());
    bench.clock.set(due);
    bench.answer(accepted()).await;
    end(bench.spool).await;
}

#[tokio::test]
async fn transaction_keeps_the_reply_of_every_recipient() {
    let mut bench = Bench::new().await;
    let add = Add::new(envelope(&["a@x.example", "b@x.example", "c@x.example"]), "x").next_hop("x:25");
    let id = bench.add(add.retry(&minutes(&[1]))).await;
    let verdict = partly(&[(0, 550, "5.1.1 gone"), (2, 452, "4.2.2 full")]);
    bench.answer(verdict.clone()).await;
    bench.idle().await;
    let state = bench.details(id).await.message.state;
    assert_eq!(state.attempts[0].report.refused, verdict.refused);
    assert_eq!((state.remaining, state.failed[0].recipient), (vec![2], 0));
    end(bench.spool).await;
}

#[tokio::test]
async fn try_later_takes_the_next_interval_until_none_is_left() {
    let mut bench = Bench::new().await;
    let id = bench.add(mail("x").retry(&minutes(&[1, 5]))).await;
    for wait in [60, 300] {
        bench.answer(no_connection()).await;
        assert_eq!(bench.idle().await, Some(bench.after(Duration::from_secs(wait))));
        bench.skip().await;
    }
    bench.answer(no_connection()).await;
    assert_eq!(bench.idle().await, None);
    assert_eq!(bench.status(id).await, Some(ShownStatus::Frozen));
    end(bench.spool).await;
}

#[tokio::test]
async fn expired_messages_are_frozen_and_tell_so() {
    let mut bench = Bench::new().await;
    let mut events = Spool::subscribe(&bench.spool).await.unwrap();
    let retry = RetryPolicy {
        repeat_last: true,
        expire_after: Some(Duration::from_secs(150)),
        ..minutes(&[1])
    };
    bench.add(mail("x").retry(&retry)).await;
    assert_eq!(event(&mut events).await, EventKind::Spooled);
    for _ in 0..3 {
        bench.answer(no_connection()).await;
        assert!(matches!(event(&mut events).await, EventKind::Delayed(_)));
        bench.skip().await;
    }
    bench.answer(no_connection()).await;
    assert_eq!(event(&mut events).await, EventKind::Expired);
    assert_eq!(event(&mut events).await, EventKind::Frozen);
    end(bench.spool).await;
}

#[tokio::test]
async fn attempts_are_all_kept_with_peer_reply_and_time() {
    let mut bench = Bench::new().await;
    let id = bench.add(mail("x").retry(&minutes(&[1, 1]))).await;
    let mut verdict = refused(Stage::Rcpt, 451, "4.7.1 greylisted");
    verdict.peer = Some("mx.example.net:25".parse().unwrap());
    verdict.tls = Some("TLSv1.3".into());
    for verdict in [verdict.clone(), no_connection()] {
        bench.answer(verdict).await;
        bench.skip().await;
    }
    let running = bench.jobs.next().await;
    let bench = bench.crash().await;
    drop(running);
    let details = bench.details(id).await;
    let attempts = &details.message.state.attempts;
    assert_eq!(attempts[0].report, verdict);
    assert_eq!(
        (attempts[0].at, attempts[1].at),
        (START, START.after(Duration::from_secs(60)))
    );
    end(bench.spool).await;
}

/// The ancestor sent everything that was past due in one burst.
#[tokio::test]
async fn past_due_messages_are_released_as_their_destination_takes_them_oldest_first() {
    let bench = Bench::with(|config| config.max_concurrent_jobs = 0).await;
    let mut ids = Vec::new();
    for _ in 0..30 {
        ids.push(bench.add(mail("x")).await);
        bench.clock.advance(Duration::from_millis(1));
    }
    let mut bench = bench
        .reopen(|config| {
            config.max_concurrent_jobs = 100;
            config.max_jobs_per_destination = 3;
        })
        .await;
    let mut oldest = ids.as_slice();
    while !oldest.is_empty() {
        let mut sessions = Vec::new();
        for _ in 0..oldest.len().min(3) {
            sessions.push(bench.jobs.next().await);
        }
        assert!(bench.jobs.none());
        let (expected, rest) = oldest.split_at(sessions.len());
        let mut started: Vec<_> = sessions.iter().map(|(job, _)| job.message).collect();
        started.sort_unstable();
        assert_eq!(started, expected);
        oldest = rest;
        for (_, answer) in sessions {
            answer.send(accepted()).unwrap();
        }
    }
    end(bench.spool).await;
}

#[tokio::test]
async fn five_days_of_outage_pass_at_once() {
    let mut bench = Bench::new().await;
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(bench.add(mail("x")).await);
    }
    let end_of_outage = START.after(Duration::from_secs(5 * 86_400));
    let mut attempts = 0;
    loop {
        let idle = bench.spool.send(spool_actors::WaitIdle);
        tokio::pin!(idle);
        let next = loop {
            tokio::select! {
                idle = &mut idle => break idle.unwrap().unwrap().next_attempt,
                (_, answer) = bench.jobs.next() => {
                    attempts += 1;
                    answer.send(no_connection()).unwrap();
                }
            }
        };
        match next {
            Some(next) if next < end_of_outage => bench.clock.set(next),
            _ => break,
        }
    }
    // 1m 5m 15m 30m 1h 2h 4h, then every 8h until the fourth day is over; less where one waits while another is tried.
    assert!((18 * 20..=20 * 20).contains(&attempts), "{attempts}");
    for id in ids {
        assert_eq!(bench.status(id).await, Some(ShownStatus::Frozen));
    }
    end(bench.spool).await;
}
