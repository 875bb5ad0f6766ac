//! A wall clock that is set by ten years, either way, under a running spool and while it is closed.

use crate::support::*;
use spool_core::{Clock, EventKind, RetryPolicy, ShownStatus, Timestamp};
use std::time::Duration;

const TEN_YEARS: i64 = 10 * 365 * 86_400_000;
const FIVE_MINUTES: Duration = Duration::from_secs(300);

/// Every five minutes, for a day.
fn retries() -> RetryPolicy {
    RetryPolicy {
        repeat_last: true,
        expire_after: Some(Duration::from_secs(86_400)),
        ..minutes(&[5])
    }
}

#[tokio::test]
async fn a_clock_that_is_set_by_ten_years_moves_no_retry_and_expires_nothing() {
    for millis in [TEN_YEARS, -TEN_YEARS] {
        let mut bench = Bench::new().await;
        let id = bench
            .add(mail("x").retry(&retries()).idempotency_key("once"))
            .await;
        bench.answer(no_connection()).await;
        assert_eq!(bench.idle().await, Some(bench.after(FIVE_MINUTES)));

        bench.clock.jump(bench.clock.now().shifted(millis));
        let due = bench.after(FIVE_MINUTES);
        // The name is remembered, a new id is a new id, and rises.
        assert_eq!(bench.add(mail("x").idempotency_key("once")).await, id);
        let later = bench.add(mail("frozen").frozen()).await;
        assert!(later > id);
        assert_eq!(bench.idle().await, Some(due), "{millis}");
        assert!(bench.jobs.none());
        bench.clock.set(Timestamp(due.0 - 1));
        assert_eq!(bench.idle().await, Some(due));
        bench.clock.set(due);
        let job = bench.answer(no_connection()).await;
        assert_eq!(job.message, id);
        assert_eq!(bench.idle().await, Some(bench.after(FIVE_MINUTES)), "{millis}");

        // Expiry is where it was: a day after the add, less the five minutes that have passed.
        let day = retries().expire_after.unwrap();
        let end = bench.after(day - FIVE_MINUTES);
        let state = bench.details(id).await.message.state;
        assert_eq!(state.expires_at, Some(end), "{millis}");
        assert_eq!(
            state.status,
            spool_core::Status::SendAt(bench.after(FIVE_MINUTES))
        );
        bench.clock.set(end);
        bench.answer(no_connection()).await;
        bench.idle().await;
        assert_eq!(bench.status(id).await, Some(ShownStatus::Frozen));
        end_of(bench).await;
    }
}

async fn end_of(bench: Bench) {
    end(bench.spool).await;
}

#[tokio::test]
async fn an_attempt_that_runs_while_the_clock_is_set_expires_no_earlier() {
    let mut bench = Bench::new().await;
    let id = bench.add(mail("x").retry(&retries())).await;
    let (_, answer) = bench.jobs.next().await;
    bench.clock.jump(bench.clock.now().shifted(TEN_YEARS));
    answer.send(no_connection()).unwrap();
    assert_eq!(bench.idle().await, Some(bench.after(FIVE_MINUTES)));
    assert!(matches!(bench.status(id).await, Some(ShownStatus::SendAt(_))));
    end_of(bench).await;
}

#[tokio::test]
async fn a_clock_that_was_set_while_the_spool_was_closed_holds_nothing_up() {
    for millis in [TEN_YEARS, -TEN_YEARS] {
        let mut bench = Bench::new().await;
        let retried = bench.add(mail("x").retry(&retries())).await;
        bench.answer(no_connection()).await;
        bench.idle().await;
        end(bench.spool.clone()).await;
        bench.clock.jump(bench.clock.now().shifted(millis));
        let mut bench = bench.reopen_ended().await;
        if millis < 0 {
            assert_eq!(bench.idle().await, Some(bench.after(FIVE_MINUTES)));
            assert!(bench.jobs.none());
            bench.skip().await;
        } else {
            // The backlog is let go bit by bit.
            bench.clock.advance(Duration::from_millis(100));
        }
        // Ten years on it may have lain for ten years: it is tried at once, and given up only if that fails.
        let job = bench.answer(accepted()).await;
        assert_eq!(job.message, retried);
        let added = bench.add(mail("y").frozen()).await;
        assert!(added > retried);
        assert_eq!(bench.idle().await, None);
        assert_eq!(bench.status(retried).await, None);
        end_of(bench).await;
    }
}

#[tokio::test]
async fn a_wait_that_the_presend_hook_asked_for_is_as_long_as_it_said() {
    let asked = Duration::from_secs(3600);
    let mut bench = Bench::with(|config| {
        config.hooks.presend(move |message| async move {
            spool_core::Presend::SendAt(message.spooled_at.after(asked))
        });
    })
    .await;
    let mut events = spool_actors::Spool::subscribe(&bench.spool).await.unwrap();
    bench.add(mail("x")).await;
    while !matches!(event(&mut events).await, EventKind::Delayed(_)) {}
    end(bench.spool.clone()).await;
    bench.clock.jump(bench.clock.now().shifted(-TEN_YEARS));
    bench = bench.reopen_ended().await;
    assert_eq!(bench.idle().await, Some(bench.after(asked)));
    end_of(bench).await;
}
