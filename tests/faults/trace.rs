//! Runs the probe under `strace`, and reads what it wrote.

use crate::probe::{DIR, SEED};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

/// The calls by which the file layer changes or reads anything.
pub(crate) const CALLS: [&str; 10] = [
    "pwrite64",
    "fdatasync",
    "fsync",
    "fallocate",
    "ftruncate",
    "openat",
    "rename",
    "unlink",
    "mkdir",
    "pread64",
];

/// What a run did.
#[derive(Debug)]
pub(crate) struct Run {
    /// Its lines on standard output.
    pub(crate) said: Vec<String>,
    /// The trace: calls of the file layer, and the writes of the lines.
    pub(crate) trace: String,
}

/// Whether `strace` is there and may be used; if not, the reason is printed.
pub(crate) fn is_possible() -> bool {
    let tried = Command::new("strace").args(["-o", "/dev/null", "true"]).output();
    match tried {
        Ok(output) if output.status.success() => return true,
        Ok(output) => println!(
            "skipped: strace cannot trace here: {}",
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(error) => println!("skipped: no strace: {error}"),
    }
    println!("the simulated disk covers these faults in spool-core");
    false
}

/// Runs the probe on `spool`. `inject`: an expression of `strace`.
pub(crate) fn run(spool: &Path, seed: u64, inject: Option<&str>) -> Run {
    let trace = spool.with_extension("trace");
    let mut command = Command::new("strace");
    command.args(["-f", "-y", "-qq", "-s", "200", "-o", trace.to_str().unwrap()]);
    command.args(["-e", &format!("trace=write,{}", CALLS.join(","))]);
    if let Some(inject) = inject {
        command.args(["-e", &format!("inject={inject}")]);
    }
    command.arg(std::env::current_exe().unwrap());
    command.args(["--exact", "probe::probe", "--nocapture", "--test-threads=1"]);
    command
        .env(DIR, spool)
        .env(SEED, seed.to_string())
        .stdin(Stdio::null());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(str::to_owned)
        .collect();
    let trace = String::from_utf8_lossy(&std::fs::read(&trace).unwrap()).into_owned();
    Run { said, trace }
}

/// The name of the call in a line `pid name(...`, unless it is the second half of one.
fn name(line: &str) -> Option<&str> {
    line.split_once(' ')?
        .1
        .trim_start()
        .split_once('(')
        .map(|(name, _)| name)
}

/// For each call: how many times it was made before it first had to do with the spool, and in all.
pub(crate) fn count(run: &Run, spool: &Path) -> BTreeMap<&'static str, (usize, usize)> {
    let spool = spool.to_str().unwrap();
    let mut counts = BTreeMap::new();
    for call in CALLS {
        let lines: Vec<&str> = run
            .trace
            .lines()
            .filter(|line| name(line) == Some(call))
            .collect();
        let before = lines
            .iter()
            .position(|line| line.contains(spool))
            .unwrap_or(lines.len());
        counts.insert(call, (before, lines.len()));
    }
    counts
}

/// The line of the call that was made to fail, and the lines behind it.
pub(crate) fn injected(run: &Run) -> Option<(&str, Vec<&str>)> {
    let mut lines = run.trace.lines();
    let line = lines.by_ref().find(|line| line.ends_with("(INJECTED)"))?;
    Some((line, lines.collect()))
}
