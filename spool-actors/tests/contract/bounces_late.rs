//! Notices about mail that is late, that expires, or whose notice was due when the power failed.

use crate::bounces::{NEVER, accept_notice, mail_to, mail_to_one, returning, returning_as, text};
use crate::support::*;
use spool_actors::GetStats;
use spool_core::bounce::{Action, OnFailure};
use spool_core::{Router, Routing, Stage};
use std::sync::Arc;
use std::time::Duration;

#[tokio::test]
async fn the_end_of_the_retries_and_of_the_time_is_told() {
    let mut bench = Bench::with(returning).await;
    bench.add(mail_to_one().retry(&minutes(&[]))).await;
    bench.answer(no_connection()).await;
    let (_, told) = accept_notice(&mut bench).await;
    assert!(
        told.contains("Status: 5.4.7\r\n") && told.contains("no retry interval is left"),
        "{told}"
    );
    let retry = spool_core::RetryPolicy {
        expire_after: Some(Duration::from_secs(50)),
        repeat_last: true,
        ..minutes(&[1])
    };
    bench.add(mail_to_one().retry(&retry)).await;
    bench.answer(no_connection()).await;
    bench.skip().await;
    bench.answer(refused(Stage::Rcpt, 450, "4.2.0 later")).await;
    let (_, told) = accept_notice(&mut bench).await;
    assert!(
        told.contains("Status: 5.4.7\r\n") && told.contains("smtp; 450 4.2.0 later"),
        "{told}"
    );
    bench.idle().await;
    end(bench.spool).await;
}

#[tokio::test]
async fn a_late_message_is_told_of_once_through_restarts() {
    let mut bench = Bench::with(returning_as(|notices| {
        notices.delay_warning_after = Some(Duration::from_secs(240))
    }))
    .await;
    let retry = spool_core::RetryPolicy {
        expire_after: Some(Duration::from_secs(86_400)),
        ..minutes(&[3, 3, 3, 3])
    };
    let id = bench
        .add(mail_to(&[("b@example.net", None), ("c@example.net", NEVER)]).retry(&retry))
        .await;
    for nth in 0..4 {
        bench.answer(refused(Stage::Mail, 450, "4.2.0 later")).await;
        if nth == 2 {
            let (_, told) = accept_notice(&mut bench).await;
            assert!(
                told.contains("Action: delayed\r\n") && told.contains("Will-Retry-Until: "),
                "{told}"
            );
            assert!(
                told.contains("text/rfc822-headers") && !told.contains("Hello"),
                "{told}"
            );
            assert!(!told.contains("c@example.net"), "{told}");
        }
        bench.idle().await;
        assert!(bench.jobs.none(), "{nth}");
        bench = bench.reopen(|_| {}).await;
        bench.skip().await;
    }
    let given = bench.details(id).await.message.state.notices.given;
    assert_eq!((given.len(), given[0].action), (1, Action::Delayed));
    end(bench.spool).await;
}

#[tokio::test]
async fn what_is_due_at_a_crash_is_told_by_the_next_attempt_with_the_original() {
    let mut bench = Bench::with(returning_as(|notices| {
        notices.on_failure = OnFailure::Freeze;
        notices.delay_warning_after = Some(Duration::from_secs(240));
    }))
    .await;
    let to = [("b@example.net", None), ("c@example.net", None)];
    let id = bench.add(mail_to(&to).retry(&minutes(&[5, 5, 5]))).await;
    let mut verdict = refused(Stage::Rcpt, 450, "4.2.0 later");
    verdict.refused = partly(&[(0, 550, "5.1.1 no")]).refused;
    bench.answer(verdict).await;
    bench.skip().await;
    let running = bench.jobs.next().await;
    // With the next start failures are bounced, and the message is late.
    if let Some(notices) = &mut bench.config.notices {
        notices.on_failure = OnFailure::Bounce;
    }
    bench = bench.crash().await;
    drop(running);
    let (job, answer) = bench.jobs.next().await;
    assert_eq!(job.message, id, "no notice comes of the interruption");
    assert!(bench.details(id).await.message.state.notices.given.is_empty());
    answer.send(refused(Stage::Mail, 450, "4.2.0 later")).unwrap();
    let (_, told) = accept_notice(&mut bench).await;
    for line in ["Action: failed\r\n", "Action: delayed\r\n", "\r\nHello\r\n"] {
        assert!(told.contains(line), "{line}\n{told}");
    }
    bench.idle().await;
    assert!(bench.jobs.none());
    end(bench.spool).await;
}

#[tokio::test]
async fn what_expires_without_an_attempt_is_told_of_with_its_body() {
    const MAILS: usize = 90;
    let mut bench = Bench::with(returning_as(|notices| notices.per_hour = 100)).await;
    // Notices go elsewhere than to the destination that does not answer.
    let router = Router::new(vec![], ["back.example:25".parse().unwrap()].into(), 25);
    bench.set_routing(Routing::ByRules(Arc::new(router))).await;
    let retry = spool_core::RetryPolicy {
        repeat_last: true,
        expire_after: Some(Duration::from_secs(3600)),
        ..minutes(&[30])
    };
    for _ in 0..MAILS {
        bench.add(mail_to_one().retry(&retry)).await;
    }
    let (tell, told) = std::sync::mpsc::channel();
    let mut jobs = std::mem::replace(&mut bench.jobs, Jobs(tokio::sync::mpsc::unbounded_channel().1));
    let answers = tokio::spawn(async move {
        while let Some((job, answer)) = jobs.0.recv().await {
            let is_notice = job.envelope.reverse_path.is_null();
            if is_notice {
                tell.send(text(&job)).unwrap();
            }
            let _ = answer.send(if is_notice { accepted() } else { no_connection() });
        }
    });
    while let Some(next) = bench.idle().await {
        bench.clock.set(next);
    }
    let told: Vec<String> = told.try_iter().collect();
    assert_eq!(told.len(), MAILS);
    for text in &told {
        assert!(
            text.contains("\r\nHello\r\n") && text.contains("Status: 5.4.7\r\n"),
            "{text}"
        );
    }
    let untried = told
        .iter()
        .filter(|text| text.contains("no attempt was possible"))
        .count();
    assert!(untried > 0);
    assert_eq!(bench.ask(GetStats).await.unwrap().messages, 0);
    end(bench.spool).await;
    answers.abort();
}
