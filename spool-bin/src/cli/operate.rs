//! `spool freeze`, `send`, `remove`, `recover`, `purge`, `reroute`, `bounce`, `expire`: asks a running service to change messages.
//!
//! It checks the request before it asks, and prints every error. It never touches a directory: only the process that holds the
//! lock of a spool changes it.

use super::console;
use super::which::Admin;
use crate::failure::Failure;
use crate::operation::{Operation, Report, Request};
use crate::print;
use clap::{Args, Subcommand};
use spool_core::{NextHop, harmless};
use std::io::Write;

/// Options of all operations.
#[derive(Debug, Args)]
pub(super) struct Common {
    /// Only print the ids of the messages that would be changed
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    admin: Admin,
    /// Output format
    #[arg(long, value_name = "FORMAT", value_parser = ["text", "json"], default_value = "text")]
    format: String,
}

/// The messages, and the options of all operations.
#[derive(Debug, Args)]
pub(super) struct OperateArgs {
    #[command(flatten)]
    request: Request,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Subcommand)]
pub(super) enum Operate {
    /// Hold messages back until a person sends them
    #[command(after_help = "\
Examples:
  spool freeze 01M86G2VQ3ZCK4M6B0S0A98KXB
  spool freeze --recipient '@example\\.net$'     all mail for one domain
  spool status $(spool freeze --older 2d --dry-run)

A frozen message waits for `spool send`. One that is being sent is frozen when its attempt ends, unless that \
delivers it.")]
    Freeze(OperateArgs),
    /// Send messages now, frozen and waiting ones
    #[command(after_help = "\
Examples:
  spool send --frozen                               all frozen messages, now
  spool send --next-hop mx.example.net              mail that waits for a repaired server
  spool send 01M86G2VQ3ZCK4M6B0S0A98KXB --retry-interval 1m 5m
                                                    and if it is deferred, again after 1m, then 5m

Frozen messages are frozen no longer, waiting ones wait no longer, and recipients that had failed are tried again.")]
    Send {
        #[command(flatten)]
        which: OperateArgs,
        /// Retry intervals before those that are left
        #[arg(long = "retry-interval", value_name = "SPAN", num_args = 1..)]
        retry_intervals: Vec<String>,
    },
    /// Take frozen messages off the spool; they are kept
    #[command(after_help = "\
Examples:
  spool freeze --sender '^spam@' && spool remove --sender '^spam@' --frozen
  spool remove 01M86G2VQ3ZCK4M6B0S0A98KXB

Only frozen messages are removed. They are kept: `spool status --queue removed` lists them, `spool recover` brings them \
back, `spool purge` deletes them.")]
    Remove(OperateArgs),
    /// Bring removed or quarantined messages back, frozen
    #[command(after_help = "\
Examples:
  spool recover 01M86G2VQ3ZCK4M6B0S0A98KXB
  spool recover --from quarantine --all
  spool status --queue quarantine                what there is to recover

Recovered messages are frozen: `spool send` sends them.")]
    Recover {
        #[command(flatten)]
        which: OperateArgs,
        /// Where they are: removed or quarantine [default: removed, or what --queue says]
        #[arg(long, value_name = "ARCHIVE", value_parser = ["removed", "quarantine"])]
        from: Option<String>,
    },
    /// Delete removed messages for good
    #[command(after_help = "\
Examples:
  spool purge --older 30d --dry-run
  spool purge --older 30d
  spool purge --older 0s 01M86G2VQ3ZCK4M6B0S0A98KXB

Deletes removed messages for good; nothing else ever deletes undelivered mail. The age counts from the removal.")]
    Purge {
        #[command(flatten)]
        removed: RemovedFilters,
        #[command(flatten)]
        common: Common,
    },
    /// Give waiting messages another route
    #[command(mut_arg("next_hop", |from| from.long("from-next-hop")))]
    #[command(after_help = "\
Examples:
  spool reroute --from-next-hop dead.example.net --next-hop mx.example.net:25
                                            mail that waits for a host that no longer exists
  spool reroute --all --next-hop a:25 b:25  the second when the first does not answer
  spool reroute 01M86G2VQ3ZCK4M6B0S0A98KXB --by-config
                                            follow the configuration, now and whenever it is sent

Next hops that are named here stay, also when the configuration changes. Retry times and the frozen state do not change. \
A message that is being sent uses the new route after its attempt, unless the attempt delivers it.")]
    Reroute {
        #[command(flatten)]
        which: OperateArgs,
        /// Their next hops from now on; several are tried in order
        #[arg(long = "next-hop", value_name = "HOST:PORT", num_args = 1.., conflicts_with = "by_config", required_unless_present = "by_config")]
        next_hops: Vec<NextHop>,
        /// Follow the configuration, now and whenever they are sent
        #[arg(long)]
        by_config: bool,
    },
    /// End messages, and tell their senders that they failed
    #[command(after_help = "\
Examples:
  spool bounce 01M86G2VQ3ZCK4M6B0S0A98KXB --reason 'the address has moved'
  spool bounce --recipient '@gone\\.example$' --dry-run
  spool bounce --failed                     mail that was kept because no notice could be returned

Waiting and frozen messages end, and a notice that their recipients failed is returned to their senders. A message \
with a null reverse-path, and one that is being sent, is left alone.")]
    Bounce {
        #[command(flatten)]
        which: OperateArgs,
        /// Why, for the senders
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// End messages as if their time had run out
    #[command(after_help = "\
Examples:
  spool expire --next-hop dead.example.net --older 1d
  spool expire 01M86G2VQ3ZCK4M6B0S0A98KXB

Waiting and frozen messages end as if their time had run out: by `retry.on_failure`, a notice is returned or they are \
frozen. One that is being sent is left alone.")]
    Expire(OperateArgs),
}

impl Operate {
    pub(super) fn run(self) -> Result<(), Failure> {
        let (operation, OperateArgs { request, common }) = match self {
            Self::Freeze(which) => (Operation::Freeze, which),
            Self::Remove(which) => (Operation::Remove, which),
            Self::Expire(which) => (Operation::Expire, which),
            Self::Send {
                mut which,
                retry_intervals,
            } => {
                which.request.retry_intervals = retry_intervals;
                (Operation::Send, which)
            }
            Self::Recover { mut which, from } => {
                which.request.from = from;
                (Operation::Recover, which)
            }
            Self::Bounce { mut which, reason } => {
                which.request.reason = reason;
                (Operation::Bounce, which)
            }
            Self::Reroute {
                mut which,
                next_hops,
                by_config,
            } => {
                which.request.next_hops = next_hops.iter().map(ToString::to_string).collect();
                which.request.by_config = by_config;
                (Operation::Reroute, which)
            }
            Self::Purge { removed, common } => {
                let request = removed.request();
                (Operation::Purge, OperateArgs { request, common })
            }
        };
        common.run(operation, request)
    }
}

/// Which removed messages.
#[derive(Debug, Args)]
pub(super) struct RemovedFilters {
    /// Only these
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// Only what was removed at least this long ago: 90s, 15m, 2h, 3d
    #[arg(long, value_name = "SPAN", required = true)]
    older: String,
    /// All that are old enough; the default without any other selection
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
}

impl RemovedFilters {
    fn request(self) -> Request {
        Request {
            ids: self.ids,
            all: self.all,
            sender: self.sender,
            recipient: self.recipient,
            next_hop: self.next_hop,
            older: Some(self.older),
            ..Request::default()
        }
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
        let json = request
            .to_json()
            .map_err(|error| Failure::Failed(error.to_string()))?;
        let path = format!("/api/v1/{}", operation.name());
        let report: Report = self.admin.service()?.ask("POST", &path, Some(&json))?.report()?;
        self.print(operation, &report)?;
        outcome(operation, &report)
    }

    fn print(&self, operation: Operation, report: &Report) -> Result<(), Failure> {
        if self.format == "json" {
            return console::print_json(report);
        }
        let Some(ids) = &report.ids else {
            return console::print(|out| writeln!(out, "{} {}", report.done, operation.done()));
        };
        // Only the ids on standard output, so that they can be passed to another command.
        console::print(|out| ids.iter().try_for_each(|id| writeln!(out, "{id}")))?;
        print::tell(&format!("{} would be {}", ids.len(), operation.done()));
        Ok(())
    }
}

/// Prints every error on standard error; returns the exit status.
fn outcome(operation: Operation, report: &Report) -> Result<(), Failure> {
    let Some((last, others)) = report.errors.split_last() else {
        return Ok(());
    };
    for trouble in others {
        print::print_error(&harmless(&trouble.error));
    }
    let mut text = harmless(&last.error);
    if report.errors.iter().any(|trouble| trouble.code == "not_frozen") {
        text += "\nFreeze first, with `spool freeze` and the same selection.";
    }
    if report.found_nothing() {
        text += if operation == Operation::Recover {
            "\n`spool status --queue removed` and `--queue quarantine` list what can be recovered."
        } else if operation == Operation::Purge {
            "\n`spool status --queue removed` lists what can be purged."
        } else {
            "\n`spool status` lists what is on the spool, `spool status --queue removed` what was removed."
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
    fn the_exit_status_distinguishes_missing_from_failed() {
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
