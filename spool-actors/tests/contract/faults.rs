//! What the spool does while the system has no descriptors, the disk does not give mail back, or has failed.

use crate::full_disk::bench;
use crate::support::*;
use spool_actors::{Ending, Explain, Freeze, GetStats, Remove, SendNow, Spool, Which};
use spool_core::store::fs::{OpKind, SimFs};
use spool_core::{AddError, Clock, EventKind, Hold, ShownStatus, SpoolError};
use std::path::Path;
use std::time::Duration;

/// A number of the system: too many open files in this process.
const EMFILE: i32 = 24;

#[tokio::test]
async fn mail_that_cannot_be_read_for_want_of_descriptors_is_tried_again_soon() {
    let fs = SimFs::new();
    let mut bench = bench(&fs).await;
    let id = bench.add(mail("x").retry(&minutes(&[5]))).await;
    let (_, answer) = bench.jobs.next().await;
    answer.send(no_connection()).unwrap();
    bench.idle().await;
    fs.fail_all(&[OpKind::Open], EMFILE);
    // A few seconds, not the next interval, and as often as it takes.
    for _ in 0..3 {
        bench.skip().await;
        let again = bench.idle().await.expect("it waits");
        assert!(again <= bench.after(Duration::from_secs(5)), "{again}");
        assert!(again > bench.clock.now());
        assert!(bench.jobs.none());
    }
    fs.heal();
    bench.skip().await;
    let (job, answer) = bench.jobs.next().await;
    assert_eq!((job.message, job.body.as_ref()), (id, b"x\r\n".as_slice()));
    answer.send(accepted()).unwrap();
    bench.idle().await;
    assert_eq!(bench.status(id).await, None);
    end(bench.spool).await;
}

#[tokio::test]
async fn mail_that_the_disk_does_not_give_back_is_kept_frozen_and_the_rest_goes_on() {
    let fs = SimFs::new();
    let mut bench = bench(&fs).await;
    let lost = bench.add(mail("lost").retry(&minutes(&[5]))).await;
    let other = bench.add(mail("other").retry(&minutes(&[5]))).await;
    for _ in 0..2 {
        let (_, answer) = bench.jobs.next().await;
        answer.send(no_connection()).unwrap();
    }
    bench.idle().await;
    let path = Path::new("/spool/journal/0000000001.log");
    let bytes = fs.read(path).unwrap();
    let at = bytes.windows(6).position(|text| text == b"lost\r\n").unwrap() as u64;
    fs.spoil(path, at..at + 1);
    bench.skip().await;
    let (job, answer) = bench.jobs.next().await;
    assert_eq!(job.message, other);
    answer.send(accepted()).unwrap();
    bench.idle().await;
    assert_eq!(bench.status(lost).await, Some(ShownStatus::Frozen));
    // Whoever sends it again when the disk is well has lost nothing.
    fs.heal();
    bench.send(lost).await;
    let (job, answer) = bench.jobs.next().await;
    assert_eq!((job.message, job.body.as_ref()), (lost, b"lost\r\n".as_slice()));
    answer.send(accepted()).unwrap();
    bench.idle().await;
    end(bench.spool).await;
}

#[tokio::test]
async fn after_a_failed_sync_every_operation_says_so_and_no_session_starts() {
    let fs = SimFs::new();
    let mut bench = bench(&fs).await;
    let mut events = Spool::subscribe(&bench.spool).await.unwrap();
    let kept = bench.add(mail("kept").retry(&minutes(&[5]))).await;
    let (_, answer) = bench.jobs.next().await;
    answer.send(no_connection()).unwrap();
    bench.idle().await;
    let frozen = bench.add(mail("frozen").frozen()).await;
    fs.fail(OpKind::Sync, 0, std::io::ErrorKind::Other);
    for _ in 0..3 {
        let added = bench.ask(mail("more")).await;
        assert!(matches!(added, Err(AddError::Disk(_))), "{added:?}");
    }
    let ending = Spool::ended(&bench.spool).await;
    assert!(matches!(ending, Ending::DiskFailed(_)), "{ending:?}");
    let disk = |answer| matches!(answer, Err(SpoolError::Disk(_)));
    assert!(disk(bench.ask(Freeze(vec![kept])).await));
    let which = Which::SomeMessages(vec![frozen]);
    let retry_intervals = Vec::new();
    assert!(disk(
        bench
            .ask(SendNow {
                which,
                retry_intervals
            })
            .await
    ));
    assert!(disk(bench.ask(Remove(vec![frozen])).await));
    let shelf = spool_core::store::Shelf::Removed;
    assert!(
        fs.files()
            .iter()
            .all(|file| !file.starts_with(format!("/spool/{}", shelf.name())))
    );
    // Looking goes on; sending does not.
    assert_eq!(bench.details(kept).await.message.id, kept);
    bench.clock.set(bench.after(Duration::from_secs(301)));
    let failed = |holds: &[Hold]| holds.iter().any(|hold| matches!(hold, Hold::Disk { .. }));
    while !failed(&bench.ask(Explain(kept)).await.unwrap()) {
        tokio::task::yield_now().await;
    }
    assert!(bench.jobs.none());
    assert_eq!(bench.ask(GetStats).await.unwrap().messages, 2);
    for expected in [
        EventKind::Spooled,
        EventKind::Delayed(START.after(Duration::from_secs(300))),
    ] {
        assert_eq!(event(&mut events).await, expected);
    }
    end(bench.spool).await;
}
