//! DANE on real sockets: which certificates open a session, and which sessions are used again.

use super::exchangers::{on_loopback, port};
use super::peer::Act::{self, Say, Tls};
use super::peer::{EHLO, GO, HELLO, OK, Seen, TAKEN, TLS_EHLO, peer_at};
use super::pki::{Cert, authority, good, roots};
use super::{config, deliver, job};
use crate::client::dane::{Tlsa, record};
use crate::client::resolve::tests::Names;
use crate::client::{SmtpAgent, SmtpConfig};
use spool_core::disposition::Decisions;
use spool_core::{AttemptReport, AttemptResult, NextHop, OnError, TlsPolicy};
use std::sync::Arc;

const PLAIN: [Act; 6] = [HELLO, EHLO, OK, OK, GO, TAKEN];

/// The script of a session under TLS with this certificate and several messages.
fn tls(cert: Cert, messages: usize) -> Vec<Act> {
    let session = [HELLO, TLS_EHLO, Tls(b"220 go\r\n", cert, b""), EHLO];
    let message = [OK, OK, GO, TAKEN].into_iter().cycle();
    session.into_iter().chain(message.take(4 * messages)).collect()
}

fn config_for_dane() -> SmtpConfig {
    let mut config = on_loopback(config());
    config.route.dane = true;
    // Trusted roots that have issued none of the certificates.
    config.tls_roots = crate::client::TrustRoots::Only(Vec::new());
    config
}

/// Peers at `host.example`, the exchanger of `d.example`, whose records are validated, and of `e.example`, whose are not.
struct Place {
    port: u16,
    seen: Seen,
    names: Arc<Names>,
}

impl Place {
    async fn new(records: Vec<Tlsa>, scripts: &[&[Act]]) -> Self {
        let port = port().await;
        let seen = peer_at(("127.0.0.2", port), scripts).await;
        let tlsa = format!("_{port}._tcp.host.example");
        let names = Names::default()
            .mx("d.example", &[(1, "host.example")])
            .mx("e.example", &[(1, "host.example")])
            .host("host.example", &["127.0.0.2"])
            .secure(&["d.example", "host.example", &tlsa]);
        names.set_tlsa(&tlsa, Ok(records));
        Self {
            port,
            seen,
            names: Arc::new(names),
        }
    }

    fn agent(&self, config: SmtpConfig) -> SmtpAgent {
        SmtpAgent::with_resolver(config, self.names.clone())
    }

    async fn deliver(&self, agent: &SmtpAgent, domain: &str) -> AttemptReport {
        let hop = NextHop::mx(domain, self.port).unwrap();
        deliver(agent, job(&[hop], &[&format!("b@{domain}")], b"x\r\n")).await
    }

    fn connections(&self) -> usize {
        self.seen.from.lock().unwrap().len()
    }
}

fn is_accepted(report: &AttemptReport) -> bool {
    matches!(report.result, AttemptResult::Accepted(_))
}

/// The result of one message for `d.example`.
async fn attempt(config: SmtpConfig, records: Vec<Tlsa>, script: &[Act]) -> (AttemptReport, Place) {
    let place = Place::new(records, &[script, &PLAIN]).await;
    let agent = place.agent(config);
    (place.deliver(&agent, "d.example").await, place)
}

/// A temporary failure: no mail in plaintext or to another host.
fn assert_held_back(report: &AttemptReport, place: &Place, case: &str) {
    assert_eq!(
        Decisions::by_default(report).message,
        OnError::TryLater,
        "{case}: {}",
        report.result
    );
    assert!(
        report.result.to_string().contains("TLS"),
        "{case}: {}",
        report.result
    );
    assert_eq!((place.seen.count("MAIL"), place.connections()), (0, 1), "{case}");
}

#[tokio::test]
async fn only_a_certificate_that_a_record_is_about_opens_a_session() {
    let records = |kind, about: &[u8]| vec![record(kind, about)];
    // With the weakest policy too.
    for policy in [TlsPolicy::None, TlsPolicy::Opportunistic, TlsPolicy::Required] {
        let mut config = config_for_dane();
        config.tls = policy;
        for (kind, about, cert) in [
            // A certificate with other names, of an unknown authority.
            ([3, 1, 1], good(), Cert::Good),
            ([3, 0, 2], good(), Cert::Good),
            ([2, 0, 1], authority(), Cert::Chain),
            ([2, 1, 2], authority(), Cert::Chain),
            ([2, 0, 0], authority(), Cert::Chain),
        ] {
            let (report, _) = attempt(config.clone(), records(kind, about), &tls(cert, 1)).await;
            let [usage, selector, matching] = kind;
            let record = report.tls.clone().unwrap_or_default();
            assert!(
                is_accepted(&report) && record.ends_with(&format!(", dane {usage} {selector} {matching}")),
                "{policy} {kind:?}: {} {record}",
                report.result
            );
        }
        for (kind, about, cert) in [
            ([3, 1, 1], good(), Cert::SelfSigned),
            ([3, 1, 1], good(), Cert::Stolen),
            // The authority is not sent; the name is another one; the certificate has expired.
            ([2, 0, 1], authority(), Cert::Good),
            ([2, 0, 0], authority(), Cert::OtherName),
            ([2, 0, 0], authority(), Cert::Expired),
        ] {
            let case = format!("{policy} {kind:?} {cert:?}");
            let (report, place) = attempt(config.clone(), records(kind, about), &tls(cert, 1)).await;
            assert_held_back(&report, &place, &case);
        }
    }
}

#[tokio::test]
async fn a_peer_without_tls_gets_nothing_where_there_are_records() {
    let mut unusable = record([3, 1, 1], good());
    unusable.usage = 1;
    for records in [vec![record([3, 1, 1], good())], vec![unusable]] {
        let refuses = [HELLO, TLS_EHLO, Say(b"454 4.7.0 no TLS now\r\n")];
        for script in [&PLAIN[..], &refuses] {
            let (report, place) = attempt(config_for_dane(), records.clone(), script).await;
            assert_held_back(&report, &place, &format!("{records:?}"));
        }
    }
}

#[tokio::test]
async fn records_of_no_use_ask_for_tls_and_for_no_certificate() {
    let mut unusable = record([3, 1, 1], good());
    unusable.usage = 0;
    let (report, _) = attempt(config_for_dane(), vec![unusable], &tls(Cert::SelfSigned, 1)).await;
    assert!(is_accepted(&report), "{}", report.result);
    assert!(report.tls.unwrap().ends_with(", dane without a usable record"));
}

#[tokio::test]
async fn a_configured_check_by_the_roots_is_made_as_well() {
    let mut strict = config_for_dane();
    strict.tls = TlsPolicy::Verify;
    let records = || vec![record([2, 0, 1], authority())];
    let (report, place) = attempt(strict.clone(), records(), &tls(Cert::Chain, 1)).await;
    assert_held_back(&report, &place, "no roots");
    strict.tls_roots = roots();
    let (report, _) = attempt(strict.clone(), records(), &tls(Cert::Chain, 1)).await;
    assert!(report.tls.unwrap().ends_with(", verified, dane 2 0 1"));
    let other = vec![record([3, 1, 1], good())];
    let (report, place) = attempt(strict, other, &tls(Cert::Chain, 1)).await;
    assert_held_back(&report, &place, "another record");
}

#[tokio::test]
async fn requiretls_is_satisfied_by_dane() {
    let offer = Say(b"250-peer\r\n250 REQUIRETLS\r\n");
    for (cert, accepted) in [(Cert::Good, true), (Cert::SelfSigned, false)] {
        let script = [
            HELLO,
            TLS_EHLO,
            Tls(b"220 go\r\n", cert, b""),
            offer.clone(),
            OK,
            OK,
            GO,
            TAKEN,
        ];
        let place = Place::new(vec![record([3, 1, 1], good())], &[&script]).await;
        let hop = NextHop::mx("d.example", place.port).unwrap();
        let mut job = job(&[hop], &["b@d.example"], b"x\r\n");
        Arc::make_mut(&mut job.envelope).parameters.requiretls = true;
        let report = deliver(&place.agent(config_for_dane()), job).await;
        assert_eq!(is_accepted(&report), accepted, "{cert:?}: {}", report.result);
    }
}

#[tokio::test]
async fn sessions_are_used_again_only_under_the_records_that_they_were_opened_under() {
    let two = tls(Cert::Good, 2);
    let place = Place::new(vec![record([3, 1, 1], good())], &[&two, &two, &two]).await;
    let agent = place.agent(config_for_dane());
    // TLS without a check of the certificate: enough for this domain only.
    let report = place.deliver(&agent, "e.example").await;
    assert!(is_accepted(&report) && report.tls.unwrap().contains("not verified"));
    for _ in 0..2 {
        let report = place.deliver(&agent, "d.example").await;
        assert!(is_accepted(&report) && report.tls.unwrap().ends_with("dane 3 1 1"));
    }
    assert_eq!(place.connections(), 2);
    // Records for the current certificate and the next one.
    let more = vec![record([3, 1, 1], good()), record([3, 1, 1], authority())];
    place
        .names
        .set_tlsa(&format!("_{}._tcp.host.example", place.port), Ok(more));
    assert!(is_accepted(&place.deliver(&agent, "d.example").await));
    assert_eq!(place.connections(), 3);
}

#[tokio::test]
async fn a_peer_that_is_remembered_for_its_broken_tls_is_not_sent_plaintext() {
    let refuses = [HELLO, TLS_EHLO, Say(b"454 4.7.0 no TLS now\r\n")];
    let plain = [HELLO, TLS_EHLO, OK, OK, GO, TAKEN];
    let place = Place::new(vec![record([3, 1, 1], good())], &[&refuses, &plain, &refuses]).await;
    let agent = place.agent(config_for_dane());
    let report = place.deliver(&agent, "e.example").await;
    assert!(is_accepted(&report) && report.tls.unwrap().starts_with("plaintext"));
    let report = place.deliver(&agent, "d.example").await;
    assert!(!is_accepted(&report), "{}", report.result);
    assert_eq!(place.seen.bodies(), 1);
}
