//! `spool fsck`: the checkup of a spool that no process has open.

use super::console;
use crate::failure::Failure;
use crate::print::json_line;
use clap::Args;
use spool_core::store::{Checkup, checkup};
use spool_core::{Clock, SystemClock, harmless};
use std::io::Write;
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  spool fsck --spool /var/spool/out
  spool fsck --spool /var/spool/out --repair
  spool fsck --spool /var/spool/out --format json

Every segment, every message with its body, every removed and quarantined pair, and every line of the logs is read and \
checked. A problem is damaged, torn, orphaned, duplicated, too old, mismatched or unreadable. No service may run on \
the spool meanwhile.

--repair keeps every undamaged message. What it removes is copied to the directory corrupt of the spool, and each step is a \
line of corrupt/repairs.jsonl.

Exit status: 0 clean, 1 problems found (repaired or not), 3 the spool is locked by another process.")]
pub(super) struct Fsck {
    /// The spool's directory
    #[arg(long, value_name = "DIR")]
    spool: PathBuf,
    /// Repair what can be repaired
    #[arg(long)]
    repair: bool,
    /// Output format; of JSON one object a line, a summary last
    #[arg(long, value_name = "FORMAT", value_parser = ["text", "json"], default_value = "text")]
    format: String,
}

impl Fsck {
    pub(super) fn run(self) -> Result<(), Failure> {
        let bar = console::progress(None, "{spinner} {pos} messages read, {per_sec}");
        let found = checkup(&self.spool, SystemClock.now(), self.repair, &mut || bar.inc(1));
        bar.finish_and_clear();
        let found = found?;
        console::print(|out| match self.format.as_str() {
            "json" => json(&found, out),
            _ => Self::text(&found, out),
        })?;
        match found.findings.len() {
            0 => Ok(()),
            count => Err(Failure::Failed(self.advice(count, &found))),
        }
    }

    fn text(found: &Checkup, out: &mut impl Write) -> std::io::Result<()> {
        for finding in &found.findings {
            let note = if finding.repairable {
                ""
            } else {
                " (needs a person)"
            };
            let (file, what) = (harmless(&finding.file), harmless(&finding.what));
            writeln!(out, "{}: {file}: {what}{note}", finding.problem)?;
        }
        for repair in &found.repairs {
            let kept = repair.kept_as.iter().map(|kept| format!(", kept as {kept}"));
            let (file, kept) = (harmless(&repair.file), harmless(&kept.collect::<String>()));
            writeln!(out, "repaired: {file}: {}{kept}", harmless(&repair.done))?;
        }
        writeln!(
            out,
            "{} messages and {} removed or quarantined ones are whole",
            found.whole, found.archived
        )
    }

    fn advice(&self, count: usize, found: &Checkup) -> String {
        let problems = if count == 1 { "problem" } else { "problems" };
        let repairable = found.findings.iter().filter(|finding| finding.repairable).count();
        match (self.repair, repairable) {
            (_, 0) => format!("{count} {problems} found"),
            (false, _) => format!("{count} {problems} found; --repair can repair {repairable}"),
            (true, _) => format!("{count} {problems} found, {repairable} repaired"),
        }
    }
}

/// Findings, then what was done, then the counts.
fn json(found: &Checkup, out: &mut impl Write) -> std::io::Result<()> {
    found
        .findings
        .iter()
        .try_for_each(|finding| json_line(out, finding))?;
    found
        .repairs
        .iter()
        .try_for_each(|repair| json_line(out, repair))?;
    let summary = serde_json::json!({
        "whole": found.whole,
        "shelved": found.archived,
        "problems": found.findings.len(),
        "mended": found.repairs.len(),
    });
    writeln!(out, "{summary}")
}
