//! Messages that a person ends, holds or has returned, and failures that are kept for a person.

use crate::bounces::{accept_notice, bounce, mail_to, mail_to_one, returning, returning_as, why};
use crate::support::*;
use spool_actors::{Add, Bounce, Expire, GetStats};
use spool_core::bounce::OnFailure;
use spool_core::{FrozenReason, MessageId, ReversePath, SpoolError, Stage};

#[tokio::test]
async fn an_unknown_submitter_is_told_nothing_also_after_a_restart_but_by_hand() {
    let mut bench = Bench::with(returning).await;
    let id = bench
        .add(mail_to_one().of_unknown_submitter().retry(&minutes(&[5])))
        .await;
    bench.answer(no_connection()).await;
    bench.idle().await;
    let mut bench = bench.reopen(|_| {}).await;
    bench.skip().await;
    bench.answer(refused(Stage::Mail, 550, "5.7.1 spam")).await;
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
    let (_, told) = accept_notice(&mut bench).await;
    assert!(told.contains("550 5.7.1 spam"), "{told}");
    bench.idle().await;
    assert_eq!(bench.status(id).await, None);
    end(bench.spool).await;
}

#[tokio::test]
async fn without_notices_and_with_freeze_failures_are_frozen_as_before() {
    for freeze in [false, true] {
        let mut bench = Bench::with(|config| {
            if freeze {
                returning_as(|notices| notices.on_failure = OnFailure::Freeze)(config);
            }
        })
        .await;
        let id = bench.add(mail_to_one()).await;
        bench.answer(refused(Stage::Mail, 550, "no")).await;
        bench.idle().await;
        assert!(matches!(why(&bench, id).await, FrozenReason::Failed { .. }));
        assert!(bench.jobs.none());
        let bounce = bounce(id);
        match freeze {
            false => assert_eq!(bench.ask(bounce).await, Err(SpoolError::NoNotices)),
            true => {
                assert_eq!(done(&bench.ask(bounce).await.unwrap()), 1);
                accept_notice(&mut bench).await;
                bench.idle().await;
            }
        }
        end(bench.spool).await;
    }
}

#[tokio::test]
async fn messages_are_ended_by_hand() {
    let mut bench = Bench::with(returning).await;
    let add = || mail_to_one().retry(&minutes(&[60]));
    let waiting = bench.add(add()).await;
    bench.answer(no_connection()).await;
    bench.idle().await;
    let frozen = bench.add(add().frozen()).await;
    let reason = Some("wrong\r\n\r\nplace".to_owned());
    let ids = vec![waiting, frozen, MessageId::from_u128(3)];
    let outcome = bench.ask(Bounce { ids, reason }).await.unwrap();
    assert_eq!((outcome.done, outcome.errors.len()), (2, 1));
    for _ in 0..2 {
        let (_, told) = accept_notice(&mut bench).await;
        assert!(
            told.contains(r"wrong\r\n\r\nplace") && told.contains("Status: 5.0.0\r\n"),
            "{told}"
        );
    }
    bench.idle().await;
    let expired = bench.add(add().frozen()).await;
    assert_eq!(done(&bench.ask(Expire(vec![expired])).await.unwrap()), 1);
    let (_, told) = accept_notice(&mut bench).await;
    assert!(told.contains("Status: 5.4.7\r\n"), "{told}");
    bench.idle().await;
    // One that is being sent is not changed.
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
    let holds = bench.holds(id).await;
    assert_eq!(holds, [spool_core::Hold::Frozen]);
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
