//! `spool load`: generates load and measures it.

use super::console;
use super::sink::{When, read, refuse};
use crate::failure::Failure;
use crate::logging::{self, LogFormat, Redaction};
use anyhow::Context;
use clap::Args;
use spool_smtp::client::TrustRoots;
use spool_smtp::load::{LoadPlan, LoadProgress, LoadReport, LoadTls, Transfer, Verification, run, verify};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// With `--verify`: how long nothing new may arrive before the rest is called lost.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  spool load --to 127.0.0.1:2525 --messages 20000 --connections 20 --size 2048
  spool load --to 127.0.0.1:2525 --rate 200 --messages 12000
  spool load --to 127.0.0.1:2525 --ledger load.jsonl --verify sink.jsonl
  spool load --to 127.0.0.1:2525 --tls starttls --tls-ca roots.pem

With --rate, latency is counted from when a message was due, not from when it could be sent. With \
--verify it waits until everything answered has arrived in the sink's ledger, or nothing new has for \
30 seconds; the exit status is 1 if anything is lost.")]
pub(super) struct Load {
    /// The server to send to
    #[arg(long, value_name = "ADDR")]
    to: SocketAddr,
    /// Messages in all
    #[arg(long, value_name = "N", default_value_t = 1000)]
    messages: u64,
    /// Connections at once
    #[arg(long, value_name = "N", default_value_t = 10)]
    connections: usize,
    /// Bytes of a message
    #[arg(long, value_name = "BYTES", default_value_t = 2048)]
    size: usize,
    /// Recipients of a message
    #[arg(long, value_name = "N", default_value_t = 1)]
    recipients: usize,
    /// Messages a second in all [default: as many as the server takes]
    #[arg(long, value_name = "PER_SECOND")]
    rate: Option<f64>,
    /// Domains that the recipients are spread over
    #[arg(long, value_name = "N", default_value_t = 1)]
    domains: usize,
    /// A JSON line for each message answered
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// Compare with the ledger of a sink
    #[arg(long, value_name = "SINK_LEDGER", requires = "ledger")]
    verify: Option<PathBuf>,
    /// How messages are sent: in turn, pipelined where the server offers it, or each in one write with BDAT
    #[arg(long, value_enum, value_name = "HOW", default_value_t = How::Pipelined)]
    transfer: How,
    /// TLS: by STARTTLS, or before the greeting
    #[arg(long, value_name = "WHEN")]
    tls: Option<When>,
    /// Certificates to trust, a PEM file [default: those of the machine]
    #[arg(long, value_name = "FILE", requires = "tls")]
    tls_ca: Option<PathBuf>,
    /// What the certificate must be valid for [default: the address of --to]
    #[arg(long, value_name = "NAME", requires = "tls")]
    tls_name: Option<String>,
    /// Accept any certificate: for tests on loopback
    #[arg(long, requires = "tls", conflicts_with = "tls_ca")]
    tls_insecure: bool,
    /// Output format
    #[arg(long, value_parser = ["text", "json"], default_value = "text")]
    format: String,
}

/// See [`Transfer`].
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum How {
    InTurn,
    Pipelined,
    Chunked,
}

impl Load {
    pub(super) fn run(self) -> Result<(), Failure> {
        let _flush = logging::init(LogFormat::Text, Redaction::default())?;
        let plan = self.plan()?;
        let bar = console::progress(Some(self.messages), "{bar:40} {pos}/{len} {per_sec} {eta}");
        let progress = |progress: LoadProgress| bar.set_position(progress.done);
        let report = console::runtime()?
            .block_on(run(plan, progress))
            .context("the ledger")?;
        bar.finish_and_clear();
        let ledgers = self.ledger.as_ref().zip(self.verify.as_ref());
        let verified = ledgers
            .map(|(load, sink)| wait_and_verify(load, sink))
            .transpose()?;
        let end_to_end = verified.map(|verified| (verified, end_to_end(&report, &verified)));
        match self.format.as_str() {
            "json" => console::print_json(&json(&report, end_to_end))?,
            _ => console::print(|out| print_text(&report, end_to_end, out))?,
        }
        let lost = verified.map_or(0, |verified| verified.lost);
        match (lost, report.accepted) {
            (0, 1..) => Ok(()),
            (0, 0) if self.messages == 0 => Ok(()),
            (0, 0) => Err(Failure::Failed(nothing_accepted(&report))),
            (lost, _) => Err(Failure::Failed(format!(
                "{lost} messages were answered 250 and did not arrive"
            ))),
        }
    }

    fn plan(&self) -> Result<LoadPlan, Failure> {
        let mut plan = LoadPlan::new(self.to);
        plan.messages = self.messages;
        plan.connections = self.connections;
        plan.size = self.size;
        plan.recipients = self.recipients;
        plan.rate = self.rate;
        plan.domains = self.domains;
        plan.ledger.clone_from(&self.ledger);
        plan.transfer = match self.transfer {
            How::InTurn => Transfer::InTurn,
            How::Pipelined => Transfer::Pipelined,
            How::Chunked => Transfer::Chunked,
        };
        plan.tls = self.tls()?;
        Ok(plan)
    }

    fn tls(&self) -> Result<Option<LoadTls>, Failure> {
        let Some(when) = self.tls else {
            return Ok(None);
        };
        let mut tls = LoadTls::new(when.into());
        tls.name.clone_from(&self.tls_name);
        if self.tls_insecure {
            tls.roots = None;
        }
        if let Some(file) = &self.tls_ca {
            let roots = TrustRoots::from_pem(&read(file)?);
            tls.roots = Some(roots.map_err(|error| refuse(file, &error))?);
        }
        Ok(Some(tls))
    }
}

/// Milliseconds in which this share of the mail was answered.
fn quantile(report: &LoadReport, share: f64) -> f64 {
    report.latency.quantile(share).as_secs_f64() * 1000.0
}

fn json(report: &LoadReport, verified: Option<(Verification, f64)>) -> serde_json::Value {
    let quantile = |share| quantile(report, share);
    serde_json::json!({
        "accepted": report.accepted,
        "refused": report.refused,
        "unknown": report.unknown,
        "errors": report.errors,
        "handshakes": report.handshakes,
        "seconds": report.elapsed.as_secs_f64(),
        "per_second": report.per_second(),
        "latency_ms": {
            "p50": quantile(0.5), "p90": quantile(0.9), "p99": quantile(0.99), "p999": quantile(0.999),
            "max": report.latency.max().as_secs_f64() * 1000.0,
        },
        "verification": verified.map(|(verified, _)| verified),
        "end_to_end_per_second": verified.map(|(_, rate)| rate),
    })
}

fn print_text(
    report: &LoadReport,
    verified: Option<(Verification, f64)>,
    out: &mut impl Write,
) -> io::Result<()> {
    let quantile = |share| quantile(report, share);
    writeln!(
        out,
        "{} accepted in {:.2} s: {:.0} messages/s",
        report.accepted,
        report.elapsed.as_secs_f64(),
        report.per_second()
    )?;
    writeln!(
        out,
        "latency ms: p50 {:.2}, p90 {:.2}, p99 {:.2}, p99.9 {:.2}, max {:.2}",
        quantile(0.5),
        quantile(0.9),
        quantile(0.99),
        quantile(0.999),
        report.latency.max().as_secs_f64() * 1000.0
    )?;
    for (suite, count) in &report.handshakes {
        writeln!(out, "TLS handshakes: {count}, {suite}")?;
    }
    for (code, count) in &report.refused {
        writeln!(out, "{count} refused with {code}")?;
    }
    if report.unknown > 0 {
        writeln!(out, "{} without an answer", report.unknown)?;
    }
    for (error, count) in &report.errors {
        writeln!(out, "{count} times: {error}")?;
    }
    if let Some((verified, rate)) = verified {
        writeln!(
            out,
            "{} arrived, {} lost, {} duplicated; {rate:.0} messages/s end to end",
            verified.arrived, verified.lost, verified.duplicated
        )?;
    }
    Ok(())
}

/// Why there is nothing to measure: the most frequent error, if there was one.
fn nothing_accepted(report: &LoadReport) -> String {
    let error = report.errors.iter().max_by_key(|(_, count)| **count);
    let error = error.map_or_else(String::new, |(error, _)| format!(": {error}"));
    format!("not one message was accepted{error}")
}

/// From the first message to the last arrival.
#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn end_to_end(report: &LoadReport, verified: &Verification) -> f64 {
    let millis = (verified.last_at - report.started_at).max(1);
    verified.arrived as f64 / (millis as f64 / 1000.0)
}

/// Waits until all that was answered has arrived, or nothing new has for a while.
fn wait_and_verify(load: &Path, sink: &Path) -> Result<Verification, Failure> {
    let (mut size, mut since) = (0, Instant::now());
    loop {
        let now = std::fs::metadata(sink).map(|data| data.len()).unwrap_or(0);
        if now != size {
            (size, since) = (now, Instant::now());
        } else if since.elapsed() >= Duration::from_millis(300) {
            // It has not grown for a moment, so it may be complete.
            let verified = verify(load, sink).map_err(|error| Failure::Failed(error.to_string()))?;
            if verified.lost == 0 || since.elapsed() >= PATIENCE {
                return Ok(verified);
            }
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
