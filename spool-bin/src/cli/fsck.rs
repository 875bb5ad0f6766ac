//! `spool fsck`: the checkup of a spool that nobody holds.

use super::console;
use crate::failure::Failure;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use spool_core::harmless;
use spool_core::store::{Checkup, checkup};
use std::io::Write;
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  spool fsck --spool /var/spool/out
  spool fsck --spool /var/spool/out --repair

Every segment, every message with its body, and every removed and quarantined pair is read and checked. No service may
run on the spool meanwhile. --repair deletes nothing: damaged bytes and files that belong to nothing are kept in the
spool's corrupt directory.

Exit status: 0 clean, 1 problems found, 3 the spool is locked by another process.")]
pub(super) struct Fsck {
    /// The spool's directory
    #[arg(long, value_name = "DIR")]
    spool: PathBuf,
    /// Mend what can be mended
    #[arg(long)]
    repair: bool,
}

impl Fsck {
    pub(super) fn run(self) -> Result<(), Failure> {
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {pos} messages read, {per_sec}") {
            bar.set_style(style);
        }
        let found = checkup(&self.spool, self.repair, &mut || bar.inc(1))?;
        bar.finish_and_clear();
        console::print(|out| self.print(&found, out))?;
        match found.findings.len() {
            0 => Ok(()),
            count => Err(Failure::Failed(self.advice(count, &found))),
        }
    }

    fn print(&self, found: &Checkup, out: &mut impl Write) -> std::io::Result<()> {
        for finding in &found.findings {
            let mended = match (finding.mendable, self.repair) {
                (true, true) => " (mended)",
                (true, false) => "",
                (false, _) => " (needs a person)",
            };
            let (file, what) = (harmless(&finding.file), harmless(&finding.what));
            writeln!(out, "{file}: {what}{mended}")?;
        }
        writeln!(
            out,
            "{} messages and {} removed or quarantined ones are whole",
            found.whole, found.shelved
        )
    }

    fn advice(&self, count: usize, found: &Checkup) -> String {
        let mendable = found.findings.iter().filter(|finding| finding.mendable).count();
        match (self.repair, mendable) {
            (false, 1..) => format!("{count} problems found; --repair mends {mendable} of them"),
            (true, 1..) => format!("{count} problems found, {mendable} of them mended"),
            (_, 0) => format!("{count} problems found"),
        }
    }
}
