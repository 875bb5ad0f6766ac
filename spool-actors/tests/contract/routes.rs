//! Routes: mail that the configuration routes follows it, what was named stays.

use crate::full_disk::bench_with;
use crate::support::*;
use bytes::Bytes;
use spool_actors::{Add, ListMessages, NewRoute, Outcome, Recover, Reroute, SetMaxConcurrentJobs, Spool};
use spool_core::store::Archive;
use spool_core::store::fs::SimFs;
use spool_core::{
    DomainPattern, EventKind, Hold, Job, MessageId, NextHop, RetryPolicy, RouteOrigin, Router, Routing, Rule,
    Section, ShownStatus, SpoolError,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub(crate) fn hops(texts: &[&str]) -> Arc<[NextHop]> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// Rules for domains, and where all else goes.
pub(crate) fn routing(rules: &[(&str, &str)], default: &str) -> Routing {
    let rule = |(domain, to): &(&str, &str)| Rule {
        domain: DomainPattern::parse(domain).unwrap(),
        next_hops: hops(&[to]),
        policy: spool_core::DestinationPolicy::default(),
    };
    let rules = rules.iter().map(rule).collect();
    Routing::ByRules(Arc::new(Router::new(rules, hops(&[default]), 25)))
}

/// Mail that a configuration has routed to `hop`.
pub(crate) fn configured(recipients: &[&str], hop: &str) -> Add {
    let section = Section {
        envelope: envelope(recipients),
        next_hops: hops(&[hop]),
        origin: RouteOrigin::Configured,
        retry: minutes(&[5, 5, 5]),
    };
    Add::sections(vec![section], Bytes::from_static(b"x\r\n"))
}

pub(crate) fn goes_to(job: &Job) -> String {
    let hops: Vec<String> = job.next_hops.iter().map(ToString::to_string).collect();
    hops.join(" ")
}

impl Bench {
    /// One whose configuration sends everything to `hop`.
    pub(crate) async fn routed_to(hop: &str) -> Self {
        Self::with(|config| config.routing = routing(&[], hop)).await
    }

    /// The next attempt, which goes to `hop` and delivers: the message.
    pub(crate) async fn sent_to(&mut self, hop: &str) -> MessageId {
        let job = self.answer(accepted()).await;
        assert_eq!(goes_to(&job), hop);
        job.message
    }

    pub(crate) async fn reroute(&self, ids: &[MessageId], to: NewRoute) -> Outcome {
        let ids = ids.to_vec();
        self.ask(Reroute { ids, to }).await.unwrap()
    }

    /// Where each message goes now.
    pub(crate) async fn lines(&self) -> BTreeMap<MessageId, String> {
        let listed = self.ask(ListMessages::default()).await.unwrap();
        let line = |hops: &[NextHop]| hops.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        listed
            .iter()
            .map(|message| (message.id, line(&message.next_hops)))
            .collect()
    }
}

#[tokio::test]
async fn configured_mail_leaves_the_line_of_a_dead_host_when_the_routes_change() {
    let mut bench = Bench::routed_to("dead:25").await;
    for n in 0..30 {
        bench
            .add(configured(&[&format!("{n}@a.example")], "dead:25"))
            .await;
    }
    let tried = bench.answer_all(&no_connection()).await;
    assert!(tried < 30, "the host is left alone");
    bench
        .set_routing(routing(&[("a.example", "new:25")], "dead:25"))
        .await;
    let mut waiting = 0;
    while waiting + tried < 30 {
        bench.sent_to("new:25").await;
        waiting += 1;
    }
    bench.idle().await;
    // Those that were tried wait for their time, in the other line.
    let lines = bench.lines().await;
    assert_eq!(lines.len(), tried);
    assert!(lines.values().all(|line| line == "new:25"), "{lines:?}");
    end(bench.spool).await;
}

#[tokio::test]
async fn mail_that_a_configuration_moves_is_told_of_once_when_its_next_attempt_begins() {
    let mut bench = Bench::routed_to("old:25").await;
    let mut events = Spool::subscribe(&bench.spool).await.unwrap();
    let id = bench.add(configured(&["x@a.example"], "old:25")).await;
    assert_eq!(event(&mut events).await, EventKind::Spooled);
    bench.answer(no_connection()).await;
    assert!(matches!(event(&mut events).await, EventKind::Delayed(_)));
    bench.set_routing(routing(&[], "new:25")).await;
    bench.idle().await;
    for _ in 0..2 {
        bench.skip().await;
        let job = bench.answer(no_connection()).await;
        assert_eq!((job.message, goes_to(&job)), (id, "new:25".to_owned()));
        bench.idle().await;
    }
    // The second attempt goes where the first did.
    assert_eq!(event(&mut events).await, EventKind::Rerouted(hops(&["new:25"])));
    assert!(matches!(event(&mut events).await, EventKind::Delayed(_)));
    assert!(matches!(event(&mut events).await, EventKind::Delayed(_)));
    // A reroute by hand is reported at once, and not again by the attempt.
    let to = NewRoute::To(hops(&["named:25"]));
    assert_eq!(done(&bench.reroute(&[id], to).await), 1);
    assert_eq!(event(&mut events).await, EventKind::Rerouted(hops(&["named:25"])));
    bench.skip().await;
    bench.answer(accepted()).await;
    bench.idle().await;
    assert_eq!(event(&mut events).await, EventKind::Delivered);
    end(bench.spool).await;
}

#[tokio::test]
async fn what_was_about_to_begin_is_taken_back_when_the_routes_change() {
    // One job runs, and others have begun on disk and wait for a permit.
    let set = |config: &mut spool_core::SpoolConfig| {
        config.max_concurrent_jobs = 1;
        config.routing = routing(&[], "old:25");
    };
    let mut bench = Bench::with(set).await;
    let mut ids = Vec::new();
    for n in 0..3 {
        ids.push(
            bench
                .add(configured(&[&format!("{n}@a.example")], "old:25"))
                .await,
        );
    }
    let (job, answer) = bench.jobs.next().await;
    assert_eq!((job.message, goes_to(&job)), (ids[0], "old:25".to_owned()));
    bench.set_routing(routing(&[], "new:25")).await;
    answer.send(accepted()).unwrap();
    for _ in 0..2 {
        bench.sent_to("new:25").await;
    }
    bench.idle().await;
    assert_eq!(bench.lines().await.len(), 0);
    end(bench.spool).await;
}

#[tokio::test]
async fn named_next_hops_stay_when_the_routing_changes() {
    let mut bench = Bench::new().await;
    let id = bench.add(mail("x").retry(&minutes(&[5]))).await;
    bench.answer(no_connection()).await;
    bench.idle().await;
    bench.set_routing(routing(&[], "new:25")).await;
    bench.skip().await;
    assert_eq!(bench.sent_to("mx.example.net:25").await, id);
    bench.idle().await;
    end(bench.spool).await;
}

#[tokio::test]
async fn a_restart_resolves_what_was_there() {
    let bench = Bench::with(|config| config.max_concurrent_jobs = 0).await;
    let id = bench.add(configured(&["1@a.example"], "old:25")).await;
    let mut bench = bench
        .reopen(|config| {
            config.max_concurrent_jobs = 1;
            config.routing = routing(&[("a.example", "new:25")], "other:25");
        })
        .await;
    assert_eq!(bench.sent_to("new:25").await, id);
    bench.idle().await;
    end(bench.spool).await;
}

#[tokio::test]
async fn a_message_that_is_being_sent_follows_the_routes_when_its_attempt_ends() {
    let mut bench = Bench::routed_to("old:25").await;
    bench.add(configured(&["1@a.example"], "old:25")).await;
    let (_, answer) = bench.jobs.next().await;
    bench
        .set_routing(routing(&[("a.example", "new:25")], "old:25"))
        .await;
    answer.send(no_connection()).unwrap();
    bench.idle().await;
    assert!(bench.lines().await.values().all(|line| line == "new:25"));
    bench.skip().await;
    bench.sent_to("new:25").await;
    bench.idle().await;
    end(bench.spool).await;
}

#[tokio::test]
async fn the_disk_knows_where_an_attempt_went() {
    let mut bench = Bench::routed_to("old:25").await;
    let id = bench.add(configured(&["1@a.example"], "old:25")).await;
    bench.answer(no_connection()).await;
    bench.idle().await;
    bench.set_routing(routing(&[], "new:25")).await;
    bench.skip().await;
    let _running = bench.jobs.next().await;
    let mut bench = bench.crash().await;
    let (_again, _answer) = bench.jobs.next().await;
    let attempts = bench.details(id).await.message.state.attempts;
    let last = attempts.last().unwrap();
    assert!(last.report.in_doubt());
    assert_eq!(last.report.peer, Some("new:25".parse().unwrap()));
}

#[tokio::test]
async fn an_attempt_in_doubt_names_no_host_that_its_message_was_rerouted_to_meanwhile() {
    let mut bench = Bench::new().await;
    let id = bench.add(mail("x").retry(&minutes(&[5]))).await;
    let _running = bench.jobs.next().await;
    let named = NewRoute::To(hops(&["named:25"]));
    assert_eq!(done(&bench.reroute(&[id], named).await), 1);
    let mut bench = bench.crash().await;
    let (job, _answer) = bench.jobs.next().await;
    assert_eq!(goes_to(&job), "named:25");
    let attempts = bench.details(id).await.message.state.attempts;
    let last = attempts.last().unwrap();
    assert!(last.report.in_doubt());
    assert_eq!(last.report.peer, None);
    // The one that has begun since went there.
    let bench = bench.crash().await;
    bench.idle().await;
    let attempts = bench.details(id).await.message.state.attempts;
    let peer = attempts.last().unwrap().report.peer.clone();
    assert_eq!(peer, Some("named:25".parse().unwrap()));
}

#[tokio::test]
async fn no_attempt_begins_when_the_disk_has_room_for_its_begin_and_none_for_its_route() {
    let fs = SimFs::new();
    let mut bench = bench_with(&fs, |config| config.routing = routing(&[], "old:25")).await;
    let mut events = Spool::subscribe(&bench.spool).await.unwrap();
    let id = bench.add(configured(&["1@a.example"], "old:25")).await;
    bench.answer(no_connection()).await;
    bench.idle().await;
    // More bytes than a segment has.
    let name = ["x".repeat(60).as_str(); 3].join(".");
    let many: Vec<String> = (0..500).map(|n| format!("h{n}.{name}.example:25")).collect();
    let many = hops(&many.iter().map(String::as_str).collect::<Vec<_>>());
    let now = Router::new(Vec::new(), Arc::clone(&many), 25);
    bench.set_routing(Routing::ByRules(Arc::new(now))).await;
    bench.idle().await;
    fs.set_capacity(Some(fs.used()));
    bench.skip().await;
    let due = bench.idle().await.unwrap();
    assert!(bench.jobs.none());
    assert_eq!(bench.status(id).await, Some(ShownStatus::SendAt(due)));
    fs.set_capacity(None);
    bench.skip().await;
    let (job, answer) = bench.jobs.next().await;
    assert_eq!(job.next_hops, many);
    assert_eq!(bench.details(id).await.message.next_hops, many, "on disk");
    answer.send(accepted()).unwrap();
    bench.idle().await;
    // The event comes once, when the route is written.
    assert_eq!(event(&mut events).await, EventKind::Spooled);
    assert!(matches!(event(&mut events).await, EventKind::Delayed(_)));
    assert_eq!(event(&mut events).await, EventKind::Rerouted(many));
    assert_eq!(event(&mut events).await, EventKind::Delivered);
    end(bench.spool).await;
}

#[tokio::test]
async fn mail_that_was_routed_before_the_routes_changed_goes_by_those_of_now() {
    let old = routing(&[], "old:25");
    let mut bench = Bench::with(|config| config.routing = old.clone()).await;
    bench.set_routing(routing(&[], "new:25")).await;
    let late = configured(&["1@a.example"], "old:25").routed_by(old.clone());
    let named = mail("x").routed_by(old);
    for (add, to) in [(late, "new:25"), (named, "mx.example.net:25")] {
        let id = bench.add(add).await;
        assert_eq!(bench.sent_to(to).await, id);
        bench.idle().await;
    }
    end(bench.spool).await;
}

#[tokio::test]
async fn mail_that_comes_back_from_an_archive_while_the_routes_change_goes_by_those_of_now() {
    let bench = Bench::routed_to("0:25").await;
    for round in 1..20 {
        let id = bench
            .add(configured(&["1@a.example"], &format!("{}:25", round - 1)).frozen())
            .await;
        assert_eq!(done(&bench.remove(id).await), 1);
        let back = Recover {
            ids: vec![id],
            from: Archive::Removed,
        };
        let back = bench.spool.send(back);
        // At any time between the reading of the pair and the answer of the disk.
        let change = async {
            for _ in 0..round {
                tokio::task::yield_now().await;
            }
            bench.set_routing(routing(&[], &format!("{round}:25"))).await;
        };
        let (back, ()) = tokio::join!(back, change);
        assert_eq!(done(&back.unwrap().unwrap()), 1);
        bench.idle().await;
        assert_eq!(bench.lines().await[&id], format!("{round}:25"));
    }
    end(bench.spool).await;
}

#[tokio::test]
async fn mail_without_a_route_waits_and_says_so() {
    let bench = Bench::routed_to("smart:25").await;
    let mut section = Section {
        envelope: envelope(&["b@example.net"]),
        next_hops: hops(&["127.0.0.1:9"]),
        origin: RouteOrigin::BuiltInSink,
        retry: minutes(&[5]),
    };
    bench.ask(SetMaxConcurrentJobs(0)).await.unwrap();
    let id = bench
        .add(Add::sections(vec![section.clone()], Bytes::from_static(b"x\r\n")))
        .await;
    section.origin = RouteOrigin::Configured;
    let other = bench
        .add(Add::sections(vec![section], Bytes::from_static(b"x\r\n")))
        .await;
    let mut bench = bench.reopen(|config| config.max_concurrent_jobs = 1).await;
    assert_eq!(bench.sent_to("smart:25").await, other);
    bench.idle().await;
    let origin = RouteOrigin::BuiltInSink;
    assert_eq!(bench.holds(id).await, [Hold::NoRoute { origin }]);
    assert_eq!(bench.lines().await, BTreeMap::from([(id, String::new())]));
    // The sink of this run.
    bench
        .set_routing(Routing::ToBuiltInSink(hops(&["127.0.0.1:7"])))
        .await;
    assert_eq!(bench.sent_to("127.0.0.1:7").await, id);
    bench.idle().await;
    end(bench.spool).await;
}

#[tokio::test]
async fn mail_without_a_route_is_not_sent_on_request_and_expires_like_other_mail() {
    let bench = Bench::routed_to("smart:25").await;
    let mut events = Spool::subscribe(&bench.spool).await.unwrap();
    let lasting = |seconds| {
        let section = Section {
            envelope: envelope(&["b@example.net"]),
            next_hops: hops(&["127.0.0.1:9"]),
            origin: RouteOrigin::BuiltInSink,
            retry: RetryPolicy {
                expire_after: Some(Duration::from_secs(seconds)),
                ..minutes(&[5])
            },
        };
        Add::sections(vec![section], Bytes::from_static(b"x\r\n"))
    };
    bench.ask(SetMaxConcurrentJobs(0)).await.unwrap();
    let kept = bench.add(lasting(3600)).await;
    let expired = bench.add(lasting(60)).await;
    for _ in 0..2 {
        assert_eq!(event(&mut events).await, EventKind::Spooled);
    }
    bench.set_routing(routing(&[], "other:25")).await;
    bench.idle().await;
    bench.clock.set(bench.after(Duration::from_secs(61)));
    bench.idle().await;
    // While delivery is paused, no other mail is given up either.
    assert_eq!(bench.status(expired).await, Some(ShownStatus::SendNow));
    bench.ask(SetMaxConcurrentJobs(1)).await.unwrap();
    bench.clock.set(bench.after(Duration::from_secs(2)));
    assert_eq!(event(&mut events).await, EventKind::Expired);
    assert_eq!(event(&mut events).await, EventKind::Frozen);
    assert_eq!(bench.status(expired).await, Some(ShownStatus::Frozen));
    assert_eq!(bench.status(kept).await, Some(ShownStatus::SendNow));
    for id in [kept, expired] {
        let sent = bench.send(id).await;
        assert_eq!((sent.done, sent.errors), (0, vec![SpoolError::NoRoute(id)]));
    }
    end(bench.spool).await;
}
