//! A message whose recipients have different routes is divided, and no recipient is lost or sent to twice.

use crate::full_disk::bench_with;
use crate::routes::{configured, goes_to, hops, routing};
use crate::support::*;
use bytes::Bytes;
use spool_actors::{Add, Spool};
use spool_core::store::fs::SimFs;
use spool_core::{Clock, EventKind, Job, RetryPolicy, RouteOrigin, Section, ShownStatus};
use std::collections::BTreeMap;
use std::time::Duration;

/// The recipients of the attempt.
fn recipients(job: &Job) -> Vec<String> {
    let address = |index: &u32| job.envelope.recipients[*index as usize].address.to_string();
    job.recipients.iter().map(address).collect()
}

impl Bench {
    /// The next two attempts, which deliver: where each goes, and to whom.
    async fn two_jobs(&mut self) -> [(String, String); 2] {
        let jobs = [self.answer(accepted()).await, self.answer(accepted()).await];
        let mut tried = jobs.map(|job| (goes_to(&job), recipients(&job).join(" ")));
        tried.sort();
        tried
    }
}

fn owned((hop, to): (&str, &str)) -> (String, String) {
    (hop.to_owned(), to.to_owned())
}

#[tokio::test]
async fn a_message_is_divided_among_its_routes_and_nobody_is_lost_or_sent_to_twice() {
    let mut bench = Bench::routed_to("old:25").await;
    let mut events = Spool::subscribe(&bench.spool).await.unwrap();
    let to = [
        "0@a.example",
        "1@b.example",
        "2@a.example",
        "3@c.example",
        "4@b.example",
    ];
    let id = bench.add(configured(&to, "old:25")).await;
    assert_eq!(event(&mut events).await, EventKind::Spooled);
    let (_, answer) = bench.jobs.next().await;
    // One is taken, one is refused for good, the others are to be tried again.
    let refusals = [
        (0, 450, "4.2.0 later"),
        (1, 450, "4.2.0 later"),
        (2, 550, "5.1.1 no"),
        (4, 450, "4.2.0 later"),
    ];
    answer.send(partly(&refusals)).unwrap();
    bench.idle().await;
    assert!(matches!(event(&mut events).await, EventKind::Delayed(_)));
    let now = routing(&[("a.example", "a:25"), ("b.example", "b:25")], "old:25");
    bench.config.routing = now.clone();
    bench.set_routing(now).await;
    bench.idle().await;
    assert_eq!(event(&mut events).await, EventKind::Spooled);
    assert_eq!(event(&mut events).await, EventKind::Rerouted(hops(&["a:25"])));
    let lines = bench.lines().await;
    assert_eq!(lines.values().cloned().collect::<Vec<_>>(), ["a:25", "b:25"]);
    let other = *lines.keys().last().unwrap();
    // After a crash it is divided as well.
    let mut bench = bench.crash().await;
    bench.idle().await;
    assert_eq!(bench.lines().await, lines);
    assert_eq!(
        bench.details(id).await.parts,
        [other],
        "the first part lists the others"
    );
    let part = bench.details(other).await;
    assert_eq!(part.parts, [], "they name it as their parent");
    let part = part.message;
    assert_eq!((part.parent, part.origin), (Some(id), RouteOrigin::Configured));
    assert_eq!(part.related.to_vec(), [id]);
    assert_eq!(part.state.attempts.total(), 1);
    let schedule = bench.details(id).await.message.state.schedule;
    assert_eq!(part.state.schedule, schedule, "the intervals that are left");
    bench.skip().await;
    let tried = bench.two_jobs().await;
    let expected = [("a:25", "0@a.example"), ("b:25", "1@b.example 4@b.example")];
    assert_eq!(tried, expected.map(owned));
    bench.idle().await;
    // The refused one is not forgotten.
    assert_eq!(bench.status(id).await, Some(ShownStatus::Frozen));
    let failed = bench.details(id).await.message.state.failed;
    assert_eq!((failed.len(), failed[0].recipient), (1, 2));
    end(bench.spool).await;
}

#[tokio::test]
async fn a_frozen_message_is_divided_when_it_is_sent() {
    let mut bench = Bench::routed_to("old:25").await;
    let id = bench
        .add(configured(&["0@a.example", "1@b.example"], "old:25").frozen())
        .await;
    bench.set_routing(routing(&[("a.example", "a:25")], "b:25")).await;
    bench.idle().await;
    assert_eq!(bench.lines().await, BTreeMap::from([(id, "a:25".to_owned())]));
    assert_eq!(bench.status(id).await, Some(ShownStatus::Frozen));
    assert_eq!(done(&bench.send(id).await), 1);
    assert_eq!(
        bench.two_jobs().await,
        [("a:25", "0@a.example"), ("b:25", "1@b.example")].map(owned)
    );
    bench.idle().await;
    assert_eq!(bench.lines().await.len(), 0);
    end(bench.spool).await;
}

#[tokio::test]
async fn failed_recipients_that_are_sent_again_have_the_routes_of_now() {
    let mut bench = Bench::routed_to("old:25").await;
    let id = bench
        .add(configured(&["0@a.example", "1@b.example"], "old:25"))
        .await;
    bench
        .answer(partly(&[(0, 450, "4.2.0 later"), (1, 550, "5.1.1 no")]))
        .await;
    bench.idle().await;
    bench.set_routing(routing(&[("a.example", "a:25")], "b:25")).await;
    bench.idle().await;
    assert_eq!(done(&bench.send(id).await), 1);
    assert_eq!(
        bench.two_jobs().await,
        [("a:25", "0@a.example"), ("b:25", "1@b.example")].map(owned)
    );
    bench.idle().await;
    end(bench.spool).await;
}

#[tokio::test]
async fn a_division_that_the_disk_has_no_room_for_does_not_lose_that_the_clock_was_set() {
    let fs = SimFs::new();
    let mut bench = bench_with(&fs, |config| config.routing = routing(&[], "old:25")).await;
    let day = Duration::from_secs(86_400);
    let section = Section {
        envelope: envelope(&["0@a.example", "1@b.example"]),
        next_hops: hops(&["old:25"]),
        origin: RouteOrigin::Configured,
        retry: RetryPolicy {
            expire_after: Some(day),
            ..minutes(&[60, 60])
        },
    };
    // A copy of it does not fit what is left of a segment.
    let body = Bytes::from("x\r\n".repeat(30_000));
    let id = bench.add(Add::sections(vec![section], body)).await;
    let end_of_it = bench.after(day);
    bench.answer(no_connection()).await;
    bench.idle().await;
    let millis = 10 * 365 * 86_400_000;
    bench.clock.jump(bench.clock.now().shifted(millis));
    fs.set_capacity(Some(fs.used()));
    bench.set_routing(routing(&[("a.example", "a:25")], "b:25")).await;
    // Nothing shows that the disk has refused it.
    for _ in 0..500 {
        bench.idle().await;
        assert_eq!(bench.lines().await.len(), 1);
    }
    fs.set_capacity(None);
    let divided = async {
        loop {
            bench.clock.set(bench.after(Duration::from_secs(6)));
            for _ in 0..100 {
                bench.idle().await;
                let lines = bench.lines().await;
                if lines.len() == 2 {
                    return lines;
                }
            }
        }
    };
    let lines = tokio::time::timeout(Duration::from_secs(20), divided).await;
    let lines = lines.expect("it is divided when there is room");
    assert!(lines.contains_key(&id));
    for id in lines.into_keys() {
        let expires_at = bench.details(id).await.message.state.expires_at;
        assert_eq!(expires_at, Some(end_of_it.shifted(millis)));
    }
    end(bench.spool).await;
}
