//! `spool clients`: how much each client and user sends, and the lifting of their limits.

use super::columns::Columns;
use super::console;
use super::which::Admin;
use crate::failure::Failure;
use crate::format;
use crate::target::encode;
use clap::Args;
use spool_core::{Clock, SystemClock};
use spool_smtp::server::ClientState;
use std::io::Write;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  spool clients                       those that are limited first, then those that sent the most
  spool clients --format json         one JSON object a line, with every detail
  spool clients --lift 192.0.2.1      forget what a client did: nothing limits it for now
  spool clients --lift ada            the same for a user

Clients are addresses, of IPv6 the /64, users of this machine at the Unix socket (uid:1000), and users who have logged in. Counts are of the time that the limit in \
listen.limits names, or of the last hour where there is none; a restart begins anew.")]
pub(super) struct Clients {
    /// Forget what this client or user did, so that nothing limits it for now
    #[arg(long, value_name = "ADDRESS|uid:N|USER")]
    lift: Option<String>,
    #[command(flatten)]
    admin: Admin,
    /// How it looks
    #[arg(long, value_name = "FORMAT", value_parser = ["table", "json"], default_value = "table")]
    format: String,
    #[command(flatten)]
    columns: Columns,
}

impl Clients {
    pub(super) fn run(self) -> Result<(), Failure> {
        let service = self.admin.service()?;
        if let Some(client) = &self.lift {
            let path = format!("/api/v1/clients/{}", encode(client));
            let answer = service.request("DELETE", &path, Some("{}"))?.json()?;
            return console::print(|out| match self.format.as_str() {
                "json" => writeln!(out, "{answer}"),
                _ => writeln!(out, "{client}: lifted"),
            });
        }
        let answer = service.request("GET", "/api/v1/clients", None)?;
        let text = answer.lines().collect::<Result<Vec<_>, _>>()?.join("\n");
        if self.format == "json" {
            return match text.is_empty() {
                true => Ok(()),
                false => console::print(|out| writeln!(out, "{text}")),
            };
        }
        let all = text.lines().map(super::outbound::read);
        let all: Vec<ClientState> = all.collect::<Result<_, _>>()?;
        let width = self.columns.width();
        console::print(|out| format::clients(&all, SystemClock.now(), width, out))
    }
}
