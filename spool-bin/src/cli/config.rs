//! `spool config`: the configuration that `spool serve` would have with the same options, and where each value comes from.

use super::console;
use super::serve::Serve;
use crate::config::{Effective, Origin};
use crate::failure::Failure;
use clap::{Args, ValueEnum};
use std::io::Write;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  spool config --config /etc/spool/spool.toml
  spool config --config /etc/spool/spool.toml --changed      only what is not the default
  spool config --config /etc/spool/spool.toml --format json  one object a line, with `takes_effect`: reload or restart

The output is a valid configuration file. Secrets are in files, and only their paths are shown. It needs no running service, and \
shows the file as it is now: a running service has the values of its start, or of its last SIGHUP where the key can be reloaded.")]
pub(super) struct ConfigArgs {
    #[command(flatten)]
    serve: Serve,
    /// Only values that are not the default
    #[arg(long)]
    changed: bool,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    format: ConfigFormat,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum ConfigFormat {
    #[default]
    Toml,
    Json,
}

impl ConfigArgs {
    pub(super) fn run(self) -> Result<(), Failure> {
        let (config, _) = self.serve.config()?;
        let mut effective = Effective::of(&config);
        if self.changed {
            effective.0.retain(|entry| entry.origin != Origin::Default);
        }
        let file = self.serve.config.as_deref();
        console::print(|out| match self.format {
            ConfigFormat::Toml => write!(out, "{}", effective.to_toml(file)),
            ConfigFormat::Json => {
                for entry in &effective.0 {
                    let line = serde_json::json!({
                        "key": entry.key,
                        "value": entry.value,
                        "source": entry.source(file),
                        "takes_effect": entry.takes_effect,
                    });
                    writeln!(out, "{line}")?;
                }
                Ok(())
            }
        })
    }
}
