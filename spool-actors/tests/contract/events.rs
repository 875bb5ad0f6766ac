//! The event stream: numbers, gaps, pings, and coming back.

use crate::full_disk::bench;
use crate::support::*;
use futures_util::future::join_all;
use spool_actors::{GetPulse, Spool, Subscribe, Subscription};
use spool_core::store::fs::SimFs;
use spool_core::{Event, EventKind};
use std::time::Duration;

async fn next(events: &mut Subscription) -> Event {
    let next = tokio::time::timeout(Duration::from_secs(20), events.next());
    next.await.expect("an event").expect("the spool lives")
}

#[tokio::test]
async fn events_are_numbered_and_carry_id_flows_and_envelope() {
    let bench = Bench::new().await;
    let mut events = Spool::subscribe(&bench.spool).await.unwrap();
    let id = bench.add(mail("x").frozen()).await;
    bench.remove(id).await;
    for (seq, kind) in [(1, EventKind::Spooled), (2, EventKind::Removed)] {
        let event = next(&mut events).await;
        assert_eq!((event.seq, event.id, event.kind), (seq, Some(id), kind));
        assert_eq!(event.envelope.unwrap().recipients, ["b@example.net"]);
    }
    end(bench.spool).await;
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn since_goes_on_over_a_restart_and_a_crash_without_a_gap() {
    let mut bench = Bench::new().await;
    let mut seqs = Vec::new();
    for round in 0..3_u64 {
        let since = Some(round * 4);
        let mut events = bench.ask(Subscribe { since }).await.unwrap();
        for _ in 0..2 {
            bench.add(mail("x")).await;
            bench.answer(accepted()).await;
            bench.idle().await;
        }
        for _ in 0..4 {
            seqs.push(next(&mut events).await.seq);
        }
        bench = match round {
            0 => bench.reopen(|_| {}).await,
            _ => bench.crash().await,
        };
    }
    assert_eq!(seqs, (1..=12).collect::<Vec<_>>());
    let mut again = bench.ask(Subscribe { since: Some(0) }).await.unwrap();
    for seq in 1..=12 {
        let event = next(&mut again).await;
        let kind = if seq % 2 == 1 {
            EventKind::Spooled
        } else {
            EventKind::Delivered
        };
        assert_eq!((event.seq, event.kind), (seq, kind));
    }
    end(bench.spool).await;
}

#[tokio::test]
async fn since_says_how_much_the_log_has_forgotten() {
    let bench = Bench::with(|config| {
        config.store.event_log_size = 64 << 10;
        config.max_concurrent_jobs = 0;
    })
    .await;
    for _ in 0..1000 {
        bench.add(mail("x")).await;
    }
    let mut events = bench.ask(Subscribe { since: Some(0) }).await.unwrap();
    let first = next(&mut events).await;
    let EventKind::Gap(missed) = first.kind else {
        panic!("{first:?}")
    };
    assert_eq!(first.seq, missed);
    for seq in missed + 1..=1000 {
        assert_eq!(next(&mut events).await.seq, seq);
    }
    assert!(missed < 1000);
    end(bench.spool).await;
}

#[tokio::test]
async fn a_subscriber_that_falls_behind_gets_a_gap_and_slows_no_other() {
    let bench = Bench::with(|config| {
        config.event_buffer = 10;
        config.max_concurrent_jobs = 0;
    })
    .await;
    let mut slow = Spool::subscribe(&bench.spool).await.unwrap();
    for _ in 0..100 {
        bench.add(mail("x")).await;
    }
    end(bench.spool).await;
    assert_eq!(next(&mut slow).await.kind, EventKind::Gap(90));
    for seq in 91..=100 {
        assert_eq!(next(&mut slow).await.seq, seq);
    }
    assert_eq!(slow.next().await, None);
}

#[test]
fn a_thousand_followers_wait_out_a_disk_that_hangs_and_hold_up_nobody() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(8)
        .build()
        .unwrap();
    runtime.block_on(async {
        let fs = SimFs::new();
        let bench = bench(&fs).await;
        let follow = || bench.ask(Subscribe { since: Some(0) });
        let mut followers: Vec<_> = join_all((0..1000).map(|_| follow()))
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect();
        bench.add(mail("x").frozen()).await;
        for event in join_all(followers.iter_mut().map(next)).await {
            assert_eq!(event.seq, 1);
        }
        let stall = fs.stall();
        let adding = bench.spool.send(mail("y").frozen());
        let adding = tokio::spawn(adding);
        // Each of them looks for more now, and then waits.
        let following: Vec<_> = followers
            .into_iter()
            .map(|mut follower| tokio::spawn(async move { next(&mut follower).await }))
            .collect();
        tokio::task::yield_now().await;
        let other = tokio::task::spawn_blocking(|| ());
        let other = tokio::time::timeout(Duration::from_secs(20), other).await;
        assert!(other.is_ok(), "the followers have taken all threads");
        while bench.ask(GetPulse).await.pending == 0 {
            tokio::task::yield_now().await;
        }
        drop(stall);
        adding.await.unwrap().unwrap().unwrap();
        for event in join_all(following).await {
            assert_eq!(event.unwrap().seq, 2);
        }
        end(bench.spool).await;
    });
}

#[tokio::test]
async fn ping_comes_to_both_kinds_of_subscriber() {
    let bench = Bench::with(|config| config.ping_interval = Duration::from_millis(5)).await;
    let mut live = Spool::subscribe(&bench.spool).await.unwrap();
    let mut log = bench.ask(Subscribe { since: Some(0) }).await.unwrap();
    assert_eq!(next(&mut live).await.kind, EventKind::Ping);
    assert_eq!(next(&mut log).await.kind, EventKind::Ping);
    end(bench.spool).await;
}

/// The ancestor skipped an entry that it could not read, and it was never seen again.
#[tokio::test]
async fn an_unreadable_entry_is_reported_and_set_aside_and_the_rest_lives() {
    let bench = Bench::with(|config| config.max_concurrent_jobs = 0).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(bench.add(mail("a body to be damaged")).await);
    }
    end(bench.spool.clone()).await;
    let segment = std::fs::read_dir(bench.path("journal")).unwrap();
    let mut segments: Vec<_> = segment.map(|entry| entry.unwrap().path()).collect();
    segments.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    let mut bytes = std::fs::read(&segments[0]).unwrap();
    let name = b"b@example.net";
    let at: Vec<usize> = bytes
        .windows(name.len())
        .enumerate()
        .filter(|(_, w)| w == name)
        .map(|(at, _)| at)
        .collect();
    bytes[at[1]] ^= 1;
    std::fs::write(&segments[0], bytes).unwrap();
    let bench = bench.reopen_ended().await;
    assert_eq!(bench.damage.len(), 1);
    assert!(bench.path(&bench.damage[0].kept_as).exists());
    assert!(bench.status(ids[0]).await.is_some() && bench.status(ids[2]).await.is_some());
    end(bench.spool).await;
}
