//! `spool check`: validates a configuration, and inspects everything that `spool serve` would open.

use super::console;
use super::serve::lines;
use crate::config::Config;
use crate::failure::Failure;
use crate::inspect::inspect;
use crate::print::tell;
use clap::Args;
use std::io::Write;
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(after_help = "\
Checks the file and what it names: secrets, certificates, signing keys, DNSSEC keys, the spool's directory, addresses. \
Changes nothing, and needs no running service.

Exit status: 0 usable, with warnings on standard error; 2 not usable, with every error and its line.")]
pub(super) struct Check {
    /// The file to check
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

impl Check {
    pub(super) fn run(self) -> Result<(), Failure> {
        let config = Config::load(&self.config)?;
        let (errors, warnings): (Vec<_>, Vec<_>) =
            inspect(&config).into_iter().partition(|finding| finding.is_error);
        let file = Some(self.config.as_path());
        if !warnings.is_empty() {
            tell(&lines(&warnings, file));
        }
        if !errors.is_empty() {
            return Err(Failure::Usage(lines(&errors, file)));
        }
        console::print(|out| writeln!(out, "{}: ok", self.config.display()))
    }
}
