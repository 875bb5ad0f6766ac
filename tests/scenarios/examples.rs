//! The examples of the library, as a reader would run them.

use spool_tests::capture::Capture;
use spool_tests::process::spool_binary;
use std::process::{Command, Output, Stdio};

/// Runs an example in a directory of its own. The same cargo command has built it.
fn example(name: &str, dir: &std::path::Path, args: &[&str]) -> String {
    let path = spool_binary().with_file_name("examples").join(name);
    let output: Output = Command::new(&path)
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}: run `cargo test --workspace`", path.display()));
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{name}: {text}{errors}");
    text
}

#[test]
fn embed_spools_a_message_and_sees_it_delivered() {
    let (capture, dir) = (Capture::start(), tempfile::tempdir().unwrap());
    let text = example("embed", dir.path(), &[&capture.next_hop()]);
    assert!(
        text.starts_with("on disk, synced: ") && text.contains("Delivered"),
        "{text}"
    );
    assert_eq!(
        capture.message().body,
        b"Subject: hello\r\n\r\nfrom a program\r\n"
    );
    let source = include_str!("../../spool-actors/examples/embed.rs");
    let code = source
        .lines()
        .filter(|line| !line.starts_with("//!") && !line.is_empty());
    assert!(code.count() < 30, "an embedding fits into 30 lines");
}

#[test]
fn rate_limit_sends_no_more_than_four_a_second() {
    let dir = tempfile::tempdir().unwrap();
    let text = example("rate_limit", dir.path(), &[]);
    let times: Vec<u64> = text
        .lines()
        .map(|line| line.rsplit(' ').nth(1).unwrap().parse().unwrap())
        .collect();
    assert_eq!(times.len(), 8, "{text}");
    // By the spool's own clock: the eighth is due seven intervals after the first.
    assert!(times[7] - times[0] >= 7 * 250 - 200, "{text}");
}

#[test]
fn quarantine_keeps_what_was_refused_as_spam() {
    let dir = tempfile::tempdir().unwrap();
    let text = example("quarantine", dir.path(), &[]);
    assert!(
        text.contains("Quarantined(\"550 5.7.1 looks like spam\")") && text.contains("\nDelivered\n"),
        "{text}"
    );
    assert!(text.contains(".eml") && text.contains(".json"), "{text}");
}

#[test]
fn follow_events_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let mut last = 0;
    for _ in 0..3 {
        let text = example("follow_events", dir.path(), &["."]);
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some(&*format!("events after {last}:")), "{text}");
        for line in lines {
            last += 1;
            assert!(
                line.starts_with(&format!("{last} ")),
                "in order, none twice: {text}"
            );
        }
    }
    assert_eq!(last, 6);
}
