//! STARTTLS in the machine, with handshakes that always succeed.

use super::*;

/// A machine that offers STARTTLS, given the chunks one after the other.
fn play_tls<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Played {
    let mut machine = machine(config(), "127.0.0.1");
    machine.offer_tls();
    let mut played = Played::default();
    for chunk in chunks {
        feed(&mut machine, chunk, &Answers::default(), &mut played);
    }
    played
}

#[test]
fn starttls_is_offered_in_plaintext_only() {
    let played = play_tls([&b"EHLO c\r\nSTARTTLS\r\n"[..], b"EHLO c\r\nSTARTTLS\r\nNOOP\r\n"]);
    assert_eq!(played.codes(), ["220", "250", "220", "250", "503", "250"]);
    assert_eq!(played.replies.matches("250-STARTTLS\r\n").count(), 1);
    assert_eq!(played.handshakes, 1);
}

#[test]
fn what_was_said_in_plaintext_is_forgotten_under_tls() {
    let open = format!("{OPEN}STARTTLS\r\n");
    for command in ["MAIL FROM:<a@b.org>\r\n", "RCPT TO:<a@b.org>\r\n", "DATA\r\n"] {
        let played = play_tls([open.as_bytes(), command.as_bytes()]);
        assert!(played.last().starts_with("503"), "{command}: {}", played.last());
        assert!(played.mails.is_empty());
    }
    let data = format!("{OPEN}DATA\r\nx\r\n.\r\n");
    let played = play_tls([&b"EHLO plain.example\r\nSTARTTLS\r\n"[..], data.as_bytes()]);
    let mail = &played.mails[0];
    assert_eq!(mail.source.tls.as_ref(), Some(&TLS));
    let body = std::str::from_utf8(&mail.body).unwrap();
    assert!(
        body.starts_with("Received: from c.example ([127.0.0.1]) by mx.example with ESMTPS\r\n\tid "),
        "{body}"
    );
    assert!(body.contains("tls TLS_AES_128_GCM_SHA256") && !body.contains("plain.example"));
}

#[test]
fn plaintext_after_starttls_is_not_executed() {
    for injected in ["\r", "\n", "N", "NOOP\r\n", "\u{16}\u{3}\u{1}", OPEN, "QUIT\r\n"] {
        let input = format!("EHLO c\r\nSTARTTLS\r\n{injected}");
        let played = play_tls([input.as_bytes(), b"NOOP\r\n"]);
        assert_eq!(played.codes(), ["220", "250", "554"], "{injected:?}");
        assert!(played.closed && played.handshakes == 0);
    }
}

#[test]
fn errors_in_plaintext_count_under_tls() {
    let mut machine = machine(
        ServerConfig {
            errors_per_session: 3,
            ..config()
        },
        "::1",
    );
    machine.offer_tls();
    let mut played = Played::default();
    for chunk in ["X\r\nX\r\nSTARTTLS\r\n", "X\r\n"] {
        feed(&mut machine, chunk.as_bytes(), &Answers::default(), &mut played);
    }
    assert_eq!(played.codes(), ["220", "500", "500", "220", "500", "421"]);
    assert!(played.closed);
}

#[test]
fn a_service_that_stops_begins_no_handshake() {
    let mut machine = machine(config(), "::1");
    machine.offer_tls();
    let mut played = Played::default();
    feed(&mut machine, OPEN.as_bytes(), &Answers::default(), &mut played);
    machine.stopping = true;
    feed(&mut machine, b"STARTTLS\r\n", &Answers::default(), &mut played);
    assert!(played.last().starts_with("421 4.3.2") && played.closed && played.handshakes == 0);
}
