//! `spool status`: lists messages, on the spool or in an archive.
//!
//! Formats without widths are printed as messages arrive; a table, and the messages of a directory, are collected first.

use super::columns::{columns, width};
use super::console;
use super::which::{Selection, Target};
use crate::failure::Failure;
use crate::format::{Format, Style, print, print_one};
use clap::Args;
use spool_core::{Clock, MessageSummary, SystemClock};
use std::io;

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
    which: Selection,
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
        if let Some(dir) = self.target.directory() {
            let mut messages = Vec::new();
            self.which
                .in_directory(dir, &mut |message| messages.push(message))?;
            return console::print(|out| print(messages, style, out));
        }
        let mut answer = self.ask_service()?;
        if self.format == Format::Table {
            let messages = answer.collect::<Result<Vec<_>, _>>()?;
            return console::print(|out| print(messages, style, out));
        }
        let mut failed = None;
        console::print(|out| {
            for message in &mut answer {
                match message {
                    Ok(message) => print_one(&message, style, out)?,
                    Err(failure) => {
                        failed = Some(failure);
                        break;
                    }
                }
            }
            io::Result::Ok(())
        })?;
        failed.map_or(Ok(()), Err)
    }

    fn ask_service(&self) -> Result<impl Iterator<Item = Result<MessageSummary, Failure>> + use<>, Failure> {
        let path = format!("/api/v1/status{}", self.which.query()?);
        let answer = self.target.service()?.request("GET", &path, None)?;
        Ok(answer.lines().map(|line| {
            serde_json::from_str(&line?)
                .map_err(|error| Failure::Failed(format!("reading the answer: {error}")))
        }))
    }
}
