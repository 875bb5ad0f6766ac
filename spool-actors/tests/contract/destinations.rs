//! Destinations: rates and limits, as whoever asks the spool sees them.

use crate::support::*;
use spool_actors::{
    Add, Circuit, DestinationState, Destinations, Explain, GetJobs, ResetDestination, SetPolicies, Spool,
    WaitIdle,
};
use spool_core::{
    AttemptReport, AttemptResult, Clock, DestinationPolicy, EventKind, Hold, MessageId, Policies, Rate,
    ShownStatus, Stage, Timestamp,
};
use std::num::NonZeroU32;
use std::time::Duration;

pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn to(host: &str) -> Add {
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
    pub(crate) async fn holds(&self, id: MessageId) -> Vec<Hold> {
        self.ask(Explain(id)).await.unwrap()
    }

    pub(crate) async fn destination(&self, host: &str) -> DestinationState {
        let all = self.ask(Destinations).await.unwrap();
        let found = all.into_iter().find(|one| one.next_hops[0].host() == host);
        found.expect("the destination")
    }

    /// Answers every attempt that starts at this time alike.
    pub(crate) async fn answer_all(&mut self, verdict: &AttemptReport) -> usize {
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
    bench.answer(accepted()).await;
    bench.idle().await;
    // What waits for its rate has no job, no begin of an attempt on disk, and no place that others need.
    assert_eq!(bench.ask(GetJobs).await.unwrap().running, 0);
    bench.add(to("other.example")).await;
    let job = bench.answer(accepted()).await;
    assert_eq!(job.next_hops[0].host(), "other.example");
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
        let job = bench.answer(accepted()).await;
        assert_eq!(job.message, *id);
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
    bench.answer(accepted()).await;
    assert_eq!(bench.idle().await, Some(START.after(SECOND * 5)));
    bench.clock.set(Timestamp(START.0 - 86_400_000));
    for _ in 0..2 {
        let next = bench.idle().await.unwrap();
        assert!(next <= bench.after(SECOND * 5), "{next}");
        bench.clock.set(next);
        bench.answer(accepted()).await;
    }
    bench.idle().await;
    assert_eq!(on_disk(bench.dir.path()).len(), 0);
    end(bench.spool).await;
}

#[tokio::test]
async fn a_restart_gives_no_second_helping() {
    let mut bench = Bench::with(|config| config.policies = rate(2, Duration::from_secs(60))).await;
    bench.add(to("slow.example")).await;
    bench.answer(accepted()).await;
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
    bench.answer(accepted()).await;
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
    // The two that got this reply have used an interval; no other message has.
    let left = on_disk(bench.dir.path());
    assert_eq!(left.len(), 2);
    assert!(left.iter().all(|message| message.state.attempts.total() == 1));
    // It is known after a restart.
    let bench = bench.reopen(|_| {}).await;
    let known = bench.destination("mx.example").await;
    assert!(known.limit < 10 && known.limit_reason.unwrap().contains("too many connections"));
    end(bench.spool).await;
}

#[tokio::test]
async fn a_destination_that_says_too_fast_is_sent_slower() {
    let mut bench = Bench::new().await;
    for _ in 0..60 {
        bench.add(to("mx.example")).await;
    }
    for _ in 0..8 {
        bench.answer(accepted()).await;
    }
    bench.answer(refused(Stage::Mail, 450, "4.7.28 slow down")).await;
    bench.answer_all(&accepted()).await;
    let known = bench.destination("mx.example").await;
    let rate = known.rate_per_second.expect("a rate");
    // Eight were taken in the first second, and those that ran beside them count as well.
    assert!(
        (5.0..20.0).contains(&rate) && known.rate_reason.unwrap().contains("slow down"),
        "{rate}"
    );
    let waiting = known.waiting;
    assert!(waiting > 0);
    let next = bench.idle().await.unwrap();
    assert!(next > START && next <= START.after(SECOND * 2), "{next}");
    let mut rounds = 0;
    while bench.destination("mx.example").await.waiting > 0 {
        bench.skip().await;
        assert!(bench.answer_all(&accepted()).await <= 1);
        rounds += 1;
        assert!(rounds <= 100);
    }
    assert!(rounds >= waiting, "{rounds} of {waiting}");
    end(bench.spool).await;
}

#[tokio::test]
async fn a_mailbox_that_is_refused_does_not_slow_its_destination() {
    for text in [
        "4.2.2 mailbox full: too many messages",
        "too many messages for this user",
    ] {
        let mut bench = Bench::new().await;
        for _ in 0..60 {
            bench.add(to("mx.example")).await;
        }
        let mut sick = AttemptReport::new(AttemptResult::AllRefused);
        sick.refused = partly(&[(0, 452, text)]).refused;
        let mut answered = 0;
        for n in 0..60 {
            let verdict = if n % 10 == 5 { sick.clone() } else { accepted() };
            bench.answer(verdict).await;
            answered += 1;
        }
        bench.idle().await;
        // All of them went at once, and the refused ones wait for their own interval.
        assert_eq!((answered, bench.clock.now()), (60, START), "{text}");
        let known = bench.destination("mx.example").await;
        assert_eq!(
            (known.rate_per_second, known.limit_reason),
            (None, None),
            "{text}"
        );
        assert_eq!((known.last_error, known.messages), (None, 6), "{text}");
        end(bench.spool).await;
    }
}

impl Bench {
    async fn reset(&self, host: &str) -> Option<DestinationState> {
        let hops = [format!("{host}:25").parse().unwrap()];
        self.ask(ResetDestination(hops.into())).await.unwrap()
    }
}

#[tokio::test]
async fn what_was_learned_of_a_destination_is_forgotten_on_demand_and_its_configured_rate_stays() {
    let mut bench = Bench::with(|config| config.policies = rate(6, Duration::from_secs(60))).await;
    assert_eq!(bench.reset("mx.example").await, None);
    for _ in 0..30 {
        bench.add(to("mx.example")).await;
    }
    bench.add(to("slow.example")).await;
    bench.add(to("slow.example")).await;
    let job = bench.answer(accepted()).await;
    assert_eq!(job.next_hops[0].host(), "mx.example");
    bench.answer_all(&no_connection()).await;
    let is_open = |state: &DestinationState| matches!(state.circuit, Circuit::Open { .. });
    let before = bench.destination("mx.example").await;
    assert!(
        is_open(&before) && before.limit < 10 && before.limit_reason.is_some(),
        "{before:?}"
    );
    assert_eq!(bench.reset("other.example").await, None);
    // It says what it was, and what waits goes at once as to a new destination.
    assert_eq!(bench.reset("mx.example").await, Some(before));
    let mut running = Vec::new();
    for _ in 0..4 {
        running.push(bench.jobs.next().await);
    }
    let after = bench.destination("mx.example").await;
    assert_eq!((&after.circuit, after.limit), (&Circuit::Closed, 4));
    assert_eq!((after.limit_reason, after.last_error), (None, None));
    for (_, answer) in running {
        answer.send(accepted()).unwrap();
    }
    bench.answer_all(&accepted()).await;
    // A configured rate is not learned: the next message goes when it would have gone.
    let slow = bench.reset("slow.example").await.unwrap();
    assert!(is_open(&slow) || slow.last_error.is_some(), "{slow:?}");
    assert_eq!(bench.idle().await, Some(START.after(SECOND * 10)));
    end(bench.spool).await;
}

#[tokio::test]
async fn what_was_learned_of_a_destination_without_messages_is_forgotten_for_good() {
    for restarted in [false, true] {
        let mut bench = Bench::new().await;
        for _ in 0..4 {
            bench.add(to("mx.example")).await;
        }
        let told = refused(Stage::Connect, 421, "4.7.0 too many connections");
        bench.answer(told).await;
        bench.answer_all(&accepted()).await;
        bench.skip().await;
        bench.answer_all(&accepted()).await;
        if restarted {
            bench = bench.reopen(|_| {}).await;
        }
        let known = bench.destination("mx.example").await;
        assert_eq!(known.messages, 0);
        assert!(known.limit_reason.is_some(), "{known:?}");
        assert_eq!(bench.reset("mx.example").await, Some(known));
        assert_eq!(bench.ask(Destinations).await.unwrap(), []);
        let bench = bench.reopen(|_| {}).await;
        assert_eq!(bench.ask(Destinations).await.unwrap(), []);
        end(bench.spool).await;
    }
}
