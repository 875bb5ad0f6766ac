//! Destinations: rates, limits and circuits, as whoever asks the spool sees them.

use crate::support::*;
use actix::Addr;
use spool_actors::{
    Add, Circuit, DestinationState, Destinations, Explain, GetJobs, KillAndFlush, SetPolicies, Spool,
    SpoolActor, WaitIdle,
};
use spool_core::{
    AttemptReport, AttemptResult, BoxFuture, Clock, DeliveryAgent, DestinationPolicy, EventKind, Hold, Job,
    ManualClock, MessageId, Policies, RandomDice, Rate, Reply, RetryInterval, RetryPolicy, ShownStatus,
    Stage, Timestamp,
};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn to(host: &str) -> Add {
    Add::new(envelope(&["b@example.net"]), "x")
        .next_hop(&format!("{host}:25"))
        .retry(&minutes(&[5, 5, 5, 5, 5, 5, 5, 5]))
}

/// `slow.example` has this policy, all else has none.
fn policies(policy: DestinationPolicy) -> Policies {
    Policies::new(move |hops| match hops {
        [hop] if hop.host() == "slow.example" => policy,
        _ => DestinationPolicy::default(),
    })
}

fn rate(messages: u32, per: Duration) -> Policies {
    let mut policy = DestinationPolicy::default();
    policy.rate = Some(Rate::new(messages, per).unwrap());
    policies(policy)
}

fn connections(max: u32) -> Policies {
    let mut policy = DestinationPolicy::default();
    policy.max_connections = NonZeroU32::new(max);
    policies(policy)
}

impl Bench {
    async fn holds(&self, id: MessageId) -> Vec<Hold> {
        self.ask(Explain(id)).await.unwrap()
    }

    async fn destination(&self, host: &str) -> DestinationState {
        let all = self.ask(Destinations).await.unwrap();
        let found = all.into_iter().find(|one| one.next_hops[0].host() == host);
        found.expect("the destination")
    }

    /// Answers every attempt that starts at this time alike.
    async fn answer_all(&mut self, verdict: &AttemptReport) -> usize {
        let idle = self.spool.send(WaitIdle);
        tokio::pin!(idle);
        let mut count = 0;
        loop {
            tokio::select! {
                _ = &mut idle => return count,
                (_, answer) = self.jobs.next() => {
                    count += 1;
                    answer.send(verdict.clone()).unwrap();
                }
            }
        }
    }
}

#[tokio::test]
async fn a_rate_lets_messages_go_when_it_was_said_and_takes_nothing_from_them() {
    let mut bench = Bench::with(|config| {
        config.policies = rate(4, Duration::from_secs(60));
        config.max_concurrent_jobs = 1;
    })
    .await;
    let mut events = Spool::subscribe(&bench.spool).await.unwrap();
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(bench.add(to("slow.example")).await);
    }
    let foretold = |holds: &[Hold]| {
        holds.iter().find_map(|hold| match hold {
            Hold::RateLimit { until, learned: None } => Some(*until),
            _ => None,
        })
    };
    bench.jobs.next().await.1.send(accepted()).unwrap();
    bench.idle().await;
    // What waits for its rate has no job, no begin of an attempt on disk, and no place that others need.
    assert_eq!(bench.ask(GetJobs).await.unwrap().running, 0);
    bench.add(to("other.example")).await;
    let (job, answer) = bench.jobs.next().await;
    assert_eq!(job.next_hops[0].host(), "other.example");
    answer.send(accepted()).unwrap();
    bench.idle().await;
    let disk = on_disk(bench.dir.path());
    assert_eq!(disk.len(), 4);
    assert!(disk.iter().all(|message| message.state.in_flight.is_none()));
    let mut said = Vec::new();
    for (nth, id) in (1..).zip(&ids[1..]) {
        assert_eq!(bench.status(*id).await, Some(ShownStatus::SendNow));
        let until = foretold(&bench.holds(*id).await).expect("a rate");
        assert_eq!(until, START.after(SECOND * 15 * nth));
        said.push(until);
    }
    for (id, until) in ids[1..].iter().zip(said) {
        bench.clock.set(Timestamp(until.0 - 1));
        assert_eq!(bench.idle().await, Some(until));
        assert!(bench.jobs.none());
        bench.clock.set(until);
        let (job, answer) = bench.jobs.next().await;
        assert_eq!(job.message, *id);
        answer.send(accepted()).unwrap();
        bench.idle().await;
    }
    while let EventKind::Spooled | EventKind::Delivered = event(&mut events).await {
        if bench.ask(Destinations).await.unwrap()[0].messages == 0 {
            break;
        }
    }
    end(bench.spool).await;
}

#[tokio::test]
async fn a_clock_that_is_set_back_strands_nothing_that_waits_for_its_rate() {
    let mut bench = Bench::with(|config| config.policies = rate(2, SECOND * 10)).await;
    for _ in 0..3 {
        bench.add(to("slow.example")).await;
    }
    bench.jobs.next().await.1.send(accepted()).unwrap();
    assert_eq!(bench.idle().await, Some(START.after(SECOND * 5)));
    bench.clock.set(Timestamp(START.0 - 86_400_000));
    for _ in 0..2 {
        let next = bench.idle().await.unwrap();
        assert!(next <= bench.after(SECOND * 5), "{next}");
        bench.clock.set(next);
        bench.jobs.next().await.1.send(accepted()).unwrap();
    }
    bench.idle().await;
    assert_eq!(on_disk(bench.dir.path()).len(), 0);
    end(bench.spool).await;
}

#[tokio::test]
async fn a_restart_gives_no_second_helping() {
    let mut bench = Bench::with(|config| config.policies = rate(2, Duration::from_secs(60))).await;
    bench.add(to("slow.example")).await;
    bench.jobs.next().await.1.send(accepted()).unwrap();
    bench.idle().await;
    // Nothing is left for it, and still it is known.
    assert_eq!(bench.destination("slow.example").await.messages, 0);
    let mut bench = bench.reopen(|_| {}).await;
    bench.add(to("slow.example")).await;
    bench.add(to("slow.example")).await;
    assert_eq!(bench.idle().await, Some(START.after(SECOND * 30)));
    assert!(bench.jobs.none());
    let bench = bench.crash().await;
    while bench.idle().await.unwrap() < START.after(SECOND * 30) {
        bench.skip().await;
    }
    let mut bench = bench;
    assert!(bench.jobs.none());
    bench.skip().await;
    bench.jobs.next().await.1.send(accepted()).unwrap();
    assert_eq!(bench.idle().await, Some(START.after(SECOND * 60)));
    end(bench.spool).await;
}

#[tokio::test]
async fn a_policy_sets_the_sessions_of_its_destination_and_another_one_holds_at_once() {
    let mut bench = Bench::with(|config| {
        config.policies = connections(2);
        config.max_jobs_per_destination = 3;
    })
    .await;
    let mut waiting = Vec::new();
    for _ in 0..6 {
        waiting.push(bench.add(to("slow.example")).await);
        bench.add(to("other.example")).await;
    }
    let mut running = Vec::new();
    for _ in 0..5 {
        running.push(bench.jobs.next().await);
    }
    assert!(bench.jobs.none());
    let slow = bench.destination("slow.example").await;
    assert_eq!((slow.running, slow.limit, slow.max, slow.waiting), (2, 2, 2, 4));
    let limit = Hold::DestinationLimit { max: 2, running: 2 };
    assert!(bench.holds(waiting[5]).await.contains(&limit));
    bench.ask(SetPolicies(connections(4))).await.unwrap();
    for _ in 0..2 {
        let started = bench.jobs.next().await;
        assert_eq!(started.0.next_hops[0].host(), "slow.example");
        running.push(started);
    }
    assert!(bench.jobs.none());
    assert_eq!(bench.destination("slow.example").await.max, 4);
    for (_, answer) in running {
        answer.send(accepted()).unwrap();
    }
    bench.answer_all(&accepted()).await;
    end(bench.spool).await;
}

#[tokio::test]
async fn a_destination_that_says_too_many_is_sent_fewer_and_the_others_wait_unharmed() {
    let mut bench = Bench::new().await;
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(bench.add(to("mx.example")).await);
    }
    let mut running = Vec::new();
    for _ in 0..4 {
        running.push(bench.jobs.next().await);
    }
    let unknown = bench.holds(ids[19]).await;
    assert!(
        matches!(
            unknown.iter().find(|hold| matches!(hold, Hold::Adapted { .. })),
            Some(Hold::Adapted {
                limit: 4,
                max: 10,
                ..
            })
        ),
        "{unknown:?}"
    );
    let told = refused(Stage::Connect, 421, "4.7.0 too many connections");
    for (_, answer) in running.drain(..2) {
        answer.send(told.clone()).unwrap();
    }
    // Both began under the same limit: they count once.
    let (still, _) = (bench.ask(GetJobs).await.unwrap(), ());
    assert!(still.running >= 2);
    while bench.destination("mx.example").await.limit != 2 {
        tokio::task::yield_now().await;
    }
    assert!(bench.jobs.none());
    let holds = bench.holds(ids[19]).await;
    let adapted = holds.iter().find_map(|hold| match hold {
        Hold::Adapted { limit, max, reason } => Some((*limit, *max, reason.clone())),
        _ => None,
    });
    let (limit, max, reason) = adapted.expect("a hold");
    assert_eq!((limit, max), (2, 10));
    assert!(reason.contains("too many connections"), "{reason}");
    for (_, answer) in running {
        answer.send(accepted()).unwrap();
    }
    let delivered = bench.answer_all(&accepted()).await;
    assert_eq!(delivered, 16);
    // The two that were told so have lost an interval, and nobody else anything.
    let left = on_disk(bench.dir.path());
    assert_eq!(left.len(), 2);
    assert!(left.iter().all(|message| message.state.attempts.len() == 1));
    // It is known after a restart.
    let bench = bench.reopen(|_| {}).await;
    let known = bench.destination("mx.example").await;
    assert!(known.limit < 10 && known.limit_reason.unwrap().contains("too many connections"));
    end(bench.spool).await;
}

#[tokio::test]
async fn a_destination_that_says_too_fast_is_sent_slower() {
    let mut bench = Bench::new().await;
    for _ in 0..20 {
        bench.add(to("mx.example")).await;
    }
    for _ in 0..8 {
        bench.jobs.next().await.1.send(accepted()).unwrap();
    }
    bench
        .jobs
        .next()
        .await
        .1
        .send(refused(Stage::Mail, 450, "4.7.28 slow down"))
        .unwrap();
    bench.answer_all(&accepted()).await;
    let known = bench.destination("mx.example").await;
    let rate = known.rate_per_second.expect("a rate");
    assert!(
        (5.0..15.0).contains(&rate) && known.rate_reason.unwrap().contains("slow down"),
        "{rate}"
    );
    let waiting = known.waiting;
    assert!(waiting > 0);
    let opens = bench.idle().await.unwrap();
    assert_eq!(opens, START.after(SECOND));
    let mut rounds = 0;
    while bench.destination("mx.example").await.waiting > 0 {
        bench.skip().await;
        assert!(bench.answer_all(&accepted()).await <= 1);
        rounds += 1;
        assert!(rounds <= 40);
    }
    assert!(rounds >= waiting && bench.clock.now().since(START) >= SECOND);
    end(bench.spool).await;
}

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
async fn a_dead_destination_is_left_alone_and_tried_with_one_message() {
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
    let (_, answer) = bench.jobs.next().await;
    answer.send(accepted()).unwrap();
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
    assert!(left.iter().all(|message| message.state.attempts.len() == 1));
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
    // A day later nobody remembers.
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
        bench.jobs.next().await.1.send(no_connection()).unwrap();
        assert_eq!(bench.idle().await, Some(bench.after(SECOND * pause)));
    }
    bench.clock.advance(SECOND * 2);
    assert_eq!(done(&bench.send(ids[19]).await), 1);
    bench.jobs.next().await.1.send(no_connection()).unwrap();
    // Asked again at once, it is tried when a second has passed.
    bench.idle().await;
    assert_eq!(done(&bench.send(ids[19]).await), 1);
    assert_eq!(bench.idle().await, Some(bench.after(SECOND)));
    assert!(bench.jobs.none());
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
    for _ in 0..40 {
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
    while expired < 40 {
        match event(&mut events).await {
            EventKind::Expired => expired += 1,
            EventKind::Frozen | EventKind::Delayed(_) => {}
            other => panic!("{other:?}"),
        }
    }
    end(bench.spool).await;
}

/// Answers at once, as it is told, and notes when it was asked.
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
async fn a_message_that_broke_its_session_counts_against_nobody_else() {
    let mut bench = Bench::new().await;
    let broken = AttemptReport::new(AttemptResult::Broken {
        stage: Stage::Body,
        error: "reset".into(),
        in_doubt: false,
    });
    bench.add(to("mx.example")).await;
    bench.jobs.next().await.1.send(broken).unwrap();
    bench.idle().await;
    for _ in 0..6 {
        bench.add(to("mx.example")).await;
    }
    assert_eq!(bench.answer_all(&accepted()).await, 6);
    assert_eq!(bench.destination("mx.example").await.circuit, Circuit::Closed);
    end(bench.spool).await;
}
