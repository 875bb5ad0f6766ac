//! Clients and servers from other hands: lettre's own transport and mail-send bring mail in, mailin takes it.

use lettre::Transport;
use mailin_embedded::response::OK;
use mailin_embedded::{Handler, Response, Server, SslConfig};
use spool_tests::capture::Capture;
use spool_tests::mails::own;
use spool_tests::process::{PATIENCE, Running, serve};
use spool_tests::raw::RawClient;
use std::net::TcpListener;
use std::sync::mpsc::{self, Sender};

fn relay() -> (tempfile::TempDir, Capture, Running) {
    let dir = tempfile::tempdir().unwrap();
    let capture = Capture::start();
    let server = serve(&dir.path().join("spool"), &[&capture.next_hop()], &[]);
    (dir, capture, server)
}

#[test]
fn lettre_sends_through_the_relay() {
    let (_dir, capture, server) = relay();
    let transport = lettre::SmtpTransport::builder_dangerous("127.0.0.1")
        .port(server.smtp().port())
        .build();
    for n in 0..5 {
        let message = lettre::Message::builder()
            .from("Ada <ada@example.org>".parse().unwrap())
            .to("Bob <bob@example.net>".parse().unwrap())
            .subject(format!("number {n}"))
            .body(format!("Hello,\r\n.a line with a dot\r\nGrüße {n}\r\n"))
            .unwrap();
        let response = transport.send(&message).unwrap();
        assert!(response.is_positive());
        let arrived = capture.message();
        // Its connection ends every message with a line end of its own.
        assert!(arrived.without_trace() == [message.formatted(), b"\r\n".to_vec()].concat());
        assert!(arrived.mail.contains("<ada@example.org>") && arrived.rcpt[0].contains("<bob@example.net>"));
    }
}

#[test]
fn mail_send_sends_through_the_relay() {
    let (_dir, capture, server) = relay();
    // Two TLS libraries are in this build; mail-send wants to know which, although it uses none here.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let body = b"Subject: x\r\n\r\n.dot\r\n..dots\r\nend\r\n";
    runtime.block_on(async {
        let builder = mail_send::SmtpClientBuilder::new("127.0.0.1", server.smtp().port()).unwrap();
        let mut client = builder.implicit_tls(false).connect_plain().await.unwrap();
        for _ in 0..3 {
            let message = mail_send::smtp::message::Message::new(
                "ada@example.org",
                ["b@example.net", "c@example.net"],
                &body[..],
            );
            client.send(message).await.unwrap();
        }
    });
    for _ in 0..3 {
        let arrived = capture.message();
        assert_eq!(arrived.rcpt.len(), 2);
        assert_eq!(arrived.without_trace(), [body, &b"\r\n"[..]].concat());
    }
}

#[derive(Clone)]
struct Mailin {
    body: Vec<u8>,
    tell: Sender<Vec<u8>>,
}

impl Handler for Mailin {
    fn data(&mut self, buf: &[u8]) -> std::io::Result<()> {
        self.body.extend_from_slice(buf);
        Ok(())
    }

    fn data_end(&mut self) -> Response {
        self.tell.send(std::mem::take(&mut self.body)).unwrap();
        OK
    }
}

#[test]
fn mailin_takes_what_the_relay_delivers() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let next_hop = listener.local_addr().unwrap().to_string();
    let (tell, told) = mpsc::channel();
    let mut mailin = Server::new(Mailin {
        body: Vec::new(),
        tell,
    });
    mailin.with_name("mailin.example").with_tcp_listener(listener);
    mailin.with_ssl(SslConfig::None).unwrap();
    std::thread::spawn(move || mailin.serve().unwrap());

    let dir = tempfile::tempdir().unwrap();
    let server = serve(&dir.path().join("spool"), &[&next_hop], &[]);
    // It offers no 8BITMIME, and its line buffer is small.
    let mails: Vec<_> = own()
        .into_iter()
        .filter(|(_, mail)| mail.is_ascii() && mail.len() < 60_000 && mail.ends_with(b"\r\n"))
        .collect();
    assert!(mails.len() > 20);
    let mut client = RawClient::hello(server.smtp());
    for (name, mail) in mails {
        assert_eq!(
            client
                .transaction("ada@example.org", &["bob@example.net"], &mail)
                .unwrap()
                .0,
            250,
            "{name}"
        );
        let arrived = told
            .recv_timeout(PATIENCE)
            .unwrap_or_else(|_| panic!("{name} did not arrive\n{}", server.log()));
        assert!(
            arrived.starts_with(b"Received: ") && arrived.ends_with(&mail),
            "{name} was altered"
        );
    }
}
