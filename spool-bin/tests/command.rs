//! The command line as a shell sees it: help, exit status, and what goes to which stream.

#![expect(clippy::unwrap_used, reason = "tests panic")]

use std::path::Path;
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
        "serve",
        "check",
        "status",
        "count",
        "show",
        "explain",
        "freeze",
        "send",
        "remove",
        "recover",
        "purge",
        "events",
        "export",
        "fsck",
        "destinations",
        "connections",
        "jobs",
        "submit",
        "sink",
        "load",
    ] {
        assert!(help.contains(verb), "{help}");
        let output = spool(&[verb, "--help"]);
        assert_eq!(output.status.code(), Some(0));
        assert!(text(&output.stdout).contains("Usage: spool"), "{verb}");
    }
}

#[test]
fn a_width_that_is_too_narrow_is_refused_by_name() {
    let commands: [&[&str]; 6] = [
        &["status"],
        &["destinations"],
        &["connections"],
        &["route", "a@example.org"],
        &["explain", "00000000000000000000000001"],
        &["show", "00000000000000000000000001"],
    ];
    for command in commands {
        for (width, told) in [
            ("39", "lines need at least 40 columns"),
            ("wide", "not a number of columns"),
        ] {
            let output = spool(&[command, &["--width", width]].concat());
            let error = text(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{command:?}: {error}");
            assert!(
                error.contains("--width") && error.contains(told),
                "{command:?}: {error}"
            );
        }
    }
}

/// `spool load ... | head -1`.
#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("spool.toml");
    std::fs::write(&config, "").unwrap();
    let spool = dir.path().join("spool");
    fixture(&spool);
    let (config, spool) = (config.to_str().unwrap(), spool.to_str().unwrap());
    let load = ["load", "--to", "127.0.0.1:9", "--messages", "0"];
    let calls: [&[&str]; 3] = [
        &["check", "--config", config],
        &["count", "--spool", spool],
        &load,
    ];
    for args in calls {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let done = Command::new(env!("CARGO_BIN_EXE_spool"))
            .args(args)
            .stdout(writer)
            .output()
            .unwrap();
        assert_eq!(done.status.code(), Some(0), "{args:?}: {}", text(&done.stderr));
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

/// A copy of the spool that lies among the tests, with nine messages that wait.
fn fixture(to: &Path) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/format-1");
    for name in ["", "journal", "events", "keys", "removed", "quarantine"] {
        std::fs::create_dir(to.join(name)).unwrap();
        for entry in std::fs::read_dir(from.join(name)).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                std::fs::copy(entry.path(), to.join(name).join(entry.file_name())).unwrap();
            }
        }
    }
}

#[test]
fn export_of_a_damaged_spool_says_that_mail_may_be_missing() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("spool"), dir.path().join("mail"));
    fixture(&from);
    let export = || {
        let [from, to] = [&from, &to].map(|path| path.to_str().unwrap());
        spool(&["export", "--spool", from, "--to", to])
    };
    let whole = export();
    assert_eq!(
        (whole.status.code(), text(&whole.stdout)),
        (Some(0), "9 exported\n".to_owned())
    );
    let log = from.join("journal/0000000009.log");
    let mut bytes = std::fs::read(&log).unwrap();
    let at = bytes.windows(5).position(|window| window == b"bob66");
    bytes[at.unwrap()] ^= 1;
    std::fs::write(&log, bytes).unwrap();
    let rest = export();
    assert_eq!(
        (rest.status.code(), text(&rest.stdout)),
        (Some(1), "8 exported\n".to_owned())
    );
    assert!(
        text(&rest.stderr).contains("1 damaged place in the journal"),
        "{rest:?}"
    );
}

#[test]
fn export_writes_nothing_into_the_spool_it_reads() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("spool");
    fixture(&from);
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(from.join("removed"), &link).unwrap();
    for (queue, to) in [
        ("removed", from.join("removed")),
        ("active", from.join("removed/more/of/it")),
        ("active", link.join("more")),
        ("quarantine", link),
    ] {
        let [spool_dir, to] = [&from, &to].map(|path| path.to_str().unwrap());
        let refused = spool(&["export", "--queue", queue, "--spool", spool_dir, "--to", to]);
        assert_eq!(refused.status.code(), Some(2), "{to}: {refused:?}");
        assert_eq!(
            std::fs::read_dir(from.join("removed")).unwrap().count(),
            2,
            "{to}"
        );
    }
}
