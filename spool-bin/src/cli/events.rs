//! `spool events`: follows the event stream of a running service, through its restarts.
//!
//! It never misses events silently: after a restart it continues after the last event, and a gap is printed.

use super::which::Admin;
use crate::failure::Failure;
use crate::format::event;
use crate::print::print_error;
use crate::target::{HttpAnswer, Service};
use anyhow::Context;
use clap::Args;
use nix::sys::signal::{SigSet, Signal};
use serde::Deserialize;
use spool_core::{Event, harmless, visible};
use std::io::{self, Write, stdout};
use std::time::Duration;

/// Time between two attempts to reach a service that has ended.
const RETRY: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  spool events                              what happens from now on
  spool events --since 0 | grep delivered   everything the event log still has, then what happens
  spool events --since 4711 --format json   after the event 4711, one JSON object a line

It ends with Ctrl-C, or when its output is closed. A restart of the service is reported on standard \
error; the stream continues after the last event.")]
pub(super) struct Events {
    /// Begin after the event with this number [default: from now on]
    #[arg(long, value_name = "SEQ")]
    since: Option<u64>,
    /// Output format
    #[arg(long, value_name = "FORMAT", value_parser = ["text", "json"], default_value = "text")]
    format: String,
    #[command(flatten)]
    admin: Admin,
}

/// The number of an event, also of one that this program does not know.
#[derive(Deserialize)]
struct Numbered {
    seq: u64,
}

/// How a connection ended.
enum End {
    /// The service has ended.
    Lost,
    /// The reader has closed standard output.
    Unread,
}

impl Events {
    pub(super) fn run(self) -> Result<(), Failure> {
        end_on_interrupt()?;
        let service = self.admin.service()?;
        let mut last = self.since;
        let mut answer = follow(&service, last)?.good()?;
        loop {
            if matches!(self.print(answer, &mut last)?, End::Unread) {
                return Ok(());
            }
            print_error(&format!(
                "the service has gone; waiting for it to go on {}",
                from(last)
            ));
            answer = again(&service, last)?;
            print_error(&format!("the service is back; going on {}", from(last)));
        }
    }

    /// Prints until the service or the reader is gone; `last` is the number of the newest event.
    fn print(&self, answer: HttpAnswer, last: &mut Option<u64>) -> Result<End, Failure> {
        for line in answer.lines() {
            let Ok(line) = line else { return Ok(End::Lost) };
            let Some(data) = line.strip_prefix("data:").map(str::trim) else {
                continue;
            };
            *last = serde_json::from_str(data).map_or(*last, |Numbered { seq }| Some(seq));
            let text = match (serde_json::from_str::<Event>(data), self.format.as_str()) {
                (_, "json") => Some(data.to_owned()),
                (Ok(event), _) => event::line(&event),
                // Of a newer service.
                (Err(_), _) => Some(harmless(data)),
            };
            let Some(text) = text else { continue };
            let (mut out, line) = (stdout().lock(), format!("{}\n", visible(&text)));
            match out.write_all(line.as_bytes()).and_then(|()| out.flush()) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(End::Unread),
                Err(error) => return Err(Failure::Failed(format!("standard output: {error}"))),
            }
        }
        Ok(End::Lost)
    }
}

fn from(last: Option<u64>) -> String {
    last.map_or("from now on".to_owned(), |last| format!("behind event {last}"))
}

fn follow(service: &Service, last: Option<u64>) -> Result<HttpAnswer, Failure> {
    let query = last.map_or(String::new(), |last| format!("?since={last}"));
    service.ask("GET", &format!("/api/v1/events{query}"), None)
}

/// Waits until the service answers; one that is starting or ending (503) does not yet.
fn again(service: &Service, last: Option<u64>) -> Result<HttpAnswer, Failure> {
    loop {
        std::thread::sleep(RETRY);
        match follow(service, last) {
            Ok(answer) if answer.status == 503 => {}
            Ok(answer) => return answer.good(),
            Err(_) => {}
        }
    }
}

/// An interrupt ends the command with exit status 0. Each line is written by one call, so none is cut.
fn end_on_interrupt() -> Result<(), Failure> {
    let interrupt = SigSet::from(Signal::SIGINT);
    interrupt.thread_block().context("signals")?;
    std::thread::spawn(move || {
        if interrupt.wait().is_ok() {
            std::process::exit(0);
        }
    });
    Ok(())
}
