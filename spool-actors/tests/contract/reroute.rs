//! A person gives messages another route.

use crate::destinations::to;
use crate::routes::{configured, goes_to, hops, routing};
use crate::support::*;
use spool_actors::{NewRoute, Reroute, SendNow, Spool, Which};
use spool_core::{EventKind, Hold, MessageId, RouteOrigin, ShownStatus, SpoolError, Stage};

#[tokio::test]
async fn reroute_is_durable_and_stays() {
    let mut bench = Bench::routed_to("old:25").await;
    let mut events = Spool::subscribe(&bench.spool).await.unwrap();
    let waiting = bench.add(configured(&["1@a.example"], "old:25")).await;
    bench.answer(no_connection()).await;
    bench.idle().await;
    let frozen = bench.add(configured(&["2@a.example"], "old:25").frozen()).await;
    for _ in 0..3 {
        event(&mut events).await;
    }
    let due = bench.status(waiting).await;
    let unknown = MessageId::from_u128(7);
    let outcome = bench
        .reroute(&[waiting, frozen, unknown], NewRoute::To(hops(&["named:25"])))
        .await;
    assert_eq!(
        (outcome.done, outcome.errors),
        (2, vec![SpoolError::NoSuchMessage(unknown)])
    );
    for _ in 0..2 {
        assert_eq!(event(&mut events).await, EventKind::Rerouted(hops(&["named:25"])));
    }
    assert_eq!(bench.status(waiting).await, due, "its time stays");
    assert_eq!(bench.status(frozen).await, Some(ShownStatus::Frozen));
    let bench = bench.crash().await;
    bench.set_routing(routing(&[], "new:25")).await;
    bench.idle().await;
    assert!(bench.lines().await.values().all(|line| line == "named:25"));
    assert_eq!(bench.details(waiting).await.message.origin, RouteOrigin::Named);
    let outcome = bench.reroute(&[waiting, frozen], NewRoute::ByConfig).await;
    assert_eq!(done(&outcome), 2);
    assert!(bench.lines().await.values().all(|line| line == "new:25"));
    let bench = bench
        .reopen(|config| config.routing = routing(&[], "last:25"))
        .await;
    bench.idle().await;
    assert!(bench.lines().await.values().all(|line| line == "last:25"));
    end(bench.spool).await;
}

#[tokio::test]
async fn reroute_of_a_message_being_sent_holds_when_its_attempt_ends() {
    let mut bench = Bench::new().await;
    let id = bench.add(mail("x").retry(&minutes(&[5]))).await;
    let (job, answer) = bench.jobs.next().await;
    assert_eq!(
        done(&bench.reroute(&[id], NewRoute::To(hops(&["named:25"]))).await),
        1
    );
    // Meanwhile both are reported: where it is being sent, and where it goes afterwards.
    let next_hops = hops(&["named:25"]);
    let details = bench.details(id).await;
    assert_eq!(details.message.next_hops, job.next_hops);
    assert_eq!(details.next_hops_afterwards.as_ref(), Some(&next_hops));
    let holds = bench.holds(id).await;
    let [Hold::Sending { .. }, told] = holds.as_slice() else {
        panic!("{holds:?}");
    };
    assert_eq!(told, &Hold::NewRoute { next_hops });
    assert!(told.to_string().ends_with(" goes to named:25"), "{told}");
    answer.send(no_connection()).unwrap();
    bench.idle().await;
    assert_eq!(bench.lines().await[&id], "named:25");
    assert_eq!(bench.details(id).await.next_hops_afterwards, None);
    bench.skip().await;
    let (job, _answer) = bench.jobs.next().await;
    assert_eq!(goes_to(&job), "named:25");
    // It was on disk before the attempt had ended.
    assert_eq!(
        done(&bench.reroute(&[id], NewRoute::To(hops(&["other:25"]))).await),
        1
    );
    let mut bench = bench.crash().await;
    bench.sent_to("other:25").await;
    bench.idle().await;
    end(bench.spool).await;
}

#[tokio::test]
async fn reroute_takes_what_waits_for_a_dead_host_to_another_one() {
    let mut bench = Bench::new().await;
    for _ in 0..20 {
        bench.add(to("dead.example")).await;
    }
    bench
        .answer_all(&refused(Stage::Connect, 421, "4.3.2 down"))
        .await;
    let ids: Vec<MessageId> = bench.lines().await.into_keys().collect();
    assert_eq!(
        done(&bench.reroute(&ids, NewRoute::To(hops(&["good:25"]))).await),
        ids.len()
    );
    let which = Which::AllMessages;
    let send = SendNow {
        which,
        retry_intervals: vec![],
    };
    bench.ask(send).await.unwrap();
    for _ in 0..ids.len() {
        bench.sent_to("good:25").await;
    }
    bench.idle().await;
    end(bench.spool).await;
}

#[tokio::test]
async fn reroute_by_config_needs_a_configuration_and_a_route_needs_a_next_hop() {
    let bench = Bench::new().await;
    let id = bench.add(mail("x").frozen()).await;
    for (to, error) in [
        (NewRoute::ByConfig, SpoolError::NoConfiguration),
        (NewRoute::To([].into()), SpoolError::NoNextHop),
    ] {
        let refused = bench.ask(Reroute { ids: vec![id], to }).await;
        assert_eq!(refused, Err(error));
    }
    end(bench.spool).await;
}
