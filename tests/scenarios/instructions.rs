//! How many instructions the relay takes for a message, counted by callgrind: of all the figures of speed the one that does not depend on
//! what else runs on the machine. Two runs of one build differ by 3 per cent, for what is written and handed on in one batch differs.
//!
//! The figure is printed beside the one in `instructions.txt`, whatever the outcome. It counts user mode only, and counts each byte of
//! a long copy as an instruction: it says what has become more, not what takes how long.

use crate::queue_commands::text;
use spool_tests::process::{Running, run, spool_binary};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Messages of the two runs; the difference leaves out the start and the end of the program, and what is done once for each connection.
const MESSAGES: [u64; 2] = [100, 400];
/// How much more than the recorded figure is let pass, in per cent: compilers differ.
const TOLERANCE: u64 = 25;

#[test]
fn a_message_takes_about_as_many_instructions_as_recorded() {
    if Command::new("valgrind")
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_err()
    {
        return say("skipped: valgrind is not installed");
    }
    let [few, many] = MESSAGES.map(|messages| std::thread::spawn(move || relayed(messages)));
    let (few, many) = (few.join().unwrap(), many.join().unwrap());
    let measured = (many - few) / (MESSAGES[1] - MESSAGES[0]);
    let profile = if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    };
    let recorded = recorded(profile);
    say(&format!(
        "{measured} instructions for a message, recorded {recorded} ({profile}): {:+} %",
        (measured * 100 / recorded).cast_signed() - 100
    ));
    assert!(
        measured <= recorded * (100 + TOLERANCE) / 100,
        "{measured} instructions for a message: where that is meant, write it into tests/scenarios/instructions.txt"
    );
}

/// Past what the test runner keeps of a test that has succeeded.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "instructions: {line}");
}

/// The figure of the file for builds of this profile.
fn recorded(profile: &str) -> u64 {
    let all = include_str!("instructions.txt").lines();
    let mut found = all.filter_map(|line| line.strip_prefix(profile));
    found.next().unwrap().trim().parse().unwrap()
}

/// The instructions of a relay from its start to its end, which takes so many messages of 2 KiB over four connections and delivers them.
fn relayed(messages: u64) -> u64 {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (counts, arrived) = (path("counts"), path("sink.jsonl"));
    let sink = Running::start(&["sink", "--listen", "127.0.0.1:0", "--quiet", "--ledger", &arrived]);
    let relay = counted(&counts, &path("spool"), sink.field("smtp"));
    let output = run(&[
        "load",
        "--to",
        relay.field("smtp"),
        "--messages",
        &messages.to_string(),
        "--connections",
        "4",
        "--size",
        "2048",
        "--ledger",
        &path("load.jsonl"),
        "--verify",
        &arrived,
    ]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(relay.terminate().success());
    total(Path::new(&counts))
}

/// `serve` under callgrind, which writes to `counts` at the end.
fn counted(counts: &str, spool: &str, next_hop: &str) -> Running {
    let mut command = Command::new("valgrind");
    command
        .args(["--quiet", "--tool=callgrind"])
        .arg(format!("--callgrind-out-file={counts}"))
        .arg(spool_binary())
        .args(["serve", "--spool", spool, "--next-hop", next_hop])
        .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    Running::spawn(&mut command)
}

/// The sum that callgrind writes last.
fn total(counts: &Path) -> u64 {
    let text = std::fs::read_to_string(counts).unwrap();
    let mut lines = text.lines().rev();
    let total = lines.find_map(|line| line.strip_prefix("totals: "));
    total.unwrap().trim().parse().unwrap()
}
