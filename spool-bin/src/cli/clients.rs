//! `spool clients`: how much each client and user sends, and the lifting of their limits.

use super::console;
use super::table::TableOptions;
use crate::failure::Failure;
use crate::format;
use crate::target::encode;
use clap::Args;
use serde_json::Value;
use spool_core::{Clock, SystemClock};
use std::io::Write;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  spool clients                       those that are limited first, then those that sent the most
  spool clients --format json         one JSON object a line, with every detail
  spool clients --lift 192.0.2.1      forget what a client did: nothing limits it for now
  spool clients --lift ada            the same for a user

Clients are addresses (of IPv6 the /64), users of this machine at the Unix socket (uid:1000), and users who have logged in. \
Counts are of the time of the limit in listen.limits, or of the last hour where there is none; a restart resets them.")]
pub(super) struct ClientsArgs {
    /// Forget what this client or user did, so that nothing limits it for now
    #[arg(long, value_name = "ADDRESS|uid:N|USER")]
    lift: Option<String>,
    #[command(flatten)]
    table: TableOptions,
}

impl ClientsArgs {
    pub(super) fn run(self) -> Result<(), Failure> {
        if let Some(client) = &self.lift {
            let path = format!("/api/v1/clients/{}", encode(client));
            let service = self.table.admin.service()?;
            let answer: Value = service.request("DELETE", &path, Some("{}"))?.json()?;
            return match self.table.is_json() {
                true => console::print_json(&answer),
                false => console::print(|out| writeln!(out, "{client}: lifted")),
            };
        }
        self.table.list("/api/v1/clients", |all, width, out| {
            format::clients(all, SystemClock.now(), width, out)
        })
    }
}
