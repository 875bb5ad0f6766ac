//! Bad input, of mail and of configuration: the right answer, nothing spooled, nothing broken.

use spool_core::store::count_from_disk;
use spool_tests::capture::Capture;
use spool_tests::process::{run, serve};
use spool_tests::raw::{FALSE_END_WITH_NUL, FALSE_ENDS, RawClient};

#[test]
fn malformed_sessions_get_the_right_class_of_reply_and_spool_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let spool = dir.path().join("spool");
    let capture = Capture::start();
    let server = serve(&spool, &[&capture.next_hop()], &[]);
    let say = |lines: &[&str]| {
        let mut client = RawClient::connect(server.smtp());
        lines.iter().map(|line| client.command(line).0).last().unwrap()
    };
    let class = |lines: &[&str]| say(lines) / 100;
    assert_eq!(class(&["FROBNICATE"]), 5);
    assert_eq!(class(&[""]), 5);
    assert_eq!(class(&["MAIL FROM:<a@b.example>"]), 5, "before EHLO");
    assert_eq!(class(&["EHLO x", "RCPT TO:<a@b.example>"]), 5, "before MAIL");
    assert_eq!(class(&["EHLO x", "DATA"]), 5, "before RCPT");
    assert_eq!(
        class(&["EHLO x", "MAIL FROM:<a@b.example>", "MAIL FROM:<a@b.example>"]),
        5,
        "nested"
    );
    assert_eq!(class(&["EHLO x", "MAIL FROM:<a b@c>"]), 5);
    assert_eq!(class(&["EHLO x", "MAIL FROM:a@b.example"]), 5);
    assert_eq!(class(&["EHLO x", "MAIL FROM:<a@b.example> FUTURE=1"]), 5);
    assert_eq!(say(&["EHLO x", "MAIL FROM:<a@b.example> SIZE=99999999999"]), 552);
    assert_eq!(class(&["EHLO x", "MAIL FROM:<>", "RCPT TO:<>"]), 5);
    assert_eq!(
        class(&[&format!("EHLO {}", "x".repeat(100_000))]),
        5,
        "an oversized line"
    );
    assert_eq!(class(&["EHLO x", "NOOP a\0b"]), 5, "NUL");
    assert_eq!(class(&["EHLO x", "NOOP a\rb"]), 5, "bare CR");
    assert_eq!(class(&["EHLO x", "NOOP a\nb"]), 5, "bare LF");

    // A connection dropped within DATA, at the very last byte.
    let mut client = RawClient::hello(server.smtp());
    for line in ["MAIL FROM:<a@b.example>", "RCPT TO:<c@d.example>", "DATA"] {
        client.command(line);
    }
    client.send(b"Subject: cut\r\n\r\nhalf a message\r\n.\r").unwrap();
    drop(client);
    assert_eq!(capture.try_message(), None);
    assert_eq!(count_from_disk(&spool).unwrap(), 0);
    // And it still works.
    let reply = RawClient::hello(server.smtp())
        .transaction("a@b.example", &["c@d.example"], b"fine\r\n")
        .unwrap();
    assert_eq!(reply.0, 250);
    assert_eq!(capture.message().without_trace(), b"fine\r\n");
}

#[test]
fn nothing_is_smuggled_past_the_end_of_a_message() {
    let dir = tempfile::tempdir().unwrap();
    let spool = dir.path().join("spool");
    let capture = Capture::start();
    let server = serve(&spool, &[&capture.next_hop()], &[]);
    for end in FALSE_ENDS.into_iter().chain([FALSE_END_WITH_NUL]) {
        let mut client = RawClient::hello(server.smtp());
        for line in ["MAIL FROM:<a@b.example>", "RCPT TO:<c@d.example>", "DATA"] {
            client.command(line);
        }
        let attack = format!(
            "Subject: outer\r\n\r\nouter{end}MAIL FROM:<admin@d.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\nhidden\r\n.\r\n"
        );
        client.send(attack.as_bytes()).unwrap();
        let (code, text) = client.reply().unwrap();
        assert_eq!(code, 554, "{end:?}: {text}");
    }
    assert_eq!(capture.try_message(), None);
    assert_eq!(count_from_disk(&spool).unwrap(), 0);
}

#[test]
fn strangers_may_not_relay() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("spool.toml");
    std::fs::write(
        &config,
        "[relay]\nallow_networks = [\"192.0.2.0/24\"]\nallow_domains = [\"ours.example\"]\n",
    )
    .unwrap();
    let server = serve(
        &dir.path().join("spool"),
        &["127.0.0.1:9"],
        &["--config", config.to_str().unwrap()],
    );
    let mut client = RawClient::hello(server.smtp());
    client.command("MAIL FROM:<a@b.example>");
    assert_eq!(client.command("RCPT TO:<c@theirs.example>").0, 550);
    assert_eq!(client.command("RCPT TO:<c@ours.example>").0, 250);
}

#[test]
fn a_bad_config_is_refused_with_every_error_and_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("spool.toml");
    let text = "max_concurrent_jobs = \"many\"\n[listen]\nsmpt = [\"127.0.0.1:0\"]\n[retry]\njitter = 3.0\n";
    std::fs::write(&config, text).unwrap();
    let config = config.to_str().unwrap();
    let spool = dir.path().join("spool");
    for args in [
        &["check", "--config", config][..],
        &["serve", "--spool", spool.to_str().unwrap(), "--config", config],
    ] {
        let output = run(args);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{error}");
        for place in ["spool.toml:1", "spool.toml:3", "spool.toml:5"] {
            assert!(error.contains(place), "{place} in {error}");
        }
        assert!(!spool.exists());
    }
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/spool.example.toml");
    assert_eq!(run(&["check", "--config", example]).status.code(), Some(0));
}
