//! `spool freeze`, `send`, `remove`, `recover`, `purge`, `reroute`, `bounce`, `expire`: asks a running service to do something to messages.
//!
//! It checks what it can before it asks, and tells every error. It never touches a directory: only the one who holds a
//! spool changes it.

use super::console;
use super::which::{Admin, Filters, Which};
use crate::failure::Failure;
use crate::operation::{Operation, Report, Request};
use crate::print;
use clap::Args;
use spool_core::{NextHop, harmless};
use std::io::Write;

/// What all operations take.
#[derive(Debug, Args)]
struct Common {
    /// Only tell the ids of the messages it would be done to
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    admin: Admin,
    /// How the outcome looks
    #[arg(long, value_name = "FORMAT", value_parser = ["text", "json"], default_value = "text")]
    format: String,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  spool freeze 01M86G2VQ3ZCK4M6B0S0A98KXB
  spool freeze --recipient '@example\\.net$'     everything to one domain
  spool status $(spool freeze --older 2d --dry-run)

A frozen message waits for `spool send`. One that is being sent is frozen when its attempt ends, unless that \
delivers it.")]
pub(super) struct Freeze {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  spool send --frozen                               whatever is frozen, now
  spool send --next-hop mx.example.net              whatever waits for a server that is back
  spool send 01M86G2VQ3ZCK4M6B0S0A98KXB --retry-interval 1m 5m
                                                    and if it is deferred, again after 1m, then 5m

Frozen messages are frozen no longer, waiting ones wait no longer, and recipients that had failed are tried again.")]
pub(super) struct Send {
    #[command(flatten)]
    which: Which,
    /// Waits to be taken before the ones that are left
    #[arg(long, value_name = "SPAN", num_args = 1..)]
    retry_interval: Vec<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  spool freeze --sender '^spam@' && spool remove --sender '^spam@' --frozen
  spool remove 01M86G2VQ3ZCK4M6B0S0A98KXB

Only frozen messages are removed. They are kept: `spool status --queue removed` lists them, `spool recover` brings them \
back, `spool purge` deletes them.")]
pub(super) struct Remove {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  spool recover 01M86G2VQ3ZCK4M6B0S0A98KXB
  spool recover --from quarantine --all
  spool status --queue quarantine                what there is to recover

Recovered messages are frozen: `spool send` sends them.")]
pub(super) struct Recover {
    #[command(flatten)]
    which: Which,
    /// Where they are: removed or quarantine [default: removed, or what --queue says]
    #[arg(long, value_name = "SHELF", value_parser = ["removed", "quarantine"])]
    from: Option<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  spool reroute --from-next-hop dead.example.net --next-hop mx.example.net:25
                                            mail that waits for a host that is gone
  spool reroute --all --next-hop a:25 b:25  the second when the first does not answer
  spool reroute 01M86G2VQ3ZCK4M6B0S0A98KXB --by-config
                                            follow the configuration, now and whenever it is sent

Next hops that are named here stay, whatever the configuration says. Retry times and the frozen state do not change. \
A message that is being sent uses the new route after its attempt, unless the attempt delivers it.")]
pub(super) struct Reroute {
    #[command(flatten)]
    filters: Filters,
    /// Messages with a next hop that matches
    #[arg(long, value_name = "REGEX")]
    from_next_hop: Option<String>,
    /// Their next hops from now on; several are tried in order
    #[arg(long, value_name = "HOST:PORT", num_args = 1.., conflicts_with = "by_config", required_unless_present = "by_config")]
    next_hop: Vec<NextHop>,
    /// Follow the configuration, now and whenever they are sent
    #[arg(long)]
    by_config: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  spool bounce 01M86G2VQ3ZCK4M6B0S0A98KXB --reason 'the address has moved'
  spool bounce --recipient '@gone\\.example$' --dry-run
  spool bounce --failed                     what was kept because no notice could be returned

Waiting and frozen messages end, and a notice that their recipients failed is returned to their senders. A message \
with a null reverse-path, and one that is being sent, is left alone.")]
pub(super) struct Bounce {
    #[command(flatten)]
    which: Which,
    /// Why, for the senders
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  spool expire --next-hop dead.example.net --older 1d
  spool expire 01M86G2VQ3ZCK4M6B0S0A98KXB

Waiting and frozen messages end as if their time had run out: by `retry.on_failure`, a notice is returned or they are \
frozen. One that is being sent is left alone.")]
pub(super) struct Expire {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  spool purge --older 30d --dry-run
  spool purge --older 30d
  spool purge --older 0s 01M86G2VQ3ZCK4M6B0S0A98KXB

Deletes removed messages for good; nothing else ever deletes undelivered mail. The age counts from the removal.")]
pub(super) struct Purge {
    /// Only these
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// Only what was removed at least this long ago: 90s, 15m, 2h, 3d
    #[arg(long, value_name = "SPAN", required = true)]
    older: String,
    /// All that are old enough; so it is without any other selection
    #[arg(long)]
    all: bool,
    /// Only messages whose sender matches
    #[arg(long, value_name = "REGEX")]
    sender: Option<String>,
    /// Only messages with a recipient that matches
    #[arg(long, value_name = "REGEX")]
    recipient: Option<String>,
    /// Only messages with a next hop that matches
    #[arg(long, value_name = "REGEX")]
    next_hop: Option<String>,
    #[command(flatten)]
    common: Common,
}

impl Freeze {
    pub(super) fn run(self) -> Result<(), Failure> {
        self.common.run(Operation::Freeze, self.which.request())
    }
}

impl Send {
    pub(super) fn run(self) -> Result<(), Failure> {
        let request = Request {
            retry_intervals: self.retry_interval,
            ..self.which.request()
        };
        self.common.run(Operation::Send, request)
    }
}

impl Remove {
    pub(super) fn run(self) -> Result<(), Failure> {
        self.common.run(Operation::Remove, self.which.request())
    }
}

impl Recover {
    pub(super) fn run(self) -> Result<(), Failure> {
        let request = Request {
            from: self.from,
            ..self.which.request()
        };
        self.common.run(Operation::Recover, request)
    }
}

impl Reroute {
    pub(super) fn run(self) -> Result<(), Failure> {
        let request = Request {
            next_hop: self.from_next_hop,
            next_hops: self.next_hop.iter().map(ToString::to_string).collect(),
            by_config: self.by_config,
            ..self.filters.request()
        };
        self.common.run(Operation::Reroute, request)
    }
}

impl Bounce {
    pub(super) fn run(self) -> Result<(), Failure> {
        let request = Request {
            reason: self.reason,
            ..self.which.request()
        };
        self.common.run(Operation::Bounce, request)
    }
}

impl Expire {
    pub(super) fn run(self) -> Result<(), Failure> {
        self.common.run(Operation::Expire, self.which.request())
    }
}

impl Purge {
    pub(super) fn run(self) -> Result<(), Failure> {
        let request = Request {
            ids: self.ids,
            all: self.all,
            sender: self.sender,
            recipient: self.recipient,
            next_hop: self.next_hop,
            older: Some(self.older),
            ..Request::default()
        };
        self.common.run(Operation::Purge, request)
    }
}

impl Common {
    fn run(&self, operation: Operation, request: Request) -> Result<(), Failure> {
        let request = Request {
            dry_run: self.dry_run,
            ..request
        };
        request
            .clone()
            .check(operation)
            .map_err(|error| Failure::Usage(format!("{error}\nSee `spool {} --help`.", operation.name())))?;
        let json = serde_json::to_string(&request).map_err(|error| Failure::Failed(error.to_string()))?;
        let path = format!("/api/v1/{}", operation.name());
        let answer = self.admin.service()?.ask("POST", &path, Some(&json))?;
        // An answer with the status 404 or 409 can be a report as well.
        let report = answer.json_with("matched")?;
        let report: Report = serde_json::from_value(report)
            .map_err(|error| Failure::Failed(format!("reading the answer: {error}")))?;
        self.print(operation, &report)?;
        outcome(operation, &report)
    }

    fn print(&self, operation: Operation, report: &Report) -> Result<(), Failure> {
        if self.format == "json" {
            return console::print(|out| {
                serde_json::to_writer(&mut *out, report)?;
                writeln!(out)
            });
        }
        let Some(ids) = &report.ids else {
            return console::print(|out| writeln!(out, "{} {}", report.done, operation.done()));
        };
        // The ids alone on standard output, so that they can be handed to another command.
        console::print(|out| ids.iter().try_for_each(|id| writeln!(out, "{id}")))?;
        print::tell(&format!("{} would be {}", ids.len(), operation.done()));
        Ok(())
    }
}

/// Every error on standard error, and the exit status.
fn outcome(operation: Operation, report: &Report) -> Result<(), Failure> {
    let Some((last, others)) = report.errors.split_last() else {
        return Ok(());
    };
    for trouble in others {
        print::complain(&harmless(&trouble.error));
    }
    let mut text = harmless(&last.error);
    if report.errors.iter().any(|trouble| trouble.code == "not_frozen") {
        text += "\nFreeze first, with `spool freeze` and the same selection.";
    }
    if report.found_nothing() {
        text += match operation {
            Operation::Freeze
            | Operation::Send
            | Operation::Remove
            | Operation::Reroute
            | Operation::Bounce
            | Operation::Expire => {
                "\n`spool status` lists what is on the spool, `spool status --queue removed` what was taken off it."
            }
            Operation::Recover => {
                "\n`spool status --queue removed` and `--queue quarantine` list what can be recovered."
            }
            Operation::Purge => "\n`spool status --queue removed` lists what can be purged.",
        };
        return Err(Failure::NoSuchMessage(text));
    }
    Err(Failure::Failed(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::Trouble;
    use spool_core::{MessageId, SpoolError};

    #[test]
    fn the_exit_status_tells_a_miss_from_a_failure() {
        let id = MessageId::from_u128(7);
        let report = |errors: &[SpoolError]| Report {
            errors: errors.iter().map(Trouble::from).collect(),
            ..Report::default()
        };
        let freeze = |errors: &[SpoolError]| outcome(Operation::Freeze, &report(errors));
        assert!(freeze(&[]).is_ok());
        assert!(matches!(
            freeze(&[SpoolError::NoSuchMessage(id)]),
            Err(Failure::NoSuchMessage(_))
        ));
        let failed = freeze(&[SpoolError::NoSuchMessage(id), SpoolError::NotFrozen(id)]);
        assert!(matches!(failed, Err(Failure::Failed(text)) if text.contains("spool freeze")));
    }
}
