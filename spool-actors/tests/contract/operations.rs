//! Add, freeze, send, status, explain: rows of the contract's table of operations.

use crate::support::*;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use spool_actors::{
    Add, Explain, Freeze, Get, GetBody, ListMessages, Purge, Quarantine, Recover, Remove, SendNow,
    SetMaxConcurrentJobs, Spool, Which,
};
use spool_core::store::{Archive, count_from_disk};
use spool_core::{
    AddError, Clock, EventKind, FlowId, Hold, MessageId, RetryInterval, ShownStatus, SpoolError, Stage,
};
use std::time::Duration;

#[tokio::test]
async fn add_keeps_related_ids_flows_and_the_initial_status() {
    let bench = Bench::new().await;
    let other = bench.add(mail("x").frozen()).await;
    let flow = FlowId::random();
    let id = bench.add(mail("y").frozen().related(&[other]).flow(flow)).await;
    let bench = bench.crash().await;
    let message = bench.details(id).await.message;
    assert_eq!(
        (message.related.to_vec(), message.flows),
        (vec![other], vec![flow])
    );
    assert_eq!(bench.status(id).await, Some(ShownStatus::Frozen));
    end(bench.spool).await;
}

#[tokio::test]
async fn add_with_the_same_idempotency_key_spools_nothing_within_the_window() {
    let bench = Bench::with(|config| config.max_concurrent_jobs = 0).await;
    let named = |body| mail(body).idempotency_key("order 17");
    let (first, second) = tokio::join!(bench.ask(named("x")), bench.ask(named("x")));
    let first = first.unwrap();
    assert_eq!(second.unwrap(), first);
    assert_eq!(bench.ask(named("x")).await.unwrap(), first);
    let reused = Err(AddError::KeyReused { ids: first.clone() });
    assert_eq!(bench.ask(named("something else")).await, reused);
    let bench = bench.crash().await;
    assert_eq!(bench.ask(named("x")).await.unwrap(), first);
    assert_eq!(bench.ask(named("something else")).await, reused);
    assert_eq!(count_from_disk(&bench.config.dir).unwrap(), 1);
    bench.clock.advance(Duration::from_secs(86_401));
    assert_ne!(bench.ask(named("another day")).await.unwrap(), first);
    let long = mail("x").idempotency_key("k".repeat(256));
    assert!(matches!(bench.ask(long).await, Err(AddError::Invalid(_))));
    assert_eq!(count_from_disk(&bench.config.dir).unwrap(), 2);
    end(bench.spool).await;
}

#[tokio::test]
async fn freeze_is_durable_voids_the_timer_and_names_unknown_ids() {
    let mut bench = Bench::new().await;
    let id = bench.add(mail("x").retry(&minutes(&[5]))).await;
    bench.answer(no_connection()).await;
    bench.idle().await;
    let mut events = Spool::subscribe(&bench.spool).await.unwrap();
    let unknown = MessageId::from_u128(7);
    let outcome = bench.ask(Freeze(vec![unknown, id, id])).await.unwrap();
    assert_eq!(
        (outcome.done, outcome.errors),
        (1, vec![SpoolError::NoSuchMessage(unknown)])
    );
    assert_eq!(event(&mut events).await, EventKind::Frozen);
    bench.clock.advance(Duration::from_secs(3600));
    assert_eq!(bench.idle().await, None);
    assert!(bench.jobs.none());
    let mut bench = bench.crash().await;
    assert_eq!(bench.status(id).await, Some(ShownStatus::Frozen));
    assert_eq!(bench.idle().await, None);
    assert!(bench.jobs.none());
    end(bench.spool).await;
}

#[tokio::test]
async fn freeze_of_a_message_being_sent_holds_when_its_attempt_ends() {
    let mut bench = Bench::new().await;
    let deferred = bench.add(mail("x")).await;
    let (_, answer) = bench.jobs.next().await;
    assert_eq!(done(&bench.freeze(deferred).await), 1);
    assert_eq!(bench.status(deferred).await, Some(ShownStatus::Sending));
    answer.send(no_connection()).unwrap();
    bench.idle().await;
    assert_eq!(bench.status(deferred).await, Some(ShownStatus::Frozen));
    assert_eq!(bench.details(deferred).await.message.state.attempts.total(), 1);
    let delivered = bench.add(mail("y")).await;
    let (_, answer) = bench.jobs.next().await;
    assert_eq!(done(&bench.freeze(delivered).await), 1);
    answer.send(accepted()).unwrap();
    bench.idle().await;
    assert_eq!(bench.status(delivered).await, None);
    end(bench.spool).await;
}

#[tokio::test]
async fn freeze_of_a_message_being_sent_outlives_a_crash() {
    let mut bench = Bench::new().await;
    let id = bench.add(mail("x")).await;
    let running = bench.jobs.next().await;
    assert_eq!(done(&bench.freeze(id).await), 1);
    let mut bench = bench.crash().await;
    drop(running);
    bench.idle().await;
    assert_eq!(bench.status(id).await, Some(ShownStatus::Frozen));
    let state = bench.details(id).await.message.state;
    assert!(state.attempts[0].report.in_doubt() && bench.jobs.none());
    end(bench.spool).await;
}

#[tokio::test]
async fn freeze_then_send_of_a_message_being_sent_leaves_it_to_its_retries() {
    let mut bench = Bench::new().await;
    let id = bench.add(mail("x").retry(&minutes(&[5]))).await;
    let (_, answer) = bench.jobs.next().await;
    assert_eq!(done(&bench.freeze(id).await), 1);
    assert_eq!(done(&bench.send(id).await), 1);
    answer.send(no_connection()).unwrap();
    assert_eq!(bench.idle().await, Some(bench.after(Duration::from_secs(300))));
    end(bench.spool).await;
}

#[tokio::test]
async fn freeze_takes_due_messages_that_have_not_begun() {
    let mut bench = Bench::with(|config| config.max_jobs_per_destination = 1).await;
    let first = bench.add(mail("first")).await;
    let (_, answer) = bench.jobs.next().await;
    let mut waiting = Vec::new();
    for _ in 0..100 {
        waiting.push(bench.add(mail("x")).await);
    }
    assert_eq!(done(&bench.ask(Freeze(waiting.clone())).await.unwrap()), 100);
    answer.send(accepted()).unwrap();
    bench.idle().await;
    assert!(bench.jobs.none());
    assert_eq!(bench.status(first).await, None);
    for id in waiting {
        assert_eq!(bench.status(id).await, Some(ShownStatus::Frozen));
    }
    let last = bench.add(mail("last")).await;
    let job = bench.answer(accepted()).await;
    assert_eq!(job.message, last);
    end(bench.spool).await;
}

#[tokio::test]
async fn send_attempts_now_voids_the_old_timer_and_leaves_what_is_due_alone() {
    let mut bench = Bench::new().await;
    let id = bench.add(mail("x").retry(&minutes(&[60]))).await;
    bench.answer(no_connection()).await;
    bench.idle().await;
    assert_eq!(done(&bench.send(id).await), 1);
    let (job, answer) = bench.jobs.next().await;
    assert_eq!(job.message, id);
    // Being sent: nothing to do.
    assert_eq!(done(&bench.send(id).await), 1);
    bench.clock.advance(Duration::from_secs(7200));
    assert!(bench.jobs.none());
    answer.send(accepted()).unwrap();
    bench.idle().await;
    assert_eq!(bench.status(id).await, None);
    let outcome = bench.send(id).await;
    assert_eq!(
        (outcome.done, outcome.errors),
        (0, vec![SpoolError::NoSuchMessage(id)])
    );
    end(bench.spool).await;
}

#[tokio::test]
async fn send_takes_frozen_ones_and_waiting_ones_as_asked_for() {
    let mut bench = Bench::new().await;
    let waiting = bench.add(mail("waiting")).await;
    bench.answer(no_connection()).await;
    bench.idle().await;
    let mut events = Spool::subscribe(&bench.spool).await.unwrap();
    let frozen = bench.add(mail("frozen").frozen()).await;
    assert_eq!(event(&mut events).await, EventKind::Spooled);
    let all = |which| SendNow {
        which,
        retry_intervals: vec![],
    };
    assert_eq!(done(&bench.ask(all(Which::FrozenOnly)).await.unwrap()), 1);
    assert_eq!(event(&mut events).await, EventKind::Unfrozen);
    let job = bench.answer(accepted()).await;
    assert_eq!(job.message, frozen);
    assert_eq!(event(&mut events).await, EventKind::Delivered);
    assert_eq!(done(&bench.ask(all(Which::AllMessages)).await.unwrap()), 1);
    let job = bench.answer(accepted()).await;
    assert_eq!(job.message, waiting);
    end(bench.spool).await;
}

/// The ancestor left such a message where no timer found it.
#[tokio::test]
async fn send_that_is_deferred_is_scheduled_like_any_other() {
    let mut bench = Bench::new().await;
    let id = bench.add(mail("x").retry(&minutes(&[60])).frozen()).await;
    let extra = RetryInterval::new(Duration::from_secs(7), Duration::ZERO);
    let which = Which::SomeMessages(vec![id]);
    let send = SendNow {
        which,
        retry_intervals: vec![extra],
    };
    assert_eq!(done(&bench.ask(send).await.unwrap()), 1);
    bench.answer(no_connection()).await;
    assert_eq!(bench.idle().await, Some(bench.after(Duration::from_secs(7))));
    bench.skip().await;
    bench.answer(no_connection()).await;
    assert_eq!(bench.idle().await, Some(bench.after(Duration::from_secs(3600))));
    bench.skip().await;
    bench.answer(accepted()).await;
    bench.idle().await;
    assert_eq!(bench.status(id).await, None);
    end(bench.spool).await;
}

#[tokio::test]
async fn send_tries_failed_recipients_again() {
    let mut bench = Bench::new().await;
    let add = Add::new(envelope(&["gone@x.example", "fine@x.example"]), "x").next_hop("x:25");
    let id = bench.add(add).await;
    bench.answer(partly(&[(0, 550, "5.1.1 gone")])).await;
    bench.idle().await;
    assert_eq!(bench.status(id).await, Some(ShownStatus::Frozen));
    assert_eq!(done(&bench.send(id).await), 1);
    let job = bench.answer(accepted()).await;
    assert_eq!(job.recipients, [0]);
    bench.idle().await;
    assert_eq!(bench.status(id).await, None);
    end(bench.spool).await;
}

#[tokio::test]
async fn status_pages_in_the_order_of_arrival_and_shows_no_envelope_unless_asked() {
    let bench = Bench::with(|config| config.max_concurrent_jobs = 0).await;
    let mut ids = Vec::new();
    for _ in 0..25 {
        ids.push(bench.add(mail("x")).await);
    }
    let mut listed = Vec::new();
    loop {
        let after = listed.last().copied();
        let page = bench
            .ask(ListMessages {
                after,
                limit: 10,
                ..ListMessages::default()
            })
            .await
            .unwrap();
        assert!(page.iter().all(|message| message.envelope.is_none()));
        listed.extend(page.iter().map(|message| message.id));
        if page.len() < 10 {
            break;
        }
    }
    assert_eq!(listed, ids);
    end(bench.spool).await;
}

#[tokio::test]
async fn explain_names_every_hold_in_order() {
    let mut bench = Bench::with(|config| {
        config.max_concurrent_jobs = 1;
        config.max_jobs_per_destination = 1;
    })
    .await;
    let running = bench.add(mail("x").retry(&minutes(&[5]))).await;
    let (_, answer) = bench.jobs.next().await;
    let since = bench.clock.now();
    assert_eq!(bench.holds(running).await, [Hold::Sending { since }]);
    let armed = bench.add(mail("y").retry(&minutes(&[5]))).await;
    let (max, one) = (1, 1);
    let limits = [
        Hold::DestinationLimit { max, running: one },
        Hold::JobsLimit { max, running: one },
        Hold::FairShare { max },
    ];
    assert_eq!(bench.holds(armed).await, limits);
    let frozen = bench.add(mail("z").frozen()).await;
    assert_eq!(bench.holds(frozen).await, [Hold::Frozen]);
    bench.ask(SetMaxConcurrentJobs(0)).await.unwrap();
    let paused = bench.holds(armed).await;
    assert_eq!(paused[0], Hold::Paused);
    // A pause is not reported a second time as a limit of sessions.
    let sessions = |hold: &Hold| matches!(hold, Hold::JobsLimit { .. } | Hold::FairShare { .. });
    assert!(!paused.iter().any(sessions), "{paused:?}");
    answer.send(no_connection()).unwrap();
    bench.idle().await;
    let until = bench.after(Duration::from_secs(300));
    let waiting = bench.holds(running).await;
    assert_eq!(waiting[..2], [Hold::RetryTime { until }, Hold::Paused]);
    let unknown = MessageId::from_u128(3);
    assert_eq!(
        bench.ask(Explain(unknown)).await,
        Err(SpoolError::NoSuchMessage(unknown))
    );
    end(bench.spool).await;
}

#[tokio::test]
async fn operations_on_a_closed_spool_say_so() {
    let bench = Bench::new().await;
    let id = bench.add(mail("x").frozen()).await;
    end(bench.spool.clone()).await;
    // As long as an address is held; the directory is free meanwhile.
    let other = Bench::on(&bench.config).await;
    end(other).await;
    let killed = SpoolError::Killed;
    assert_eq!(bench.ask(Remove(vec![id])).await, Err(killed.clone()));
    assert_eq!(bench.ask(Freeze(vec![id])).await, Err(killed.clone()));
    let recover = Recover {
        ids: vec![id],
        from: Archive::Removed,
    };
    assert_eq!(bench.ask(recover).await, Err(killed.clone()));
    let purge = Purge {
        older_than: Duration::ZERO,
        ids: None,
    };
    assert_eq!(bench.ask(purge).await, Err(killed.clone()));
    assert_eq!(bench.ask(mail("y")).await, Err(AddError::Killed));
    assert_eq!(bench.ask(Get(id)).await, Err(killed.clone()));
    assert_eq!(bench.ask(GetBody(id)).await, Err(killed.clone()));
    assert_eq!(bench.ask(Explain(id)).await, Err(killed.clone()));
    assert_eq!(bench.ask(ListMessages::default()).await, Err(killed.clone()));
    assert_eq!(bench.ask(spool_actors::Destinations).await, Err(killed.clone()));
    assert_eq!(bench.ask(spool_actors::GetStats).await, Err(killed.clone()));
    assert_eq!(bench.ask(spool_actors::GetJobs).await, Err(killed.clone()));
    assert_eq!(bench.ask(spool_actors::WaitIdle).await, Err(killed.clone()));
    assert_eq!(bench.ask(spool_actors::WhenLoaded).await, Err(killed.clone()));
    assert_eq!(bench.ask(SetMaxConcurrentJobs(3)).await, Err(killed.clone()));
    for since in [None, Some(0)] {
        let subscribed = bench.ask(spool_actors::Subscribe { since }).await;
        assert_eq!(subscribed.err(), Some(killed.clone()));
    }
    assert_eq!(
        bench.ask(spool_actors::WhenEnded).await,
        spool_actors::Ending::Killed
    );
    end(bench.spool).await;
    let mut bench = Bench::new().await;
    let hung = bench.add(mail("x")).await;
    // Its session keeps the spool from ending.
    let _session = bench.jobs.next().await;
    let timeout = Some(Duration::from_millis(1));
    bench.ask(spool_actors::KillAndFlush { timeout }).await;
    assert_eq!(bench.ask(Freeze(vec![hung])).await, Err(SpoolError::Killed));
    assert_eq!(bench.ask(Explain(hung)).await, Err(SpoolError::Killed));
    assert_eq!(bench.ask(GetBody(hung)).await, Err(SpoolError::Killed));
    let quarantine = Quarantine {
        reason: String::new(),
        mail: mail("x"),
    };
    assert_eq!(bench.ask(quarantine).await, Err(AddError::Killed));
}

#[tokio::test]
async fn what_is_refused_for_its_sender_is_frozen_and_named_in_its_attempts() {
    let mut bench = Bench::new().await;
    let id = bench.add(mail("x")).await;
    bench.answer(refused(Stage::Mail, 550, "5.7.1 no")).await;
    bench.idle().await;
    let state = bench.details(id).await.message.state;
    assert_eq!((state.failed.len(), state.attempts.total()), (1, 1));
    assert_eq!(state.failed[0].reply.as_ref().unwrap().code, 550);
    end(bench.spool).await;
}

#[tokio::test]
async fn one_operation_more_than_may_run_at_once_is_busy() {
    let (go_on, wait) = tokio::sync::watch::channel(false);
    let bench = Bench::with(move |config| {
        config.hooks.presend(move |_| {
            let mut wait = wait.clone();
            async move {
                let _ = wait.wait_for(|go_on| *go_on).await;
                spool_core::Presend::SendNow
            }
        });
    })
    .await;
    let id = bench.add(mail("x")).await;
    // While the hook is asked, they wait for the message.
    let operations = (0..65).map(|_| bench.spool.send(Freeze(vec![id])));
    let mut operations: FuturesUnordered<_> = operations.collect();
    let first = operations.next().await.unwrap().unwrap();
    assert!(matches!(first, Err(SpoolError::Busy)), "{first:?}");
    go_on.send(true).unwrap();
    let mut done = 0;
    while let Some(outcome) = operations.next().await {
        outcome.unwrap().unwrap();
        done += 1;
    }
    assert_eq!(done, 64);
    end(bench.spool).await;
}
