//! What the spool does while the system has no descriptors, the disk does not give mail back, or has failed.

use crate::full_disk::{bench, bench_with};
use crate::support::*;
use spool_actors::{
    Add, Ending, Freeze, GetJobs, GetStats, Remove, SendNow, SetMaxConcurrentJobs, Spool, Which,
};
use spool_core::store::fs::{OpKind, SimFs};
use spool_core::{AddError, Clock, EventKind, Hold, ShownStatus, SpoolError};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

/// A number of the system: too many open files in this process.
const EMFILE: i32 = 24;
/// A number of the system: the disk does not do what it was asked.
const EIO: i32 = 5;

#[tokio::test]
async fn mail_that_cannot_be_read_for_want_of_descriptors_is_tried_again_soon() {
    let fs = SimFs::new();
    let mut bench = bench(&fs).await;
    let id = bench.add(mail("x").retry(&minutes(&[5]))).await;
    bench.answer(no_connection()).await;
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
    let job = bench.answer(accepted()).await;
    assert_eq!((job.message, job.body.as_ref()), (id, b"x\r\n".as_slice()));
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
        bench.answer(no_connection()).await;
    }
    bench.idle().await;
    let path = Path::new("/spool/journal/0000000001.log");
    let bytes = fs.read(path).unwrap();
    let at = bytes.windows(6).position(|text| text == b"lost\r\n").unwrap() as u64;
    fs.make_unreadable(path, at..at + 1);
    bench.skip().await;
    let job = bench.answer(accepted()).await;
    assert_eq!(job.message, other);
    bench.idle().await;
    assert_eq!(bench.status(lost).await, Some(ShownStatus::Frozen));
    // Whoever sends it again when the disk is well has lost nothing.
    fs.heal();
    bench.send(lost).await;
    let job = bench.answer(accepted()).await;
    assert_eq!((job.message, job.body.as_ref()), (lost, b"lost\r\n".as_slice()));
    bench.idle().await;
    end(bench.spool).await;
}

#[tokio::test]
async fn after_a_failed_sync_every_operation_says_so_and_no_session_starts() {
    let fs = SimFs::new();
    let mut bench = bench(&fs).await;
    let mut events = Spool::subscribe(&bench.spool).await.unwrap();
    let kept = bench.add(mail("kept").retry(&minutes(&[5]))).await;
    bench.answer(no_connection()).await;
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
    let archive = spool_core::store::Archive::Removed;
    assert!(
        fs.files()
            .iter()
            .all(|file| !file.starts_with(format!("/spool/{}", archive.name())))
    );
    // Queries still work; sending does not.
    assert_eq!(bench.details(kept).await.message.id, kept);
    bench.clock.set(bench.after(Duration::from_secs(301)));
    let failed = |holds: &[Hold]| holds.iter().any(|hold| matches!(hold, Hold::Disk { .. }));
    while !failed(&bench.holds(kept).await) {
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

#[tokio::test]
async fn after_a_failed_sync_no_prepared_session_starts_and_only_open_ones_are_repeated() {
    const SESSIONS: usize = 10;
    let fs = SimFs::new();
    let several = |config: &mut spool_core::SpoolConfig| config.max_concurrent_jobs = SESSIONS;
    let mut bench = bench_with(&fs, several).await;
    let mut added = BTreeSet::new();
    for n in 0..100 {
        let add =
            Add::new(envelope(&["b@example.net"]), "x\r\n").next_hop(&format!("mx{}.example.net:25", n % 5));
        added.insert(bench.add(add.retry(&minutes(&[5]))).await);
    }
    let mut open = Vec::new();
    for _ in 0..SESSIONS {
        open.push(bench.jobs.next().await);
    }
    let mut delivered = BTreeSet::new();
    for (job, answer) in open.drain(..5) {
        delivered.insert(job.message);
        answer.send(accepted()).unwrap();
    }
    for _ in 0..5 {
        open.push(bench.jobs.next().await);
    }
    while bench.ask(GetStats).await.unwrap().delivered < 5 {
        tokio::task::yield_now().await;
    }
    fs.fail_all(&[OpKind::Sync], EIO);
    assert!(matches!(bench.ask(mail("more")).await, Err(AddError::Disk(_))));
    let at_the_failure: BTreeSet<_> = open.iter().map(|(job, _)| job.message).collect();
    for (_, answer) in open {
        answer.send(accepted()).unwrap();
    }
    while bench.ask(GetJobs).await.unwrap().running > 0 {
        tokio::task::yield_now().await;
    }
    end(bench.spool).await;
    assert!(bench.jobs.none(), "a session started after the failure was known");
    fs.heal();
    let mut bench = bench_with(&fs, several).await;
    let mut again = BTreeSet::new();
    while bench.ask(GetStats).await.unwrap().messages > 0 {
        match bench.jobs.0.try_recv() {
            Ok((job, answer)) => {
                assert!(again.insert(job.message));
                answer.send(accepted()).unwrap();
            }
            Err(_) => tokio::task::yield_now().await,
        }
    }
    let repeated: Vec<_> = again.iter().filter(|id| delivered.contains(id)).collect();
    assert!(repeated.is_empty(), "{repeated:?} were known to be delivered");
    assert!(at_the_failure.len() <= SESSIONS);
    let lost: Vec<_> = added
        .iter()
        .filter(|id| !again.contains(id) && !delivered.contains(id))
        .collect();
    assert!(lost.is_empty(), "{lost:?}");
    end(bench.spool).await;
}

#[tokio::test]
async fn an_archive_that_cannot_be_opened_for_want_of_descriptors_is_busy_and_no_failed_disk() {
    let fs = SimFs::new();
    let bench = bench(&fs).await;
    let id = bench.add(mail("x").frozen()).await;
    fs.fail_all(&[OpKind::Open, OpKind::Create, OpKind::MakeDir], EMFILE);
    let removed = bench.remove(id).await;
    assert!(
        matches!(removed.errors.as_slice(), [SpoolError::Busy]),
        "{removed:?}"
    );
    let details = bench.ask(spool_actors::Get(id)).await;
    assert!(matches!(details, Ok(_) | Err(SpoolError::Busy)), "{details:?}");
    fs.heal();
    assert_eq!(done(&bench.remove(id).await), 1);
    end(bench.spool).await;
}

#[tokio::test]
async fn a_lock_file_or_a_segment_that_is_deleted_ends_the_spool() {
    for name in ["lock", "journal/0000000001.log"] {
        let bench = Bench::new().await;
        bench.add(mail("x").frozen()).await;
        std::fs::remove_file(bench.path(name)).unwrap();
        let ending = tokio::time::timeout(Duration::from_secs(20), Spool::ended(&bench.spool)).await;
        let Ok(Ending::FilesTaken(why)) = &ending else {
            panic!("{ending:?}");
        };
        assert!(why.contains(name), "{why}");
        assert!(matches!(bench.ask(mail("y")).await, Err(AddError::Ended(_))));
        end(bench.spool).await;
    }
}

#[tokio::test]
async fn an_operation_goes_on_when_the_one_before_it_cannot_read_the_message() {
    let fs = SimFs::new();
    let bench = bench(&fs).await;
    let id = bench.add(mail("x").frozen()).await;
    fs.fail_all(&[OpKind::Open, OpKind::Read], EMFILE);
    let send = bench.spool.send(SendNow {
        which: Which::SomeMessages(vec![id]),
        retry_intervals: Vec::new(),
    });
    let remove = bench.spool.send(Remove(vec![id]));
    let both = async { (send.await, remove.await) };
    let (sent, removed) = tokio::time::timeout(Duration::from_secs(20), both)
        .await
        .expect("both are answered");
    assert_eq!(sent.unwrap().unwrap().errors.len(), 1);
    assert_eq!(removed.unwrap().unwrap().errors.len(), 1);
    bench.idle().await;
    fs.heal();
    assert_eq!(bench.status(id).await, Some(ShownStatus::Frozen));
    end(bench.spool).await;
}

#[tokio::test]
async fn a_begin_that_no_session_has_used_is_not_in_doubt_after_an_operation_that_failed() {
    let fs = SimFs::new();
    let mut bench = bench(&fs).await;
    bench.add(mail("running")).await;
    let (_, answer) = bench.jobs.next().await;
    let id = bench.add(mail("x")).await;
    // Its start is on disk, and nothing is started again.
    bench.ask(SetMaxConcurrentJobs(0)).await.unwrap();
    fs.fail_all(&[OpKind::Open, OpKind::Read], EMFILE);
    let outcome = bench.freeze(id).await;
    assert!(
        matches!(outcome.errors.as_slice(), [SpoolError::Busy]),
        "{outcome:?}"
    );
    fs.heal();
    answer.send(accepted()).unwrap();
    end(bench.spool).await;
    let bench = bench_with(&fs, |config| config.max_concurrent_jobs = 0).await;
    bench.idle().await;
    assert_eq!(bench.details(id).await.message.state.attempts.total(), 0);
    end(bench.spool).await;
}
