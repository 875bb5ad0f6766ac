//! `spool route`: where mail for an address would go now, and why, by a running service or a configuration file.

use super::columns::Columns;
use super::console;
use super::which::Admin;
use crate::address_route::{AddressRoute, MAX_ADDRESSES, MAX_LOOKUPS};
use crate::config::Config;
use crate::failure::Failure;
use crate::outbound;
use crate::print::json_line;
use crate::routes::Routes;
use crate::target::encode;
use clap::Args;
use futures_util::future::join_all;
use spool_core::{Address, harmless};
use spool_smtp::client::SmtpAgent;
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  spool route bob@example.net                        as the running service would send it
  spool route bob@example.net --lookup               with the hosts that it would try, in order
  spool route bob@example.net --config spool.toml    as this file says, with no service running

Mail whose submitter named next hops goes to those instead.")]
pub(super) struct RouteArgs {
    /// Addresses of recipients
    #[arg(value_name = "ADDRESS", required = true)]
    addresses: Vec<String>,
    /// A configuration file instead of a running service
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Look up the hosts, with the name servers that deliveries use
    #[arg(long)]
    lookup: bool,
    #[command(flatten)]
    admin: Admin,
    /// Output format
    #[arg(long, value_name = "FORMAT", value_parser = ["text", "json"], default_value = "text")]
    format: String,
    #[command(flatten)]
    columns: Columns,
}

impl RouteArgs {
    pub(super) fn run(self) -> Result<(), Failure> {
        let addresses = self.addresses.iter().map(|text| address(text));
        let addresses = addresses.collect::<Result<Vec<_>, _>>()?;
        let found = match &self.config {
            Some(path) => self.by_config(Config::load(path)?, &addresses)?,
            None => self.by_service(&addresses)?,
        };
        console::print(|out| {
            for route in &found {
                match self.format.as_str() {
                    "json" => json_line(out, route)?,
                    _ => route.print(self.columns.width(), out)?,
                }
            }
            Ok(())
        })
    }

    fn by_config(&self, config: Config, addresses: &[Address]) -> Result<Vec<AddressRoute>, Failure> {
        let routes = Routes::of(&config);
        let mut found: Vec<AddressRoute> = addresses.iter().map(|address| routes.route_of(address)).collect();
        if self.lookup {
            let client = outbound::resolving(&config)?;
            console::runtime()?.block_on(async {
                let agent = SmtpAgent::new(client);
                join_all(found.iter_mut().map(|route| route.look_up(&agent))).await;
            });
        }
        Ok(found)
    }

    fn by_service(&self, addresses: &[Address]) -> Result<Vec<AddressRoute>, Failure> {
        let mut service = self.admin.service()?;
        service.instead = Some("read a configuration file with --config FILE");
        let lookup = if self.lookup { "&lookup=true" } else { "" };
        let mut found = Vec::with_capacity(addresses.len());
        let at_once = if self.lookup { MAX_LOOKUPS } else { MAX_ADDRESSES };
        for some in addresses.chunks(at_once) {
            let query = some.iter().map(|one| format!("address={}", encode(one.as_str())));
            let query = query.collect::<Vec<_>>().join("&");
            for route in service.get(&format!("/api/v1/route?{query}{lookup}"))?.items() {
                found.push(route?);
            }
        }
        Ok(found)
    }
}

fn address(text: &str) -> Result<Address, Failure> {
    text.parse()
        .map_err(|error| Failure::Usage(format!("{}: {error}", harmless(text))))
}
