//! Clients from other hands: lettre's own transport and mail-send bring mail in.

use lettre::Transport;
use spool_tests::capture::Capture;
use spool_tests::process::{Running, serve};

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
