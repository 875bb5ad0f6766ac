//! The command line: one command a file.

mod check;
mod clients;
mod columns;
mod config;
mod console;
mod count;
mod dkim;
mod events;
mod explain;
mod export;
mod fsck;
mod generate;
mod jobs;
mod load;
mod operate;
mod outbound;
mod passwd;
mod route;
mod sendmail;
mod serve;
mod show;
mod sink;
mod status;
mod submit;
mod table;
mod token;
mod which;

use crate::failure::Failure;
use crate::sockets::Sockets;

use clap::{CommandFactory, Parser, Subcommand};
use std::ffi::OsString;

/// A durable outbound mail spool and relay.
#[derive(Debug, Parser)]
#[command(
    name = "spool",
    version,
    max_term_width = 100,
    after_help = "\
First steps:
  spool serve                          a relay on 127.0.0.1:2525 that delivers into a built-in sink
  spool serve --next-hop mx:25         a relay that delivers to a smart host
  spool status                         what is on the spool of the running service
  spool explain ID                     why a message waits, and until when
  spool send --frozen                  send all frozen messages
  spool count --spool ./spool-data     the number of messages in a directory, with no service running

Exit status: 0 done, 1 failed, 2 usage or configuration error, 3 the spool is locked by another \
process, 4 no such message."
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the relay service
    Serve(serve::Serve),
    /// Validate a configuration file
    Check(check::Check),
    /// Print the configuration in force, and where each value comes from
    Config(config::ConfigArgs),
    /// List messages
    Status(status::StatusArgs),
    /// Print the number of messages
    Count(count::CountArgs),
    /// Show one message: envelope, recipients, every attempt
    Show(show::Show),
    /// Show why a message waits, and until when
    Explain(explain::ExplainArgs),
    #[command(flatten)]
    Operate(operate::Operate),
    /// Show where mail for an address would go now, and why
    Route(route::RouteArgs),
    /// Write messages of a directory as plain files
    Export(export::Export),
    /// Check a spool that no process holds, and repair it
    Fsck(fsck::Fsck),
    /// Follow the events
    Events(events::Events),
    /// Show the state of each destination
    Destinations(outbound::DestinationsArgs),
    /// Show the open sessions with next hops
    Connections(outbound::ConnectionsArgs),
    /// Show how much each client and user sends, and lift their limits
    Clients(clients::ClientsArgs),
    /// Set the password of a user in a users file
    Passwd(passwd::Passwd),
    /// Show or set the maximum of concurrent delivery sessions
    Jobs(jobs::JobsArgs),
    /// Spool one message
    Submit(submit::Submit),
    /// Send a message as sendmail does
    Sendmail(sendmail::Sendmail),
    /// Make, publish and check signing keys; check the signatures of a message
    #[command(subcommand)]
    Dkim(dkim::DkimVerb),
    /// Run the mock SMTP sink
    Sink(sink::SinkArgs),
    /// Generate load and measure it
    Load(load::Load),
    /// Write man pages and completions, for packages
    #[command(hide = true)]
    Generate(generate::Generate),
}

/// Runs the verb of this process's command line.
pub(crate) fn run(sockets: Sockets) -> Result<(), Failure> {
    match read_command_line()?.verb {
        Verb::Serve(serve) => serve.run(sockets),
        Verb::Check(check) => check.run(),
        Verb::Config(config) => config.run(),
        Verb::Status(status) => status.run(),
        Verb::Count(count) => count.run(),
        Verb::Show(show) => show.run(),
        Verb::Explain(explain) => explain.run(),
        Verb::Operate(operate) => operate.run(),
        Verb::Route(route) => route.run(),
        Verb::Export(export) => export.run(),
        Verb::Fsck(fsck) => fsck.run(),
        Verb::Events(events) => events.run(),
        Verb::Destinations(destinations) => destinations.run(),
        Verb::Connections(connections) => connections.run(),
        Verb::Clients(clients) => clients.run(),
        Verb::Passwd(passwd) => passwd.run(),
        Verb::Jobs(jobs) => jobs.run(),
        Verb::Submit(submit) => submit.run(),
        Verb::Sendmail(sendmail) => sendmail.run(),
        Verb::Dkim(dkim) => dkim.run(),
        Verb::Sink(sink) => sink.run(),
        Verb::Load(load) => load.run(),
        Verb::Generate(generate) => generate.run(Cli::command()),
    }
}

/// Runs `spool status` with these arguments.
pub(crate) fn status(words: Vec<OsString>) -> Result<(), Failure> {
    let command = ["spool".into(), "status".into()].into_iter().chain(words);
    match Cli::try_parse_from(command) {
        Ok(Cli {
            verb: Verb::Status(status),
        }) => status.run(),
        Ok(_) => Ok(()),
        Err(error) if error.use_stderr() => Err(Failure::CommandLine(error.render().to_string())),
        Err(help) => help.exit(),
    }
}

/// The command line. Errors are printed by clap, in colours on a terminal, unless the arguments that they quote have hidden
/// characters.
fn read_command_line() -> Result<Cli, Failure> {
    Cli::try_parse().or_else(|error| {
        let hidden = |word: OsString| word.to_string_lossy().chars().any(spool_core::is_hidden);
        if error.use_stderr() && std::env::args_os().any(hidden) {
            return Err(Failure::CommandLine(error.render().to_string()));
        }
        error.exit()
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }

    #[test]
    fn paragraphs_of_help_are_single_lines() {
        let prose = |line: &str| !line.is_empty() && !line.starts_with(' ') && !line.ends_with(':');
        let cli = super::Cli::command();
        for command in std::iter::once(&cli).chain(cli.get_subcommands()) {
            let help = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            let lines: Vec<&str> = help.lines().collect();
            for pair in lines.windows(2) {
                assert!(
                    !(prose(pair[0]) && prose(pair[1])),
                    "{}: {pair:?}",
                    command.get_name()
                );
            }
        }
    }
}
