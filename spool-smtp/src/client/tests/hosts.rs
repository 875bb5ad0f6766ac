//! The next host of the list is tried in the same attempt for the recipients that are still open, but never after a final dot without a
//! reply.

use super::peer::Act::{Body, Close, Say};
use super::peer::{EHLO, GO, HELLO, OK, TAKEN, peer};
use super::sinks::sink;
use super::{code, config, deliver, hasty, job};
use crate::client::SmtpAgent;
use crate::client::attempt_progress::AttemptProgress;
use crate::client::host_outcome::HostOutcome;
use spool_core::{Attempt, AttemptReport, AttemptResult, NextHop, RefusedRecipient, Reply, Timestamp};
use std::sync::atomic::Ordering;

/// One attempt with a failing host that follows this script, and a working host after it. Returns the messages and connections of the
/// working host too.
async fn attempt(script: &str) -> (AttemptReport, [NextHop; 2], u64, u64) {
    let (failing, _, _stop) = sink(script).await;
    let (working, counts, _stop_working) = sink("").await;
    let hops = [failing, working];
    let agent = SmtpAgent::new(hasty());
    let report = deliver(&agent, job(&hops, &["b@x.example"], b"x\r\n")).await;
    let messages = counts.messages.load(Ordering::Relaxed);
    (report, hops, messages, counts.connections.load(Ordering::Relaxed))
}

#[tokio::test]
async fn the_next_host_is_tried_after_a_temporary_refusal_or_a_broken_session() {
    for script in [
        "connect reply-close 421 4.3.2 busy",
        "connect reply 451 4.3.0 later",
        "connect close",
        "connect hang",
        "ehlo reply 451 4.3.0 later",
        "ehlo reset",
        "mail reply 452 4.3.1 no space",
        "mail reply-close 421 4.3.2 busy",
        "mail close",
        "mail hang",
        "mail reply 354 what",
        "rcpt reply 450 4.2.1 not now",
        "rcpt reply-close 421 4.3.2 busy",
        "rcpt reset",
        "rcpt hang",
        "data reply 451 4.3.0 later",
        "data reply-close 421 4.3.2 busy",
        "data close",
        "data hang",
        "dot reply 451 4.3.0 later",
        "dot reply-close 421 4.3.2 busy",
    ] {
        let (report, [failing, working], messages, _) = attempt(script).await;
        assert_eq!(code(&report.result), 250, "{script}: {}", report.result);
        assert_eq!((&report.peer, messages), (&Some(working), 1), "{script}");
        assert!(report.refused.is_empty(), "{script}: {:?}", report.refused);
        let [before] = report.before.as_slice() else {
            panic!("{script}: {:?}", report.before);
        };
        assert_eq!(before.report.peer.as_ref(), Some(&failing), "{script}");
        assert!(
            !matches!(before.report.result, AttemptResult::Accepted(_)),
            "{script}"
        );
    }
}

#[tokio::test]
async fn no_other_host_is_tried_after_a_final_dot_without_a_reply() {
    for script in [
        "dot hang",
        "dot close",
        "dot reset",
        "dot reply 354 what",
        "dot raw what\\r\\n",
    ] {
        let (report, [failing, _], _, connections) = attempt(script).await;
        assert!(report.in_doubt(), "{script}: {}", report.result);
        assert_eq!((report.peer, connections), (Some(failing), 0), "{script}");
    }
}

#[tokio::test]
async fn no_other_host_is_tried_after_a_permanent_refusal() {
    for script in [
        "mail reply 550 5.7.1 no",
        "rcpt reply 550 5.1.1 gone",
        "data reply 554 5.7.1 no",
        "dot reply 554 5.6.0 spam",
    ] {
        let (report, [failing, _], _, connections) = attempt(script).await;
        assert_eq!((report.peer, connections), (Some(failing), 0), "{script}");
        assert!(report.before.is_empty());
    }
}

#[tokio::test]
async fn the_next_host_is_tried_for_the_open_recipients() {
    let later = Say(b"450 4.2.0 greylisted\r\n");
    let gone = Say(b"550 5.1.1 gone\r\n");
    let (failing, _) = peer(&[&[HELLO, EHLO, OK, OK, later.clone(), gone, GO, TAKEN]]).await;
    let (working, seen) = peer(&[&[HELLO, EHLO, OK, OK, GO, TAKEN]]).await;
    let to = ["ok@x", "later@x", "gone@x"];
    let agent = SmtpAgent::new(config());
    let report = deliver(&agent, job(&[failing.clone(), working], &to, b"x\r\n")).await;
    assert_eq!(code(&report.result), 250);
    let refused: Vec<_> = report
        .refused
        .iter()
        .map(|one| (one.recipient, one.reply.code))
        .collect();
    assert_eq!(refused, [(2, 550)]);
    assert_eq!((seen.count("RCPT"), seen.count("RCPT TO:<later@x>")), (1, 1));
    assert_eq!(report.before[0].report.refused.len(), 2);

    // Without a reply of the other host, the reply of the first one remains.
    let (failing, _) = peer(&[&[HELLO, EHLO, OK, OK, later, OK, GO, Body(b"554 5.7.1 spam\r\n")]]).await;
    let (dead, _) = peer(&[&[Close]]).await;
    let report = deliver(&agent, job(&[failing.clone(), dead], &to, b"x\r\n")).await;
    assert_eq!((code(&report.result), report.peer), (554, Some(failing)));
    let refused: Vec<_> = report
        .refused
        .iter()
        .map(|one| (one.recipient, one.reply.code))
        .collect();
    assert_eq!(refused, [(1, 450)]);
}

#[tokio::test]
async fn the_record_has_the_replies_of_each_host_in_the_order_of_time() {
    let later = Say(b"450 4.2.0 greylisted\r\n");
    let nobody = Say(b"550 5.1.1 nobody\r\n");
    let (one, _) = peer(&[&[HELLO, EHLO, OK, OK, later, GO, TAKEN]]).await;
    let (other, _) = peer(&[&[HELLO, EHLO, OK, nobody, Say(b"554 no\r\n")]]).await;
    let hops = [one.clone(), other.clone()];
    let report = deliver(
        &SmtpAgent::new(config()),
        job(&hops, &["ok@x", "later@x"], b"x\r\n"),
    )
    .await;
    let of = |refused: &[RefusedRecipient]| -> Vec<_> {
        let of = |refused: &RefusedRecipient| (refused.recipient, refused.reply.code);
        refused.iter().map(of).collect()
    };
    // The last reply decides for each recipient.
    assert_eq!((code(&report.result), of(&report.refused)), (250, vec![(1, 550)]));
    assert_eq!(report.refusing_hosts(), [Some(&other)]);
    let attempt = Attempt {
        at: Timestamp(1_000),
        duration_ms: 1_000,
        report,
    };
    let record = attempt.by_host();
    let told: Vec<_> = record
        .iter()
        .map(|attempt| (attempt.report.peer.clone(), of(&attempt.report.refused)))
        .collect();
    assert_eq!(told, [(Some(one), vec![(1, 450)]), (Some(other), vec![(1, 550)])]);
    assert_eq!(code(&record[0].report.result), 250);
    assert_eq!(record[1].report.result, AttemptResult::AllRefused);
    assert!(record[0].at <= record[1].at);
}

#[tokio::test]
async fn the_last_refusal_of_the_message_decides_and_replies_to_recipients_are_kept() {
    let (one, _, _stop) = sink("rcpt reply 450 4.2.0 one").await;
    let (other, _, _stop_other) = sink("mail reply 452 4.3.1 other").await;
    let hops = [one.clone(), other.clone()];
    let report = deliver(&SmtpAgent::new(config()), job(&hops, &["a@x", "b@x"], b"x\r\n")).await;
    assert_eq!((code(&report.result), report.peer), (452, Some(other)));
    assert!(report.refused.is_empty(), "{:?}", report.refused);
    assert_eq!(report.before[0].report.peer, Some(one));
    assert_eq!(report.before[0].report.refused.len(), 2);
}

#[tokio::test]
async fn a_broken_session_does_not_replace_the_reply_of_another_host() {
    let (one, _, _stop) = sink("rcpt reply 450 4.2.0 one").await;
    let (other, _) = peer(&[&[HELLO, EHLO, Close]]).await;
    let hops = [one.clone(), other.clone()];
    let report = deliver(&SmtpAgent::new(config()), job(&hops, &["a@x"], b"x\r\n")).await;
    assert_eq!(
        (&report.result, report.peer),
        (&AttemptResult::AllRefused, Some(one))
    );
    assert_eq!(report.refused[0].reply.code, 450);
    assert_eq!(report.before[0].report.peer, Some(other));
}

#[tokio::test]
async fn no_other_host_is_tried_for_a_recipient_that_may_have_the_message() {
    let ehlo = Say(b"250-peer\r\n250-PIPELINING\r\n250 LIMITS RCPTMAX=1\r\n");
    let script = [HELLO, ehlo, OK, OK, GO, TAKEN, OK, OK, GO, Body(b"")];
    let (failing, _) = peer(&[&script]).await;
    let (working, seen) = peer(&[&[HELLO, EHLO, OK, OK, GO, TAKEN]]).await;
    let to = ["a@x", "b@x"];
    let report = deliver(&SmtpAgent::new(hasty()), job(&[failing, working], &to, b"x\r\n")).await;
    assert_eq!((code(&report.result), seen.lines().len()), (250, 0));
    assert!(report.refused[0].reply.text.contains("may hold the message"));
}

#[tokio::test]
async fn a_session_that_has_had_messages_enough_is_replaced_at_no_cost() {
    for reply in [
        "452 4.4.5 too many messages per session",
        "451 4.7.0 try again later",
        "450 enough",
    ] {
        let (hop, counts, _stop) = sink(&format!("mail nth=3 reply {reply}\nmail nth=6 reply {reply}")).await;
        let agent = SmtpAgent::new(config());
        for n in 1..=5 {
            let report = deliver(&agent, job(std::slice::from_ref(&hop), &["b@x"], b"x\r\n")).await;
            assert_eq!(code(&report.result), 250, "{reply}: {n}: {}", report.result);
            assert!(report.before.is_empty());
        }
        assert_eq!(counts.connections.load(Ordering::Relaxed), 3, "{reply}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_record_of_an_attempt_is_bounded_in_hosts_and_in_refusals() {
    let to: Vec<String> = (0..150).map(|n| format!("r{n}@x.example")).collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    let job = job(&["h:25".parse().unwrap()], &to, b"x\r\n");
    let mut attempt = AttemptProgress::new(&job);
    for host in 0..30 {
        let asked = attempt.open();
        let mut report = AttemptReport::new(AttemptResult::AllRefused);
        report.peer = Some(format!("h{host}.example:25").parse().unwrap());
        let refused = asked.iter().map(|recipient| RefusedRecipient {
            recipient: *recipient,
            reply: Reply::new(450, "4.2.0 later"),
        });
        report.refused = refused.collect();
        let outcome = HostOutcome {
            report,
            in_doubt: false,
            unsupported: Vec::new(),
        };
        attempt.note(&asked, outcome, tokio::time::Instant::now());
    }
    let report = attempt.report();
    assert_eq!(report.refused.len(), 150, "the result has all of them");
    assert_eq!(report.before.len(), 16);
    assert!(report.before.iter().all(|host| host.report.refused.len() == 100));
}
