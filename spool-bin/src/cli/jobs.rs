//! `spool jobs`: shows or sets the maximum of concurrent delivery sessions.

use super::console;
use super::which::Admin;
use crate::failure::Failure;
use clap::Args;
use serde_json::Value;
use std::io::Write;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  spool jobs          the maximum, and how many run and wait now
  spool jobs 0        pause delivery; mail is still accepted
  spool jobs 200      continue")]
pub(super) struct JobsArgs {
    /// The new maximum; sessions already running are not affected
    #[arg(value_name = "N")]
    max: Option<usize>,
    #[command(flatten)]
    admin: Admin,
    /// Output format
    #[arg(long, value_name = "FORMAT", value_parser = ["text", "json"], default_value = "text")]
    format: String,
}

impl JobsArgs {
    pub(super) fn run(self) -> Result<(), Failure> {
        let service = self.admin.service()?;
        let answer = match self.max {
            Some(max) => service.request("PUT", "/api/v1/jobs", Some(&format!("{{\"max\":{max}}}")))?,
            None => service.get("/api/v1/jobs")?,
        };
        let jobs: Value = answer.json()?;
        if self.format == "json" {
            return console::print_json(&jobs);
        }
        let number = |name: &str| jobs.get(name).and_then(Value::as_u64).unwrap_or_default();
        let (max, running, waiting) = (number("max"), number("running"), number("waiting"));
        console::print(|out| writeln!(out, "at most {max}, running {running}, waiting {waiting}"))
    }
}
