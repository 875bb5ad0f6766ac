//! Destinations that do not answer: their circuit opens, they are tried with one message, and it closes again.

use crate::destinations::{SECOND, to};
use crate::support::*;
use actix::Addr;
use spool_actors::{
    Add, Circuit, Destinations, Explain, KillAndFlush, SendNow, Spool, SpoolActor, WaitIdle, Which,
};
use spool_core::{
    AttemptReport, AttemptResult, BoxFuture, Clock, DeliveryAgent, EventKind, Hold, Job, ManualClock,
    MessageId, RandomDice, Reply, RetryInterval, RetryPolicy, ShownStatus, Stage, Timestamp,
};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Opens the circuit of `mx.example` with `messages` waiting; four of them have been tried at most, and others once.
async fn shut(messages: usize) -> (Bench, Vec<MessageId>) {
    let mut bench = Bench::new().await;
    let mut ids = Vec::new();
    for _ in 0..messages {
        ids.push(bench.add(to("mx.example")).await);
    }
    let tried = bench.answer_all(&no_connection()).await;
    assert!((4..=10).contains(&tried), "{tried}");
    (bench, ids)
}

#[tokio::test]
async fn a_dead_destination_is_paused_and_tried_with_one_message() {
    let (mut bench, ids) = shut(30).await;
    let until = START.after(SECOND);
    assert_eq!(bench.idle().await, Some(until));
    let holds = bench.holds(ids[29]).await;
    let circuit = holds.iter().find_map(|hold| match hold {
        Hold::Circuit {
            until,
            failures,
            reason,
        } => Some((*until, *failures, reason.clone())),
        _ => None,
    });
    assert_eq!(circuit, Some((until, 4, "no connection: refused".to_owned())));
    let known = bench.destination("mx.example").await;
    assert!(
        matches!(known.circuit, Circuit::Open { failures: 4, .. }),
        "{known:?}"
    );
    assert_eq!(
        known.last_error,
        Some((START, "no connection: refused".to_owned()))
    );
    // Nothing of what waits has begun: after a crash it is not in doubt.
    let begun = |bench: &Bench| {
        let disk = on_disk(bench.dir.path());
        disk.iter()
            .filter(|message| message.state.in_flight.is_some())
            .count()
    };
    assert_eq!(begun(&bench), 0);
    for pause in [2, 4] {
        bench.skip().await;
        let (_, answer) = bench.jobs.next().await;
        assert!(matches!(
            bench.destination("mx.example").await.circuit,
            Circuit::HalfOpen { .. }
        ));
        assert!(bench.jobs.none());
        answer.send(no_connection()).unwrap();
        assert_eq!(bench.idle().await, Some(bench.after(SECOND * pause)));
    }
    bench.skip().await;
    // One success closes it, and those that waited go out slowly at first.
    bench.answer(accepted()).await;
    let mut running = vec![bench.jobs.next().await, bench.jobs.next().await];
    while bench.destination("mx.example").await.running < 2 {
        tokio::task::yield_now().await;
    }
    assert!(running.len() <= 3);
    for (_, answer) in running.drain(..) {
        answer.send(accepted()).unwrap();
    }
    bench.answer_all(&accepted()).await;
    assert_eq!(bench.destination("mx.example").await.circuit, Circuit::Closed);
    // Only those that were tried have lost an interval.
    let left = on_disk(bench.dir.path());
    assert!(left.len() <= 12, "{}", left.len());
    assert!(left.iter().all(|message| message.state.attempts.total() == 1));
    end(bench.spool).await;
}

#[tokio::test]
async fn name_servers_that_cannot_say_are_no_answer_of_the_destination() {
    let unknown = AttemptReport::new(AttemptResult::Refused {
        stage: Stage::Route,
        reply: Reply::new(451, "4.4.3 looking for mx.example: SERVFAIL"),
    });
    let (mut bench, _) = shut(30).await;
    bench.skip().await;
    // One message tries it, and it stays shut.
    assert_eq!(bench.answer_all(&unknown).await, 1);
    assert_eq!(bench.idle().await, Some(bench.after(SECOND * 2)));
    // With a destination of which nothing is known, most wait without an attempt.
    for _ in 0..30 {
        bench.add(to("new.example")).await;
    }
    let tried = bench.answer_all(&unknown).await;
    assert!((4..=10).contains(&tried), "{tried}");
    // What is true for good is said of one message after the other.
    let none = AttemptReport::new(AttemptResult::Refused {
        stage: Stage::Route,
        reply: Reply::new(550, "5.1.2 the domain does not exist"),
    });
    bench.clock.advance(SECOND);
    assert_eq!(bench.answer_all(&none).await, 30 - tried);
    end(bench.spool).await;
}

#[tokio::test]
async fn a_circuit_stays_open_over_a_restart() {
    let (bench, ids) = shut(20).await;
    let until = START.after(SECOND);
    let mut bench = bench.reopen(|_| {}).await;
    // What was due is let go bit by bit, and waits again.
    while bench.idle().await.unwrap() < until {
        bench.skip().await;
    }
    assert_eq!(bench.idle().await, Some(until));
    assert!(bench.jobs.none());
    let circuit = |hold: &Hold| matches!(hold, Hold::Circuit { failures: 4, .. });
    assert!(bench.holds(ids[19]).await.iter().any(circuit));
    bench.clock.set(until);
    bench.jobs.next().await;
    assert!(bench.jobs.none());
    // After a day it is forgotten.
    let bench = bench.crash().await;
    bench.clock.advance(Duration::from_secs(90_000));
    let bench = bench.reopen(|_| {}).await;
    assert_eq!(bench.destination("mx.example").await.circuit, Circuit::Closed);
    end(bench.spool).await;
}

#[tokio::test]
async fn a_person_who_sends_a_message_has_its_destination_tried() {
    let (mut bench, ids) = shut(20).await;
    for pause in [2, 4, 8, 16] {
        bench.skip().await;
        bench.answer(no_connection()).await;
        assert_eq!(bench.idle().await, Some(bench.after(SECOND * pause)));
    }
    bench.clock.advance(SECOND * 2);
    assert_eq!(done(&bench.send(ids[19]).await), 1);
    bench.answer(no_connection()).await;
    // Asked again at once, it is tried when a second has passed.
    bench.idle().await;
    assert_eq!(done(&bench.send(ids[19]).await), 1);
    assert_eq!(bench.idle().await, Some(bench.after(SECOND)));
    assert!(bench.jobs.none());
    end(bench.spool).await;
}

#[tokio::test]
async fn sending_everything_tries_a_paused_destination_and_sends_what_it_holds_back() {
    let (mut bench, ids) = shut(20).await;
    for pause in [2, 4, 8, 16, 32, 64] {
        bench.skip().await;
        bench.answer(no_connection()).await;
        assert_eq!(bench.idle().await, Some(bench.after(SECOND * pause)));
    }
    bench.clock.advance(SECOND * 2);
    let everything = SendNow {
        which: Which::AllMessages,
        retry_intervals: vec![],
    };
    assert_eq!(done(&bench.ask(everything).await.unwrap()), 20);
    bench.answer(accepted()).await;
    assert_eq!(bench.answer_all(&accepted()).await, 19);
    assert!(bench.status(ids[0]).await.is_none());
    end(bench.spool).await;
}

#[tokio::test]
async fn what_expires_behind_a_dead_destination_is_given_up_without_an_attempt() {
    let mut bench = Bench::new().await;
    let retry = RetryPolicy {
        repeat_last: true,
        expire_after: Some(Duration::from_secs(3600)),
        ..minutes(&[30])
    };
    let mut ids = Vec::new();
    for _ in 0..100 {
        ids.push(bench.add(to("mx.example").retry(&retry)).await);
    }
    let for_ever = RetryPolicy {
        expire_after: None,
        ..retry
    };
    let lasting = bench.add(to("mx.example").retry(&for_ever)).await;
    bench.answer_all(&no_connection()).await;
    // When they expire is known after a restart.
    let mut bench = bench.reopen(|_| {}).await;
    let mut events = Spool::subscribe(&bench.spool).await.unwrap();
    while bench.clock.now().since(START) < Duration::from_secs(7200) {
        bench.answer_all(&no_connection()).await;
        let next = bench.idle().await.expect("one is left");
        bench.clock.set(next);
    }
    bench.answer_all(&no_connection()).await;
    let mut untried = 0;
    for id in ids {
        assert_eq!(bench.status(id).await, Some(ShownStatus::Frozen));
        let state = bench.details(id).await.message.state;
        assert_eq!((state.failed.len(), state.remaining.len()), (1, 0));
        untried += usize::from(state.attempts.is_empty());
        assert!(!state.attempts.is_empty() || state.failed[0].reason.contains("no attempt was possible"));
    }
    assert!(untried > 10, "{untried}");
    assert_ne!(bench.status(lasting).await, Some(ShownStatus::Frozen));
    let mut expired = 0;
    while expired < 100 {
        match event(&mut events).await {
            EventKind::Expired => expired += 1,
            EventKind::Frozen | EventKind::Delayed(_) => {}
            other => panic!("{other:?}"),
        }
    }
    end(bench.spool).await;
}

/// Answers at once with the result that the test sets, and notes when it was asked.
struct Quick {
    clock: ManualClock,
    asked: Mutex<Vec<Timestamp>>,
    up: AtomicBool,
    verdict: AttemptReport,
}

impl DeliveryAgent for Quick {
    fn deliver(&self, _: Job) -> BoxFuture<AttemptReport> {
        self.asked.lock().unwrap().push(self.clock.now());
        let verdict = if self.up.load(Ordering::SeqCst) {
            accepted()
        } else {
            self.verdict.clone()
        };
        Box::pin(std::future::ready(verdict))
    }
}

async fn quick(dir: &std::path::Path, verdict: AttemptReport) -> (Addr<SpoolActor>, Arc<Quick>) {
    let agent = Arc::new(Quick {
        clock: ManualClock::new(START),
        asked: Mutex::default(),
        up: AtomicBool::new(false),
        verdict,
    });
    let (hands, clock) = (Arc::clone(&agent), Arc::new(agent.clock.clone()));
    let opened = Spool::start(config(dir), hands, clock, Arc::new(RandomDice)).await;
    (opened.unwrap().addr, agent)
}

async fn idle(spool: &Addr<SpoolActor>) -> Option<Timestamp> {
    let asked = tokio::time::timeout(Duration::from_secs(120), spool.send(WaitIdle));
    asked.await.expect("idle").unwrap().unwrap().next_attempt
}

#[tokio::test]
async fn a_dead_next_hop_with_ten_thousand_due_messages_sees_at_most_twenty_attempts_in_two_seconds() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, agent) = quick(dir.path(), no_connection()).await;
    for _ in 0..100 {
        let adds = (0..100).map(|_| spool.send(to("dead.example")));
        for answer in futures_util::future::join_all(adds).await {
            answer.unwrap().unwrap();
        }
    }
    let end = START.after(Duration::from_secs(600));
    while let Some(next) = idle(&spool).await.filter(|next| *next < end) {
        agent.clock.set(next);
    }
    let asked = agent.asked.lock().unwrap().clone();
    let within = |first: &Timestamp| {
        let last = first.after(SECOND * 2);
        asked.iter().filter(|at| (*first..last).contains(*at)).count()
    };
    let most = asked.iter().map(within).max().unwrap();
    println!(
        "{} attempts in ten minutes, at most {most} in two seconds",
        asked.len()
    );
    assert!(most <= 20, "{most}");
    let known = spool.send(Destinations).await.unwrap().unwrap();
    assert_eq!(known[0].messages, 10_000);
    spool.send(KillAndFlush { timeout: None }).await.unwrap();
}

#[tokio::test]
async fn what_waits_is_out_two_minutes_after_a_peer_is_well_that_refused_everybody() {
    let text = "4.7.0 try again later";
    let mut at_rcpt = AttemptReport::new(AttemptResult::AllRefused);
    at_rcpt.refused = partly(&[(0, 421, text)]).refused;
    for verdict in [
        refused(Stage::Connect, 421, text),
        refused(Stage::Mail, 421, text),
        at_rcpt,
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (spool, agent) = quick(dir.path(), verdict.clone()).await;
        let mut last = None;
        for nth in 0..1250 {
            let add = Add::new(envelope(&[&format!("b{nth}@example.net")]), "x");
            let add = add.next_hop("mx.example:25").retry(&minutes(&[60, 60]));
            last = spool.send(add).await.unwrap().unwrap().pop();
        }
        let well = START.after(SECOND * 30);
        while let Some(next) = idle(&spool).await.filter(|next| *next < well) {
            agent.clock.set(next);
        }
        let refused = agent.asked.lock().unwrap().len();
        assert!(refused < 20, "{refused} of {verdict:?}");
        agent.up.store(true, Ordering::SeqCst);
        agent.clock.set(well);
        let holds = spool.send(Explain(last.unwrap())).await.unwrap().unwrap();
        let end = well.after(SECOND * 120);
        for hold in holds {
            if let Hold::RateLimit { until, .. } | Hold::Circuit { until, .. } = hold {
                assert!(until < end, "{until} of {verdict:?}");
            }
        }
        while let Some(next) = idle(&spool).await.filter(|next| *next < end) {
            agent.clock.set(next);
        }
        let left = spool.send(Destinations).await.unwrap().unwrap()[0].messages;
        assert!(left <= refused, "{left} of {verdict:?}");
        spool.send(KillAndFlush { timeout: None }).await.unwrap();
    }
}

#[tokio::test]
async fn messages_that_are_deferred_together_come_back_over_half_of_their_interval() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, agent) = quick(dir.path(), refused(Stage::Mail, 451, "4.3.0 not now")).await;
    let mut events = Spool::subscribe(&spool).await.unwrap();
    let hour = RetryInterval::with_jitter(Duration::from_secs(3600), 0.2);
    let retry = RetryPolicy {
        intervals: vec![hour; 2],
        repeat_last: false,
        expire_after: None,
    };
    let adds = (0..400).map(|_| spool.send(to("busy.example").retry(&retry)));
    for answer in futures_util::future::join_all(adds).await {
        answer.unwrap().unwrap();
    }
    idle(&spool).await;
    let mut until = Vec::new();
    while until.len() < 400 {
        if let EventKind::Delayed(at) = event(&mut events).await {
            until.push(at);
        }
    }
    let (first, last) = (*until.iter().min().unwrap(), *until.iter().max().unwrap());
    assert!(
        last.since(first) >= Duration::from_secs(1800),
        "{first} to {last}"
    );
    // A few alone stay within their jitter.
    let near = until
        .iter()
        .take(16)
        .all(|at| at.since(START) >= Duration::from_secs(2880));
    assert!(
        near && until[..16]
            .iter()
            .all(|at| at.since(START) <= Duration::from_secs(4320))
    );
    agent.up.store(true, Ordering::SeqCst);
    spool.send(KillAndFlush { timeout: None }).await.unwrap();
}

#[tokio::test]
async fn a_message_that_broke_its_session_does_not_count_against_others() {
    let mut bench = Bench::new().await;
    let broken = AttemptReport::new(AttemptResult::Broken {
        stage: Stage::Body,
        error: "reset".into(),
        in_doubt: false,
    });
    bench.add(to("mx.example")).await;
    bench.answer(broken).await;
    bench.idle().await;
    for _ in 0..6 {
        bench.add(to("mx.example")).await;
    }
    assert_eq!(bench.answer_all(&accepted()).await, 6);
    assert_eq!(bench.destination("mx.example").await.circuit, Circuit::Closed);
    end(bench.spool).await;
}
