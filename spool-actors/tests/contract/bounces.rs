//! What the notices about failed and delivered mail say, and that each is returned exactly once.

use crate::support::*;
use bytes::Bytes;
use spool_actors::{Add, Bounce, GetBody, GetStats, SetNotices, Spool};
use spool_core::bounce::{Action, NoticeConfig, Unreturned};
use spool_core::{
    AttemptResult, DomainPattern, EventKind, FrozenReason, Job, MessageId, Notify, ReversePath, Router,
    Routing, Rule, ShownStatus, SpoolConfig, Stage,
};
use std::sync::Arc;
use tokio::sync::oneshot;

fn notices() -> NoticeConfig {
    let mut notices = NoticeConfig::new("mta.example.org");
    notices.retry = minutes(&[5]);
    notices
}

/// Configures a spool that returns notices.
pub(crate) fn returning(config: &mut SpoolConfig) {
    config.notices = Some(notices());
}

/// Configures a spool that returns notices, with other settings than [`notices`] has.
pub(crate) fn returning_as(set: impl FnOnce(&mut NoticeConfig)) -> impl FnOnce(&mut SpoolConfig) {
    |config| {
        let mut notices = notices();
        set(&mut notices);
        config.notices = Some(notices);
    }
}

/// A mail to these recipients, each with its NOTIFY.
pub(crate) fn mail_to(to: &[(&str, Option<Notify>)]) -> Add {
    let addresses: Vec<&str> = to.iter().map(|(to, _)| *to).collect();
    let mut envelope = envelope(&addresses);
    for (recipient, (_, notify)) in envelope.recipients.iter_mut().zip(to) {
        recipient.notify = *notify;
    }
    let body = Bytes::from_static(b"Message-ID: <m@example.org>\r\nSubject: hi\r\n\r\nHello\r\n");
    Add::new(envelope, body).next_hop("mx.example.net:25")
}

/// A mail to one recipient.
pub(crate) fn mail_to_one() -> Add {
    mail_to(&[("b@example.net", None)])
}

pub(crate) const NEVER: Option<Notify> = Some(Notify {
    success: false,
    failure: false,
    delay: false,
});

pub(crate) const SUCCESS: Option<Notify> = Some(Notify {
    success: true,
    failure: false,
    delay: false,
});

pub(crate) fn text(job: &Job) -> String {
    String::from_utf8(job.body.to_vec()).unwrap()
}

/// The next attempt, which is that of a notice.
pub(crate) async fn notice(bench: &mut Bench) -> (Job, oneshot::Sender<Verdict>) {
    let (job, answer) = bench.jobs.next().await;
    assert_eq!(job.envelope.reverse_path, ReversePath::Null);
    assert_eq!(job.envelope.recipients[0].address.as_str(), "a@example.org");
    (job, answer)
}

/// The next attempt, which is that of a notice and delivers it: the job, and the text of the notice.
pub(crate) async fn accept_notice(bench: &mut Bench) -> (Job, String) {
    let (job, answer) = notice(bench).await;
    answer.send(accepted()).unwrap();
    let text = text(&job);
    (job, text)
}

/// The reason of a frozen message.
pub(crate) async fn why(bench: &Bench, id: MessageId) -> FrozenReason {
    assert_eq!(bench.status(id).await, Some(ShownStatus::Frozen));
    bench.details(id).await.message.state.frozen.unwrap().why
}

/// Why no notice was returned about a frozen message.
pub(crate) async fn unreturned(bench: &Bench, id: MessageId) -> Unreturned {
    match why(bench, id).await {
        FrozenReason::Unreturned { why, .. } => why,
        other => panic!("{other}"),
    }
}

/// Ends one message by hand, without a reason.
pub(crate) fn bounce(id: MessageId) -> Bounce {
    Bounce {
        ids: vec![id],
        reason: None,
    }
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
    bench.answer(verdict).await;
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
async fn remaining_recipients_are_tried_after_a_notice_about_the_others() {
    let mut bench = Bench::with(returning).await;
    let to = [("b@example.net", None), ("c@example.net", None)];
    let id = bench.add(mail_to(&to).retry(&minutes(&[5, 5]))).await;
    let verdict = partly(&[(0, 550, "5.1.1 no"), (1, 450, "4.2.0 later")]);
    bench.answer(verdict).await;
    let (first, told) = accept_notice(&mut bench).await;
    assert!(
        told.contains("b@example.net") && !told.contains("c@example.net"),
        "{told}"
    );
    bench.idle().await;
    let state = bench.details(id).await.message.state;
    assert_eq!((state.remaining, state.failed.len()), (vec![1], 0));
    assert_eq!(state.notices.of_failed(0).unwrap().id, Some(first.message));
    // It is known after a restart: there is no second notice about the first recipient.
    let mut bench = bench.reopen(|_| {}).await;
    bench.skip().await;
    bench.answer(refused(Stage::Rcpt, 550, "5.1.1 no")).await;
    let (second, told) = accept_notice(&mut bench).await;
    assert!(
        !told.contains("b@example.net") && told.contains("c@example.net"),
        "{told}"
    );
    assert!(second.message.is_notice(id, 1) && second.message != first.message);
    bench.idle().await;
    assert_eq!(bench.ask(GetStats).await.unwrap().messages, 0);
    end(bench.spool).await;
}

#[tokio::test]
async fn success_is_told_only_where_the_next_hop_does_not_tell_it() {
    let mut bench = Bench::with(returning).await;
    bench.add(mail_to(&[("b@example.net", SUCCESS)])).await;
    bench.answer(accepted()).await;
    bench.idle().await;
    assert!(bench.jobs.none(), "it was passed on");
    bench
        .add(mail_to(&[("b@example.net", SUCCESS), ("c@example.net", None)]))
        .await;
    let mut verdict = accepted();
    verdict.without_dsn = vec![0];
    bench.answer(verdict).await;
    let (_, told) = accept_notice(&mut bench).await;
    assert!(
        told.contains("Action: relayed\r\nStatus: 2.0.0\r\n") && !told.contains("c@example.net"),
        "{told}"
    );
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
    bench.set_routing(Routing::ByRules(Arc::new(router))).await;
    bench.add(mail_to_one()).await;
    bench.answer(refused(Stage::Mail, 550, "no")).await;
    let (job, _) = accept_notice(&mut bench).await;
    assert_eq!(job.next_hops[0].to_string(), "back.example:25");
    bench.idle().await;
    end(bench.spool).await;
}

#[tokio::test]
async fn an_attempt_that_a_crash_cut_off_twice_is_told_of_with_its_body() {
    let mut bench = Bench::with(returning).await;
    bench.add(mail_to_one().retry(&minutes(&[]))).await;
    for _ in 0..2 {
        let running = bench.jobs.next().await;
        bench = bench.crash().await;
        drop(running);
    }
    let (job, answer) = notice(&mut bench).await;
    let told = text(&job);
    assert!(told.contains("\r\nHello\r\n"), "{told}");
    let body = bench.ask(GetBody(job.message)).await.unwrap();
    assert_eq!(body, job.body);
    answer.send(accepted()).unwrap();
    bench.idle().await;
    end(bench.spool).await;
}

#[tokio::test]
async fn how_notices_are_returned_can_be_changed() {
    let mut bench = Bench::new().await;
    bench.ask(SetNotices(Some(notices()))).await.unwrap();
    bench.add(mail_to_one()).await;
    let report = AttemptResult::Refused {
        stage: Stage::Route,
        reply: spool_core::Reply::new(550, "5.1.2 the domain does not exist"),
    };
    bench.answer(spool_core::AttemptReport::new(report)).await;
    let (_, told) = accept_notice(&mut bench).await;
    assert!(told.contains("Status: 5.1.2\r\n"), "{told}");
    bench.idle().await;
    end(bench.spool).await;
}
