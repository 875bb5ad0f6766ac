//! The replies of peers, and how they are interpreted.

use super::peer::Act::{self, Body, Close, Flood, Say};
use super::peer::{EHLO, GO, HELLO, OK, peer};
use super::{attempt, code, config, deliver, final_reply, job};
use crate::client::SmtpAgent;
use spool_core::{AttemptResult, Stage};

#[tokio::test]
async fn replies_that_are_clear_but_wrong_are_understood() {
    for reply in [
        &b"250\r\n"[..],
        b"250 ok\n",
        b"250-a\n250-b\r\n250\n",
        b"250 \xff\xfe\r\n",
    ] {
        assert_eq!(code(&final_reply(Body(reply)).await), 250, "{reply:?}");
    }
    for (reply, expected) in [
        (&b"550 5.7.1 \xff\xfe no\r\n"[..], 550),
        (b"451 later\n", 451),
        (b"554\r\n", 554),
    ] {
        let result = final_reply(Body(reply)).await;
        assert_eq!(code(&result), expected);
        assert!(matches!(
            result,
            AttemptResult::Refused {
                stage: Stage::FinalReply,
                ..
            }
        ));
    }
}

#[tokio::test]
async fn a_reply_is_read_by_its_first_digit() {
    for (reply, expected) in [(&b"251 2.0.0 Ok\r\n"[..], 251), (b"200 fine\r\n", 200)] {
        assert_eq!(code(&final_reply(Body(reply)).await), expected);
    }
    let script = [
        Say(b"250 here\r\n"),
        Say(b"251-peer\r\n251 PIPELINING\r\n"),
        Say(b"252 ok\r\n"),
        Say(b"251 will forward\r\n"),
        GO,
        Body(b"252 taken\r\n"),
    ];
    let (report, seen) = attempt(&script).await;
    assert_eq!((code(&report.result), seen.bodies()), (252, 1));
    assert_eq!(seen.count("HELO"), 0);
}

#[tokio::test]
async fn only_2yz_after_the_final_dot_is_a_delivery() {
    for act in [
        Body(b"354 more\r\n"),
        Body(b"hello\r\n"),
        Body(b"250-a\r\n550 b\r\n"),
        Body(b""),
        Body(b"25"),
    ] {
        let result = final_reply(act).await;
        assert!(
            matches!(result, AttemptResult::Broken { in_doubt: true, .. }),
            "{result}"
        );
    }
    let (report, _) = attempt(&[HELLO, EHLO, OK, OK, GO, Close]).await;
    assert!(
        matches!(report.result, AttemptResult::Broken { .. }),
        "{}",
        report.result
    );
}

#[tokio::test]
async fn replies_of_the_wrong_kind_end_the_session() {
    let scripts: [&[Act]; 5] = [
        &[HELLO, EHLO, GO, OK, OK],
        &[HELLO, EHLO, OK, GO, OK],
        &[HELLO, EHLO, OK, OK, OK],
        &[HELLO, EHLO, Say(b"250 a\r\n250 b\r\n"), OK, OK],
        &[HELLO, EHLO, OK, OK, Say(b"354 go\r\n250 already\r\n"), Body(b"")],
    ];
    for (n, script) in scripts.into_iter().enumerate() {
        let (report, seen) = attempt(script).await;
        assert!(
            matches!(report.result, AttemptResult::Broken { in_doubt: false, .. }),
            "{n}: {}",
            report.result
        );
        assert!(
            seen.bodies.lock().unwrap().is_empty(),
            "{n}: no body for a confused peer"
        );
    }
}

#[tokio::test]
async fn what_comes_with_the_greeting_is_no_reply_to_ehlo() {
    // Complete, partial, and for an extension that the peer does not offer.
    for greeting in [
        &b"220 peer\r\n250 peer\r\n"[..],
        b"220 peer\r\n25",
        b"220 peer\r\n250-peer\r\n250 PIPELINING\r\n",
    ] {
        let (report, seen) =
            attempt(&[Say(greeting), Say(b"0 peer\r\n"), OK, OK, GO, Body(b"250 ok\r\n")]).await;
        let AttemptResult::Broken {
            stage,
            error,
            in_doubt,
        } = &report.result
        else {
            panic!("{}", report.result)
        };
        assert_eq!((*stage, *in_doubt), (Stage::Hello, false));
        assert!(error.contains("before EHLO was sent"), "{error}");
        assert!(seen.lines().is_empty(), "{:?}", seen.lines());
    }
}

#[tokio::test]
async fn every_recipient_has_its_own_reply() {
    let script = [
        HELLO,
        EHLO,
        OK,
        Say(b"550 5.1.1 gone\r\n"),
        OK,
        Say(b"452 4.2.2 full\r\n"),
        GO,
        Body(b"250 ok\r\n"),
    ];
    let (hop, _) = peer(&[&script]).await;
    let report = deliver(
        &SmtpAgent::new(config()),
        job(&[hop], &["a@x", "b@x", "c@x"], b"x\r\n"),
    )
    .await;
    assert_eq!(code(&report.result), 250);
    let refused: Vec<_> = report
        .refused
        .iter()
        .map(|refused| (refused.recipient, refused.reply.code))
        .collect();
    assert_eq!(refused, [(0, 550), (2, 452)]);
}

#[tokio::test]
async fn a_refusal_is_reported_with_its_stage() {
    let no = || Say(b"550 5.7.1 no\r\n");
    let late = || Say(b"554 no recipients\r\n");
    let cases: [(&[Act], Stage); 4] = [
        (&[no()], Stage::Connect),
        (&[HELLO, EHLO, no(), late(), late()], Stage::Mail),
        (&[HELLO, EHLO, OK, OK, no()], Stage::Data),
        (&[HELLO, EHLO, Say(b"421 closing\r\n")], Stage::Mail),
    ];
    for (script, expected) in cases {
        let (report, seen) = attempt(script).await;
        let AttemptResult::Refused { stage, .. } = report.result else {
            panic!("{expected}: {}", report.result)
        };
        assert_eq!(stage, expected);
        if expected == Stage::Connect {
            assert!(
                seen.lines().is_empty(),
                "nothing is said to a peer that wants no session: {:?}",
                seen.lines()
            );
        }
    }
    // After all recipients were refused, no body follows even a 354, and the session ends.
    for data in [GO, late()] {
        let (report, seen) = attempt(&[HELLO, EHLO, OK, no(), data]).await;
        assert_eq!(
            (&report.result, report.refused.len()),
            (&AttemptResult::AllRefused, 1)
        );
        assert!(seen.bodies.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn endless_lines_and_replies_are_cut_off() {
    let report = attempt(&[HELLO, EHLO, Flood]).await.0;
    assert!(report.result.to_string().contains("bytes"), "{}", report.result);
    let endless: &'static [u8] = Box::leak(b"250-x\r\n".repeat(5000).into_boxed_slice());
    let report = attempt(&[HELLO, EHLO, Say(endless)]).await.0;
    assert!(report.result.to_string().contains("lines"), "{}", report.result);
}

#[tokio::test]
async fn a_refusal_of_ten_kilobytes_or_many_lines_is_a_refusal() {
    let line: &'static [u8] =
        Box::leak(format!("550 5.1.1 {}\r\n", "x".repeat(10_000)).into_boxed_str()).as_bytes();
    let lines = format!("{}550 5.1.1 no\r\n", "550-5.1.1 no\r\n".repeat(400));
    let lines: &'static [u8] = Box::leak(lines.into_boxed_str()).as_bytes();
    for reply in [line, lines] {
        let (report, _) = attempt(&[HELLO, EHLO, OK, Say(reply), Close]).await;
        assert_eq!(report.result, AttemptResult::AllRefused);
        let told = &report.refused[0].reply;
        assert_eq!((told.code, told.is_permanent()), (550, true));
        assert!((500..=512).contains(&told.text.len()), "{told}");
    }
}

#[tokio::test]
async fn a_peer_may_close_at_any_point_with_421() {
    let bye = || Say(b"421 4.3.2 closing\r\n");
    let stages = [
        Stage::Connect,
        Stage::Hello,
        Stage::Mail,
        Stage::Rcpt,
        Stage::Data,
        Stage::FinalReply,
    ];
    for (at, expected) in stages.into_iter().enumerate() {
        let mut script = vec![HELLO, EHLO, OK, OK, GO];
        script.truncate(at);
        script.push(if at == 5 {
            Body(b"421 4.3.2 closing\r\n")
        } else {
            bye()
        });
        let (hop, seen) = peer(&[&script, &[HELLO, EHLO, OK, OK, GO, Body(b"250 ok\r\n")]]).await;
        let agent = SmtpAgent::new(config());
        let report = deliver(&agent, job(std::slice::from_ref(&hop), &["b@x"], b"x\r\n")).await;
        let AttemptResult::Refused { stage, reply } = report.result else {
            panic!("{expected}: {}", report.result)
        };
        assert_eq!((stage, reply.code), (expected, 421));
        // Nothing more is sent on that session.
        let report = deliver(&agent, job(&[hop], &["b@x"], b"x\r\n")).await;
        assert_eq!(code(&report.result), 250, "{expected}");
        assert_eq!(seen.from.lock().unwrap().len(), 2, "{expected}");
    }
}

#[tokio::test]
async fn what_was_refused_stays_refused_when_the_peer_hangs_up_behind_it() {
    let no = || Say(b"550 5.7.1 no\r\n");
    let cases: [(&[Act], &str); 3] = [
        (&[HELLO, EHLO, no(), Close], "refused at MAIL: 550 5.7.1 no"),
        (&[HELLO, EHLO, OK, no(), Close], "all recipients refused"),
        (
            &[HELLO, EHLO, OK, OK, Close],
            "broken at DATA: the peer closed the connection",
        ),
    ];
    for (script, expected) in cases {
        let (report, _) = attempt(script).await;
        assert_eq!(report.result.to_string(), expected);
    }
}
