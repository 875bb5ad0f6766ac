//! Behaviour of lettre's connection that the client works around. Each test shows both: if its first half fails, lettre has fixed it, and
//! the workaround can be removed.

use super::peer::Act::{self, Body, Close, Flood, Hang, Say};
use super::peer::{EHLO, GO, HELLO, OK, Seen, TAKEN, peer};
use super::{attempt, attempt_with, code, config, deliver, hasty, job};
use crate::client::SmtpAgent;
use lettre::address::Envelope;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::extension::ClientId;
use spool_core::AttemptResult;
use std::time::Duration;

/// The result of lettre for a delivery to two recipients.
async fn lettre(script: &[Act], body: &[u8]) -> (Option<Result<(), Error>>, Seen) {
    lettre_within(Duration::from_secs(20), script, body).await
}

/// The same for a delivery that does not end: `None` if lettre was still waiting after a second.
async fn lettre_waits(script: &[Act]) -> (Option<Result<(), Error>>, Seen) {
    lettre_within(Duration::from_secs(1), script, b"x").await
}

async fn lettre_within(limit: Duration, script: &[Act], body: &[u8]) -> (Option<Result<(), Error>>, Seen) {
    let (hop, seen) = peer(&[script]).await;
    let send = async {
        let hello = ClientId::Domain("localhost".to_owned());
        let address = (hop.host(), hop.port());
        let mut connection = AsyncSmtpConnection::connect_tokio1(address, None, &hello, None, None).await?;
        let (from, to) = ("a@example.org".parse(), "b@example.net".parse());
        let envelope = Envelope::new(
            Some(from.unwrap()),
            vec![to.unwrap(), "c@example.net".parse().unwrap()],
        );
        connection.send(&envelope.unwrap(), body).await.map(drop)
    };
    let sent = tokio::time::timeout(limit, send).await;
    (sent.ok(), seen)
}

fn is_sent(result: &Option<Result<(), Error>>) -> bool {
    matches!(result, Some(Ok(())))
}

fn is_broken(result: &AttemptResult) -> bool {
    matches!(result, AttemptResult::Broken { .. })
}

#[tokio::test]
async fn a_reply_is_taken_for_its_code_and_not_its_class() {
    // 250 to DATA: the body is sent as commands, and the reply to its first line counts as the final reply.
    let (result, seen) = lettre(&[HELLO, EHLO, OK, OK, OK, OK, OK], b"x").await;
    assert!(is_sent(&result) && seen.bodies() == 0, "{result:?}");
    let (result, _) = lettre(&[HELLO, EHLO, GO, OK, OK, GO, TAKEN], b"x").await;
    assert!(is_sent(&result), "354 to MAIL: {result:?}");
    for script in [&[HELLO, EHLO, OK, OK, OK][..], &[HELLO, EHLO, GO, OK, OK]] {
        assert!(is_broken(&attempt(script).await.0.result));
    }
}

#[tokio::test]
async fn a_reply_without_text_is_a_reply() {
    let script = [HELLO, EHLO, OK, OK, OK, GO, Body(b"250\r\n"), Close];
    let (result, seen) = lettre(&script, b"x").await;
    assert!(
        result.unwrap().is_err() && seen.bodies() == 1,
        "taken by the peer, and not known"
    );
    let (report, _) = attempt(&[HELLO, EHLO, OK, OK, GO, Body(b"250\r\n")]).await;
    assert_eq!(code(&report.result), 250);
}

#[tokio::test]
async fn a_line_ended_by_lf_alone_is_a_line() {
    let script = [HELLO, EHLO, OK, Say(b"250 ok\n"), Say(b"550 gone\r\n"), GO, TAKEN];
    let (result, seen) = lettre_waits(&script).await;
    assert!(result.is_none(), "it waits for the rest: {result:?}");
    assert_eq!(seen.count("RCPT"), 1);
    let (hop, _) = peer(&[&script]).await;
    let report = deliver(&SmtpAgent::new(config()), job(&[hop], &["b@x", "c@x"], b"x\r\n")).await;
    assert_eq!(
        (code(&report.result), report.refused.len()),
        (250, 1),
        "{:?}",
        report.refused
    );
}

#[tokio::test]
async fn a_refusal_that_is_no_utf8_is_a_refusal() {
    let (result, _) = lettre(&[HELLO, EHLO, Say(b"550 5.7.1 \xff no\r\n"), Close], b"x").await;
    let error = result.unwrap().unwrap_err();
    assert!(error.status().is_none(), "lettre has no code for it: {error}");
    let no = || Say(b"550 5.7.1 \xff no\r\n");
    assert_eq!(
        code(&attempt(&[HELLO, EHLO, no(), no(), no()]).await.0.result),
        550
    );
}

#[tokio::test]
async fn a_line_without_end_is_cut_off_while_it_is_read() {
    // It reads for as long as the peer writes.
    let (result, _) = lettre_waits(&[HELLO, EHLO, Flood]).await;
    assert!(result.is_none(), "{result:?}");
    let (report, _) = attempt_with(config(), &[HELLO, EHLO, Flood]).await;
    assert!(
        report.result.to_string().contains("more than 65536 bytes"),
        "{}",
        report.result
    );
}

#[tokio::test]
async fn a_refused_recipient_does_not_stop_the_others() {
    let no = || Say(b"550 5.1.1 gone\r\n");
    let (result, seen) = lettre(&[HELLO, EHLO, OK, no(), OK, GO, TAKEN], b"x").await;
    assert!(result.unwrap().is_err() && seen.count("RCPT") == 1);
    let (hop, seen) = peer(&[&[HELLO, EHLO, OK, no(), OK, GO, TAKEN]]).await;
    let report = deliver(&SmtpAgent::new(config()), job(&[hop], &["b@x", "c@x"], b"x\r\n")).await;
    assert_eq!((code(&report.result), seen.count("RCPT")), (250, 2));
}

#[tokio::test]
async fn nothing_waits_without_end() {
    // A silent peer, and one that is silent after the QUIT of lettre.
    for script in [&[HELLO, Hang][..], &[HELLO, Say(b"502 what\r\n"), Hang]] {
        let (result, _) = lettre_waits(script).await;
        assert!(result.is_none(), "{result:?}");
        let (report, _) = attempt_with(hasty(), script).await;
        assert!(
            report.result.to_string().contains("timed out"),
            "{}",
            report.result
        );
    }
}

#[tokio::test]
async fn helo_is_sent_after_ehlo_was_refused() {
    let helo = [HELLO, Say(b"502 what\r\n"), OK, OK, OK, GO, TAKEN];
    let (result, seen) = lettre(&helo, b"x").await;
    assert!(result.unwrap().is_err() && seen.count("HELO") == 0);
    assert_eq!(code(&attempt(&helo).await.0.result), 250);
}

#[tokio::test]
async fn extensions_are_known_in_any_case_of_letters() {
    let ehlo = || Say(b"250-peer\r\n250 8bitmime\r\n");
    let (result, seen) = lettre(&[HELLO, ehlo(), OK, OK, OK, GO, TAKEN], "ü".as_bytes()).await;
    assert!(result.unwrap().is_err() && seen.count("MAIL") == 0);
    let (hop, seen) = peer(&[&[HELLO, ehlo(), OK, OK, GO, TAKEN]]).await;
    let report = deliver(
        &SmtpAgent::new(config()),
        job(&[hop], &["b@x"], "ü\r\n".as_bytes()),
    )
    .await;
    assert_eq!(code(&report.result), 250);
    assert!(seen.lines()[1].ends_with(" BODY=8BITMIME"), "{:?}", seen.lines());
}

#[tokio::test]
async fn no_line_end_is_added_to_a_body() {
    let (result, seen) = lettre(&[HELLO, EHLO, OK, OK, OK, GO, TAKEN], b"x\r\n").await;
    assert!(is_sent(&result));
    assert_eq!(seen.bodies.lock().unwrap()[0], b"x\r\n\r\n");
    let (_, seen) = attempt(&[HELLO, EHLO, OK, OK, GO, TAKEN]).await;
    assert_eq!(seen.bodies.lock().unwrap()[0], b"x\r\n");
}

#[tokio::test]
async fn no_quit_is_sent_while_the_final_reply_may_arrive() {
    // An invalid line in place of the reply: after QUIT, the 221 would count as the reply to the body.
    let (report, seen) = attempt(&[HELLO, EHLO, OK, OK, GO, Body(b"what?\r\n"), Say(b"221 bye\r\n")]).await;
    assert!(is_broken(&report.result), "{}", report.result);
    assert_eq!(seen.count("QUIT"), 0);
}

#[tokio::test]
async fn connections_do_not_wait_for_an_acknowledgement() {
    // lettre leaves Nagle's algorithm on and writes the body and its dot separately, which costs 40 ms for each message on loopback.
    let (hop, _) = peer(&[&[HELLO, Close]]).await;
    let address = format!("{}:{}", hop.host(), hop.port()).parse().unwrap();
    let tcp = super::super::source_address::SourceAddress::default()
        .connect(address)
        .await
        .unwrap();
    assert!(tcp.nodelay().unwrap());
}
