//! A panic in each part of a spool: it ends with that reason, whoever waits is answered, and the directory is given free.

use super::*;
use crate::{Add, Flushed, Freeze, KillAndFlush, OpenSpool, Remove, Spool, SpoolActor, WhenLoaded};
use actix::Handler;
use bytes::Bytes;
use spool_core::store::fs::SimFs;
use spool_core::{
    AttemptReport, AttemptResult, BoxFuture, DeliveryAgent, Envelope, Job, MessageId, NoDice, Reply,
    ReversePath, SpoolConfig, SystemClock,
};
use std::time::Duration;

/// Takes everything.
struct Accepting;

impl DeliveryAgent for Accepting {
    fn deliver(&self, _: Job) -> BoxFuture<AttemptReport> {
        let taken = AttemptResult::Accepted(Reply::new(250, "2.0.0 ok"));
        Box::pin(std::future::ready(AttemptReport::new(taken)))
    }
}

async fn open(fs: &SimFs) -> OpenSpool {
    open_with(fs, |_| {}).await
}

async fn open_with(fs: &SimFs, set: impl FnOnce(&mut SpoolConfig)) -> OpenSpool {
    let mut config = SpoolConfig::new("/spool");
    config.store.segment_size = 64 << 10;
    config.store.min_free_space = 0;
    config.threads = 1;
    set(&mut config);
    let (agent, clock) = (Arc::new(Accepting), Arc::new(SystemClock));
    Spool::start_on(Arc::new(fs.clone()), config, agent, clock, Arc::new(NoDice))
        .await
        .unwrap()
}

fn mail() -> Add {
    let to = ["b@example.net".parse().unwrap()];
    let envelope = Envelope::of(ReversePath::parse("a@example.org").unwrap(), to);
    Add::new(envelope, Bytes::from_static(b"x\r\n")).next_hop("mx.example.net:25")
}

async fn soon<T>(answer: impl Future<Output = T>) -> T {
    let answer = tokio::time::timeout(Duration::from_secs(20), answer);
    answer.await.expect("an answer in time")
}

async fn ask<M>(spool: &OpenSpool, message: M) -> M::Result
where
    M: actix::Message + Send + 'static,
    M::Result: Send,
    SpoolActor: Handler<M>,
{
    soon(spool.addr.send(message)).await.expect("the address answers")
}

fn arm(spool: &OpenSpool, part: Part) {
    spool.panic_in(part);
}

/// It has ended because of `part`, says so to everybody, and gives the directory free.
async fn ended_by(part: Part, spool: OpenSpool, fs: &SimFs) {
    assert_eq!(soon(spool.ended()).await, Ending::Panicked(part));
    assert_eq!(soon(Spool::ended(&spool.addr)).await, Ending::Panicked(part));
    let why = format!("{part} panicked");
    assert_eq!(ask(&spool, mail()).await, Err(AddError::Ended(why.clone())));
    assert_eq!(spool.gate.admit(1), Err(AddError::Ended(why.clone())));
    let id = MessageId::from_u128(1);
    assert_eq!(ask(&spool, Freeze(vec![id])).await, Err(SpoolError::Ended(why)));
    assert_eq!(
        ask(&spool, KillAndFlush { timeout: None }).await,
        Flushed::Finished
    );
    let again = open(fs).await;
    assert!(ask(&again, WhenLoaded).await.is_ok());
    assert!(ask(&again, mail()).await.is_ok());
}

#[tokio::test]
async fn a_panic_of_the_writer_thread_answers_everyone_who_waits() {
    let fs = SimFs::new();
    let spool = open(&fs).await;
    ask(&spool, WhenLoaded).await.unwrap();
    arm(&spool, Part::Writer);
    let adds: Vec<_> = (0..50).map(|_| spool.addr.send(mail())).collect();
    let mut refused = 0;
    for add in adds {
        refused += usize::from(soon(add).await.unwrap().is_err());
    }
    assert_eq!(refused, 50);
    ended_by(Part::Writer, spool, &fs).await;
}

#[tokio::test]
async fn a_panic_of_the_throttle_ends_the_spool() {
    let fs = SimFs::new();
    let spool = open(&fs).await;
    arm(&spool, Part::Throttle);
    ask(&spool, mail()).await.unwrap();
    ended_by(Part::Throttle, spool, &fs).await;
}

#[tokio::test]
async fn a_panic_of_the_event_hub_ends_the_spool_and_its_streams() {
    let fs = SimFs::new();
    let spool = open(&fs).await;
    let mut events = Spool::subscribe(&spool.addr).await.unwrap();
    arm(&spool, Part::EventHub);
    ask(&spool, mail()).await.unwrap();
    ended_by(Part::EventHub, spool, &fs).await;
    while soon(events.next()).await.is_some() {}
}

#[tokio::test]
async fn a_panic_of_a_blocking_job_answers_the_operation_that_waits_for_it() {
    let fs = SimFs::new();
    let spool = open(&fs).await;
    ask(&spool, WhenLoaded).await.unwrap();
    let ids = ask(&spool, mail().frozen()).await.unwrap();
    arm(&spool, Part::BlockingJob);
    // The look at the files twice a second may be the job that panics, or the remove itself.
    let removed = ask(&spool, Remove(ids)).await;
    if removed.is_err() {
        assert_eq!(
            removed,
            Err(SpoolError::Ended("a blocking job panicked".to_owned()))
        );
    }
    ended_by(Part::BlockingJob, spool, &fs).await;
}

#[tokio::test]
async fn a_panic_of_the_spool_actor_answers_everyone_who_waits_for_the_disk_or_for_a_name() {
    let fs = SimFs::new();
    let spool = open(&fs).await;
    ask(&spool, WhenLoaded).await.unwrap();
    arm(&spool, Part::Spool);
    let named = |number: usize| mail().idempotency_key(format!("{}", number % 10));
    let adds: Vec<_> = (0..50).map(|number| spool.addr.send(named(number))).collect();
    let mut refused = 0;
    for add in adds {
        refused += usize::from(soon(add).await.unwrap().is_err());
    }
    assert!(refused > 0);
    ended_by(Part::Spool, spool, &fs).await;
}

#[tokio::test]
async fn a_worker_that_is_lost_while_a_hook_is_asked_does_not_keep_the_spool_from_ending() {
    let fs = SimFs::new();
    let (asked, mut calls) = tokio::sync::mpsc::unbounded_channel();
    let spool = open_with(&fs, |config| {
        config.hooks.timeout = Duration::from_secs(3600);
        config.hooks.presend(move |_| {
            let _ = asked.send(());
            std::future::pending()
        });
    })
    .await;
    ask(&spool, mail()).await.unwrap();
    soon(calls.recv()).await.unwrap();
    spool.workers.stop();
    ended_by(Part::Worker, spool, &fs).await;
}

#[tokio::test]
async fn a_panic_of_the_loader_thread_answers_those_who_wait_for_it() {
    let fs = SimFs::new();
    let supervision = Supervision::new();
    supervision.panic_in(Part::Loader);
    let sentinel = supervision.sentinel(Part::Loader);
    let (store, _) = spool_core::store::Store::begin(
        Arc::new(fs.clone()),
        std::path::Path::new("/spool"),
        &spool_core::store::StoreOptions::default(),
    )
    .unwrap();
    let store = Arc::new(store);
    let spool = open_nothing();
    crate::spool::start_loader(Arc::clone(&store), spool, sentinel).unwrap();
    assert_eq!(soon(supervision.ended()).await, Ending::Panicked(Part::Loader));
    // The store is of no use any more.
    while store.admit(1).is_ok() {
        tokio::task::yield_now().await;
    }
}

/// The address of a spool that is gone.
fn open_nothing() -> actix::WeakAddr<SpoolActor> {
    Context::<SpoolActor>::new().address().downgrade()
}

#[test]
fn the_first_reason_stands() {
    let supervision = Supervision::new();
    assert!(!supervision.is_over() && supervision.ending().is_none());
    supervision.end(Ending::DiskFailed("EIO".to_owned()));
    supervision.end(Ending::Killed);
    drop(supervision.sentinel(Part::Writer));
    assert_eq!(supervision.ending(), Some(Ending::DiskFailed("EIO".to_owned())));
    assert!(supervision.halt.is_set());
    assert_eq!(supervision.error(), SpoolError::Disk("EIO".to_owned()));
}

#[test]
fn a_part_that_is_done_reports_nothing() {
    let supervision = Supervision::new();
    supervision.sentinel(Part::Writer).done();
    assert!(!supervision.is_over());
    drop(supervision.sentinel(Part::Worker));
    assert_eq!(supervision.ending(), Some(Ending::Panicked(Part::Worker)));
}

/// An agent that panics when it is to close.
#[derive(Debug)]
struct PanicsAtTheEnd;

impl DeliveryAgent for PanicsAtTheEnd {
    fn deliver(&self, job: Job) -> BoxFuture<AttemptReport> {
        Accepting.deliver(job)
    }

    fn close(&self) -> BoxFuture<()> {
        panic!("told to panic")
    }
}

#[tokio::test]
async fn an_agent_that_panics_while_it_closes_keeps_nobody_waiting_for_the_end() {
    let fs = SimFs::new();
    let config = SpoolConfig::new("/spool");
    let (agent, clock) = (Arc::new(PanicsAtTheEnd), Arc::new(SystemClock));
    let spool = Spool::start_on(Arc::new(fs), config, agent, clock, Arc::new(NoDice))
        .await
        .unwrap();
    let flushed = ask(&spool, KillAndFlush { timeout: None }).await;
    assert_eq!(flushed, Flushed::Finished);
}
