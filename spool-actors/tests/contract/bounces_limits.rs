//! When no notice is returned although mail failed, and that limits and a full disk keep no attempt from ending.

use crate::bounces::{
    SUCCESS, accept_notice, bounce, mail_to, mail_to_one, notice, returning, returning_as, unreturned, why,
};
use crate::support::*;
use spool_actors::{Add, GetStats};
use spool_core::bounce::Unreturned;
use spool_core::store::fs::SimFs;
use spool_core::{AddError, FrozenKind, FrozenReason, ShownStatus, SpoolConfig, SpoolError, Stage};

#[tokio::test]
async fn a_notice_that_fails_is_kept_and_no_notice_is_returned_about_it() {
    let mut bench = Bench::with(returning).await;
    bench.add(mail_to_one()).await;
    bench.answer(refused(Stage::Mail, 550, "5.7.1 no")).await;
    let (job, answer) = notice(&mut bench).await;
    let mut verdict = refused(Stage::Mail, 554, "5.7.1 no notices here");
    verdict.peer = Some("mx.example.net:25".parse().unwrap());
    answer.send(verdict).unwrap();
    bench.idle().await;
    let why = why(&bench, job.message).await;
    assert!(matches!(
        &why,
        FrozenReason::Unreturned {
            why: Unreturned::NullReversePath,
            ..
        }
    ));
    assert_eq!(why.kind(), FrozenKind::Failed);
    assert_eq!(
        why.to_string(),
        "failed at MAIL of mx.example.net:25: 554 5.7.1 no notices here; no notice was returned: the reverse-path is null"
    );
    assert!(bench.jobs.none());
    let error = bench.ask(bounce(job.message)).await.unwrap().errors;
    assert_eq!(error, [SpoolError::NullReversePath(job.message)]);
    assert_eq!(bench.status(job.message).await, Some(ShownStatus::Frozen));
    end(bench.spool).await;
}

#[tokio::test]
async fn a_reverse_path_gets_no_more_notices_in_an_hour_than_allowed() {
    let mut bench = Bench::with(returning_as(|notices| notices.per_hour = 2)).await;
    let mut ids = Vec::new();
    for nth in 0..3 {
        ids.push(bench.add(mail_to_one()).await);
        bench.answer(refused(Stage::Mail, 550, "no")).await;
        if nth < 2 {
            accept_notice(&mut bench).await;
        }
    }
    bench.idle().await;
    assert!(bench.jobs.none());
    assert_eq!(unreturned(&bench, ids[2]).await, Unreturned::TooMany);
    end(bench.spool).await;
}

#[tokio::test]
async fn all_notices_about_one_submission_count_once() {
    let mut bench = Bench::with(returning_as(|notices| notices.per_hour = 1)).await;
    let mut frozen = 0;
    for flow in 1..3 {
        let section = |nth: usize| spool_core::Section {
            envelope: envelope(&[&format!("b@d{nth}.example")]),
            next_hops: ["mx.example.net:25".parse().unwrap()].into(),
            origin: spool_core::RouteOrigin::Named,
            retry: minutes(&[]),
        };
        let add = Add::sections((0..5).map(section).collect(), &b"Subject: x\r\n\r\nx\r\n"[..]);
        // Those of the session and of the mail.
        let add = add.flow(spool_core::FlowId::from_u128(9));
        let add = add.flow(spool_core::FlowId::from_u128(flow));
        let ids = bench.ask(add).await.unwrap();
        let mut told = 0;
        for _ in 0..if flow == 1 { 10 } else { 5 } {
            let (job, answer) = bench.jobs.next().await;
            let is_notice = job.envelope.reverse_path.is_null();
            told += usize::from(is_notice);
            let verdict = match is_notice {
                true => accepted(),
                false => refused(Stage::Mail, 550, "no"),
            };
            answer.send(verdict).unwrap();
        }
        bench.idle().await;
        assert!(bench.jobs.none());
        assert_eq!(told, if flow == 1 { 5 } else { 0 });
        for id in ids {
            frozen += usize::from(bench.status(id).await == Some(ShownStatus::Frozen));
        }
    }
    assert_eq!(frozen, 5, "the second submission is one too many");
    end(bench.spool).await;
}

#[tokio::test]
async fn ends_with_notices_are_written_although_no_more_messages_are_allowed() {
    let set = |config: &mut SpoolConfig| {
        returning(config);
        config.store.max_messages = 2;
    };
    let mut bench = Bench::with(set).await;
    for _ in 0..2 {
        bench.add(mail_to_one()).await;
    }
    let more = bench.ask(mail_to(&[("c@example.net", None)])).await;
    assert!(matches!(more, Err(AddError::Full(_))), "{more:?}");
    let running = [bench.jobs.next().await, bench.jobs.next().await];
    for (_, answer) in running {
        answer.send(refused(Stage::Rcpt, 550, "5.1.1 no")).unwrap();
    }
    for _ in 0..2 {
        accept_notice(&mut bench).await;
    }
    bench.idle().await;
    assert_eq!(bench.ask(GetStats).await.unwrap().messages, 0);
    end(bench.spool).await;
}

#[tokio::test]
async fn without_room_for_a_notice_the_end_of_an_attempt_is_written_all_the_same() {
    let fs = SimFs::new();
    let set = |config: &mut SpoolConfig| {
        returning(config);
        config.max_concurrent_jobs = 3;
        config.store.min_free_space = 1 << 20;
    };
    let mut bench = crate::full_disk::bench_with(&fs, set).await;
    let failing = bench.add(mail_to_one()).await;
    let relayed = bench.add(mail_to(&[("c@example.net", SUCCESS)])).await;
    let running = [bench.jobs.next().await, bench.jobs.next().await];
    // Less than half of what is to stay free.
    fs.set_capacity(Some(fs.used() + (1 << 18)));
    for (job, answer) in running {
        let mut taken = accepted();
        taken.without_dsn = vec![0];
        let verdict = match job.message == failing {
            true => refused(Stage::Rcpt, 550, "5.1.1 no"),
            false => taken,
        };
        answer.send(verdict).unwrap();
    }
    bench.idle().await;
    assert!(bench.jobs.none(), "no notice, and nothing is sent again");
    assert_eq!(bench.status(relayed).await, None, "it was delivered");
    assert_eq!(unreturned(&bench, failing).await, Unreturned::NoRoom);
    // With room again, a person has it returned.
    fs.set_capacity(None);
    let outcome = bench.ask(bounce(failing)).await.unwrap();
    assert_eq!(done(&outcome), 1, "{outcome:?}");
    accept_notice(&mut bench).await;
    bench.idle().await;
    end(bench.spool).await;
}
