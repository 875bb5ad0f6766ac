//! `spool count`: one number, and nothing else on standard output.

use super::console;
use super::which::Target;
use crate::failure::Failure;
use crate::operation::Request;
use clap::Args;
use serde::Deserialize;
use spool_core::store::count_from_disk;
use std::io::Write;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  spool count                                the unsent messages of the running service, frozen ones included
  spool count --spool ./spool-data --older 2h
  spool count --queue quarantine             what was set aside for inspection

With --spool it is counted on disk, whether a service is running or not.")]
pub(super) struct CountArgs {
    #[command(flatten)]
    which: Request,
    #[command(flatten)]
    target: Target,
}

/// The answer of the service.
#[derive(Deserialize)]
struct Counted {
    count: u64,
}

impl CountArgs {
    pub(super) fn run(self) -> Result<(), Failure> {
        let count = match &self.target.spool {
            Some(dir) if self.which.selector()?.is_everything() => count_from_disk(dir)?,
            Some(dir) => {
                let mut count = 0;
                self.which.in_directory(dir, &mut |_| count += 1)?;
                count
            }
            None => {
                let path = format!("/api/v1/count{}", self.which.query()?);
                self.target.service()?.get(&path)?.json::<Counted>()?.count
            }
        };
        console::print(|out| writeln!(out, "{count}"))
    }
}
