//! `spool destinations` and `spool connections`: the ways out of the spool, as the running service knows them.

use super::columns::Columns;
use super::console;
use super::which::Admin;
use crate::failure::Failure;
use crate::format;
use crate::target::encode;
use clap::Args;
use serde::de::DeserializeOwned;
use spool_actors::DestinationState;
use spool_core::{Clock, SystemClock};
use spool_smtp::client::PoolSnapshot;
use std::io::Write;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  spool destinations                  those with the most messages come first
  spool destinations --format json    one JSON object a line, with every detail
  spool destinations --reset mx.example.net:25
                                      forget what was learned of it: mail goes as to a new one

A destination is a list of next hops. Its sessions, its rate and whether it is left alone are learned from \
how it answers, within what the configuration allows.")]
pub(super) struct Destinations {
    /// Forget what was learned of the destination with these next hops, in their order
    #[arg(long, value_name = "HOST:PORT[,HOST:PORT...]")]
    reset: Option<String>,
    #[command(flatten)]
    look: Look,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  spool connections                   open sessions, by next hop
  spool connections --format json     the same, with every detail

Sessions that wait for the next message are kept for client.idle_timeout.")]
pub(super) struct Connections {
    #[command(flatten)]
    look: Look,
}

#[derive(Debug, Args)]
struct Look {
    #[command(flatten)]
    admin: Admin,
    /// How it looks
    #[arg(long, value_name = "FORMAT", value_parser = ["table", "json"], default_value = "table")]
    format: String,
    #[command(flatten)]
    columns: Columns,
}

impl Look {
    /// The service's answer, if it is to be shown as a table; else it is printed.
    fn ask(&self, path: &str) -> Result<Option<String>, Failure> {
        let answer = self.admin.service()?.request("GET", path, None)?;
        let text = answer.lines().collect::<Result<Vec<_>, _>>()?.join("\n");
        if self.format == "json" {
            console::print(|out| writeln!(out, "{}", text.trim_end()))?;
            return Ok(None);
        }
        Ok(Some(text))
    }
}

pub(super) fn read<T: DeserializeOwned>(text: &str) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(|error| {
        Failure::Failed(format!(
            "the service's answer is not understood ({error}); with --format json it is shown as it is"
        ))
    })
}

impl Destinations {
    pub(super) fn run(self) -> Result<(), Failure> {
        if let Some(destination) = &self.reset {
            return self.reset(destination);
        }
        let Some(text) = self.look.ask("/api/v1/destinations")? else {
            return Ok(());
        };
        let width = self.look.columns.width();
        let all: Vec<DestinationState> = text.lines().map(read).collect::<Result<_, _>>()?;
        console::print(|out| format::destinations(&all, SystemClock.now(), width, out))
    }

    fn reset(&self, destination: &str) -> Result<(), Failure> {
        let path = format!("/api/v1/destinations/{}", encode(destination));
        let service = self.look.admin.service()?;
        let answer = service.request("DELETE", &path, Some("{}"))?.json()?;
        if self.look.format == "json" {
            return console::print(|out| writeln!(out, "{answer}"));
        }
        let before = answer.get("reset").unwrap_or(&answer).to_string();
        let before: DestinationState = read(&before)?;
        console::print(|out| format::reset(&before, SystemClock.now(), out))
    }
}

impl Connections {
    pub(super) fn run(self) -> Result<(), Failure> {
        let Some(text) = self.look.ask("/api/v1/connections")? else {
            return Ok(());
        };
        let width = self.look.columns.width();
        let pool: PoolSnapshot = read(&text)?;
        console::print(|out| format::connections(&pool, width, out))
    }
}
