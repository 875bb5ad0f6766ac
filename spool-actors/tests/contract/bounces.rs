//! What senders are told of their mail, and that it is told exactly once.

use crate::support::*;
use bytes::Bytes;
use spool_actors::{Add, Bounce, Expire, Explain, GetBody, GetStats, SetNotices, SetRouting, Spool};
use spool_core::bounce::{Action, NoticeConfig, OnFailure, Unreturned};
use spool_core::store::fs::SimFs;
use spool_core::{
    AddError, AttemptResult, DomainPattern, EventKind, FrozenKind, FrozenReason, Job, MessageId, Notify,
    ReversePath, Router, Routing, Rule, ShownStatus, SpoolConfig, SpoolError, Stage,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

fn notices() -> NoticeConfig {
    let mut notices = NoticeConfig::new("mta.example.org");
    notices.retry = minutes(&[5]);
    notices
}

fn returning(config: &mut SpoolConfig) {
    config.notices = Some(notices());
}

/// A mail to these recipients, each with its NOTIFY.
fn mail_to(to: &[(&str, Option<Notify>)]) -> Add {
    let addresses: Vec<&str> = to.iter().map(|(to, _)| *to).collect();
    let mut envelope = envelope(&addresses);
    for (recipient, (_, notify)) in envelope.recipients.iter_mut().zip(to) {
        recipient.notify = *notify;
    }
    let body = Bytes::from_static(b"Message-ID: <m@example.org>\r\nSubject: hi\r\n\r\nHello\r\n");
    Add::new(envelope, body).next_hop("mx.example.net:25")
}

const NEVER: Option<Notify> = Some(Notify {
    success: false,
    failure: false,
    delay: false,
});

const SUCCESS: Option<Notify> = Some(Notify {
    success: true,
    failure: false,
    delay: false,
});

fn text(job: &Job) -> String {
    String::from_utf8(job.body.to_vec()).unwrap()
}

/// The next attempt, which is that of a notice.
async fn notice(bench: &mut Bench) -> (Job, oneshot::Sender<Verdict>) {
    let (job, answer) = bench.jobs.next().await;
    assert_eq!(job.envelope.reverse_path, ReversePath::Null);
    assert_eq!(job.envelope.recipients[0].address.as_str(), "a@example.org");
    (job, answer)
}

/// The reason of a frozen message.
async fn why(bench: &Bench, id: MessageId) -> FrozenReason {
    assert_eq!(bench.status(id).await, Some(ShownStatus::Frozen));
    bench.details(id).await.message.state.frozen.unwrap().why
}

#[tokio::test]
async fn failed_recipients_are_told_of_in_one_notice_and_the_message_ends() {
    let mut bench = Bench::with(returning).await;
    let mut events = Spool::subscribe(&bench.spool).await.unwrap();
    let to = [
        ("b@example.net", None),
        ("c@example.net", None),
        ("d@example.net", NEVER),
    ];
    let id = bench.add(mail_to(&to)).await;
    let verdict = partly(&[
        (0, 550, "5.1.1 no such user"),
        (1, 551, "5.1.6 moved"),
        (2, 550, "no"),
    ]);
    bench.jobs.next().await.1.send(verdict).unwrap();
    let (job, answer) = notice(&mut bench).await;
    let text = text(&job);
    for line in [
        "Final-Recipient: rfc822; b@example.net\r\n",
        "Diagnostic-Code: smtp; 550 5.1.1 no such user\r\n",
        "Final-Recipient: rfc822; c@example.net\r\n",
        "\r\nSubject: hi\r\n\r\nHello\r\n",
        "Reporting-MTA: dns; mta.example.org\r\n",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(!text.contains("d@example.net"), "{text}");
    let id_of_notice = job.message;
    assert!(id_of_notice.is_notice(id, 0));
    assert_eq!(bench.details(id_of_notice).await.message.parent, Some(id));
    assert_eq!(bench.status(id).await, None, "it has ended");
    let failed = |id| EventKind::Notice {
        action: Action::Failed,
        id,
    };
    let kinds = [
        EventKind::Spooled,
        EventKind::Spooled,
        EventKind::Bounced,
        failed(Some(id_of_notice)),
        failed(None),
    ];
    for kind in kinds {
        assert_eq!(event(&mut events).await, kind);
    }
    answer.send(accepted()).unwrap();
    bench.idle().await;
    let stats = bench.ask(GetStats).await.unwrap();
    assert_eq!((stats.notices, stats.delivered, stats.messages), (1, 1, 0));
    end(bench.spool).await;
}

#[tokio::test]
async fn whoever_remains_is_tried_on_after_a_notice_about_the_others() {
    let mut bench = Bench::with(returning).await;
    let to = [("b@example.net", None), ("c@example.net", None)];
    let id = bench.add(mail_to(&to).retry(&minutes(&[5, 5]))).await;
    let first = partly(&[(0, 550, "5.1.1 no"), (1, 450, "4.2.0 later")]);
    bench.jobs.next().await.1.send(first).unwrap();
    let (job, answer) = notice(&mut bench).await;
    let told = text(&job);
    assert!(
        told.contains("b@example.net") && !told.contains("c@example.net"),
        "{told}"
    );
    answer.send(accepted()).unwrap();
    bench.idle().await;
    let state = bench.details(id).await.message.state;
    assert_eq!((state.remaining, state.failed.len()), (vec![1], 0));
    assert_eq!(state.notices.of_failed(0).unwrap().id, Some(job.message));
    // After a restart it is known, and nobody is told twice.
    let mut bench = bench.reopen(|_| {}).await;
    bench.skip().await;
    bench
        .jobs
        .next()
        .await
        .1
        .send(refused(Stage::Rcpt, 550, "5.1.1 no"))
        .unwrap();
    let (second, answer) = notice(&mut bench).await;
    let told = text(&second);
    assert!(
        !told.contains("b@example.net") && told.contains("c@example.net"),
        "{told}"
    );
    assert!(second.message.is_notice(id, 1) && second.message != job.message);
    answer.send(accepted()).unwrap();
    bench.idle().await;
    assert_eq!(bench.ask(GetStats).await.unwrap().messages, 0);
    end(bench.spool).await;
}

#[tokio::test]
async fn the_end_of_the_retries_and_of_the_time_is_told() {
    let mut bench = Bench::with(returning).await;
    bench
        .add(mail_to(&[("b@example.net", None)]).retry(&minutes(&[])))
        .await;
    bench.jobs.next().await.1.send(no_connection()).unwrap();
    let (job, answer) = notice(&mut bench).await;
    let told = text(&job);
    assert!(
        told.contains("Status: 5.4.7\r\n") && told.contains("no retry interval is left"),
        "{told}"
    );
    answer.send(accepted()).unwrap();
    let retry = spool_core::RetryPolicy {
        expire_after: Some(Duration::from_secs(50)),
        repeat_last: true,
        ..minutes(&[1])
    };
    bench.add(mail_to(&[("b@example.net", None)]).retry(&retry)).await;
    bench.jobs.next().await.1.send(no_connection()).unwrap();
    bench.skip().await;
    bench
        .jobs
        .next()
        .await
        .1
        .send(refused(Stage::Rcpt, 450, "4.2.0 later"))
        .unwrap();
    let (job, answer) = notice(&mut bench).await;
    let told = text(&job);
    assert!(
        told.contains("Status: 5.4.7\r\n") && told.contains("smtp; 450 4.2.0 later"),
        "{told}"
    );
    answer.send(accepted()).unwrap();
    bench.idle().await;
    end(bench.spool).await;
}

#[tokio::test]
async fn a_notice_that_fails_is_kept_and_no_notice_is_returned_about_it() {
    let mut bench = Bench::with(returning).await;
    bench.add(mail_to(&[("b@example.net", None)])).await;
    bench
        .jobs
        .next()
        .await
        .1
        .send(refused(Stage::Mail, 550, "5.7.1 no"))
        .unwrap();
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
    let error = bench
        .ask(Bounce {
            ids: vec![job.message],
            reason: None,
        })
        .await
        .unwrap()
        .errors;
    assert_eq!(error, [SpoolError::NullReversePath(job.message)]);
    assert_eq!(bench.status(job.message).await, Some(ShownStatus::Frozen));
    end(bench.spool).await;
}

#[tokio::test]
async fn an_unknown_submitter_is_told_nothing_also_after_a_restart_but_by_hand() {
    let mut bench = Bench::with(returning).await;
    let id = bench
        .add(
            mail_to(&[("b@example.net", None)])
                .of_unknown_submitter()
                .retry(&minutes(&[5])),
        )
        .await;
    bench.jobs.next().await.1.send(no_connection()).unwrap();
    bench.idle().await;
    let mut bench = bench.reopen(|_| {}).await;
    bench.skip().await;
    bench
        .jobs
        .next()
        .await
        .1
        .send(refused(Stage::Mail, 550, "5.7.1 spam"))
        .unwrap();
    bench.idle().await;
    let why = why(&bench, id).await;
    assert!(
        why.to_string()
            .ends_with("no notice was returned: the submitter is not known"),
        "{why}"
    );
    assert!(bench.jobs.none());
    let reason = Some("the address\r\nhas moved".to_owned());
    assert_eq!(
        done(
            &bench
                .ask(Bounce {
                    ids: vec![id],
                    reason
                })
                .await
                .unwrap()
        ),
        1
    );
    let (job, answer) = notice(&mut bench).await;
    assert!(text(&job).contains("550 5.7.1 spam"), "{}", text(&job));
    answer.send(accepted()).unwrap();
    bench.idle().await;
    assert_eq!(bench.status(id).await, None);
    end(bench.spool).await;
}

#[tokio::test]
async fn a_reverse_path_gets_no_more_notices_in_an_hour_than_allowed() {
    let mut bench = Bench::with(|config| {
        let mut notices = notices();
        notices.per_hour = 2;
        config.notices = Some(notices);
    })
    .await;
    let mut ids = Vec::new();
    for nth in 0..3 {
        ids.push(bench.add(mail_to(&[("b@example.net", None)])).await);
        bench
            .jobs
            .next()
            .await
            .1
            .send(refused(Stage::Mail, 550, "no"))
            .unwrap();
        if nth < 2 {
            notice(&mut bench).await.1.send(accepted()).unwrap();
        }
    }
    bench.idle().await;
    assert!(bench.jobs.none());
    let why = why(&bench, ids[2]).await;
    assert!(
        matches!(
            why,
            FrozenReason::Unreturned {
                why: Unreturned::TooMany,
                ..
            }
        ),
        "{why}"
    );
    end(bench.spool).await;
}

#[tokio::test]
async fn all_notices_about_one_submission_count_once() {
    let mut bench = Bench::with(|config| {
        let mut notices = notices();
        notices.per_hour = 1;
        config.notices = Some(notices);
    })
    .await;
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
async fn without_notices_and_with_freeze_failures_are_frozen_as_before() {
    for freeze in [false, true] {
        let mut bench = Bench::with(|config| {
            config.notices = freeze.then(|| {
                let mut notices = notices();
                notices.on_failure = OnFailure::Freeze;
                notices
            });
        })
        .await;
        let id = bench.add(mail_to(&[("b@example.net", None)])).await;
        bench
            .jobs
            .next()
            .await
            .1
            .send(refused(Stage::Mail, 550, "no"))
            .unwrap();
        bench.idle().await;
        assert!(matches!(why(&bench, id).await, FrozenReason::Failed { .. }));
        assert!(bench.jobs.none());
        let bounce = Bounce {
            ids: vec![id],
            reason: None,
        };
        match freeze {
            false => assert_eq!(bench.ask(bounce).await, Err(SpoolError::NoNotices)),
            true => {
                assert_eq!(done(&bench.ask(bounce).await.unwrap()), 1);
                notice(&mut bench).await.1.send(accepted()).unwrap();
                bench.idle().await;
            }
        }
        end(bench.spool).await;
    }
}

#[tokio::test]
async fn a_late_message_is_told_of_once_through_restarts() {
    let mut bench = Bench::with(|config| {
        let mut notices = notices();
        notices.delay_warning_after = Some(Duration::from_secs(240));
        config.notices = Some(notices);
    })
    .await;
    let retry = spool_core::RetryPolicy {
        expire_after: Some(Duration::from_secs(86_400)),
        ..minutes(&[3, 3, 3, 3])
    };
    let id = bench
        .add(mail_to(&[("b@example.net", None), ("c@example.net", NEVER)]).retry(&retry))
        .await;
    for nth in 0..4 {
        bench
            .jobs
            .next()
            .await
            .1
            .send(refused(Stage::Mail, 450, "4.2.0 later"))
            .unwrap();
        if nth == 2 {
            let (job, answer) = notice(&mut bench).await;
            let told = text(&job);
            assert!(
                told.contains("Action: delayed\r\n") && told.contains("Will-Retry-Until: "),
                "{told}"
            );
            assert!(
                told.contains("text/rfc822-headers") && !told.contains("Hello"),
                "{told}"
            );
            assert!(!told.contains("c@example.net"), "{told}");
            answer.send(accepted()).unwrap();
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
async fn success_is_told_only_where_the_next_hop_does_not_tell_it() {
    let mut bench = Bench::with(returning).await;
    bench.add(mail_to(&[("b@example.net", SUCCESS)])).await;
    bench.jobs.next().await.1.send(accepted()).unwrap();
    bench.idle().await;
    assert!(bench.jobs.none(), "it was passed on");
    bench
        .add(mail_to(&[("b@example.net", SUCCESS), ("c@example.net", None)]))
        .await;
    let mut verdict = accepted();
    verdict.without_dsn = vec![0];
    bench.jobs.next().await.1.send(verdict).unwrap();
    let (job, answer) = notice(&mut bench).await;
    let told = text(&job);
    assert!(
        told.contains("Action: relayed\r\nStatus: 2.0.0\r\n") && !told.contains("c@example.net"),
        "{told}"
    );
    answer.send(accepted()).unwrap();
    bench.idle().await;
    assert_eq!(bench.ask(GetStats).await.unwrap().messages, 0);
    end(bench.spool).await;
}

#[tokio::test]
async fn a_notice_goes_by_the_routing_of_now() {
    let mut bench = Bench::with(returning).await;
    let rule = Rule {
        domain: DomainPattern::parse("example.org").unwrap(),
        next_hops: ["back.example:25".parse().unwrap()].into(),
        policy: spool_core::DestinationPolicy::default(),
    };
    let router = Router::new(vec![rule], ["default.example:25".parse().unwrap()].into(), 25);
    bench
        .ask(SetRouting(Routing::ByRules(Arc::new(router))))
        .await
        .unwrap();
    bench.add(mail_to(&[("b@example.net", None)])).await;
    bench
        .jobs
        .next()
        .await
        .1
        .send(refused(Stage::Mail, 550, "no"))
        .unwrap();
    let (job, answer) = notice(&mut bench).await;
    assert_eq!(job.next_hops[0].to_string(), "back.example:25");
    answer.send(accepted()).unwrap();
    bench.idle().await;
    end(bench.spool).await;
}

#[tokio::test]
async fn messages_are_ended_by_hand() {
    let mut bench = Bench::with(returning).await;
    let add = || mail_to(&[("b@example.net", None)]).retry(&minutes(&[60]));
    let waiting = bench.add(add()).await;
    bench.jobs.next().await.1.send(no_connection()).unwrap();
    bench.idle().await;
    let frozen = bench.add(add().frozen()).await;
    let reason = Some("wrong\r\n\r\nplace".to_owned());
    let ids = vec![waiting, frozen, MessageId::from_u128(3)];
    let outcome = bench.ask(Bounce { ids, reason }).await.unwrap();
    assert_eq!((outcome.done, outcome.errors.len()), (2, 1));
    for _ in 0..2 {
        let (job, answer) = notice(&mut bench).await;
        let told = text(&job);
        assert!(
            told.contains(r"wrong\r\n\r\nplace") && told.contains("Status: 5.0.0\r\n"),
            "{told}"
        );
        answer.send(accepted()).unwrap();
    }
    bench.idle().await;
    let expired = bench.add(add().frozen()).await;
    assert_eq!(done(&bench.ask(Expire(vec![expired])).await.unwrap()), 1);
    let (job, answer) = notice(&mut bench).await;
    assert!(text(&job).contains("Status: 5.4.7\r\n"), "{}", text(&job));
    answer.send(accepted()).unwrap();
    bench.idle().await;
    // One that is being sent is left alone.
    let sending = bench.add(add()).await;
    let running = bench.jobs.next().await;
    let outcome = bench.ask(Expire(vec![sending])).await.unwrap();
    assert_eq!(outcome.errors, [SpoolError::BeingSent(sending)]);
    running.1.send(accepted()).unwrap();
    bench.idle().await;
    assert_eq!(bench.ask(GetStats).await.unwrap().messages, 0);
    end(bench.spool).await;
}

#[tokio::test]
async fn expired_by_hand_a_message_without_a_sender_is_frozen() {
    let bench = Bench::with(returning).await;
    let mut envelope = envelope(&["b@example.net"]);
    envelope.reverse_path = ReversePath::Null;
    let id = bench
        .add(Add::new(envelope, &b"x\r\n"[..]).next_hop("h:25").frozen())
        .await;
    assert_eq!(done(&bench.ask(Expire(vec![id])).await.unwrap()), 1);
    let why = why(&bench, id).await;
    assert_eq!(
        why.to_string(),
        "expired; no notice was returned: the reverse-path is null"
    );
    let holds = bench.ask(Explain(id)).await.unwrap();
    assert_eq!(holds, [spool_core::Hold::Frozen]);
    end(bench.spool).await;
}

#[tokio::test]
async fn an_attempt_that_a_crash_cut_off_twice_is_told_of_with_its_body() {
    let mut bench = Bench::with(returning).await;
    bench
        .add(mail_to(&[("b@example.net", None)]).retry(&minutes(&[])))
        .await;
    for _ in 0..2 {
        let running = bench.jobs.next().await;
        bench = bench.crash().await;
        drop(running);
    }
    let (job, answer) = notice(&mut bench).await;
    assert!(text(&job).contains("\r\nHello\r\n"), "{}", text(&job));
    let body = bench.ask(GetBody(job.message)).await.unwrap();
    assert_eq!(body, job.body);
    answer.send(accepted()).unwrap();
    bench.idle().await;
    end(bench.spool).await;
}

#[tokio::test]
async fn what_is_due_at_a_crash_is_told_by_the_next_attempt_with_the_original() {
    let mut bench = Bench::with(|config| {
        let mut notices = notices();
        notices.on_failure = OnFailure::Freeze;
        notices.delay_warning_after = Some(Duration::from_secs(240));
        config.notices = Some(notices);
    })
    .await;
    let to = [("b@example.net", None), ("c@example.net", None)];
    let id = bench.add(mail_to(&to).retry(&minutes(&[5, 5, 5]))).await;
    let mut verdict = refused(Stage::Rcpt, 450, "4.2.0 later");
    verdict.refused = partly(&[(0, 550, "5.1.1 no")]).refused;
    bench.jobs.next().await.1.send(verdict).unwrap();
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
    let (job, answer) = notice(&mut bench).await;
    let told = text(&job);
    for line in ["Action: failed\r\n", "Action: delayed\r\n", "\r\nHello\r\n"] {
        assert!(told.contains(line), "{line}\n{told}");
    }
    answer.send(accepted()).unwrap();
    bench.idle().await;
    assert!(bench.jobs.none());
    end(bench.spool).await;
}

#[tokio::test]
async fn what_a_person_holds_is_not_bounced() {
    let mut bench = Bench::with(returning).await;
    let to = [("b@example.net", None), ("c@example.net", None)];
    let id = bench.add(mail_to(&to).retry(&minutes(&[5]))).await;
    let running = bench.jobs.next().await;
    bench.freeze(id).await;
    let verdict = partly(&[(0, 550, "5.1.1 no"), (1, 450, "4.2.0 later")]);
    running.1.send(verdict).unwrap();
    bench.idle().await;
    assert_eq!(why(&bench, id).await, FrozenReason::Held { by: None });
    assert!(bench.jobs.none());
    // Sent again, it is like any other.
    bench.send(id).await;
    let (job, answer) = bench.jobs.next().await;
    assert_eq!(job.recipients, [0, 1]);
    bench.freeze(id).await;
    answer.send(refused(Stage::Mail, 550, "5.7.1 no")).unwrap();
    bench.idle().await;
    assert!(matches!(why(&bench, id).await, FrozenReason::Failed { .. }));
    assert!(bench.jobs.none());
    end(bench.spool).await;
}

#[tokio::test]
async fn what_expires_without_an_attempt_is_told_of_with_its_body() {
    const MAILS: usize = 90;
    let mut bench = Bench::with(|config| {
        let mut notices = notices();
        notices.per_hour = 100;
        config.notices = Some(notices);
    })
    .await;
    // Notices go elsewhere than to the destination that does not answer.
    let router = Router::new(vec![], ["back.example:25".parse().unwrap()].into(), 25);
    bench
        .ask(SetRouting(Routing::ByRules(Arc::new(router))))
        .await
        .unwrap();
    let retry = spool_core::RetryPolicy {
        repeat_last: true,
        expire_after: Some(Duration::from_secs(3600)),
        ..minutes(&[30])
    };
    for _ in 0..MAILS {
        bench.add(mail_to(&[("b@example.net", None)]).retry(&retry)).await;
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

#[tokio::test]
async fn how_notices_are_returned_can_be_changed() {
    let mut bench = Bench::new().await;
    bench.ask(SetNotices(Some(notices()))).await.unwrap();
    bench.add(mail_to(&[("b@example.net", None)])).await;
    let report = AttemptResult::Refused {
        stage: Stage::Route,
        reply: spool_core::Reply::new(550, "5.1.2 the domain does not exist"),
    };
    bench
        .jobs
        .next()
        .await
        .1
        .send(spool_core::AttemptReport::new(report))
        .unwrap();
    let (job, answer) = notice(&mut bench).await;
    assert!(text(&job).contains("Status: 5.1.2\r\n"), "{}", text(&job));
    answer.send(accepted()).unwrap();
    bench.idle().await;
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
        bench.add(mail_to(&[("b@example.net", None)])).await;
    }
    let more = bench.ask(mail_to(&[("c@example.net", None)])).await;
    assert!(matches!(more, Err(AddError::Full(_))), "{more:?}");
    let running = [bench.jobs.next().await, bench.jobs.next().await];
    for (_, answer) in running {
        answer.send(refused(Stage::Rcpt, 550, "5.1.1 no")).unwrap();
    }
    for _ in 0..2 {
        notice(&mut bench).await.1.send(accepted()).unwrap();
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
    let failing = bench.add(mail_to(&[("b@example.net", None)])).await;
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
    let unreturned = |why| {
        matches!(
            why,
            FrozenReason::Unreturned {
                why: Unreturned::NoRoom,
                ..
            }
        )
    };
    assert!(unreturned(why(&bench, failing).await));
    // With room again, a person has it returned.
    fs.set_capacity(None);
    let outcome = bench
        .ask(Bounce {
            ids: vec![failing],
            reason: None,
        })
        .await
        .unwrap();
    assert_eq!(done(&outcome), 1, "{outcome:?}");
    notice(&mut bench).await.1.send(accepted()).unwrap();
    bench.idle().await;
    end(bench.spool).await;
}
