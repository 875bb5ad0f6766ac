//! Replies that are injected after the reply to STARTTLS, before TLS begins: plaintext input must never count as received through TLS.

use super::pki::{Cert, server};
use super::tls::with;
use super::{deliver, job};
use crate::client::SmtpAgent;
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use spool_core::{AttemptReport, AttemptResult, NextHop, TlsPolicy};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// The replies to EHLO, MAIL, RCPT, DATA and the final dot: a whole transaction.
const FORGED: &[u8] = b"250 forged\r\n250 ok\r\n250 ok\r\n354 go\r\n250 2.0.0 taken\r\n";

/// When the injected bytes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// In one write with the 220.
    WithIt,
    /// Directly after it, in a separate write.
    After,
    /// After the client has begun the handshake.
    AfterClientHello,
}

/// A man in the middle of a session with a server that reads under TLS and never replies. Returns what the server received through TLS.
#[derive(Clone, Default)]
struct Middle {
    connections: Arc<AtomicUsize>,
    through_tls: Arc<Mutex<Vec<u8>>>,
}

async fn middle(injected: Vec<u8>, when: When) -> (NextHop, Middle) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hop = listener.local_addr().unwrap().into();
    let seen = Middle::default();
    let notes = seen.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            notes.connections.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(stand_between(stream, injected.clone(), when, notes.clone()));
        }
    });
    (hop, seen)
}

async fn stand_between(mut stream: TcpStream, injected: Vec<u8>, when: When, seen: Middle) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut line = [0; 512];
    stream.write_all(b"220 peer\r\n").await.ok()?;
    let _ = stream.read(&mut line).await.ok()?;
    stream.write_all(b"250-peer\r\n250 STARTTLS\r\n").await.ok()?;
    let _ = stream.read(&mut line).await.ok()?;
    match when {
        When::WithIt => stream
            .write_all(&[b"220 go\r\n", &injected[..]].concat())
            .await
            .ok()?,
        When::After | When::AfterClientHello => {
            stream.write_all(b"220 go\r\n").await.ok()?;
            if when == When::AfterClientHello {
                let _ = stream.peek(&mut line).await.ok()?;
            }
            stream.write_all(&injected).await.ok()?;
        }
    }
    let acceptor = TlsAcceptor::from(server(Cert::Good, rustls::ALL_VERSIONS));
    let mut tls = acceptor.accept(stream).await.ok()?;
    let mut bytes = Vec::new();
    let _ = tls.read_to_end(&mut bytes).await;
    seen.through_tls.lock().unwrap().extend(bytes);
    None
}

async fn ours(policy: TlsPolicy, injected: Vec<u8>, when: When) -> (AttemptReport, usize) {
    let (hop, seen) = middle(injected, when).await;
    let mut config = with(policy);
    // The server never replies, so every reply was forged.
    config.command_timeout = Duration::from_secs(2);
    let report = deliver(&SmtpAgent::new(config), job(&[hop], &["b@x"], b"x\r\n")).await;
    (report, seen.connections.load(Ordering::SeqCst))
}

#[tokio::test]
async fn lettre_by_itself_takes_forged_replies_for_a_delivery() {
    let (hop, seen) = middle(FORGED.to_vec(), When::WithIt).await;
    let hello = ClientId::Domain("localhost".to_owned());
    let mut lettre = AsyncSmtpConnection::connect_tokio1((hop.host(), hop.port()), None, &hello, None, None)
        .await
        .unwrap();
    let parameters = TlsParameters::builder("localhost".to_owned())
        .dangerous_accept_invalid_certs(true)
        .build()
        .unwrap();
    lettre.starttls(parameters, &hello).await.unwrap();
    let envelope = lettre::address::Envelope::new(
        Some("a@example.org".parse().unwrap()),
        vec!["b@example.net".parse().unwrap()],
    );
    // If this fails, lettre has fixed it, and the test can be removed.
    let reply = lettre.send(&envelope.unwrap(), b"x").await.unwrap();
    assert!(reply.is_positive());
    assert!(
        seen.through_tls.lock().unwrap().is_empty(),
        "the server has not even read it"
    );
}

#[tokio::test]
async fn the_same_peer_gets_nothing_from_us() {
    for policy in [TlsPolicy::Opportunistic, TlsPolicy::Required, TlsPolicy::Verify] {
        let (report, connections) = ours(policy, FORGED.to_vec(), When::WithIt).await;
        assert!(
            report.result.to_string().contains("more than was asked"),
            "{policy}: {}",
            report.result
        );
        assert_eq!(
            connections, 1,
            "{policy}: and it is not spoken to in plaintext instead"
        );
    }
}

#[tokio::test]
async fn no_length_and_no_piece_of_forged_replies_is_taken() {
    let long = FORGED.repeat(16 * 1024 / FORGED.len() + 1);
    let lengths = (1..FORGED.len()).chain([100, 1000, 4095, 4096, 4097, 8192, 16 * 1024]);
    let mut cases: Vec<_> = lengths.map(|length| (length, When::WithIt)).collect();
    for length in [1, 2, 5, 12, FORGED.len(), 4096, 16 * 1024] {
        cases.extend([(length, When::After), (length, When::AfterClientHello)]);
    }
    for (length, when) in cases {
        let (report, _) = ours(TlsPolicy::Required, long[..length].to_vec(), when).await;
        assert!(
            matches!(report.result, AttemptResult::Broken { in_doubt: false, .. }),
            "{length} {when:?}: {}",
            report.result
        );
    }
}
