//! `spool destinations` and `spool connections`: the state of destinations and sessions in the running service.

use super::console;
use super::table::{TableOptions, read};
use crate::failure::Failure;
use crate::format;
use crate::target::encode;
use clap::Args;
use serde_json::Value;
use spool_core::{Clock, SystemClock};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  spool destinations                  those with the most messages come first
  spool destinations --format json    one JSON object a line, with every detail
  spool destinations --reset mx.example.net:25
                                      forget what was learned of it: mail goes as to a new one

A destination is a list of next hops. Its sessions, its rate and whether it is left alone are learned from \
how it answers, within the limits of the configuration.")]
pub(super) struct DestinationsArgs {
    /// Forget what was learned of the destination with these next hops, in their order
    #[arg(long, value_name = "HOST:PORT[,HOST:PORT...]")]
    reset: Option<String>,
    #[command(flatten)]
    table: TableOptions,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  spool connections                   open sessions, by next hop
  spool connections --format json     the same, with every detail

Sessions that wait for the next message are kept for client.idle_timeout.")]
pub(super) struct ConnectionsArgs {
    #[command(flatten)]
    table: TableOptions,
}

impl DestinationsArgs {
    pub(super) fn run(self) -> Result<(), Failure> {
        if let Some(destination) = &self.reset {
            return self.reset(destination);
        }
        self.table.list("/api/v1/destinations", |all, width, out| {
            format::destinations(all, SystemClock.now(), width, out)
        })
    }

    fn reset(&self, destination: &str) -> Result<(), Failure> {
        let path = format!("/api/v1/destinations/{}", encode(destination));
        let service = self.table.admin.service()?;
        let answer: Value = service.request("DELETE", &path, Some("{}"))?.json()?;
        if self.table.is_json() {
            return console::print_json(&answer);
        }
        let before = read(&answer.get("reset").unwrap_or(&answer).to_string())?;
        console::print(|out| format::reset(&before, SystemClock.now(), out))
    }
}

impl ConnectionsArgs {
    pub(super) fn run(self) -> Result<(), Failure> {
        // One object for the whole pool.
        self.table.list("/api/v1/connections", |pools, width, out| {
            pools
                .iter()
                .try_for_each(|pool| format::connections(pool, width, out))
        })
    }
}
