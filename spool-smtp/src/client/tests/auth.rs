//! Credentials: the hosts and sessions to which they are sent, the mechanisms, and refusals.

use super::peer::Act::{self, Close, Say, Tls};
use super::peer::{EHLO, GO, HELLO, OK, STARTTLS, Seen, TAKEN, TLS_EHLO, peer};
use super::pki::Cert;
use super::tls::with;
use super::{code, deliver, job};
use crate::client::{Credentials, Lookup, SmtpAgent, SmtpConfig};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use spool_core::{AttemptReport, AttemptResult, Stage, TlsPolicy};
use std::sync::Arc;

const PLAIN: Act = Say(b"250-peer\r\n250 AUTH PLAIN\r\n");
const LOGIN: Act = Say(b"250-peer\r\n250 auth login cram-md5\r\n");
const XOAUTH2: Act = Say(b"250-peer\r\n250 AUTH XOAUTH2\r\n");
const IN: Act = Say(b"235 2.7.0 in\r\n");

fn password() -> Credentials {
    Credentials::password("ada", "wonderland").unwrap()
}

fn config(policy: TlsPolicy, credentials: Credentials) -> SmtpConfig {
    let mut config = with(policy);
    let credentials = Arc::new(credentials);
    config.credentials = Lookup::new(move |_| Some(Arc::clone(&credentials)));
    config
}

/// One delivery to a peer that follows this script after EHLO under verified TLS.
async fn after_ehlo(credentials: Credentials, script: &[Act]) -> (AttemptReport, Seen) {
    let script = [&[HELLO, TLS_EHLO, STARTTLS], script, &[OK, OK, GO, TAKEN]].concat();
    let (hop, seen) = peer(&[&script]).await;
    let agent = SmtpAgent::new(config(TlsPolicy::Opportunistic, credentials));
    (deliver(&agent, job(&[hop], &["b@x"], b"x\r\n")).await, seen)
}

fn auth_lines(seen: &Seen) -> Vec<String> {
    let lines = seen.lines().into_iter().skip(3);
    lines.take_while(|line| !line.starts_with("MAIL")).collect()
}

#[tokio::test]
async fn each_mechanism_sends_its_responses() {
    let token = "t".repeat(800);
    let bearer = |token: &str| Credentials::bearer_token("ada", token).unwrap();
    let coded = |text: &str| STANDARD.encode(text);
    let plain = coded("\0ada\0wonderland");
    let short = coded("user=ada\x01auth=Bearer tok\x01\x01");
    let long = coded(&format!("user=ada\x01auth=Bearer {token}\x01\x01"));
    let cases: [(Credentials, &[Act], Vec<String>); 4] = [
        (password(), &[PLAIN, IN], vec![format!("AUTH PLAIN {plain}")]),
        (
            password(),
            &[
                LOGIN,
                Say(b"334 VXNlcm5hbWU6\r\n"),
                Say(b"334 UGFzc3dvcmQ6\r\n"),
                IN,
            ],
            vec!["AUTH LOGIN".into(), coded("ada"), coded("wonderland")],
        ),
        (
            bearer("tok"),
            &[XOAUTH2, IN],
            vec![format!("AUTH XOAUTH2 {short}")],
        ),
        // Too long for the line of AUTH (RFC 4954 section 4): it is sent after the challenge.
        (
            bearer(&token),
            &[XOAUTH2, Say(b"334 \r\n"), IN],
            vec!["AUTH XOAUTH2".into(), long],
        ),
    ];
    for (credentials, script, expected) in cases {
        let (report, seen) = after_ehlo(credentials, script).await;
        assert_eq!(code(&report.result), 250, "{}", report.result);
        assert_eq!(auth_lines(&seen), expected);
    }
}

#[tokio::test]
async fn a_refused_recipient_is_reported_with_its_reply() {
    let json = Say(b"334 eyJzdGF0dXMiOiI0MDEifQ==\r\n");
    let cases: [(Credentials, &[Act], u16); 4] = [
        (password(), &[PLAIN, Say(b"535 5.7.8 bad\r\n")], 535),
        (password(), &[PLAIN, Say(b"454 4.7.0 later\r\n")], 454),
        (password(), &[PLAIN, Say(b"421 4.7.0 bye\r\n")], 421),
        (
            Credentials::bearer_token("ada", "old").unwrap(),
            &[XOAUTH2, json, Say(b"535 5.7.8 expired\r\n")],
            535,
        ),
    ];
    for (credentials, script, expected) in cases {
        let (report, seen) = after_ehlo(credentials, script).await;
        assert_eq!(code(&report.result), expected, "{}", report.result);
        // A 5xx to AUTH is temporary for the message.
        let AttemptResult::Refused { stage, reply } = &report.result else {
            panic!("{}", report.result)
        };
        assert_eq!(*stage, Stage::Auth);
        let decision = spool_core::disposition::default_decision(&report.result, Some(reply));
        assert_eq!(decision, spool_core::OnError::TryLater);
        assert_eq!(seen.count("MAIL"), 0);
    }
}

#[tokio::test]
async fn a_peer_that_asks_on_and_on_is_left() {
    let again = || Say(b"334 TW9yZQ==\r\n");
    for (ehlo, expected) in [(PLAIN, 2), (LOGIN, 4)] {
        let script = [&[ehlo][..], &vec![again(); 30]].concat();
        let (report, seen) = after_ehlo(password(), &script).await;
        assert!(
            report.result.to_string().contains("asks for more"),
            "{}",
            report.result
        );
        let lines = auth_lines(&seen);
        assert_eq!((lines.len(), lines.last().unwrap().as_str()), (expected, "*"));
    }
}

#[tokio::test]
async fn without_a_mechanism_in_common_nothing_is_sent() {
    for ehlo in [XOAUTH2, EHLO] {
        let (report, seen) = after_ehlo(password(), &[ehlo, IN]).await;
        let error = report.result.to_string();
        assert!(
            error.contains("broken at AUTH") && error.contains("not PLAIN or LOGIN"),
            "{error}"
        );
        assert!(auth_lines(&seen).is_empty(), "{:?}", seen.lines());
    }
}

#[tokio::test]
async fn a_peer_that_repeats_the_secret_is_not_quoted() {
    let coded = STANDARD.encode("\0ada\0wonderland");
    let says = |text: String| Say(Box::leak(text.into_bytes().into_boxed_slice()));
    for told in [coded.as_str(), "wonderland"] {
        let refusal = says(format!("535-5.7.8 no\r\n535 5.7.8 not with {told}\r\n"));
        let (report, _) = after_ehlo(password(), &[PLAIN, refusal]).await;
        let record = format!("{report:?}");
        assert_eq!(code(&report.result), 535);
        assert!(
            !record.contains("wonderland") && !record.contains(&coded),
            "{record}"
        );
    }
}

#[tokio::test]
async fn credentials_go_only_over_what_they_may_go() {
    let tls_ehlo = Say(b"250-peer\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n");
    let tls = |cert| {
        vec![
            HELLO,
            tls_ehlo.clone(),
            Tls(b"220 go\r\n", cert, b""),
            PLAIN,
            IN,
            OK,
            OK,
            GO,
            TAKEN,
        ]
    };
    let refuses = vec![HELLO, tls_ehlo.clone(), Say(b"454 4.7.0 no TLS now\r\n")];
    let plain = vec![HELLO, PLAIN, IN, OK, OK, GO, TAKEN];
    use TlsPolicy as Over;
    let cases = [
        (tls(Cert::Good), Over::Verify, true),
        (tls(Cert::SelfSigned), Over::Verify, false),
        (tls(Cert::SelfSigned), Over::Required, true),
        (tls(Cert::Stolen), Over::Required, false),
        (plain.clone(), Over::Required, false),
        (plain.clone(), Over::Verify, false),
        (plain.clone(), Over::None, true),
        // It counts as `required`: whoever removes STARTTLS must not get the secret.
        (plain.clone(), Over::Opportunistic, false),
        (tls(Cert::SelfSigned), Over::Opportunistic, true),
        // Plaintext is allowed, but after TLS has failed there is no attempt without it.
        (refuses, Over::None, false),
    ];
    for (n, (script, security, expected)) in cases.into_iter().enumerate() {
        for policy in [Over::None, Over::Opportunistic] {
            if security == Over::None && policy == Over::None && n == 9 {
                // Without TLS.
                continue;
            }
            let (hop, seen) = peer(&[&script, &plain]).await;
            let agent = SmtpAgent::new(config(policy, password().over(security)));
            let report = deliver(&agent, job(&[hop], &["b@x"], b"x\r\n")).await;
            let case = format!("{n} {policy} {security:?}: {}", report.result);
            let accepted = matches!(report.result, AttemptResult::Accepted(_));
            assert_eq!(accepted, expected, "{case}");
            assert_eq!(seen.count("AUTH"), usize::from(expected), "{case}");
            assert_eq!(seen.from.lock().unwrap().len(), 1, "{case}: no second connection");
        }
    }
}

#[tokio::test]
async fn credentials_are_for_the_host_they_were_named_for_and_part_the_sessions() {
    let script = [HELLO, PLAIN, IN, OK, OK, GO, TAKEN, Close];
    let (ours, seen) = peer(&[&script]).await;
    let (other, others) = peer(&[&[HELLO, PLAIN, OK, OK, GO, TAKEN]]).await;
    let mut config = with(TlsPolicy::None);
    let named = ours.clone();
    let user = Arc::new(std::sync::Mutex::new("ada".to_owned()));
    let now = Arc::clone(&user);
    config.credentials = Lookup::new(move |hop: &spool_core::NextHop| {
        let credentials = Credentials::password(now.lock().unwrap().clone(), "pw").unwrap();
        (*hop == named).then(|| Arc::new(credentials.over(TlsPolicy::None)))
    });
    let agent = SmtpAgent::new(config);
    for (hop, name) in [(&ours, "ada"), (&other, "ada"), (&ours, "bob")] {
        name.clone_into(&mut user.lock().unwrap());
        let report = deliver(&agent, job(std::slice::from_ref(hop), &["b@x"], b"x\r\n")).await;
        assert_eq!(code(&report.result), 250, "{}", report.result);
    }
    // Sessions are not shared between different credentials.
    assert_eq!(
        (seen.count("AUTH"), others.count("AUTH")),
        (2, 0),
        "{:?}",
        seen.lines()
    );
    let users: Vec<_> = agent
        .snapshot()
        .destinations
        .into_iter()
        .map(|shown| shown.user)
        .collect();
    assert_eq!(users.len(), 3);
    assert!(users.contains(&Some("bob".to_owned())) && users.contains(&None));
}
