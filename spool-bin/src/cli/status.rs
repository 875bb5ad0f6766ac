//! `spool status`: lists messages.

use super::which::{Target, Which};
use crate::failure::Failure;
use crate::format::{Format, Style, print};
use clap::Args;
use spool_core::{Clock, MessageSummary, SystemClock};
use std::io::{BufWriter, IsTerminal, Write, stdout};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  spool status                                   everything on the running service
  spool status --older 2h --format exim          what has been there for two hours
  spool status --spool ./spool-data --frozen     the frozen messages of a directory
  spool status --recipient '@example\\.org$' --format id")]
pub(super) struct Status {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    target: Target,
    /// How to print them
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Columns to fit a table into [default: the terminal's, or 180]
    #[arg(long, value_name = "N")]
    width: Option<usize>,
}

impl Status {
    pub(super) fn run(self) -> Result<(), Failure> {
        let messages = match self.target.directory() {
            Some(dir) => self.which.in_directory(dir)?,
            None => self.ask_service()?,
        };
        let terminal = stdout().is_terminal();
        let columns = || {
            terminal
                .then(|| usize::from(console_width()))
                .filter(|width| *width > 0)
        };
        let style = Style {
            format: self.format,
            width: self.width.or_else(columns).unwrap_or(180),
            colour: terminal && std::env::var_os("NO_COLOR").is_none(),
            now: SystemClock.now(),
        };
        let mut out = BufWriter::new(stdout().lock());
        match print(messages, style, &mut out).and_then(|()| out.flush()) {
            // Whoever reads only the first lines has what they want.
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(Failure::Failed(error.to_string()))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn ask_service(&self) -> Result<Vec<MessageSummary>, Failure> {
        let answer =
            self.target
                .service()?
                .request("GET", &format!("/api/v1/status{}", self.which.query()?), None)?;
        answer
            .lines()
            .map(|line| {
                serde_json::from_str(&line?)
                    .map_err(|error| Failure::Failed(format!("reading the answer: {error}")))
            })
            .collect()
    }
}

fn console_width() -> u16 {
    terminal_size::terminal_size_of(stdout()).map_or(0, |(width, _)| width.0)
}
