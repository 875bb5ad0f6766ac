//! The command line as a shell sees it: help, exit status, and what goes to which stream.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests panic"
)]

use std::process::{Command, Output};

fn spool(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_spool"))
        .args(args)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn every_verb_has_help_that_teaches() {
    let help = text(&spool(&["--help"]).stdout);
    for verb in [
        "serve", "check", "status", "count", "show", "explain", "freeze", "send", "remove", "recover",
        "purge", "events", "export", "fsck", "jobs", "submit", "sink", "load",
    ] {
        assert!(help.contains(verb), "{help}");
        let output = spool(&[verb, "--help"]);
        assert_eq!(output.status.code(), Some(0));
        assert!(text(&output.stdout).contains("Usage: spool"), "{verb}");
    }
}

#[test]
fn usage_errors_are_2_and_failures_are_1() {
    for args in [
        &["frobnicate"][..],
        &["status", "--format", "xml"],
        &["status", "--older", "soon"],
        &["load"],
        &["submit", "--from", "a@b"],
        &["freeze"],
        &["send", "--retry-interval", "1m"],
        &["remove", "--all", "--frozen"],
        &["recover", "--from", "active", "--all"],
        &["freeze", "--queue", "removed"],
        &["purge"],
        &["purge", "--older", "soon"],
        &["freeze", "../../etc/passwd"],
        &["show"],
        &["show", "nonsense"],
        &["show", "nonsense", "--spool", "/"],
        &["explain", "nonsense"],
        &["events", "--since", "x"],
        &["sink", "--key", "key.pem"],
        &["sink", "--tls", "starttls", "--certificate", "cert.pem"],
        &["sink", "--tls-roots", "roots.pem"],
        &["sink", "--login", "ada"],
    ] {
        let output = spool(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{args:?}");
    }
    let nobody = spool(&["count", "--admin", "http://127.0.0.1:9"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(
        text(&nobody.stderr).contains("spool serve"),
        "says what to do next"
    );
    assert_eq!(
        spool(&["count", "--spool", "/no/such/dir"]).status.code(),
        Some(1)
    );
}

#[test]
fn a_bad_script_is_refused_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("bad.sink");
    std::fs::write(&script, "mail hang\nfrob\n").unwrap();
    let output = spool(&["sink", "--script", script.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("bad.sink:2:"));
}

const ID: &str = "01M86G2VQ3ZCK4M6B0S0A98KXB";

#[test]
fn who_does_not_answer_is_told_with_what_to_do() {
    for args in [
        &["show", ID][..],
        &["show", ID, "--body"],
        &["explain", ID],
        &["freeze", ID],
        &["purge", "--older", "30d"],
        &["events"],
    ] {
        let output = spool(&[args, &["--admin", "http://127.0.0.1:9"]].concat());
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(text(&output.stderr).contains("spool serve"), "{args:?}");
    }
    let nowhere = spool(&["show", ID, "--spool", "/no/such/dir"]);
    assert_eq!(nowhere.status.code(), Some(1));
}

#[test]
fn a_directory_wins_over_a_service_in_the_environment() {
    let output = Command::new(env!("CARGO_BIN_EXE_spool"))
        .args(["count", "--spool", "/no/such/dir"])
        .env("SPOOL_ADMIN", "http://127.0.0.1:9")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("/no/such/dir"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn a_file_behind_the_recipients_is_a_file() {
    let to = [
        "submit",
        "--from",
        "a@example.org",
        "--to",
        "b@example.net",
        "c@example.net",
    ];
    let output = spool(&[&to[..], &["/no/such/mail.eml"]].concat());
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("/no/such/mail.eml: "),
        "{}",
        text(&output.stderr)
    );
}
