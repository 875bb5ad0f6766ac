//! When the start of an attempt is recorded, what withdraws it, and what destinations of one path share.

use crate::support::*;
use spool_actors::{Destinations, NewRoute, Reroute, SetMaxConcurrentJobs, Subscribe};
use spool_core::{Clock, EventKind, Hold, NextHop, ShownStatus, Withdrawn};
use std::sync::Arc;
use std::time::Duration;

const PATH: &str = "mx.example.net:25";

async fn bench() -> Bench {
    Bench::on_path(PATH, |_| {}).await
}

/// Whether the start of an attempt at the only message is on disk.
fn is_begun(bench: &Bench) -> bool {
    let messages = on_disk(bench.dir.path());
    assert_eq!(messages.len(), 1);
    messages[0].state.in_flight.is_some()
}

#[tokio::test]
async fn an_attempt_without_a_session_leaves_nothing_on_disk() {
    let mut bench = bench().await;
    let id = bench.add(mail("x").retry(&minutes(&[5]))).await;
    let (job, answer) = bench.jobs.next().await;
    assert_eq!(*job.path, [PATH.parse().unwrap()]);
    assert!(!is_begun(&bench), "it has no session");
    assert_eq!(bench.status(id).await, Some(ShownStatus::Sending));
    answer.send(no_connection()).unwrap();
    assert!(bench.idle().await.is_some());
    assert!(!bench.details(id).await.message.state.attempts.is_empty());
    // The next one finds a session.
    bench.clock.set(bench.after(Duration::from_secs(300)));
    let (job, answer) = bench.jobs.next().await;
    assert_eq!(job.begin.record().await, Ok(()));
    assert!(is_begun(&bench));
    assert_eq!(job.begin.record().await, Ok(()), "it stays so");
    answer.send(accepted()).unwrap();
    assert_eq!(bench.idle().await, None);
    end(bench.spool).await;
}

#[tokio::test]
async fn a_message_that_is_frozen_while_its_session_is_opened_is_not_sent() {
    let mut bench = bench().await;
    let mut events = bench.ask(Subscribe { since: Some(0) }).await.unwrap();
    let id = bench.add(mail("x")).await;
    let (job, answer) = bench.jobs.next().await;
    assert_eq!(done(&bench.freeze(id).await), 1);
    assert_eq!(event(&mut events).await, EventKind::Spooled);
    let frozen = events.next().await.expect("the spool lives");
    assert_eq!(frozen.kind, EventKind::Frozen, "a crash must not lose it");
    assert!(frozen.reason.is_some());
    assert!(!is_begun(&bench));
    assert_eq!(job.begin.record().await, Err(Withdrawn));
    answer.send(not_begun()).unwrap();
    assert_eq!(bench.idle().await, None);
    assert_eq!(bench.status(id).await, Some(ShownStatus::Frozen));
    let state = bench.details(id).await.message.state;
    assert!(state.attempts.is_empty() && state.in_flight.is_none());
    bench.send(id).await;
    assert_eq!(
        event(&mut events).await,
        EventKind::Unfrozen,
        "it was frozen once"
    );
    bench.answer(accepted()).await;
    end(bench.spool).await;
}

#[tokio::test]
async fn a_message_is_frozen_since_the_operation_not_since_the_end_of_its_session() {
    let mut bench = bench().await;
    let id = bench.add(mail("x").retry(&minutes(&[5]))).await;
    let (job, answer) = bench.jobs.next().await;
    assert_eq!(job.begin.record().await, Ok(()));
    let asked_at = bench.clock.now();
    assert_eq!(done(&bench.freeze(id).await), 1);
    bench.clock.set(bench.after(Duration::from_secs(60)));
    answer.send(no_connection()).unwrap();
    bench.idle().await;
    let frozen = bench
        .details(id)
        .await
        .message
        .state
        .frozen
        .expect("it is frozen");
    assert_eq!(frozen.at, Some(asked_at));
    end(bench.spool).await;
}

#[tokio::test]
async fn a_route_that_changes_while_a_session_is_opened_holds() {
    let mut bench = bench().await;
    let id = bench.add(mail("x")).await;
    let (job, answer) = bench.jobs.next().await;
    let to: Arc<[NextHop]> = ["other.example.net:25".parse().unwrap()].into();
    let reroute = Reroute {
        ids: vec![id],
        to: NewRoute::To(Arc::clone(&to)),
    };
    assert_eq!(done(&bench.ask(reroute).await.unwrap()), 1);
    assert_eq!(job.begin.record().await, Err(Withdrawn));
    answer.send(not_begun()).unwrap();
    let (job, answer) = bench.jobs.next().await;
    assert_eq!(job.next_hops, to);
    assert_eq!(job.begin.record().await, Ok(()));
    answer.send(accepted()).unwrap();
    assert_eq!(bench.idle().await, None);
    end(bench.spool).await;
}

#[tokio::test]
async fn no_attempt_begins_while_delivery_is_paused() {
    let mut bench = bench().await;
    bench.add(mail("x")).await;
    let (job, answer) = bench.jobs.next().await;
    bench.ask(SetMaxConcurrentJobs(0)).await.unwrap();
    assert_eq!(job.begin.record().await, Err(Withdrawn));
    answer.send(not_begun()).unwrap();
    assert_eq!(bench.idle().await, None);
    assert!(!is_begun(&bench) && bench.jobs.none());
    bench.ask(SetMaxConcurrentJobs(1)).await.unwrap();
    let (job, answer) = bench.jobs.next().await;
    assert_eq!(job.begin.record().await, Ok(()));
    answer.send(accepted()).unwrap();
    assert_eq!(bench.idle().await, None);
    end(bench.spool).await;
}

#[tokio::test]
async fn an_agent_that_does_not_begin_by_itself_is_asked_again_after_a_pause() {
    let mut bench = bench().await;
    let id = bench.add(mail("x")).await;
    bench.answer(not_begun()).await;
    let again = bench.idle().await.expect("it waits");
    assert!(again > bench.clock.now());
    assert!(bench.details(id).await.message.state.attempts.is_empty());
    bench.clock.set(again);
    bench.answer(accepted()).await;
    assert_eq!(bench.idle().await, None);
    end(bench.spool).await;
}

#[tokio::test]
async fn destinations_of_one_path_share_its_limits() {
    let mut bench = Bench::on_path(PATH, |config| config.max_jobs_per_destination = 2).await;
    let mut ids = Vec::new();
    for host in ["a.example:25", "b.example:25", "c.example:25"] {
        ids.push(bench.add(mail("x").next_hop(host)).await);
    }
    let first = [bench.jobs.next().await, bench.jobs.next().await];
    assert!(bench.jobs.none());
    let mut holds = bench.holds(ids[2]).await;
    // Its path is looked up by another actor.
    for _ in 0..10_000 {
        if holds != [Hold::PathLookup] {
            break;
        }
        tokio::task::yield_now().await;
        holds = bench.holds(ids[2]).await;
    }
    assert!(
        holds.contains(&Hold::DestinationLimit { max: 2, running: 2 }),
        "{holds:?}"
    );
    let states = bench.ask(Destinations).await.unwrap();
    assert!(states.iter().all(|state| *state.path == [PATH.parse().unwrap()]));
    for (_, answer) in first {
        answer.send(accepted()).unwrap();
    }
    let job = bench.answer(accepted()).await;
    assert_eq!(job.message, ids[2]);
    assert_eq!(bench.idle().await, None);
    end(bench.spool).await;
}
