//! More recipients than a peer accepts in one transaction: each is tried once and has its own result.

use super::peer::Act::{self, Body, Close, Say};
use super::peer::{GO, HELLO, OK, SLOW_EHLO, Seen, TAKEN, peer};
use super::{config, deliver, job};
use crate::client::{SmtpAgent, SmtpConfig};
use spool_core::{AttemptReport, AttemptResult, DeliveryAgent, Stage};

const EHLO: Act = Say(b"250-peer\r\n250 PIPELINING\r\n");
const NO: Act = Say(b"550 5.1.1 gone\r\n");
const TOO_MANY: Act = Say(b"452 4.5.3 too many recipients\r\n");
/// Recipients and the codes they are refused with.
type Refused = &'static [(u32, u16)];

const TO: [&str; 5] = ["r0@x", "r1@x", "r2@x", "r3@x", "r4@x"];

async fn to_five(config: SmtpConfig, scripts: &[&[Act]]) -> (AttemptReport, Seen) {
    let (hop, seen) = peer(scripts).await;
    let report = deliver(&SmtpAgent::new(config), job(&[hop], &TO, b"x\r\n")).await;
    (report, seen)
}

/// The refused recipients in order, by number and code.
fn refused(report: &AttemptReport) -> Vec<(u32, u16)> {
    let mut refused: Vec<_> = report
        .refused
        .iter()
        .map(|refused| (refused.recipient, refused.reply.code))
        .collect();
    refused.sort_unstable();
    refused
}

/// The recipients of each transaction that the peer received.
fn transactions(seen: &Seen) -> Vec<Vec<u32>> {
    let mut transactions = Vec::new();
    for line in seen.lines() {
        if line.starts_with("MAIL") {
            transactions.push(Vec::new());
        }
        if let Some(rest) = line.strip_prefix("RCPT TO:<r") {
            let number = rest.split('@').next().unwrap().parse().unwrap();
            transactions.last_mut().unwrap().push(number);
        }
    }
    transactions
}

#[tokio::test]
async fn a_limit_that_was_announced_is_kept() {
    let ehlo = Say(b"250-peer\r\n250-PIPELINING\r\n250 LIMITS RCPTMAX=2\r\n");
    let script = [
        HELLO, ehlo, OK, OK, OK, GO, TAKEN, OK, NO, OK, GO, TAKEN, OK, OK, GO, TAKEN,
    ];
    let (report, seen) = to_five(config(), &[&script]).await;
    assert!(
        matches!(report.result, AttemptResult::Accepted(_)),
        "{}",
        report.result
    );
    assert_eq!(refused(&report), [(2, 550)]);
    assert_eq!(transactions(&seen), [vec![0, 1], vec![2, 3], vec![4]]);
    assert_eq!((seen.bodies(), seen.count("EHLO")), (3, 1), "one session");
}

#[tokio::test]
async fn a_limit_of_domains_that_was_announced_is_kept() {
    let ehlo = Say(b"250-peer\r\n250-PIPELINING\r\n250 LIMITS RCPTMAX=3 RCPTDOMAINMAX=2\r\n");
    let script = [
        HELLO, ehlo, OK, OK, OK, OK, GO, TAKEN, OK, OK, OK, GO, TAKEN, OK, OK, GO, TAKEN,
    ];
    let (hop, seen) = peer(&[&script]).await;
    let to = ["r0@x", "r1@Y", "r2@y", "r3@x", "r4@z", "r5@w"];
    let report = deliver(&SmtpAgent::new(config()), job(&[hop], &to, b"x\r\n")).await;
    assert!(
        matches!(report.result, AttemptResult::Accepted(_)),
        "{}",
        report.result
    );
    assert_eq!(transactions(&seen), [vec![0, 1, 2], vec![3, 4], vec![5]]);
}

#[tokio::test]
async fn those_that_were_too_many_follow_at_once_on_the_same_session() {
    let script = [
        HELLO, EHLO, OK, OK, NO, TOO_MANY, OK, TOO_MANY, GO, TAKEN, OK, OK, TOO_MANY, GO, TAKEN, OK, OK, GO,
        TAKEN,
    ];
    let (report, seen) = to_five(config(), &[&script]).await;
    assert!(
        matches!(report.result, AttemptResult::Accepted(_)),
        "{}",
        report.result
    );
    assert_eq!(refused(&report), [(1, 550)]);
    assert_eq!(transactions(&seen), [vec![0, 1, 2, 3, 4], vec![2, 4], vec![4]]);
    assert_eq!((seen.bodies(), seen.count("EHLO")), (3, 1));
}

#[tokio::test]
async fn a_limit_that_was_met_is_not_met_again() {
    let first = [HELLO, EHLO, OK, OK, OK, TOO_MANY, TOO_MANY, TOO_MANY, GO, TAKEN];
    let script = [&first[..], &[OK, OK, OK, GO, TAKEN], &[OK, OK, GO, TAKEN]].concat();
    let (report, seen) = to_five(config(), &[&script]).await;
    assert!(report.refused.is_empty(), "{:?}", report.refused);
    assert_eq!(transactions(&seen), [vec![0, 1, 2, 3, 4], vec![2, 3], vec![4]]);
    assert_eq!(seen.bodies(), 3);
}

#[tokio::test]
async fn too_many_from_the_first_on_is_a_refusal() {
    let script = [
        HELLO,
        EHLO,
        OK,
        TOO_MANY,
        TOO_MANY,
        TOO_MANY,
        TOO_MANY,
        TOO_MANY,
        Say(b"554 no\r\n"),
    ];
    let (report, seen) = to_five(config(), &[&script]).await;
    assert_eq!(report.result, AttemptResult::AllRefused);
    assert_eq!(
        refused(&report),
        [(0, 452), (1, 452), (2, 452), (3, 452), (4, 452)]
    );
    assert_eq!(transactions(&seen).len(), 1);
}

#[tokio::test]
async fn a_session_that_takes_no_further_transaction_is_replaced() {
    // The peer announces the limit, closes the session, or sends 421.
    let mailmax = Say(b"250-peer\r\n250-PIPELINING\r\n250 LIMITS RCPTMAX=2 MAILMAX=1\r\n");
    let rcptmax = Say(b"250-peer\r\n250-PIPELINING\r\n250 LIMITS RCPTMAX=2\r\n");
    let one = |ehlo: &Act, end: &[Act]| [&[HELLO, ehlo.clone(), OK, OK, OK, GO, TAKEN], end].concat();
    let last = |ehlo: &Act| vec![HELLO, ehlo.clone(), OK, OK, GO, TAKEN];
    for (ehlo, end) in [
        (&mailmax, vec![Say(b"221 bye\r\n")]),
        (&rcptmax, vec![Close]),
        (&rcptmax, vec![Say(b"421 4.7.0 enough\r\n")]),
    ] {
        let scripts = [one(ehlo, &end), one(ehlo, &end), last(ehlo)];
        let scripts: Vec<_> = scripts.iter().map(Vec::as_slice).collect();
        let (report, seen) = to_five(config(), &scripts).await;
        assert!(
            matches!(report.result, AttemptResult::Accepted(_)),
            "{}",
            report.result
        );
        assert!(report.refused.is_empty(), "{:?}", report.refused);
        assert_eq!((seen.bodies(), seen.count("EHLO")), (3, 3), "{:?}", seen.lines());
    }
}

#[tokio::test]
async fn fewer_recipients_are_tried_when_a_peer_breaks_off_among_them() {
    for end in [Close, Say(b"421 4.7.0 too many\r\n")] {
        let first = [HELLO, EHLO, OK, OK, OK, end];
        let pairs = [
            HELLO, EHLO, OK, OK, OK, GO, TAKEN, OK, OK, OK, GO, TAKEN, OK, OK, GO, TAKEN,
        ];
        let (hop, seen) = peer(&[&first, &pairs, &pairs]).await;
        let agent = SmtpAgent::new(config());
        for attempt in 1..=2 {
            let report = deliver(&agent, job(std::slice::from_ref(&hop), &TO, b"x\r\n")).await;
            let accepted = matches!(report.result, AttemptResult::Accepted(_));
            assert!(accepted && report.refused.is_empty(), "{attempt}: {report:?}");
            agent.close().await;
        }
        // The second attempt uses the limit that the first one found.
        assert_eq!((seen.bodies(), seen.from.lock().unwrap().len()), (6, 3));
    }
}

#[tokio::test]
async fn one_recipient_fewer_is_tried_when_a_peer_breaks_off_after_the_last() {
    for (ehlo, end) in [
        (EHLO, Close),
        (SLOW_EHLO, Close),
        (EHLO, Say(b"421 4.7.0 too many\r\n")),
    ] {
        // It closes after the third reply, whatever the number of recipients.
        let five = [HELLO, ehlo.clone(), OK, OK, OK, OK, end.clone()];
        let three = [HELLO, ehlo.clone(), OK, OK, OK, OK, end.clone()];
        let pairs = [
            HELLO, ehlo, OK, OK, OK, GO, TAKEN, OK, OK, OK, GO, TAKEN, OK, OK, GO, TAKEN,
        ];
        let (hop, seen) = peer(&[&five, &three, &pairs, &pairs]).await;
        let agent = SmtpAgent::new(config());
        for attempt in 1..=2 {
            let report = deliver(&agent, job(std::slice::from_ref(&hop), &TO, b"x\r\n")).await;
            let accepted = matches!(report.result, AttemptResult::Accepted(_));
            assert!(accepted && report.refused.is_empty(), "{attempt}: {report:?}");
            agent.close().await;
        }
        assert_eq!((seen.bodies(), seen.from.lock().unwrap().len()), (6, 4));
    }
}

#[tokio::test]
async fn a_peer_that_always_breaks_off_at_data_sets_no_limit() {
    let all = [HELLO, EHLO, OK, OK, OK, OK, OK, OK, Close];
    let fewer = [HELLO, EHLO, OK, OK, OK, OK, OK, Close];
    let well = [HELLO, EHLO, OK, OK, OK, OK, OK, OK, GO, TAKEN];
    let (hop, seen) = peer(&[&all, &fewer, &well]).await;
    let agent = SmtpAgent::new(config());
    let report = deliver(&agent, job(std::slice::from_ref(&hop), &TO, b"x\r\n")).await;
    let AttemptResult::Broken { stage, in_doubt, .. } = report.result else {
        panic!("{}", report.result)
    };
    assert_eq!((stage, in_doubt, seen.count("EHLO")), (Stage::Data, false, 2));
    let report = deliver(&agent, job(&[hop], &TO, b"x\r\n")).await;
    let accepted = matches!(report.result, AttemptResult::Accepted(_));
    assert!(accepted && report.refused.is_empty(), "{report:?}");
    assert_eq!((seen.bodies(), seen.count("EHLO")), (1, 3));
}

#[tokio::test]
async fn a_peer_that_breaks_off_at_the_first_recipient_again_and_again_is_left() {
    let first = [HELLO, EHLO, OK, OK, Close];
    let (hop, seen) = peer(&[&first]).await;
    let report = deliver(&SmtpAgent::new(config()), job(&[hop], &TO, b"x\r\n")).await;
    let broken = matches!(report.result, AttemptResult::Broken { in_doubt: false, .. });
    assert!(broken, "{}", report.result);
    assert!(seen.count("EHLO") <= 6, "{}", seen.count("EHLO"));
}

#[tokio::test]
async fn the_error_of_a_later_transaction_is_reported_for_its_own_recipients() {
    let ehlo = || Say(b"250-peer\r\n250-PIPELINING\r\n250 LIMITS RCPTMAX=2\r\n");
    let first = |rest: &[Act]| [&[HELLO, ehlo(), OK, OK, OK, GO, TAKEN], rest].concat();
    // A permanent refusal is about its transaction, and the next one is tried. A temporary one is reported for all recipients that are
    // left.
    let cases: [(Vec<Act>, Refused); 4] = [
        (
            first(&[OK, OK, OK, GO, Body(b"554 5.7.1 no\r\n"), OK, OK, GO, TAKEN]),
            &[(2, 554), (3, 554)],
        ),
        (
            first(&[
                Say(b"450 4.7.28 slow down\r\n"),
                Say(b"503 x\r\n"),
                Say(b"503 x\r\n"),
                Say(b"503 x\r\n"),
            ]),
            &[(2, 450), (3, 450), (4, 450)],
        ),
        (
            first(&[OK, NO, OK, GO, Body(b"hello\r\n")]),
            &[(2, 550), (3, 451), (4, 451)],
        ),
        (
            first(&[OK, OK, OK, GO, Body(b"451 4.3.0 later\r\n")]),
            &[(2, 451), (3, 451), (4, 451)],
        ),
    ];
    for (n, (script, expected)) in cases.into_iter().enumerate() {
        let (report, _) = to_five(config(), &[&script]).await;
        assert!(
            matches!(report.result, AttemptResult::Accepted(_)),
            "{n}: {}",
            report.result
        );
        assert_eq!(refused(&report), expected, "{n}: {:?}", report.refused);
        if n == 2 {
            assert!(
                report.refused[1]
                    .reply
                    .text
                    .contains("the next hop may hold the message"),
                "{:?}",
                report.refused
            );
        }
    }
}

#[tokio::test]
async fn before_anybody_was_taken_the_end_is_that_of_the_message() {
    let ehlo = || Say(b"250-peer\r\n250-PIPELINING\r\n250 LIMITS RCPTMAX=2\r\n");
    let all_no = [HELLO, ehlo(), OK, NO, NO, Say(b"554 no\r\n"), OK];
    // The second transaction: RSET has been answered.
    let broken = [&all_no[..], &[OK, OK, OK, GO, Body(b"hello\r\n")]].concat();
    let (report, _) = to_five(config(), &[&broken]).await;
    assert!(
        matches!(
            report.result,
            AttemptResult::Broken {
                stage: Stage::FinalReply,
                in_doubt: true,
                ..
            }
        ),
        "{}",
        report.result
    );
    assert_eq!(refused(&report), [(0, 550), (1, 550)]);
}
