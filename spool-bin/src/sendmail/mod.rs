//! `spool sendmail`, and the names `sendmail`, `mailq` and `newaliases`: for programs of this machine that send mail.
//!
//! The message goes to the Unix socket of the service, or to its network address where it has none. When the service is down, the
//! message is left in the drop directory, and the service takes it at its next start. The status is 0 only when the message is
//! durable in either place. The command runs with the rights of its caller, and must not be setuid or setgid.

mod arguments;
mod client;
mod compose;
mod connection;
mod exit;
mod message;

pub(crate) use arguments::is_envid;
pub(crate) use connection::reachable;

use crate::cli;
use crate::config::Config;
use crate::dropbox;
use crate::failure::Failure;
use crate::print::tell;
use arguments::{Command, NO_ALIASES, Plan, Sending};
use client::SubmitFailure;
use compose::{compose, named, sender};
use connection::{ServiceConnection, before_message, session};
use exit::{Exit, SendmailError};
use message::Letter;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The configuration, unless `-C` or `SPOOL_CONFIG` names another one.
const CONFIG: &str = "/etc/spool/spool.toml";
/// Runs `sendmail`, `mailq` or `newaliases`, when this process was called by such a name or as `spool sendmail`.
pub(crate) fn by_name() -> Option<ExitCode> {
    let mut words = std::env::args_os();
    let program = words.next()?;
    let name = Path::new(&program).file_name()?.to_str()?.to_owned();
    let words: Vec<OsString> = words.collect();
    let done = match (name.as_str(), words.split_first()) {
        ("sendmail", _) => sendmail(words),
        ("mailq", _) => configured(None).and_then(|config| list(&config, words)),
        ("newaliases", _) => {
            tell(&format!("newaliases: {NO_ALIASES}"));
            Ok(())
        }
        // `--help` is answered as for every command.
        (_, Some((verb, rest))) if verb == "sendmail" && *rest != ["--help"] => sendmail(rest.to_vec()),
        _ => return None,
    };
    Some(match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(SendmailError { exit, text }) => {
            let name = if name == "mailq" { "mailq" } else { "sendmail" };
            tell(&format!("{name}: {text}"));
            ExitCode::from(exit as u8)
        }
    })
}

fn sendmail(words: Vec<OsString>) -> Result<(), SendmailError> {
    let Command { plan, config } = arguments::parse(words)?;
    match plan {
        Plan::Nothing(text) => {
            tell(&format!("sendmail: {text}"));
            Ok(())
        }
        Plan::List => {
            let named = config.is_some();
            let config = configured(config)?;
            // The token of the machine's configuration is found by the command itself.
            let token = config.token_file.as_ref().filter(|_| named);
            let words = token.map(|path| vec!["--token-file".into(), path.into()]);
            list(&config, words.unwrap_or_default())
        }
        Plan::Session => session(&configured(config)?),
        Plan::Send(sending) => send(&sending, &configured(config)?),
    }
}

/// The configuration of `-C`, of `SPOOL_CONFIG` or of the machine; the defaults when the machine has none.
fn configured(named: Option<PathBuf>) -> Result<Config, SendmailError> {
    let Some(path) = named.or_else(config_of_machine) else {
        return Ok(Config::defaults());
    };
    Config::load(&path).map_err(|error| SendmailError::new(Exit::Config, error.to_string()))
}

/// The file of `SPOOL_CONFIG`, or that of the machine, if it has one.
pub(crate) fn config_of_machine() -> Option<PathBuf> {
    let named = std::env::var_os("SPOOL_CONFIG").map(PathBuf::from);
    named.or_else(|| Path::new(CONFIG).exists().then(|| PathBuf::from(CONFIG)))
}

/// `mailq` and `-bp`: the output of `spool status` for the service of this configuration.
fn list(config: &Config, mut words: Vec<OsString>) -> Result<(), SendmailError> {
    let names = |word: &OsString| {
        let word = word.to_string_lossy();
        ["--admin", "--spool"].contains(&word.split('=').next().unwrap_or_default())
    };
    if !words.iter().any(names) && std::env::var_os("SPOOL_ADMIN").is_none() {
        let off = "listen.admin is off: there is no service to ask";
        let address = config
            .admin
            .ok_or_else(|| SendmailError::new(Exit::Unavailable, off))?;
        words.extend(["--admin".into(), format!("http://{}", reachable(address)).into()]);
    }
    cli::status(words).map_err(|failure| match failure {
        Failure::Usage(text) | Failure::CommandLine(text) => SendmailError::usage(text),
        Failure::Failed(text) | Failure::Locked(text) | Failure::NoSuchMessage(text) => {
            SendmailError::new(Exit::Unavailable, text)
        }
    })
}

/// Sends the message of standard input.
fn send(sending: &Sending, config: &Config) -> Result<(), SendmailError> {
    let sender = sender(sending, config)?;
    let named = named(sending, config)?;
    let most = config.server.message_size;
    let text = message::read(&mut io::stdin().lock(), sending.dot_is_text, most)?;
    let letter = Letter::of(&text);
    let (envelope, message) = compose(sending, sender, named, &letter, config)?;
    drop(text);
    if message.len() > most {
        let text = format!("the message is larger than {most} bytes");
        return Err(SendmailError::data(text));
    }
    let sent = ServiceConnection::open(config)
        .map_err(SubmitFailure::Down)
        .and_then(|connection| {
            connection.submit(before_message(config), &config.hostname, &envelope, &message)
        });
    let why = match sent {
        Ok(()) => return Ok(()),
        Err(SubmitFailure::Refused(error)) => return Err(error),
        Err(SubmitFailure::Down(why)) => why,
    };
    let Some(dir) = &config.drop_dir else {
        return Err(SendmailError::new(Exit::TryAgain, why));
    };
    dropbox::leave(dir, &envelope, &message).map_err(|error| {
        let dir = dir.display();
        SendmailError::new(Exit::TryAgain, format!("{why}; and {dir}: {error}"))
    })
}
