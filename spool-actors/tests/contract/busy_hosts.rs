//! Hosts that many destinations share: an attempt for which there is no connection is none.

use crate::support::*;
use spool_actors::{Explain, Spool};
use spool_core::{
    AttemptReport, AttemptResult, Clock, DestinationPolicy, EventKind, Hold, Policies, Rate, RetryPolicy,
    ShownStatus,
};
use std::time::Duration;

fn not_begun() -> AttemptReport {
    let mut report = AttemptReport::new(AttemptResult::NotBegun {
        reason: "all connections to mx.example.net:25 are in use".to_owned(),
    });
    report.peer = Some("mx.example.net:25".parse().unwrap());
    report
}

#[tokio::test]
async fn an_attempt_that_did_not_begin_takes_nothing_from_its_message() {
    let mut bench = Bench::new().await;
    let mut events = Spool::subscribe(&bench.spool).await.unwrap();
    let (first, second) = (bench.add(mail("1")).await, bench.add(mail("2")).await);
    let (job, answer) = bench.jobs.next().await;
    let (other, other_answer) = bench.jobs.next().await;
    assert_eq!((job.message, other.message), (first, second));
    // Both were asked for before it was known that there is none: they are of one round.
    answer.send(not_begun()).unwrap();
    other_answer.send(not_begun()).unwrap();
    for pause in [250, 500, 1000] {
        let until = bench.clock.now().after(Duration::from_millis(pause));
        assert_eq!(bench.idle().await, Some(until));
        for id in [first, second] {
            let holds = bench.ask(Explain(id)).await.unwrap();
            let busy = |hold: &Hold| matches!(hold, Hold::HostBusy { until: at, .. } if *at == until);
            assert!(holds.iter().any(busy), "{holds:?}");
        }
        for message in on_disk(bench.dir.path()) {
            assert!(message.state.in_flight.is_none() && message.state.attempts.is_empty());
        }
        bench.clock.set(until);
        // One asks for both.
        let (_, answer) = bench.jobs.next().await;
        answer.send(not_begun()).unwrap();
    }
    bench.skip().await;
    for _ in 0..2 {
        let (_, answer) = bench.jobs.next().await;
        answer.send(accepted()).unwrap();
    }
    assert_eq!(bench.idle().await, None);
    let mut told = Vec::new();
    for _ in 0..4 {
        told.push(event(&mut events).await);
    }
    let count = |kind: &EventKind| told.iter().filter(|other| *other == kind).count();
    assert_eq!(
        (count(&EventKind::Spooled), count(&EventKind::Delivered)),
        (2, 2),
        "{told:?}"
    );
    end(bench.spool).await;
}

#[tokio::test]
async fn freeze_holds_when_an_attempt_did_not_begin() {
    let mut bench = Bench::new().await;
    let id = bench.add(mail("x")).await;
    let (_, answer) = bench.jobs.next().await;
    assert_eq!(done(&bench.freeze(id).await), 1);
    answer.send(not_begun()).unwrap();
    assert_eq!(bench.idle().await, None);
    assert_eq!(bench.status(id).await, Some(ShownStatus::Frozen));
    let details = bench.details(id).await;
    assert!(details.message.state.attempts.is_empty() && details.message.state.in_flight.is_none());
    end(bench.spool).await;
}

#[tokio::test]
async fn a_message_for_which_there_is_never_a_connection_expires() {
    let mut bench = Bench::new().await;
    let mut events = Spool::subscribe(&bench.spool).await.unwrap();
    let retry = RetryPolicy {
        expire_after: Some(Duration::from_secs(3600)),
        ..minutes(&[5])
    };
    let id = bench.add(mail("x").retry(&retry)).await;
    let answer_after = async |bench: &mut Bench, seconds| {
        bench.clock.set(bench.after(Duration::from_secs(seconds)));
        let (_, answer) = bench.jobs.next().await;
        answer.send(not_begun()).unwrap();
        bench.idle().await
    };
    assert!(answer_after(&mut bench, 0).await.is_some());
    assert!(answer_after(&mut bench, 3590).await.is_some());
    // A clock that is set is no time that has passed.
    bench
        .clock
        .jump(bench.clock.now().after(Duration::from_secs(365 * 86_400)));
    assert!(answer_after(&mut bench, 8).await.is_some());
    assert_eq!(answer_after(&mut bench, 10).await, None);
    assert_eq!(bench.status(id).await, Some(ShownStatus::Frozen));
    for expected in [EventKind::Spooled, EventKind::Expired, EventKind::Frozen] {
        assert_eq!(event(&mut events).await, expected);
    }
    let state = bench.details(id).await.message.state;
    assert!(state.attempts.is_empty() && state.in_flight.is_none() && state.remaining.is_empty());
    assert!(state.failed[0].reason.contains("in use"), "{:?}", state.failed);
    end(bench.spool).await;
}

#[tokio::test]
async fn an_attempt_that_did_not_begin_takes_nothing_from_the_rate() {
    let mut policy = DestinationPolicy::default();
    policy.rate = Some(Rate::new(1, Duration::from_secs(3600)).unwrap());
    let mut bench = Bench::with(|config| config.policies = Policies::new(move |_| policy)).await;
    for body in ["1", "2"] {
        bench.add(mail(body)).await;
    }
    for pause in [250, 500] {
        let (_, answer) = bench.jobs.next().await;
        answer.send(not_begun()).unwrap();
        let until = bench.after(Duration::from_millis(pause));
        assert_eq!(bench.idle().await, Some(until));
        bench.clock.set(until);
    }
    let (_, answer) = bench.jobs.next().await;
    answer.send(accepted()).unwrap();
    assert_eq!(bench.idle().await, Some(bench.after(Duration::from_secs(3600))));
    end(bench.spool).await;
}

#[tokio::test]
async fn what_waits_for_a_host_has_no_begin_on_disk() {
    let mut bench = Bench::new().await;
    for _ in 0..20 {
        bench.add(mail("x")).await;
    }
    let in_flight = |bench: &Bench| {
        let messages = on_disk(bench.dir.path());
        messages
            .iter()
            .filter(|message| message.state.in_flight.is_some())
            .count()
    };
    let mut asked = Vec::new();
    for _ in 0..4 {
        asked.push(bench.jobs.next().await.1);
    }
    for answer in asked {
        answer.send(not_begun()).unwrap();
    }
    let until = bench.idle().await.unwrap();
    assert_eq!(in_flight(&bench), 0);
    bench.clock.set(until);
    let (_, answer) = bench.jobs.next().await;
    // The begin of the next one is written while the first one runs.
    for _ in 0..1_000 {
        if in_flight(&bench) == 2 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(in_flight(&bench), 2, "one asks for all, and one is next");
    answer.send(accepted()).unwrap();
    for _ in 1..20 {
        let (_, answer) = bench.jobs.next().await;
        answer.send(accepted()).unwrap();
    }
    assert_eq!(bench.idle().await, None);
    end(bench.spool).await;
}

#[tokio::test]
async fn a_message_goes_out_when_a_connection_of_its_host_is_told_of() {
    let mut bench = Bench::new().await;
    for body in ["1", "2"] {
        bench.add(mail(body)).await;
    }
    let mut asked = Vec::new();
    for _ in 0..2 {
        asked.push(bench.jobs.next().await.1);
    }
    for answer in asked {
        answer.send(not_begun()).unwrap();
    }
    assert!(bench.idle().await.is_some());
    // Of another host, and then of its own; the clock stands still.
    bench.tell_room("other.example.net:25");
    assert!(bench.idle().await.is_some() && bench.jobs.none());
    bench.tell_room("mx.example.net:25");
    let (_, answer) = bench.jobs.next().await;
    answer.send(not_begun()).unwrap();
    // In vain: each word is good for one message.
    let until = bench.idle().await;
    assert_eq!(until, Some(bench.after(Duration::from_millis(500))));
    bench.tell_room("mx.example.net:25");
    for _ in 0..2 {
        let (_, answer) = bench.jobs.next().await;
        answer.send(accepted()).unwrap();
    }
    assert_eq!(bench.idle().await, None);
    end(bench.spool).await;
}
