//! Real mail: what goes in comes out byte for byte, but for the trace header; the rest is refused with its reply.

use bytes::Bytes;
use spool_tests::capture::Capture;
use spool_tests::mails::{Named, folder, own};
use spool_tests::process::{Running, serve};
use spool_tests::raw::RawClient;

fn has_bare(body: &[u8]) -> bool {
    let mut rest = body.to_vec();
    while let Some(at) = rest.windows(2).position(|two| two == b"\r\n") {
        rest.splice(at..at + 2, *b"  ");
    }
    rest.iter().any(|byte| matches!(byte, b'\r' | b'\n'))
}

/// What SMTP can carry of it: a last line always ends.
fn expected(mail: &[u8]) -> Vec<u8> {
    let mut mail = mail.to_vec();
    if !mail.is_empty() && !mail.ends_with(b"\r\n") {
        mail.extend_from_slice(b"\r\n");
    }
    mail
}

fn send(server: &Running, (name, mail): &Named) -> (u16, String) {
    let mut client = RawClient::hello(server.smtp());
    client
        .transaction("ada@example.org", &["bob@example.net"], mail)
        .unwrap_or_else(|e| panic!("{name}: {e}"))
}

#[test]
fn our_own_messages_arrive_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let capture = Capture::start();
    let server = serve(&dir.path().join("spool"), &[&capture.next_hop()], &[]);
    for mail in own() {
        let (code, text) = send(&server, &mail);
        assert_eq!(code, 250, "{}: {text}", mail.0);
        let arrived = capture.message();
        assert!(
            arrived.without_trace() == expected(&mail.1),
            "{} was altered",
            mail.0
        );
    }
}

#[test]
fn a_folder_of_mail_arrives_byte_for_byte_or_is_refused_with_the_documented_reply() {
    let dir = tempfile::tempdir().unwrap();
    let capture = Capture::start();
    let server = serve(&dir.path().join("spool"), &[&capture.next_hop()], &[]);
    for (name, mail) in folder() {
        let nul = mail.contains(&0);
        if has_bare(&mail) || nul {
            let (code, text) = send(&server, &(name.clone(), mail.clone()));
            assert!(code == 554 && text.contains("5.6.0"), "{name}: {text}");
        }
        if !nul {
            let mail = spool_core::crlf(Bytes::from(mail)).unwrap().to_vec();
            let (code, text) = send(&server, &(name.clone(), mail.clone()));
            assert_eq!(code, 250, "{name}: {text}");
            assert!(capture.message().without_trace() == mail, "{name} was altered");
        }
    }
    assert_eq!(capture.try_message(), None);
}

#[test]
fn bare_line_ends_are_normalised_when_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let capture = Capture::start();
    let config = dir.path().join("spool.toml");
    std::fs::write(&config, "[listen.limits]\nbare_newline = \"normalize\"\n").unwrap();
    let config = ["--config", config.to_str().unwrap()];
    let server = serve(&dir.path().join("spool"), &[&capture.next_hop()], &config);
    let mut mails: Vec<Named> = folder()
        .into_iter()
        .filter(|(_, mail)| has_bare(mail) && !mail.contains(&0))
        .collect();
    mails.push((
        "mixed".into(),
        b"Subject: mixed\n\r\na\rb\nc\r\n.\n.\r\n\n.\n\n..\r".to_vec(),
    ));
    for mail in mails {
        let (code, text) = send(&server, &mail);
        assert_eq!(code, 250, "{}: {text}", mail.0);
        let normalised = spool_core::crlf(Bytes::from(expected(&mail.1))).unwrap();
        assert!(
            capture.message().without_trace() == normalised,
            "{} was altered",
            mail.0
        );
    }
}
