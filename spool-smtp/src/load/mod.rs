//! The load generator: many connections, each sending message after message, with measurements.
//!
//! It shares the TLS handshake and the parser of replies with the delivery client, and nothing else. Every message has a tag in its
//! `X-Spool-Load` header, so that received messages can be compared with the replies.

mod connection;
mod histogram;
mod template;
mod tls;
mod verify;

pub use histogram::Histogram;
pub use tls::LoadTls;
pub use verify::{Verification, VerifyError, verify};

use connection::{Connection, SendOutcome};
use parking_lot::Mutex;
use spool_core::{Clock, SystemClock};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use template::Template;
use tls::Connector;
use tokio::time::Instant;
use verify::SentLine;

/// A connection gives up after this many consecutive failures.
const MAX_FAILURES: u32 = 20;

/// How a connection sends the commands and the content of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transfer {
    /// Each command after the reply to the one before, as a client without PIPELINING.
    InTurn,
    /// MAIL, RCPT and DATA in one write where the server offers PIPELINING (RFC 2920), otherwise in turn.
    Pipelined,
    /// MAIL, RCPT, BDAT and the content in one write (RFC 3030). A server that does not offer PIPELINING and CHUNKING is an error.
    Chunked,
}

/// The plan of a run.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LoadPlan {
    /// The server's address.
    pub to: SocketAddr,
    /// The total number of messages.
    pub messages: u64,
    /// The number of concurrent connections.
    pub connections: usize,
    /// Bytes of each message, header included; at least 300.
    pub size: usize,
    /// Recipients of each message.
    pub recipients: usize,
    /// Messages per second in total; `None`: each connection sends as soon as its last message was answered.
    pub rate: Option<f64>,
    /// The number of domains of the recipients.
    pub domains: usize,
    /// The file for each message that was answered 250, and each without an answer.
    pub ledger: Option<PathBuf>,
    /// How messages are sent.
    pub transfer: Transfer,
    /// TLS; `None`: plaintext.
    pub tls: Option<LoadTls>,
}

impl LoadPlan {
    /// 1,000 messages of 2 KiB over 10 connections.
    #[must_use]
    pub const fn new(to: SocketAddr) -> Self {
        Self {
            to,
            messages: 1000,
            connections: 10,
            size: 2048,
            recipients: 1,
            rate: None,
            domains: 1,
            ledger: None,
            transfer: Transfer::Pipelined,
            tls: None,
        }
    }
}

/// The progress of a run.
#[derive(Debug, Clone, Copy)]
pub struct LoadProgress {
    /// Messages that were answered, or will not be.
    pub done: u64,
    /// The total.
    pub total: u64,
}

/// The measurements.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct LoadReport {
    /// Messages answered 250.
    pub accepted: u64,
    /// Messages refused, by code.
    pub refused: BTreeMap<u16, u64>,
    /// Messages without a final reply.
    pub unknown: u64,
    /// Failed connections, by reason.
    pub errors: BTreeMap<String, u64>,
    /// TLS handshakes that succeeded, by protocol version and cipher suite.
    pub handshakes: BTreeMap<String, u64>,
    /// From the first connection to the last answer.
    pub elapsed: Duration,
    /// When the first message was due, on the wall clock, in milliseconds since 1970.
    pub started_at: i64,
    /// Time from MAIL to the final reply; with a rate, from when the message was due.
    pub latency: Histogram,
}

impl LoadReport {
    /// Accepted messages per second.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    pub fn per_second(&self) -> f64 {
        self.accepted as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

/// The state that connections share.
struct LoadState {
    plan: LoadPlan,
    template: Template,
    next: AtomicU64,
    done: AtomicU64,
    start: Instant,
    ledger: Option<Mutex<BufWriter<File>>>,
    connector: Option<Connector>,
}

/// Sends all messages. `progress` is called a few times per second.
///
/// # Errors
/// When the ledger cannot be written. Failing connections are part of the report.
pub async fn run(plan: LoadPlan, progress: impl Fn(LoadProgress)) -> io::Result<LoadReport> {
    let open = |path: &PathBuf| OpenOptions::new().create(true).append(true).open(path);
    let ledger = plan
        .ledger
        .as_ref()
        .map(open)
        .transpose()?
        .map(|file| Mutex::new(BufWriter::new(file)));
    let started_at = SystemClock.now();
    let template = Template::new(&plan, started_at);
    let connections = plan.connections.max(1);
    let total = plan.messages;
    let connector = plan.tls.clone().map(Connector::new);
    let shared = Arc::new(LoadState {
        plan,
        template,
        next: AtomicU64::new(0),
        done: AtomicU64::new(0),
        start: Instant::now(),
        ledger,
        connector,
    });
    let tasks: Vec<_> = (0..connections)
        .map(|_| tokio::spawn(drive(Arc::clone(&shared))))
        .collect();
    let mut report = LoadReport {
        started_at: started_at.0,
        ..LoadReport::default()
    };
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    for mut task in tasks {
        let part = loop {
            tokio::select! {
                part = &mut task => break part,
                _ = tick.tick() => progress(LoadProgress { done: shared.done.load(Ordering::Relaxed), total }),
            }
        };
        match part {
            Ok(part) => report.merge(part),
            Err(error) => *report.errors.entry(error.to_string()).or_default() += 1,
        }
    }
    report.elapsed = shared.start.elapsed();
    if let Some(ledger) = &shared.ledger {
        ledger.lock().flush()?;
    }
    progress(LoadProgress { done: total, total });
    Ok(report)
}

impl LoadReport {
    /// A new connection; its handshake is counted.
    async fn open(&mut self, shared: &LoadState) -> io::Result<Connection> {
        let open = Connection::open(shared.plan.to, shared.connector.as_ref(), shared.plan.transfer).await?;
        if let Some(suite) = open.suite() {
            *self.handshakes.entry(suite).or_default() += 1;
        }
        Ok(open)
    }

    fn merge(&mut self, part: Self) {
        self.accepted += part.accepted;
        self.unknown += part.unknown;
        for (code, count) in part.refused {
            *self.refused.entry(code).or_default() += count;
        }
        for (error, count) in part.errors {
            *self.errors.entry(error).or_default() += count;
        }
        for (suite, count) in part.handshakes {
            *self.handshakes.entry(suite).or_default() += count;
        }
        self.latency.merge(&part.latency);
    }
}

/// Whether every connection would fail in the same way, because the server or its certificate was refused.
fn is_final(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput
    )
}

/// The work of one connection, over as many TCP connections as necessary.
async fn drive(shared: Arc<LoadState>) -> LoadReport {
    let mut report = LoadReport::default();
    let mut failures = 0;
    let mut connection: Option<Connection> = None;
    while let Some((number, due)) = shared.next_message().await {
        let open = match connection.take() {
            Some(open) => Ok(open),
            None => report.open(&shared).await,
        };
        let mut open = match open {
            Ok(open) => open,
            Err(error) => {
                // The message was not sent: it counts neither as refused nor as lost.
                *report.errors.entry(error.to_string()).or_default() += 1;
                shared.done.fetch_add(1, Ordering::Relaxed);
                failures += 1;
                if failures >= MAX_FAILURES || is_final(&error) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50) * failures).await;
                continue;
            }
        };
        let ending = open.send(&shared.template, number).await;
        shared.done.fetch_add(1, Ordering::Relaxed);
        match ending {
            SendOutcome::Answered(250) => {
                failures = 0;
                report.accepted += 1;
                report.latency.record(due.elapsed());
                shared.note(number, true);
                connection = Some(open);
            }
            SendOutcome::Answered(code) => {
                *report.refused.entry(code).or_default() += 1;
                connection = (code != 421).then_some(open);
            }
            SendOutcome::Refused(code) => {
                *report.refused.entry(code).or_default() += 1;
                // DATA may have been accepted for other recipients, so a new connection is used.
            }
            SendOutcome::Broken { error, begun } => {
                failures += 1;
                *report.errors.entry(error).or_default() += 1;
                if begun {
                    report.unknown += 1;
                    shared.note(number, false);
                }
                if failures >= MAX_FAILURES {
                    break;
                }
            }
        }
    }
    if let Some(connection) = connection {
        connection.quit().await;
    }
    report
}

impl LoadState {
    /// The next message's number, and since when it is due.
    async fn next_message(&self) -> Option<(u64, Instant)> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if number >= self.plan.messages {
            return None;
        }
        let Some(rate) = self.plan.rate.filter(|rate| *rate > 0.0) else {
            return Some((number, Instant::now()));
        };
        #[expect(clippy::cast_precision_loss, reason = "fewer than 2^52 messages")]
        let due = self.start + Duration::from_secs_f64(number as f64 / rate);
        tokio::time::sleep_until(due).await;
        // Measured from here even when this connection came too late: a slow server must not hide its own queue.
        Some((number, due))
    }

    fn note(&self, number: u64, answered: bool) {
        let Some(ledger) = &self.ledger else { return };
        let tag = self.template.tag(number);
        let mut ledger = ledger.lock();
        let written = serde_json::to_writer(&mut *ledger, &SentLine { tag, answered });
        if let Err(error) = written
            .map_err(io::Error::from)
            .and_then(|()| ledger.write_all(b"\n"))
        {
            tracing::error!(%error, "cannot write the ledger");
        }
    }
}

#[cfg(test)]
mod tests;
