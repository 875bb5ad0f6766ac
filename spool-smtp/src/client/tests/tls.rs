//! The TLS of sessions, and when plaintext is used instead.

use super::peer::Act::{self, Body, Close, Hang, Say, Stall, Tls};
use super::peer::{EHLO, GO, HELLO, OK, STARTTLS, Seen, TAKEN, TLS_EHLO, peer};
use super::pki::{Cert, good, roots};
use super::{attempt_with, code, config, deliver, job};
use crate::client::{SmtpAgent, SmtpConfig};
use spool_core::{AttemptReport, AttemptResult, NextHop, Stage, TlsPolicy};
use std::time::Duration;

const POLICIES: [TlsPolicy; 4] = [
    TlsPolicy::None,
    TlsPolicy::Opportunistic,
    TlsPolicy::Required,
    TlsPolicy::Verify,
];
const CERTS: [Cert; 5] = [
    Cert::Good,
    Cert::OtherName,
    Cert::Expired,
    Cert::SelfSigned,
    Cert::Stolen,
];

pub(super) fn with(policy: TlsPolicy) -> SmtpConfig {
    let mut config = config();
    config.tls = policy;
    config.tls_roots = roots();
    config
}

fn tls_script(starttls: Act) -> Vec<Act> {
    vec![HELLO, TLS_EHLO, starttls, EHLO, OK, OK, GO, TAKEN]
}

/// The script of a session in plaintext.
const PLAIN: [Act; 6] = [HELLO, TLS_EHLO, OK, OK, GO, TAKEN];

#[tokio::test]
async fn an_unreadable_certificate_is_accepted_where_none_must_be_valid() {
    for cert in [Cert::VersionOne, Cert::CriticalExtension] {
        for policy in [TlsPolicy::Opportunistic, TlsPolicy::Required] {
            let (report, seen) = at(policy, &tls_script(Tls(b"220 go\r\n", cert, b""))).await;
            assert!(is_accepted(&report), "{cert:?} {policy}: {}", report.result);
            assert!(report.tls.unwrap().starts_with("TLSv1.3 "), "{cert:?} {policy}");
            assert_eq!(seen.count("STARTTLS"), 1);
        }
        let (report, _) = at(TlsPolicy::Verify, &tls_script(Tls(b"220 go\r\n", cert, b""))).await;
        assert!(ended_at_tls(&report), "{cert:?}: {}", report.result);
    }
}

fn is_accepted(report: &AttemptReport) -> bool {
    matches!(report.result, AttemptResult::Accepted(_))
}

fn ended_at_tls(report: &AttemptReport) -> bool {
    matches!(
        report.result,
        AttemptResult::Broken {
            stage: Stage::Tls,
            in_doubt: false,
            ..
        } | AttemptResult::Refused {
            stage: Stage::Tls,
            ..
        }
    )
}

/// One delivery: the first connection follows `script`, any other [`PLAIN`].
async fn at(policy: TlsPolicy, script: &[Act]) -> (AttemptReport, Seen) {
    let (hop, seen) = peer(&[script, &PLAIN]).await;
    let agent = SmtpAgent::new(with(policy));
    (deliver(&agent, job(&[hop], &["b@x"], b"x\r\n")).await, seen)
}

#[tokio::test]
async fn each_policy_takes_the_certificates_it_should() {
    for policy in [TlsPolicy::Opportunistic, TlsPolicy::Required, TlsPolicy::Verify] {
        for cert in CERTS {
            let (report, seen) = at(policy, &tls_script(Tls(b"220 go\r\n", cert, b""))).await;
            let tls = report.tls.clone().unwrap_or_default();
            let case = format!("{policy} {cert:?}: {} {tls:?}", report.result);
            match (policy, cert) {
                (_, Cert::Good) => assert!(is_accepted(&report) && tls.ends_with(", verified"), "{case}"),
                (TlsPolicy::Opportunistic, Cert::Stolen) => {
                    assert!(is_accepted(&report) && tls.starts_with("plaintext"), "{case}");
                }
                (TlsPolicy::Verify, _) | (_, Cert::Stolen) => {
                    assert!(ended_at_tls(&report) && tls.is_empty(), "{case}");
                    assert_eq!(seen.count("MAIL"), 0, "{case}");
                }
                (_, _) => {
                    assert!(is_accepted(&report) && tls.contains("not verified: "), "{case}");
                }
            }
            let connections = seen.from.lock().unwrap().len();
            let fallback = policy == TlsPolicy::Opportunistic && cert == Cert::Stolen;
            assert_eq!(connections, 1 + usize::from(fallback), "{case}");
        }
    }
}

#[tokio::test]
async fn without_an_offer_only_a_policy_that_insists_ends_the_session() {
    for policy in POLICIES {
        let (report, seen) = at(policy, &[HELLO, EHLO, OK, OK, GO, TAKEN]).await;
        if policy < TlsPolicy::Required {
            assert!(is_accepted(&report) && report.tls.is_none(), "{}", report.result);
        } else {
            assert!(ended_at_tls(&report), "{policy}: {}", report.result);
            assert_eq!((seen.count("MAIL"), seen.bodies()), (0, 0));
        }
    }
    // The policy is plaintext: TLS is not tried.
    let (report, seen) = at(TlsPolicy::None, &PLAIN).await;
    assert!(is_accepted(&report) && seen.count("STARTTLS") == 0);
}

#[tokio::test]
async fn the_name_is_checked_as_the_next_hop_has_it() {
    let (hop, seen) = peer(&[&tls_script(STARTTLS)]).await;
    let named: NextHop = format!("localhost:{}", hop.port()).parse().unwrap();
    let report = deliver(
        &SmtpAgent::new(with(TlsPolicy::Verify)),
        job(&[named], &["b@x"], b"x\r\n"),
    )
    .await;
    assert!(is_accepted(&report), "{}", report.result);
    assert_eq!(seen.bodies(), 1);
    // An authority that is not a trusted root.
    let mut config = with(TlsPolicy::Verify);
    config.tls_roots = crate::client::TrustRoots::Only(Vec::new());
    let (report, _) = attempt_with(config, &tls_script(STARTTLS)).await;
    assert!(ended_at_tls(&report), "{}", report.result);
}

#[tokio::test]
async fn the_record_names_version_cipher_and_certificate() {
    let (report, _) = at(TlsPolicy::Required, &tls_script(STARTTLS)).await;
    let digest = ring::digest::digest(&ring::digest::SHA256, good());
    let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let tls = report.tls.unwrap();
    assert!(tls.starts_with("TLSv1.3 TLS_"), "{tls}");
    assert!(tls.ends_with(&format!("sha256:{hex}, verified")), "{tls}");
}

#[tokio::test]
async fn what_was_offered_in_the_clear_is_void_under_tls() {
    let generous = Say(b"250-peer\r\n250-STARTTLS\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n");
    let (hop, seen) = peer(&[&[HELLO, generous, STARTTLS, Say(b"250 peer\r\n")]]).await;
    let agent = SmtpAgent::new(with(TlsPolicy::Required));
    let report = deliver(&agent, job(&[hop], &["b@x"], "ü\r\n".as_bytes())).await;
    assert_eq!(code(&report.result), 554);
    assert_eq!(seen.lines(), ["EHLO localhost", "STARTTLS", "EHLO localhost"]);
}

#[tokio::test]
async fn a_tls_that_fails_is_replaced_by_plaintext_only_where_it_may() {
    let failures: [&[Act]; 5] = [
        &[HELLO, TLS_EHLO, Say(b"454 4.7.0 no TLS now\r\n")],
        &[HELLO, TLS_EHLO, Say(b"502 5.5.1 what\r\n")],
        &[HELLO, TLS_EHLO, Close],
        // It closes the connection during the handshake.
        &[HELLO, TLS_EHLO, Say(b"220 go\r\n"), Close],
        &[HELLO, TLS_EHLO, Tls(b"220 go\r\n", Cert::Stolen, b"")],
    ];
    for (n, script) in failures.into_iter().enumerate() {
        for policy in [TlsPolicy::Opportunistic, TlsPolicy::Required, TlsPolicy::Verify] {
            let (report, seen) = at(policy, script).await;
            let case = format!("{n} {policy}: {}", report.result);
            if policy == TlsPolicy::Opportunistic {
                assert!(is_accepted(&report), "{case}");
                let tls = report.tls.unwrap();
                assert!(tls.starts_with("plaintext, because TLS failed: "), "{case} {tls}");
                assert_eq!(seen.from.lock().unwrap().len(), 2, "{case}: on a new connection");
            } else {
                assert!(ended_at_tls(&report) && seen.count("MAIL") == 0, "{case}");
                assert_eq!(seen.from.lock().unwrap().len(), 1, "{case}");
            }
        }
    }
    // A peer that is closing has not failed at TLS.
    let (report, seen) = at(TlsPolicy::Opportunistic, &[HELLO, TLS_EHLO, Say(b"421 bye\r\n")]).await;
    assert!(ended_at_tls(&report) && code(&report.result) == 421 && seen.bodies() == 0);
}

#[tokio::test]
async fn a_peer_whose_tls_failed_is_remembered_for_a_while() {
    let refuses = [HELLO, TLS_EHLO, Say(b"454 4.7.0 no TLS now\r\n")];
    for (memory, expected) in [(Duration::from_secs(600), 1), (Duration::ZERO, 2)] {
        let (hop, seen) = peer(&[&refuses, &PLAIN, &PLAIN]).await;
        let mut config = with(TlsPolicy::Opportunistic);
        config.plaintext_memory = memory;
        // Each message has its own session.
        config.idle_timeout = Duration::ZERO;
        let agent = SmtpAgent::new(config);
        for _ in 0..2 {
            let report = deliver(&agent, job(std::slice::from_ref(&hop), &["b@x"], b"x\r\n")).await;
            if is_accepted(&report) {
                assert!(report.tls.unwrap().contains("454 4.7.0 no TLS now"));
            }
        }
        assert_eq!(seen.count("STARTTLS"), expected, "{:?}", seen.lines());
    }
}

#[tokio::test]
async fn a_peer_that_takes_nothing_in_plaintext_gets_the_mail_when_its_tls_works_again() {
    let wants_tls = Say(b"530 5.7.0 Must issue a STARTTLS command first\r\n");
    let late = Say(b"550 5.7.1 Session encryption is required\r\n");
    let no = || Say(b"503 no\r\n");
    for said in [[wants_tls, no(), no()], [OK, late, no()]] {
        let failed = [HELLO, TLS_EHLO, Say(b"454 4.7.0 no TLS now\r\n")];
        let plain = [&[HELLO, TLS_EHLO][..], &said].concat();
        let (hop, seen) = peer(&[&failed, &plain, &tls_script(STARTTLS)]).await;
        let agent = SmtpAgent::new(with(TlsPolicy::Opportunistic));
        let mut reports = Vec::new();
        for _ in 0..2 {
            reports.push(deliver(&agent, job(std::slice::from_ref(&hop), &["b@x"], b"x\r\n")).await);
        }
        let first = &reports[0];
        // Such a failure is not about the message.
        assert!(ended_at_tls(first), "{}", first.result);
        assert!(
            first.result.to_string().contains("454 4.7.0 no TLS now"),
            "{}",
            first.result
        );
        assert!(is_accepted(&reports[1]), "{}", reports[1].result);
        assert!(reports[1].tls.as_ref().unwrap().ends_with("verified"));
        assert_eq!(seen.count("STARTTLS"), 2, "{:?}", seen.lines());
    }
}

#[tokio::test]
async fn a_recipient_that_is_refused_without_tls_is_tried_later_and_the_others_are_delivered() {
    let late = Say(b"550 5.7.1 Session encryption is required\r\n");
    let gone = Say(b"550 5.1.1 <encryption@x> no such user\r\n");
    let failed = [HELLO, TLS_EHLO, Say(b"454 4.7.0 no TLS now\r\n")];
    let plain = [HELLO, TLS_EHLO, OK, OK, late, gone, GO, TAKEN];
    let (hop, seen) = peer(&[&failed, &plain, &tls_script(STARTTLS)]).await;
    let agent = SmtpAgent::new(with(TlsPolicy::Opportunistic));
    let to = ["a@x", "b@x", "encryption@x"];
    let report = deliver(&agent, job(std::slice::from_ref(&hop), &to, b"x\r\n")).await;
    assert!(is_accepted(&report), "{}", report.result);
    let refused: Vec<_> = report
        .refused
        .iter()
        .map(|one| (one.recipient, one.reply.code))
        .collect();
    assert_eq!(refused, [(1, 451), (2, 550)]);
    assert!(
        report.refused[0].reply.text.contains("encryption is required"),
        "{:?}",
        report.refused
    );
    let report = deliver(&agent, job(&[hop], &["b@x"], b"x\r\n")).await;
    assert!(is_accepted(&report) && report.tls.unwrap().ends_with("verified"));
    assert_eq!(seen.count("STARTTLS"), 2, "{:?}", seen.lines());
}

#[tokio::test]
async fn a_silent_handshake_ends_with_its_deadline() {
    let mut config = with(TlsPolicy::Required);
    config.tls_timeout = Duration::from_millis(300);
    for script in [
        &[HELLO, TLS_EHLO, Hang][..],
        &[HELLO, TLS_EHLO, Stall(b"220 go\r\n")],
    ] {
        let (report, _) = attempt_with(config.clone(), script).await;
        assert!(ended_at_tls(&report), "{}", report.result);
        assert!(
            report.result.to_string().contains("timed out"),
            "{}",
            report.result
        );
    }
}

#[tokio::test]
async fn implicit_tls_starts_before_the_greeting_and_has_no_fallback() {
    let script = [Tls(b"", Cert::Good, b"220 peer\r\n"), EHLO, OK, OK, GO, TAKEN];
    for policy in POLICIES {
        let (hop, seen) = peer(&[&script]).await;
        let mut config = with(policy);
        config.implicit_tls_ports = vec![hop.port()];
        let report = deliver(&SmtpAgent::new(config), job(&[hop], &["b@x"], b"x\r\n")).await;
        assert!(is_accepted(&report), "{policy}: {}", report.result);
        assert!(report.tls.unwrap().ends_with("verified"));
        assert_eq!(seen.count("STARTTLS"), 0);
    }
    let (hop, seen) = peer(&[&PLAIN]).await;
    let mut config = with(TlsPolicy::Opportunistic);
    config.implicit_tls_ports = vec![hop.port()];
    let report = deliver(&SmtpAgent::new(config), job(&[hop], &["b@x"], b"x\r\n")).await;
    assert!(ended_at_tls(&report) && seen.bodies() == 0, "{}", report.result);
}

#[tokio::test]
async fn a_session_under_tls_is_kept_and_used_again() {
    let large: &[u8] = &b"0123456789abcdef.\r\n.\r\n..\r\n".repeat(100_000);
    let script = [
        HELLO, TLS_EHLO, STARTTLS, EHLO, OK, OK, GO, TAKEN, OK, OK, GO, TAKEN, Close,
    ];
    let (hop, seen) = peer(&[&script, &tls_script(STARTTLS)]).await;
    let agent = SmtpAgent::new(with(TlsPolicy::Verify));
    // The peer has closed the session before the third message, which gets a new one.
    for body in [large, b"2\r\n", b"3\r\n"] {
        let report = deliver(&agent, job(std::slice::from_ref(&hop), &["b@x"], body)).await;
        assert!(is_accepted(&report), "{}", report.result);
    }
    assert!(seen.bodies.lock().unwrap()[0] == large);
    assert_eq!(
        (seen.bodies(), seen.count("STARTTLS")),
        (3, 2),
        "{:?}",
        seen.lines()
    );
    let shown = agent.snapshot();
    assert!(
        shown.destinations[0].tls.as_ref().unwrap().contains("verified"),
        "{shown:?}"
    );
}

#[tokio::test]
async fn requiretls_goes_only_over_verified_tls_to_a_peer_that_offers_it() {
    let offer = Say(b"250-peer\r\n250 REQUIRETLS\r\n");
    let script = [HELLO, TLS_EHLO, STARTTLS, offer, OK, OK, GO, Body(b"250 ok\r\n")];
    let cases: [(&[Act], &str); 4] = [
        (&script, "accepted"),
        (&[HELLO, EHLO], "refused at route: 554 5.7.10"),
        (&tls_script(STARTTLS), "refused at route: 550 5.7.30"),
        (
            &[HELLO, TLS_EHLO, Tls(b"220 go\r\n", Cert::SelfSigned, b"")],
            "broken at TLS",
        ),
    ];
    for (script, expected) in cases {
        let (hop, seen) = peer(&[script]).await;
        let mut job = job(&[hop], &["b@x"], b"x\r\n");
        std::sync::Arc::make_mut(&mut job.envelope).parameters.requiretls = true;
        let report = deliver(&SmtpAgent::new(with(TlsPolicy::None)), job).await;
        let said = report.result.to_string();
        assert!(said.contains(expected), "{expected}: {said}");
        assert_eq!(seen.bodies(), usize::from(expected == "accepted"));
        if expected == "accepted" {
            assert!(
                seen.lines().iter().any(|line| line.ends_with(" REQUIRETLS")),
                "{:?}",
                seen.lines()
            );
        }
    }
}
