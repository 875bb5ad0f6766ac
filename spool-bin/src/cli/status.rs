//! `spool status`: lists messages, on the spool or in an archive.
//!
//! Formats without widths are printed as messages arrive; a table, and the messages of a directory, are collected first.

use super::columns::{columns, width};
use super::console;
use super::which::Target;
use crate::failure::Failure;
use crate::format::{Format, Style, print, print_one};
use crate::operation::Request;
use clap::Args;
use spool_core::{Clock, MessageSummary, SystemClock};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  spool status                                   everything on the running service
  spool status --older 2h --format exim          what has been there for two hours
  spool status --spool ./spool-data --frozen     the frozen messages of a directory
  spool status --queue removed                   what an operator removed
  spool status --recipient '@example\\.org$' --format id")]
pub(super) struct StatusArgs {
    #[command(flatten)]
    which: Request,
    #[command(flatten)]
    target: Target,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Columns to fit a table into, at least 40 [default: the terminal's, or 180]
    #[arg(long, value_name = "N", value_parser = columns)]
    width: Option<usize>,
}

impl StatusArgs {
    pub(super) fn run(self) -> Result<(), Failure> {
        let style = Style {
            format: self.format,
            width: width(self.width, 180),
            colour: console::colour(),
            now: SystemClock.now(),
        };
        let found: Box<dyn Iterator<Item = Result<MessageSummary, Failure>>> = match &self.target.spool {
            Some(dir) => {
                let mut all = Vec::new();
                self.which.in_directory(dir, &mut |message| all.push(message))?;
                Box::new(all.into_iter().map(Ok))
            }
            None => {
                let path = format!("/api/v1/status{}", self.which.query()?);
                Box::new(self.target.service()?.get(&path)?.items())
            }
        };
        if self.format == Format::Table || self.target.spool.is_some() {
            let all = found.collect::<Result<Vec<_>, _>>()?;
            return console::print(|out| print(all, style, out));
        }
        let mut failed = Ok(());
        console::print(|out| {
            let until_failure =
                found.map_while(|message| message.map_err(|failure| failed = Err(failure)).ok());
            until_failure
                .into_iter()
                .try_for_each(|message| print_one(&message, style, out))
        })?;
        failed
    }
}
