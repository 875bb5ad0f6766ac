//! The client against peers that say exactly what a script tells them to, on real sockets.

mod exchangers;
mod peer;

use super::{SmtpAgent, SmtpConfig};
use peer::Act::{self, Body, Close, Drip, Flood, Hang, Say};
use peer::{EHLO, GO, HELLO, OK, SLOW_EHLO, Seen, peer, play};
use spool_core::{
    Address, AttemptReport, AttemptResult, DeliveryAgent, Envelope, Job, MessageId, NextHop, ReversePath,
    Stage,
};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;

/// Patient: a busy machine must not look like a silent peer.
fn config() -> SmtpConfig {
    within(Duration::from_secs(10))
}

/// For peers that are silent.
fn hasty() -> SmtpConfig {
    within(Duration::from_millis(300))
}

fn within(limit: Duration) -> SmtpConfig {
    let mut config = SmtpConfig::default();
    (
        config.connect_timeout,
        config.greeting_timeout,
        config.command_timeout,
    ) = (limit, limit, limit);
    (config.data_timeout, config.final_reply_timeout) = (limit, limit);
    config
}

fn job(hops: &[NextHop], to: &[&str], body: &[u8]) -> Job {
    let to: Vec<Address> = to.iter().map(|to| to.parse().unwrap()).collect();
    Job {
        message: MessageId::from_u128(1),
        flows: Vec::new(),
        next_hops: hops.into(),
        recipients: (0..).take(to.len()).collect(),
        envelope: Arc::new(Envelope::new(ReversePath::parse("a@example.org").unwrap(), to)),
        body: body.to_vec().into(),
    }
}

async fn deliver(agent: &SmtpAgent, job: Job) -> AttemptReport {
    tokio::time::timeout(Duration::from_secs(20), agent.deliver(job))
        .await
        .expect("within the deadlines")
}

/// One delivery of a small message to one recipient.
async fn attempt(script: &[Act]) -> (AttemptReport, Seen) {
    attempt_with(config(), script).await
}

async fn attempt_with(config: SmtpConfig, script: &[Act]) -> (AttemptReport, Seen) {
    let (hop, seen) = peer(&[script]).await;
    (
        deliver(&SmtpAgent::new(config), job(&[hop], &["b@x.example"], b"x\r\n")).await,
        seen,
    )
}

/// A session up to the final dot, with this reply to it.
async fn final_reply(act: Act) -> AttemptResult {
    attempt_with(hasty(), &[HELLO, EHLO, OK, OK, GO, act])
        .await
        .0
        .result
}

#[allow(clippy::wildcard_enum_match_arm, reason = "everything else fails the test")]
fn code(result: &AttemptResult) -> u16 {
    match result {
        AttemptResult::Accepted(reply) | AttemptResult::Refused { reply, .. } => reply.code,
        other => panic!("{other}"),
    }
}

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
async fn whatever_is_not_250_after_the_dot_is_no_delivery() {
    for act in [
        Body(b"221 bye\r\n"),
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
async fn a_refusal_is_reported_where_it_was_said() {
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
    // All recipients refused: with 354 all the same, no body follows and the session ends.
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
async fn silence_and_drips_end_with_the_deadline() {
    let at = |stage: usize, act: Act| {
        let mut script = vec![HELLO, EHLO, OK, OK, GO, Body(b"250 ok\r\n")];
        script.truncate(stage);
        script.push(act);
        script
    };
    for stage in 0..6 {
        let report = attempt_with(hasty(), &at(stage, Hang)).await.0;
        assert!(!matches!(report.result, AttemptResult::Accepted(_)), "{stage}");
        assert!(
            report.result.to_string().contains("timed out"),
            "{stage}: {}",
            report.result
        );
    }
    for stage in 0..5 {
        let report = attempt_with(hasty(), &at(stage, Drip(&[b'2'; 4000]))).await.0;
        assert!(
            report.result.to_string().contains("timed out"),
            "{stage}: {}",
            report.result
        );
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
async fn helo_follows_a_refused_ehlo_and_commands_go_one_by_one_without_pipelining() {
    let script = [
        HELLO,
        Say(b"502 what\r\n"),
        Say(b"250 peer\r\n"),
        OK,
        OK,
        GO,
        Body(b"250 ok\r\n"),
    ];
    let (report, seen) = attempt(&script).await;
    assert_eq!(code(&report.result), 250);
    assert!(seen.lines()[1].starts_with("HELO "), "{:?}", seen.lines());
    // A peer that refuses MAIL without PIPELINING never sees RCPT.
    let (_, seen) = attempt(&[HELLO, SLOW_EHLO, Say(b"451 later\r\n"), Close]).await;
    assert!(
        !seen.lines().iter().any(|line| line.starts_with("RCPT")),
        "{:?}",
        seen.lines()
    );
}

#[tokio::test]
async fn the_next_hop_that_answers_is_used() {
    let dead: NextHop = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .into();
    let (good, _) = peer(&[&[HELLO, EHLO, OK, OK, GO, Body(b"250 ok\r\n")]]).await;
    let agent = SmtpAgent::new(config());
    let report = deliver(&agent, job(&[dead.clone(), good.clone()], &["b@x"], b"x\r\n")).await;
    assert_eq!((code(&report.result), report.peer), (250, Some(good)));
    let report = deliver(&agent, job(std::slice::from_ref(&dead), &["b@x"], b"x\r\n")).await;
    let AttemptResult::NoConnection { error } = report.result else {
        panic!("{}", report.result)
    };
    assert!(error.contains(&dead.to_string()), "{error}");
}

#[tokio::test]
async fn sessions_are_reused_and_a_dead_one_costs_no_attempt() {
    let twice = [
        HELLO,
        EHLO,
        OK,
        OK,
        GO,
        Body(b"250 1\r\n"),
        OK,
        OK,
        GO,
        Body(b"250 2\r\n"),
        Close,
    ];
    let (hop, seen) = peer(&[&twice, &[HELLO, EHLO, OK, OK, GO, Body(b"250 3\r\n")]]).await;
    let agent = SmtpAgent::new(config());
    for n in 1..=3 {
        let report = deliver(
            &agent,
            job(
                std::slice::from_ref(&hop),
                &["b@x"],
                format!("{n}\r\n").as_bytes(),
            ),
        )
        .await;
        assert_eq!(code(&report.result), 250, "{n}: {}", report.result);
    }
    assert_eq!(*seen.bodies.lock().unwrap(), [b"1\r\n", b"2\r\n", b"3\r\n"]);
    let hellos = seen
        .lines()
        .iter()
        .filter(|line| line.starts_with("EHLO"))
        .count();
    assert_eq!(hellos, 2, "{:?}", seen.lines());
    assert!(!seen.lines().iter().any(|line| line == "RSET"));
}

#[tokio::test]
async fn a_failed_transaction_is_reset_before_the_next() {
    let script = [
        HELLO,
        EHLO,
        Say(b"451 later\r\n"),
        Say(b"503 x\r\n"),
        Say(b"503 x\r\n"),
        OK,
        OK,
        OK,
        GO,
        Body(b"250 ok\r\n"),
    ];
    let (hop, seen) = peer(&[&script]).await;
    let agent = SmtpAgent::new(config());
    assert_eq!(
        code(
            &deliver(&agent, job(std::slice::from_ref(&hop), &["b@x"], b"x\r\n"))
                .await
                .result
        ),
        451
    );
    assert_eq!(
        code(&deliver(&agent, job(&[hop], &["b@x"], b"x\r\n")).await.result),
        250
    );
    assert_eq!(seen.lines()[4], "RSET");
}

#[tokio::test]
async fn what_the_peer_cannot_take_is_not_sent() {
    let cases: [(&[u8], &str, u16); 3] = [
        ("ü\r\n".as_bytes(), "b@x", 554),
        (b"x\r\n", "\u{fc}@x", 553),
        (b"more than ten bytes\r\n", "b@x", 552),
    ];
    for (body, to, expected) in cases {
        let (hop, seen) = peer(&[&[HELLO, Say(b"250-peer\r\n250 SIZE 10\r\n")]]).await;
        let report = deliver(&SmtpAgent::new(config()), job(&[hop], &[to], body)).await;
        assert_eq!(code(&report.result), expected);
        assert_eq!(seen.lines().len(), 1, "{:?}", seen.lines());
    }
}

#[tokio::test]
async fn bodies_arrive_byte_for_byte() {
    let large = b"0123456789abcdef.\r\n.\r\n..\r\n".repeat(400_000);
    let bodies: [&[u8]; 7] = [
        b"",
        b"\r\n",
        b".\r\n",
        b"..\r\n.\r\n",
        b"a\r\n.b\r\n\r\n",
        b"\r\n\r\n.\r\n",
        &large,
    ];
    for body in bodies {
        let (hop, seen) = peer(&[&[HELLO, EHLO, OK, OK, GO, Body(b"250 ok\r\n")]]).await;
        let report = deliver(&SmtpAgent::new(config()), job(&[hop], &["b@x"], body)).await;
        assert_eq!(code(&report.result), 250, "{}", report.result);
        assert!(
            seen.bodies.lock().unwrap()[0] == body,
            "{} bytes were altered",
            body.len()
        );
    }
}

#[tokio::test]
async fn no_more_sessions_than_allowed_are_open_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hop: NextHop = listener.local_addr().unwrap().into();
    let open = Arc::new(Mutex::new((0_usize, 0_usize)));
    let counts = Arc::clone(&open);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let counts = Arc::clone(&counts);
            tokio::spawn(async move {
                {
                    let mut open = counts.lock().unwrap();
                    open.0 += 1;
                    open.1 = open.1.max(open.0);
                }
                play(
                    stream,
                    [HELLO, EHLO]
                        .into_iter()
                        .chain((0..50).flat_map(|_| [OK, OK, GO, Body(b"250 ok\r\n")]))
                        .collect(),
                    Seen::default(),
                )
                .await;
                counts.lock().unwrap().0 -= 1;
            });
        }
    });
    let mut limited = config();
    limited.connections_per_destination = 3;
    let agent = SmtpAgent::new(limited);
    let attempts: Vec<_> = (0..30)
        .map(|_| tokio::spawn(agent.deliver(job(std::slice::from_ref(&hop), &["b@x"], b"x\r\n"))))
        .collect();
    for attempt in attempts {
        assert_eq!(code(&attempt.await.unwrap().result), 250);
    }
    assert!(open.lock().unwrap().1 <= 3, "{:?}", open.lock().unwrap());
}
