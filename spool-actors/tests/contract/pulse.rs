//! What a watchdog sees of a spool.

use crate::full_disk::bench;
use crate::support::*;
use spool_actors::{GetPulse, Progress, Pulse};
use spool_core::store::fs::SimFs;

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
