//! The `spool` command: relay service, mock sink, load generator and queue tools.
//!
//! It parses, wires and prints. What is decided is decided in the libraries.

// What is printed passes `print`.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod admin;
mod certificates;
mod cli;
mod config;
mod descriptors;
mod dropbox;
mod failure;
mod files;
mod format;
mod logging;
mod operation;
mod outbound;
mod page;
mod print;
mod routes;
mod selector;
mod sendmail;
mod shutdown;
mod signing;
mod submissions;
mod target;
mod users;
mod way;
mod wire;

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(status) = sendmail::by_name() {
        return status;
    }
    match cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
