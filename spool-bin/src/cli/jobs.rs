//! `spool jobs`: shows or sets the maximum of concurrent delivery sessions.

use crate::failure::Failure;
use crate::target::Service;
use clap::Args;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  spool jobs          the maximum, and how many run and wait now
  spool jobs 0        pause delivery; mail is still taken in
  spool jobs 200      go on")]
pub(super) struct Jobs {
    /// The new maximum; sessions already running are not affected
    #[arg(value_name = "N")]
    max: Option<usize>,
    /// The running service
    #[arg(
        long,
        value_name = "URL",
        env = "SPOOL_ADMIN",
        default_value = "http://127.0.0.1:8525"
    )]
    admin: String,
    /// Print the answer as JSON
    #[arg(long, value_name = "FORMAT", value_parser = ["text", "json"], default_value = "text")]
    format: String,
}

impl Jobs {
    pub(super) fn run(self) -> Result<(), Failure> {
        let service = Service::new(&self.admin)?;
        let answer = match self.max {
            Some(max) => service.request("PUT", "/api/v1/jobs", Some(&format!("{{\"max\":{max}}}")))?,
            None => service.request("GET", "/api/v1/jobs", None)?,
        };
        let jobs = answer.json()?;
        if self.format == "json" {
            println!("{jobs}");
        } else {
            let number = |name: &str| {
                jobs.get(name)
                    .and_then(serde_json::Value::as_u64)
                    .unwrap_or_default()
            };
            println!(
                "at most {}, running {}, waiting {}",
                number("max"),
                number("running"),
                number("waiting")
            );
        }
        Ok(())
    }
}
