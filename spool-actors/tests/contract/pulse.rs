//! What a watchdog sees of a spool.

use crate::full_disk::bench;
use crate::support::*;
use spool_actors::{GetPulse, Progress, Pulse, Spool, WhenLoaded};
use spool_core::store::fs::SimFs;
use spool_core::{NoDice, SystemClock};
use std::sync::Arc;

#[tokio::test]
async fn a_disk_that_hangs_is_no_progress_until_it_answers() {
    let fs = SimFs::new();
    let bench = bench(&fs).await;
    bench.add(mail("x").frozen()).await;
    let pulse = || async { bench.spool.send(GetPulse).await.ok() };
    let mut progress = Progress::default();
    assert!(progress.made(pulse().await));
    let before = pulse().await.unwrap();
    let stall = fs.stall();
    let stuck = bench.spool.clone();
    let add = tokio::spawn(async move { stuck.send(mail("y").frozen()).await });
    let waiting = loop {
        match pulse().await {
            Some(pulse) if pulse.pending > 0 => break pulse,
            Some(Pulse { .. }) | None => tokio::task::yield_now().await,
        }
    };
    assert_eq!(waiting.commits, before.commits);
    assert!(progress.made(Some(waiting)), "it has only just begun");
    assert!(!progress.made(pulse().await), "the writer waits for the disk");
    assert!(!progress.made(pulse().await));
    drop(stall);
    add.await.unwrap().unwrap().unwrap();
    assert!(progress.made(pulse().await));
    assert!(pulse().await.unwrap().commits > before.commits);
    end(bench.spool).await;
}

#[tokio::test]
async fn the_gate_tells_for_how_long_the_disk_has_not_answered() {
    let fs = SimFs::new();
    let opened = Spool::start_on(
        Arc::new(fs.clone()),
        config(std::path::Path::new("/")),
        Arc::new(Scripted(tokio::sync::mpsc::unbounded_channel().0)),
        Arc::new(SystemClock),
        Arc::new(NoDice),
    );
    let opened = opened.await.unwrap();
    opened.addr.send(WhenLoaded).await.unwrap().unwrap();
    let add = || opened.addr.send(mail("x").frozen());
    add().await.unwrap().unwrap();
    let idle = || async {
        while opened.gate.disk_busy_for().is_some() {
            tokio::task::yield_now().await;
        }
    };
    idle().await;
    let stall = fs.stall();
    let adding = tokio::spawn(add());
    while opened.gate.disk_busy_for().is_none() {
        tokio::task::yield_now().await;
    }
    let before = opened.gate.disk_busy_for().unwrap();
    assert!(
        opened.gate.disk_busy_for().unwrap() >= before,
        "it is at the same work"
    );
    drop(stall);
    adding.await.unwrap().unwrap().unwrap();
    idle().await;
    end(opened.addr).await;
}
