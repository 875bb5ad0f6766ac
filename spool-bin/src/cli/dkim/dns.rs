//! `spool dkim dns`: the records of the configured keys, and whether DNS has them.

use super::lookup::{ask, name};
use crate::cli::console;
use crate::config::Config;
use crate::failure::Failure;
use crate::signing;
use clap::Args;
use spool_smtp::dkim::{DomainKey, Published, published, zone_line};
use std::io::Write;
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  spool dkim dns --config /etc/spool.toml                        each record, and whether DNS has it
  spool dkim dns --config /etc/spool.toml --domain example.org --offline > record.zone

Lines that begin with a semicolon are comments of a zone file. Exit status: 0 every key is published, or \
--offline was given; 1 one is not, or DNS could not be asked.")]
pub(in crate::cli) struct Dns {
    /// The configuration
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Only keys of this domain
    #[arg(long, value_name = "DOMAIN", value_parser = name)]
    domain: Option<String>,
    /// Only keys of this selector
    #[arg(long, value_name = "SELECTOR", value_parser = name)]
    selector: Option<String>,
    /// Print the records, and do not ask DNS
    #[arg(long)]
    offline: bool,
}

impl Dns {
    pub(super) fn run(self) -> Result<(), Failure> {
        let config = Config::load(&self.config)?;
        let keys = self.keys(&config)?;
        let found = match self.offline {
            true => keys.into_iter().map(|key| (key, None)).collect(),
            false => ask(&config, |dns| async move {
                let mut found = Vec::new();
                for key in keys {
                    let published = published(&dns, &key.domain, &key.selector, &key.key).await;
                    found.push((key, Some(published)));
                }
                found
            })?,
        };
        console::print(|out| {
            for (key, published) in &found {
                writeln!(out, "{}", zone_line(&key.domain, &key.selector, &key.key))?;
                if let Some(published) = published {
                    writeln!(out, "; {}", text(published))?;
                }
            }
            Ok(())
        })?;
        let all = found.len();
        let bad = found.iter().filter_map(|(_, published)| published.as_ref());
        match bad.filter(|published| **published != Published::Yes).count() {
            0 => Ok(()),
            bad => Err(Failure::Failed(format!(
                "{bad} of {all} keys are not published, or DNS could not be asked"
            ))),
        }
    }

    /// The selected keys.
    fn keys(&self, config: &Config) -> Result<Vec<DomainKey>, Failure> {
        let wanted = |wanted: &Option<String>, is: &str| wanted.as_ref().is_none_or(|wanted| wanted == is);
        let keys = config.dkim.keys.iter();
        let keys = signing::read_all(
            keys.filter(|key| wanted(&self.domain, &key.domain) && wanted(&self.selector, &key.selector)),
        )?;
        match keys.is_empty() {
            true => Err(Failure::Failed(format!(
                "{}: no such key is configured",
                self.config.display()
            ))),
            false => Ok(keys),
        }
    }
}

fn text(published: &Published) -> String {
    match published {
        Published::Yes => "published".to_owned(),
        Published::No => "not published: there is no such record".to_owned(),
        Published::Differs(why) => format!("not published: {why}"),
        Published::Unknown(why) => format!("DNS could not be asked: {why}"),
    }
}
