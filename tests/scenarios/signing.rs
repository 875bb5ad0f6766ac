//! Mail of submitters is completed and signed, and what leaves is valid in the eyes of a verifier from other hands.

use spool_tests::capture::{Capture, Captured};
use spool_tests::mail_auth::{name_server_line, signatures};
use spool_tests::name_server::NameServer;
use spool_tests::process::{Running, run, serve, signal, until};
use spool_tests::raw::{RawClient, stuffed};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Output;

const MESSAGE: &[u8] = b"From: Ada <ada@example.org>\r\nTo: bob@example.net\r\nBcc: eve@example.net\r\nSubject: hi\r\n\r\nHello  Bob,\r\n\r\nall is well.\r\n";

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8([&output.stdout[..], &output.stderr].concat()).unwrap()
}

/// Keys, their records in DNS, and a configuration.
struct Place {
    dir: tempfile::TempDir,
    dns: NameServer,
}

impl Place {
    /// An RSA and an Ed25519 key of example.org, made and published.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut zone = String::new();
        for (selector, kind) in [("r1", "rsa"), ("e1", "ed25519"), ("r2", "rsa")] {
            let out = dir.path().join(selector);
            let args = [
                "dkim",
                "new",
                "--domain",
                "Example.org",
                "--selector",
                selector,
                "--type",
                kind,
                "--out",
                text(&out),
            ];
            let made = run(&args);
            assert!(made.status.success(), "{}", said(&made));
            zone += &name_server_line(&said(&made));
            let again = run(&args);
            assert!(
                !again.status.success() && said(&again).contains("exists"),
                "{}",
                said(&again)
            );
        }
        let dns = NameServer::start(&zone);
        Self { dir, dns }
    }

    fn key(&self, selector: &str, more: &str) -> String {
        let file = self.dir.path().join(selector);
        let file = text(&file);
        format!(
            "[[dkim.key]]\ndomain = \"example.org\"\nselector = \"{selector}\"\nfile = \"{file}\"\n{more}\n"
        )
    }

    fn configure(&self, text: &str) -> PathBuf {
        let path = self.dir.path().join("spool.toml");
        std::fs::write(
            &path,
            format!("{text}\n[route]\ndns_servers = [\"{}\"]\n", self.dns.address),
        )
        .unwrap();
        path
    }

    fn serve(&self, config: &Path, to: &Capture) -> Running {
        serve(
            &self.dir.path().join("spool"),
            &[&to.next_hop()],
            &["--config", text(config)],
        )
    }

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

fn submit(server: &Running) -> (u16, String) {
    let mut client = RawClient::hello(server.smtp());
    client
        .transaction("ada@example.org", &["bob@example.net"], MESSAGE)
        .unwrap()
}

fn selectors(message: &Captured) -> Vec<String> {
    let body = String::from_utf8_lossy(&message.body).replace("\r\n\t", " ");
    let (header, _) = body.split_once("\r\n\r\n").unwrap();
    let signatures = header.lines().filter(|line| line.starts_with("DKIM-Signature:"));
    let selector = |line: &str| {
        line.split("; s=")
            .nth(1)
            .unwrap()
            .split(';')
            .next()
            .unwrap()
            .to_owned()
    };
    signatures.map(selector).collect()
}

#[test]
fn a_submission_is_completed_and_signed_and_its_signatures_are_valid_at_the_next_hop() {
    let place = Place::new();
    let capture = Capture::start();
    let keys = place.key("e1", "") + &place.key("r1", "");
    let config = place.configure(&format!(
        "hostname = \"mx.example.org\"\n[relay]\nfix_submissions = \"networks\"\n{keys}"
    ));
    let checked = run(&["check", "--config", text(&config)]);
    assert!(checked.status.success(), "{}", said(&checked));
    let server = place.serve(&config, &capture);
    let (code, reply) = submit(&server);
    assert_eq!(code, 250, "{reply}");
    let message = capture.message();
    let body = String::from_utf8(message.body.clone()).unwrap();
    assert!(body.starts_with("DKIM-Signature: v=1; a=rsa-sha256;"), "{body}");
    assert_eq!(selectors(&message), ["r1", "e1"]);
    assert!(!body.contains("\r\nBcc:") && !body.contains("eve@"), "{body}");
    assert!(
        body.contains("\r\nDate: ") && body.contains("@mx.example.org>\r\n\r\nHello  Bob,\r\n"),
        "{body}"
    );
    assert_eq!(signatures(&[&message.body], &place.dns), [["", ""]]);

    // The same in the eyes of the command line.
    let file = place.file("message.eml", &message.body);
    let verified = run(&["dkim", "verify", text(&file), "--config", text(&config)]);
    assert!(verified.status.success(), "{}", said(&verified));
    assert_eq!(
        said(&verified),
        "valid d=example.org s=r1 a=rsa-sha256\nvalid d=example.org s=e1 a=ed25519-sha256\n"
    );
    let file = place.file("changed.eml", &body.replace("Bob", "Rob").into_bytes());
    let verified = run(&["dkim", "verify", text(&file), "--config", text(&config)]);
    assert!(
        verified.status.code() == Some(1) && said(&verified).contains("the body was changed"),
        "{}",
        said(&verified)
    );
    let published = run(&["dkim", "dns", "--config", text(&config)]);
    assert!(
        published.status.success() && said(&published).matches("; published\n").count() == 2,
        "{}",
        said(&published)
    );
}

#[test]
fn a_notice_is_signed_with_the_key_of_its_authors_domain() {
    let place = Place::new();
    let back = Capture::start();
    let script = place.file("refuse.script", b"rcpt to=* reply 550 5.1.1 no such user\n");
    let refusing = Running::start(&[
        "sink",
        "--listen",
        "127.0.0.1:0",
        "--script",
        text(&script),
        "--quiet",
    ]);
    let config = place.configure(&format!(
        "hostname = \"mx.example.org\"\n[retry]\nbounce_from = \"postmaster@example.org\"\n{}\n\
         [[route.rule]]\ndomain = \"example.org\"\nnext_hops = [\"{}\"]\n",
        place.key("r1", ""),
        back.next_hop()
    ));
    let spool = place.dir.path().join("spool");
    let server = serve(&spool, &[refusing.field("smtp")], &["--config", text(&config)]);
    let (code, reply) = submit(&server);
    assert_eq!(code, 250, "{reply}");
    let notice = back.message();
    assert!(notice.mail.contains("<>"), "{}", notice.mail);
    let body = String::from_utf8(notice.body.clone()).unwrap();
    assert!(body.contains("\r\nContent-Type: multipart/report"), "{body}");
    assert_eq!(selectors(&notice), ["r1"]);
    assert_eq!(signatures(&[&notice.body], &place.dns), [[""]]);
}

#[test]
fn a_key_that_dns_does_not_have_is_told() {
    let place = Place::new();
    let other = place.file("other", &std::fs::read(place.dir.path().join("r2")).unwrap());
    let key = |selector: &str, file: &Path| {
        format!(
            "[[dkim.key]]\ndomain = \"example.org\"\nselector = \"{selector}\"\nfile = \"{}\"\n",
            text(file)
        )
    };
    let config = place.configure(&(key("r1", &other) + &key("absent", &other)));
    let asked = run(&["dkim", "dns", "--config", text(&config)]);
    assert_eq!(asked.status.code(), Some(1));
    for part in [
        "; not published: the record has another key",
        "; not published: there is no such record",
        "2 of 2 keys",
    ] {
        assert!(said(&asked).contains(part), "{part}: {}", said(&asked));
    }
    let one = run(&[
        "dkim",
        "dns",
        "--config",
        text(&config),
        "--selector",
        "absent",
        "--offline",
    ]);
    assert!(
        one.status.success() && said(&one).starts_with("absent._domainkey.example.org. IN TXT ("),
        "{}",
        said(&one)
    );
    assert_eq!(said(&one).lines().count(), 1);
}

#[test]
fn a_submission_over_http_is_signed_and_its_idempotency_key_stands_for_what_was_handed_in() {
    let place = Place::new();
    let capture = Capture::start();
    let config = place.configure(&format!(
        "[relay]\nfix_submissions = \"networks\"\n{}",
        place.key("r1", "")
    ));
    let server = place.serve(&config, &capture);
    let file = place.file("message.eml", MESSAGE);
    let admin = format!("http://{}", server.field("admin"));
    let submit = || {
        let output = run(&[
            "submit",
            "--admin",
            &admin,
            "--from",
            "ada@example.org",
            "--to",
            "bob@example.net",
            "--idempotency-key",
            "k",
            text(&file),
        ]);
        assert!(output.status.success(), "{}", said(&output));
        said(&output)
    };
    assert_eq!(submit(), submit(), "added again, it is the same message");
    let message = capture.message();
    assert_eq!(signatures(&[&message.body], &place.dns), [[""]]);
    assert!(String::from_utf8_lossy(&message.body).contains("\r\nMessage-ID: <"));
    assert_eq!(capture.try_message(), None);
}

#[test]
fn mail_that_is_relayed_for_a_domain_stays_byte_for_byte() {
    let place = Place::new();
    let capture = Capture::start();
    let relay =
        "[relay]\nfix_submissions = \"networks\"\nallow_networks = []\nallow_domains = [\"example.net\"]\n";
    let config = place.configure(&format!("{relay}{}", place.key("r1", "")));
    let server = place.serve(&config, &capture);
    assert_eq!(submit(&server).0, 250);
    assert_eq!(capture.message().without_trace(), MESSAGE);
}

#[test]
fn keys_change_at_a_reload_and_a_bad_one_changes_nothing() {
    let place = Place::new();
    let capture = Capture::start();
    let config = place.configure(&place.key("r1", ""));
    let server = place.serve(&config, &capture);
    let signed_by = |expected: &str| {
        assert_eq!(submit(&server).0, 250);
        assert_eq!(selectors(&capture.message()), [expected]);
    };
    signed_by("r1");
    place.configure(&place.key("absent", ""));
    signal(server.pid(), "HUP");
    server.wait_for_log("the configuration was not changed: ");
    server.wait_for_log("dkim.key.file");
    signed_by("r1");
    place.configure(&(place.key("r1", "until = \"2020-01-01\"") + &place.key("r2", "from = \"2020-01-01\"")));
    signal(server.pid(), "HUP");
    until("the reload", || {
        server.log().contains("configuration read again").then_some(())
    });
    signed_by("r2");
}

#[test]
fn mail_of_a_domain_whose_keys_have_ended_is_deferred_or_goes_unsigned_as_configured() {
    let place = Place::new();
    let capture = Capture::start();
    let ended = place.key("r1", "until = \"2020-01-01\"");
    let config = place.configure(&ended);
    let server = place.serve(&config, &capture);
    let (code, reply) = submit(&server);
    assert_eq!(
        (code, reply.trim_end()),
        (451, "451 4.7.5 Cannot sign mail now, try again later")
    );
    let ended_says = "every key for example.org has ended";
    until("the reason in the log", || {
        server.log().contains(ended_says).then_some(())
    });
    place.configure(&format!("[dkim]\non_failure = \"unsigned\"\n{ended}"));
    signal(server.pid(), "HUP");
    until("the reload", || {
        server.log().contains("configuration read again").then_some(())
    });
    assert_eq!(submit(&server).0, 250);
    assert_eq!(selectors(&capture.message()), [""; 0]);
    let taken = "message taken without a signature";
    until("the warning in the log", || {
        server.log().contains(taken).then_some(())
    });
}

#[test]
fn four_hundred_submissions_at_once_are_all_signed_in_bounded_memory() {
    const COUNT: usize = 400;
    let place = Place::new();
    let capture = Capture::start();
    let limits = "[listen.limits]\nconnections_per_client = 1000\nmemory = \"64MiB\"\n[spool]\nmemory_limit = \"64MiB\"\n";
    let config = place.configure(&format!("{limits}{}", place.key("r1", "")));
    let server = place.serve(&config, &capture);
    let body = [
        MESSAGE,
        &b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n".repeat(1024),
    ]
    .concat();
    let mut clients: Vec<RawClient> = (0..COUNT).map(|_| RawClient::hello(server.smtp())).collect();
    for client in &mut clients {
        client
            .send(b"MAIL FROM:<ada@example.org>\r\nRCPT TO:<bob@example.net>\r\nDATA\r\n")
            .unwrap();
        let codes: Vec<u16> = (0..3).map(|_| client.reply().unwrap().0).collect();
        assert_eq!(codes, [250, 250, 354]);
        // All but the end.
        let text = stuffed(&body);
        client.send(&text[..text.len() - 3]).unwrap();
    }
    clients
        .iter_mut()
        .for_each(|client| client.send(b".\r\n").unwrap());
    let codes: BTreeSet<u16> = clients
        .iter_mut()
        .map(|client| client.reply().unwrap().0)
        .collect();
    assert_eq!(codes, BTreeSet::from([250]));
    let peak = server.peak_kib() / 1024;
    println!("a peak of {peak} MiB");
    assert!(peak < 64 + 64 + 64, "{peak} MiB");
    for _ in 0..COUNT {
        assert_eq!(selectors(&capture.message()), ["r1"]);
    }
}
