//! The `spool` command: relay service, mock sink, load generator and queue tools.
//!
//! It parses, connects the crates and prints. Decisions are made in the libraries.

// All output passes `print`.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod address_route;
mod admin;
mod certificates;
mod cli;
mod config;
mod contents;
mod descriptors;
mod dropbox;
mod failure;
mod files;
mod format;
mod inspect;
mod listeners;
mod loading;
mod logging;
mod manager;
mod memory;
mod operation;
mod outbound;
mod owner;
mod page;
mod print;
mod relay;
mod reload;
mod routes;
mod selector;
mod sendmail;
mod service;
mod shutdown;
mod signing;
mod sockets;
mod submissions;
mod target;
mod users;

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(status) = sendmail::by_name() {
        return status;
    }
    // Before any thread starts, because it changes the environment.
    let sockets = match sockets::Sockets::inherit() {
        Ok(sockets) => sockets,
        Err(failure) => return failure.report(),
    };
    match cli::run(sockets) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
