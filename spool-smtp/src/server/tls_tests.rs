//! Sessions under TLS: over a stream in memory on paused time, and on real sockets with lettre as the client.

mod lettre_client;
mod smuggling;

use super::testing::{MemoryIntake, Pki, pki};
use super::{Listener, Opening, ServerConfig, ServerTls, SessionStart};
use crate::server::session::serve;
use lettre::message::header::ContentType;
use lettre::transport::smtp::client::{Certificate as Root, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use spool_core::Budget;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;

/// The driver's read buffer.
const BUFFER: usize = 4 << 10;

struct Session {
    stream: DuplexStream,
    intake: Arc<MemoryIntake>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

fn config(pki: &Pki) -> ServerConfig {
    ServerConfig {
        tls: Some(ServerTls::new(&pki.certificate()).unwrap()),
        ..ServerConfig::default()
    }
}

fn connect(pki: &Pki, opening: Opening) -> Session {
    connect_by(Arc::new(config(pki)), opening)
}

fn connect_by(config: Arc<ServerConfig>, opening: Opening) -> Session {
    connect_through(1 << 16, config, opening)
}

/// A session over a pipe with this capacity in each direction.
fn connect_through(pipe: usize, config: Arc<ServerConfig>, opening: Opening) -> Session {
    let (stream, theirs) = tokio::io::duplex(pipe);
    let (stop, stopped) = watch::channel(false);
    let intake = Arc::new(MemoryIntake::default());
    let client: std::net::SocketAddr = "127.0.0.1:4000".parse().unwrap();
    Session {
        stream,
        task: tokio::spawn(serve(
            theirs,
            client.into(),
            opening,
            config,
            intake.clone(),
            stopped,
        )),
        intake,
        stop,
    }
}

/// Reads until a line that begins with `last`.
async fn expect(stream: &mut (impl AsyncRead + Unpin), last: &str) -> String {
    let (mut seen, mut line) = (String::new(), String::new());
    loop {
        let byte = stream.read_u8().await;
        line.push(char::from(
            byte.unwrap_or_else(|_| panic!("no {last} in {seen:?}{line:?}")),
        ));
        if line.ends_with('\n') {
            seen.push_str(&line);
            if line.starts_with(last) {
                return seen;
            }
            line.clear();
        }
    }
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
}

async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    rest
}

async fn under_tls(pki: &Pki, mut session: Session) -> (TlsStream<DuplexStream>, Session) {
    expect(&mut session.stream, "220").await;
    send(&mut session.stream, "EHLO plain\r\nSTARTTLS\r\n").await;
    expect(&mut session.stream, "220 2.0.0").await;
    upgraded(pki, session).await
}

async fn upgraded(pki: &Pki, session: Session) -> (TlsStream<DuplexStream>, Session) {
    let (replaced, _) = tokio::io::duplex(1);
    let stream = pki.connect(session.stream).await.unwrap();
    let session = Session {
        stream: replaced,
        ..session
    };
    (stream, session)
}

const MAIL: &str = "EHLO c\r\nMAIL FROM:<a@b.org>\r\nRCPT TO:<c@d.org>\r\nDATA\r\nhello\r\n.\r\nQUIT\r\n";

#[tokio::test(start_paused = true)]
async fn a_message_comes_by_starttls_and_by_implicit_tls() {
    let pki = pki();
    for opening in [Opening::Plain, Opening::ImplicitTls] {
        let session = connect(pki, opening);
        let (mut stream, session) = match opening {
            Opening::Plain => under_tls(pki, session).await,
            Opening::ImplicitTls => {
                let (mut stream, session) = upgraded(pki, session).await;
                expect(&mut stream, "220 localhost ESMTP").await;
                (stream, session)
            }
        };
        send(&mut stream, MAIL).await;
        let seen = expect(&mut stream, "221").await;
        assert!(!seen.contains("STARTTLS") && seen.contains("Queued"), "{seen}");
        // TLS is closed properly, so that the client can distinguish the end from a truncation.
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
        session.task.await.unwrap();
        let mail = &session.intake.mails()[0];
        let tls = mail.source.tls.as_ref().unwrap();
        assert_eq!((tls.version, tls.cipher), ("TLSv1.3", "TLS_AES_256_GCM_SHA384"));
        let body = String::from_utf8(mail.body.to_vec()).unwrap();
        assert!(
            body.contains("with ESMTPS") && body.contains("tls TLS_AES_256_GCM_SHA384"),
            "{body}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn plaintext_after_starttls_is_never_interpreted() {
    let pki = pki();
    let injected = "RSET\r\nMAIL FROM:<evil@x.org>\r\nRCPT TO:<v@x.org>\r\nDATA\r\nx\r\n.\r\n".repeat(300);
    for length in 1..=16 << 10 {
        let mut session = connect(pki, Opening::Plain);
        let tail = injected.get(..length).unwrap();
        send(&mut session.stream, &format!("EHLO c\r\nSTARTTLS\r\n{tail}")).await;
        session.stream.shutdown().await.unwrap();
        let seen = String::from_utf8(rest(&mut session.stream).await).unwrap();
        let codes: Vec<_> = seen
            .lines()
            .filter(|line| line.as_bytes()[3] == b' ')
            .map(|line| &line[..3])
            .collect();
        assert_eq!(codes, ["220", "250", "554"], "{length}: {seen}");
        session.task.await.unwrap();
        assert!(session.intake.mails().is_empty());
    }
}

/// If the driver's read ends with STARTTLS, the bytes after it are still in the socket; the handshake reads them and fails.
#[tokio::test(start_paused = true)]
async fn plaintext_read_after_starttls_fails_the_handshake() {
    let pki = pki();
    let head = "EHLO c\r\n";
    let tail = "STARTTLS\r\n";
    for injected in ["x", "NOOP\r\n", MAIL, "\u{16}\u{3}\u{3}\0\u{4}NOOP"] {
        let padding = BUFFER - head.len() - tail.len() - "NOOP \r\n".len();
        let session = connect(pki, Opening::Plain);
        let (mut stream, task) = (session.stream, session.task);
        let text = format!("{head}NOOP {}\r\n{tail}{injected}", "x".repeat(padding));
        send(&mut stream, &text).await;
        stream.shutdown().await.unwrap();
        let seen = rest(&mut stream).await;
        let seen = String::from_utf8_lossy(&seen);
        assert_eq!(seen.matches("220 2.0.0").count(), 1, "{seen}");
        let (_, behind) = seen.split_once("220 2.0.0 Ready to start TLS\r\n").unwrap();
        assert!(!behind.contains("250") && !behind.contains("221"), "{behind:?}");
        task.await.unwrap();
        assert!(session.intake.mails().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_handshake_has_one_deadline() {
    let pki = pki();
    for opening in [Opening::Plain, Opening::ImplicitTls] {
        for drips in [false, true] {
            let mut session = connect(pki, opening);
            if opening == Opening::Plain {
                expect(&mut session.stream, "220").await;
                send(&mut session.stream, "STARTTLS\r\n").await;
                expect(&mut session.stream, "220 2.0.0").await;
            }
            let begun = Instant::now();
            // The start of a record with a ClientHello of 512 bytes.
            let mut hello = vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
            hello.resize(200, 0);
            for byte in hello {
                if !drips || session.stream.write_all(&[byte]).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_secs(7)).await;
            }
            session.task.await.unwrap();
            assert!(begun.elapsed() >= Duration::from_secs(60));
            assert!(begun.elapsed() < Duration::from_secs(70), "{:?}", begun.elapsed());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_handshakes_and_idle_tls_sessions() {
    let pki = pki();
    for opening in [Opening::Plain, Opening::ImplicitTls] {
        let mut session = connect(pki, opening);
        if opening == Opening::Plain {
            send(&mut session.stream, "STARTTLS\r\n").await;
            expect(&mut session.stream, "220 2.0.0").await;
        }
        session.stream.write_all(&[0x16, 3, 1]).await.unwrap();
        let begun = Instant::now();
        session.stop.send(true).unwrap();
        session.task.await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(1));
    }
    let (mut stream, session) = under_tls(pki, connect(pki, Opening::Plain)).await;
    session.stop.send(true).unwrap();
    expect(&mut stream, "421 4.3.2").await;
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
    session.task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_handshake_needs_its_memory_to_begin() {
    let pki = pki();
    let mut config = config(pki);
    config.memory = Budget::new(1 << 20);
    let other = config.memory.hold(1 << 20).unwrap();
    let memory = config.memory.clone();
    let config = Arc::new(config);
    let mut session = connect_by(config.clone(), Opening::Plain);
    send(&mut session.stream, "EHLO c\r\nSTARTTLS\r\n").await;
    expect(&mut session.stream, "454 4.7.0").await;
    let mut implicit = connect_by(config, Opening::ImplicitTls);
    assert_eq!(rest(&mut implicit.stream).await, b"");
    drop(other);
    let mut plain = session.stream;
    send(&mut plain, "STARTTLS\r\n").await;
    expect(&mut plain, "220 2.0.0").await;
    assert_eq!(memory.used(), 64 << 10);
    let mut stream = pki.connect(plain).await.unwrap();
    send(&mut stream, "NOOP\r\n").await;
    expect(&mut stream, "250 2.0.0").await;
    assert_eq!(memory.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_tls_client_that_does_not_read_is_closed() {
    let pki = pki();
    // The pipe has room for the last reply, and for the end of TLS only after that was read.
    let session = connect_through(48, Arc::new(config(pki)), Opening::ImplicitTls);
    let (mut stream, session) = upgraded(pki, session).await;
    expect(&mut stream, "220").await;
    send(&mut stream, "QUIT\r\n").await;
    let ended = tokio::time::timeout(Duration::from_secs(5), session.task).await;
    ended.expect("it waits for a client that does not read").unwrap();
    // A client that reads no reply has the time of a command.
    let session = connect_through(48, Arc::new(config(pki)), Opening::ImplicitTls);
    let (mut stream, session) = upgraded(pki, session).await;
    expect(&mut stream, "220").await;
    let begun = Instant::now();
    send(&mut stream, "HELP\r\n").await;
    session.task.await.unwrap();
    assert_eq!(begun.elapsed().as_secs(), 300);
}

#[tokio::test(start_paused = true)]
async fn deadlines_hold_under_tls() {
    let pki = pki();
    let (mut stream, session) = under_tls(pki, connect(pki, Opening::Plain)).await;
    let begun = Instant::now();
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_secs(70)).await;
        send(&mut stream, "N").await;
    }
    expect(&mut stream, "421 4.4.2").await;
    assert_eq!(begun.elapsed().as_secs(), 300);
    session.task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_without_a_common_tls_version_gets_no_reply() {
    let pki = pki();
    let mut session = connect(pki, Opening::ImplicitTls);
    send(&mut session.stream, MAIL).await;
    session.stream.shutdown().await.unwrap();
    let seen = rest(&mut session.stream).await;
    // At most an alert.
    assert!(seen.len() <= 7 && !seen.starts_with(b"220"), "{seen:?}");
    session.task.await.unwrap();
    assert!(session.intake.mails().is_empty());
}

#[tokio::test(start_paused = true)]
async fn requiretls_is_offered_and_kept_under_tls_alone() {
    let pki = pki();
    let mut session = connect(pki, Opening::Plain);
    send(
        &mut session.stream,
        "EHLO c\r\nMAIL FROM:<a@b.org> REQUIRETLS\r\n",
    )
    .await;
    let seen = expect(&mut session.stream, "555 5.5.4").await;
    assert!(!seen.contains("REQUIRETLS"), "{seen}");
    send(&mut session.stream, "STARTTLS\r\n").await;
    expect(&mut session.stream, "220 2.0.0").await;
    let (mut stream, session) = upgraded(pki, session).await;
    send(&mut stream, &MAIL.replace("b.org>", "b.org> REQUIRETLS")).await;
    let seen = expect(&mut stream, "221").await;
    assert!(
        seen.contains("250-REQUIRETLS\r\n") && seen.contains("Queued"),
        "{seen}"
    );
    assert!(session.intake.mails()[0].envelope.parameters.requiretls);
}

#[tokio::test(start_paused = true)]
async fn a_message_in_chunks_has_one_deadline() {
    let pki = pki();
    let mut session = connect(pki, Opening::Plain);
    let open = "EHLO c\r\nMAIL FROM:<a@b.org>\r\nRCPT TO:<c@d.org>\r\nBDAT 1\r\nx";
    let begun = Instant::now();
    send(&mut session.stream, open).await;
    expect(&mut session.stream, "250 2.0.0 Chunk").await;
    for _ in 0..7 {
        tokio::time::sleep(Duration::from_secs(80)).await;
        send(&mut session.stream, "BDAT 1\r\nx").await;
        expect(&mut session.stream, "250 2.0.0 Chunk").await;
    }
    expect(&mut session.stream, "421 4.4.2").await;
    assert_eq!(begun.elapsed().as_secs(), 600);
    // The next message has its own deadline, and so has a command.
    let mut session = connect(pki, Opening::Plain);
    for _ in 0..2 {
        send(&mut session.stream, open).await;
        expect(&mut session.stream, "250 2.0.0 Chunk").await;
        tokio::time::sleep(Duration::from_secs(290)).await;
        send(&mut session.stream, "BDAT 0\r\n").await;
        tokio::time::sleep(Duration::from_secs(290)).await;
        send(&mut session.stream, "BDAT 0 LAST\r\n").await;
        expect(&mut session.stream, "250 2.0.0 Queued").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_replaced_certificate_applies_to_new_sessions() {
    let (pki, other) = (pki(), Pki::new());
    let config = Arc::new(config(pki));
    let open = || connect_by(config.clone(), Opening::ImplicitTls);
    let (mut before, session) = upgraded(pki, open()).await;
    expect(&mut before, "220").await;
    config.tls.as_ref().unwrap().replace(&other.certificate());
    assert!(pki.connect(open().stream).await.is_err());
    let (mut after, _session) = upgraded(&other, open()).await;
    expect(&mut after, "220").await;
    send(&mut before, MAIL).await;
    expect(&mut before, "221").await;
    assert_eq!(session.intake.mails().len(), 1);
}
