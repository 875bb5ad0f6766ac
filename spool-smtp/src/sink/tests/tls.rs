//! TLS and AUTH at the sink, by a client of rustls alone.

use super::{started_with, talk};
use crate::sink::{SinkConfig, SinkTls, TlsMode};
use base64::Engine;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

fn tls(mode: TlsMode) -> SinkTls {
    SinkTls::generated(mode, &["localhost".to_owned()]).unwrap()
}

fn config(tls: &SinkTls, script: &str) -> SinkConfig {
    SinkConfig {
        script: script.parse().unwrap(),
        tls: Some(tls.clone()),
        ..SinkConfig::default()
    }
}

/// The output of the sink in plaintext, the result of the handshake, and the output under TLS.
async fn over_tls(
    address: SocketAddr,
    trust: &SinkTls,
    first: &[u8],
    then: &[u8],
) -> (String, Result<String, String>) {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    tcp.write_all(first).await.unwrap();
    let mut said = vec![0; 4096];
    // The reply to STARTTLS is one line, and the last.
    let mut clear = String::new();
    while !first.is_empty() && !clear.contains("220 2") && !clear.contains("220 go") {
        let n = tcp.read(&mut said).await.unwrap();
        assert!(n > 0, "{clear}");
        clear += &String::from_utf8_lossy(&said[..n]);
    }
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_slice(trust.authority().as_bytes()).unwrap();
    roots.add(authority).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = match TlsConnector::from(Arc::new(config)).connect(name, tcp).await {
        Ok(stream) => stream,
        Err(error) => return (clear, Err(error.to_string())),
    };
    stream.write_all(then).await.unwrap();
    let mut under_tls = Vec::new();
    stream.read_to_end(&mut under_tls).await.unwrap();
    (clear, Ok(String::from_utf8_lossy(&under_tls).into_owned()))
}

const STARTTLS: &[u8] = b"EHLO x\r\nSTARTTLS\r\n";
const HELLO: &[u8] = b"EHLO x\r\nQUIT\r\n";

#[tokio::test]
async fn tls_works_with_a_certificate_made_for_the_run() {
    let tls_ = tls(TlsMode::StartTls);
    let (address, _stop) = started_with(config(&tls_, "")).await;
    let (clear, under) = over_tls(address, &tls_, STARTTLS, HELLO).await;
    assert!(clear.contains("250-STARTTLS\r\n"), "{clear}");
    let under = under.unwrap();
    assert!(
        under.starts_with("250-sink") && !under.contains("STARTTLS"),
        "{under}"
    );
    let tls_ = tls(TlsMode::Implicit);
    let (address, _stop) = started_with(config(&tls_, "")).await;
    let (_, under) = over_tls(address, &tls_, b"", HELLO).await;
    assert!(under.unwrap().starts_with("220 sink.localhost"));
    let (address, _stop) = started_with(SinkConfig::default()).await;
    let said = talk(address, b"STARTTLS\r\nQUIT\r\n").await;
    assert!(said.contains("454 4.7.0"), "{said}");
}

#[tokio::test]
async fn a_handshake_fails_as_the_script_has_it() {
    let tls = tls(TlsMode::StartTls);
    for (script, expected) in [
        ("tls certificate expired", "expired"),
        ("tls certificate self-signed", "UnknownIssuer"),
        ("tls certificate other-name", "not valid for name"),
        ("tls raw \\x15\\x03\\x03\\x00\\x02\\x02\\x28", "HandshakeFailure"),
        ("tls raw 250 what\\r\\n", "corrupt message"),
        ("tls close", "eof"),
        ("tls reset", "reset by peer"),
    ] {
        let (address, _stop) = started_with(config(&tls, script)).await;
        let (_, under) = over_tls(address, &tls, STARTTLS, HELLO).await;
        let error = under.unwrap_err();
        assert!(error.contains(expected), "{script}: {error}");
    }
    let (address, _stop) = started_with(config(&tls, "tls delay 1ms")).await;
    assert!(over_tls(address, &tls, STARTTLS, HELLO).await.1.is_ok());
}

#[tokio::test]
async fn bytes_after_the_starttls_reply_are_sent_before_tls() {
    let tls = tls(TlsMode::StartTls);
    let script = "starttls raw 220 go\\r\\n250 forged\\r\\n\nmail tls=yes reply 250 under TLS";
    let (address, _stop) = started_with(config(&tls, script)).await;
    let (clear, under) = over_tls(address, &tls, STARTTLS, b"MAIL FROM:<>\r\nQUIT\r\n").await;
    assert!(clear.ends_with("220 go\r\n250 forged\r\n"), "{clear}");
    assert_eq!(under.unwrap(), "250 under TLS\r\n221 2.0.0 bye\r\n");
    // Plaintext after STARTTLS is ignored.
    let said = talk(address, b"STARTTLS\r\nMAIL FROM:<a@b>\r\n").await;
    assert!(said.ends_with("250 forged\r\n"), "{said}");
}

#[tokio::test]
async fn only_its_user_may_send() {
    let encoded = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let (ada, eve) = (encoded("\0ada\0secret"), encoded("\0ada\0wrong"));
    let login =
        |name: &str, secret: &str| format!("AUTH LOGIN\r\n{}\r\n{}\r\n", encoded(name), encoded(secret));
    let config = |script: &str| SinkConfig {
        script: script.parse().unwrap(),
        login: Some(("ada".to_owned(), "secret".to_owned())),
        ..SinkConfig::default()
    };
    for (script, auth, expected) in [
        ("", String::new(), "530 5.7.0"),
        ("", format!("AUTH PLAIN {ada}\r\n"), "250 2.1.0"),
        ("", format!("AUTH PLAIN\r\n{ada}\r\n"), "250 2.1.0"),
        ("", format!("AUTH PLAIN {eve}\r\n"), "530 5.7.0"),
        ("", login("ada", "secret"), "250 2.1.0"),
        ("", login("eve", "secret"), "530 5.7.0"),
        ("", "AUTH LOGIN\r\n*\r\n".to_owned(), "530 5.7.0"),
        ("", "AUTH CRAM-MD5\r\n".to_owned(), "530 5.7.0"),
        (
            "auth reply 454 4.7.0 later",
            format!("AUTH PLAIN {ada}\r\n"),
            "530 5.7.0",
        ),
        (
            "auth reply 235 anybody",
            format!("AUTH PLAIN {eve}\r\n"),
            "250 2.1.0",
        ),
    ] {
        let (address, _stop) = started_with(config(script)).await;
        let input = format!("EHLO x\r\n{auth}MAIL FROM:<a@b>\r\nQUIT\r\n");
        let said = talk(address, input.as_bytes()).await;
        let mail = said.lines().rev().nth(1).unwrap();
        assert!(
            said.contains("AUTH PLAIN LOGIN") && mail.starts_with(expected),
            "{script} {auth}: {said}"
        );
    }
}
