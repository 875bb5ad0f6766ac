//! `spool dkim verify`: whether the signatures of a message are valid, by the checks of a receiver.

use super::lookup::ask;
use crate::cli::console;
use crate::config::Config;
use crate::failure::Failure;
use clap::Args;
use spool_core::{Clock, SystemClock, crlf};
use spool_smtp::dkim::{SignatureResult, verify};
use std::io::Write;
use std::path::PathBuf;

/// The largest message.
const MAX_MESSAGE: u64 = 256 << 20;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  spool dkim verify message.eml
  spool show ID --body | spool dkim verify -

One line for each signature, from the top; the keys are looked up in DNS. Line ends become CRLF.

Exit status: 0 every signature is valid; 1 one is not, or there is none.")]
pub(in crate::cli) struct Verify {
    /// The message; `-`: standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// A configuration that names the name servers to ask
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Verify {
    pub(super) fn run(self) -> Result<(), Failure> {
        let config = match &self.config {
            Some(path) => Config::load(path)?,
            None => Config::defaults(),
        };
        let message = console::input(Some(&self.file), MAX_MESSAGE)?;
        let message = crlf(message.into())
            .map_err(|at| Failure::Failed(format!("the message has a NUL at byte {at}")))?;
        let verdicts = ask(&config, |dns| async move {
            verify(&message, &dns, SystemClock.now()).await
        })?;
        let mut lines = verdicts.iter().map(text);
        console::print(|out| lines.try_for_each(|line| writeln!(out, "{line}")))?;
        match verdicts.iter().filter(|verdict| verdict.result.is_err()).count() {
            0 if verdicts.is_empty() => Err(Failure::Failed("the message has no DKIM signature".to_owned())),
            0 => Ok(()),
            bad => Err(Failure::Failed(format!(
                "{bad} of {} signatures are not valid",
                verdicts.len()
            ))),
        }
    }
}

fn text(verdict: &SignatureResult) -> String {
    let SignatureResult {
        domain,
        selector,
        algorithm,
        result,
    } = verdict;
    let key = format!("d={domain} s={selector} a={algorithm}");
    match result {
        Ok(()) => format!("valid {key}"),
        Err(why) => format!("not valid {key}: {why}"),
    }
}
