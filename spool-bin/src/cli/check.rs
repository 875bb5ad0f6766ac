//! `spool check`: validates a configuration.

use super::console;
use crate::config::Config;
use crate::failure::Failure;
use clap::Args;
use std::io::Write;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(super) struct Check {
    /// The file to check
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

impl Check {
    pub(super) fn run(self) -> Result<(), Failure> {
        Config::load(&self.config)?;
        console::print(|out| writeln!(out, "{}: ok", self.config.display()))?;
        Ok(())
    }
}
