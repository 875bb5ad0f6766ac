//! Why a message is frozen, and how many of its attempts are kept.

use crate::support::*;
use spool_actors::SetMaxConcurrentJobs;
use spool_core::{Frozen, FrozenReason, MAX_LAST_ATTEMPTS, Presend, ShownStatus, Stage};
use std::time::Duration;

async fn why(bench: &Bench, id: spool_core::MessageId) -> Frozen {
    assert_eq!(bench.status(id).await, Some(ShownStatus::Frozen));
    *bench.details(id).await.message.state.frozen.unwrap()
}

#[tokio::test]
async fn a_frozen_message_says_why_also_after_a_crash() {
    let mut bench = Bench::new().await;
    let submitted = bench.add(mail("a").frozen()).await;
    let failed = bench.add(mail("b")).await;
    let mut verdict = refused(Stage::Mail, 550, "5.7.1 go away");
    verdict.peer = Some("mx.example.net:25".parse().unwrap());
    bench.answer(verdict).await;
    bench.idle().await;
    let waiting = bench.add(mail("c").retry(&minutes(&[5]))).await;
    bench.answer(no_connection()).await;
    bench.idle().await;
    bench.freeze(waiting).await;
    let sending = bench.add(mail("d").retry(&minutes(&[5]))).await;
    let running = bench.jobs.next().await;
    bench.freeze(sending).await;
    running.1.send(no_connection()).unwrap();
    bench.idle().await;
    let bench = bench.crash().await;
    let held = |by: Option<&str>| FrozenReason::Held {
        by: by.map(str::to_owned),
    };
    assert_eq!(why(&bench, submitted).await.why, held(Some("its submitter")));
    assert_eq!(why(&bench, waiting).await.why, held(None));
    assert_eq!(why(&bench, sending).await.why, held(None));
    let failed = why(&bench, failed).await;
    assert!(failed.at.is_some());
    assert_eq!(
        failed.why.to_string(),
        "failed at MAIL of mx.example.net:25: 550 5.7.1 go away"
    );
    // No attempt begins: no test code would answer it.
    bench.spool.send(SetMaxConcurrentJobs(0)).await.unwrap().unwrap();
    bench.send(waiting).await;
    assert_eq!(bench.details(waiting).await.message.state.frozen, None);
    end(bench.spool).await;
}

#[tokio::test]
async fn an_expired_message_and_one_frozen_by_the_hook_say_so() {
    let mut bench = Bench::new().await;
    let retry = spool_core::RetryPolicy {
        repeat_last: true,
        expire_after: Some(Duration::from_secs(50)),
        ..minutes(&[1])
    };
    let expired = bench.add(mail("x").retry(&retry)).await;
    bench.answer(no_connection()).await;
    bench.skip().await;
    bench.answer(no_connection()).await;
    assert_eq!(bench.idle().await, None);
    assert_eq!(why(&bench, expired).await.why, FrozenReason::Expired);
    let bench = bench
        .reopen(|config| config.hooks.presend(|_| async { Presend::Freeze }))
        .await;
    let hooked = bench.add(mail("y")).await;
    bench.idle().await;
    assert_eq!(why(&bench, hooked).await.why, FrozenReason::Hook);
    end(bench.spool).await;
}

#[tokio::test]
async fn four_days_of_refusals_keep_the_state_of_a_message_small() {
    let mut bench = Bench::new().await;
    let retry = spool_core::RetryPolicy {
        repeat_last: true,
        expire_after: Some(Duration::from_secs(4 * 86_400)),
        ..minutes(&[1])
    };
    let id = bench.add(mail("x").retry(&retry)).await;
    let verdict = || refused(Stage::Rcpt, 450, "4.2.0 later");
    let mut sizes = Vec::new();
    for attempt in 0..200 {
        // No attempt is left unanswered at the end: the shutdown would wait for it.
        if attempt > 0 {
            bench.skip().await;
        }
        bench.answer(verdict()).await;
        bench.idle().await;
        let state = bench.details(id).await.message.state;
        sizes.push(format!("{state:?}").len());
    }
    let attempts = bench.details(id).await.message.state.attempts;
    assert_eq!(attempts.total(), 200);
    assert_eq!(attempts.len(), 1 + MAX_LAST_ATTEMPTS);
    // As large at the end as it was with all places taken, but for the number left out.
    assert!(sizes[199] <= sizes[25] + 10, "{sizes:?}");
    end(bench.spool).await;
}
