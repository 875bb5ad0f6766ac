//! Bodies sent by DATA arrive unchanged, with and without dot-stuffing, in plaintext and under TLS.

use super::peer::{EHLO, GO, HELLO, OK, STARTTLS, TAKEN, TLS_EHLO, peer};
use super::tls::with;
use super::{config, deliver, job};
use crate::client::{SmtpAgent, SmtpConfig};
use spool_core::{AttemptResult, TlsPolicy};

fn bodies() -> Vec<Vec<u8>> {
    let plain = "a line without a dot at its start.\r\n".repeat(10_000);
    let dotted = ".a line with one\r\n".repeat(20_000);
    let small = [
        "",
        "\r\n",
        "x\r\n",
        ".\r\n",
        ".x\r\n",
        "..\r\n",
        "x\r\n.\r\n",
        "x\r\n.y\r\n",
        "x.\r\ny\r\n",
        "x\r\n\r\n.\r\n\r\n",
    ];
    let all = small.into_iter().chain([plain.as_str(), dotted.as_str()]);
    all.map(|body| body.as_bytes().to_vec()).collect()
}

async fn all_arrive(opening: &[super::Act], config: SmtpConfig) {
    let bodies = bodies();
    let transactions = [OK, OK, GO, TAKEN].into_iter().cycle();
    let script: Vec<_> = opening
        .iter()
        .cloned()
        .chain(transactions.take(4 * bodies.len()))
        .collect();
    let (hop, seen) = peer(&[&script]).await;
    let agent = SmtpAgent::new(config);
    for body in &bodies {
        let report = deliver(&agent, job(std::slice::from_ref(&hop), &["b@x.example"], body)).await;
        assert!(matches!(report.result, AttemptResult::Accepted(_)), "{report:?}");
    }
    assert!(*seen.bodies.lock().unwrap() == bodies);
    // No part of a body was read as a command.
    assert_eq!(seen.lines().len(), opening.len() - 1 + 3 * bodies.len());
}

#[tokio::test]
async fn bodies_arrive_unchanged_whatever_their_lines_begin_with() {
    all_arrive(&[HELLO, EHLO], config()).await;
}

#[tokio::test]
async fn bodies_arrive_as_they_are_under_tls() {
    all_arrive(&[HELLO, TLS_EHLO, STARTTLS, EHLO], with(TlsPolicy::Required)).await;
}
