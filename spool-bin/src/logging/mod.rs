//! The log, on standard error. A reader that stops reading must not stop the relay: what is logged goes through a queue, bounded in
//! number and in bytes, to a thread that formats and writes it. What finds the queue full is dropped and counted.
//!
//! Lines about mail ([`Record`]) arrive as they were made; other lines as their message and fields. Nothing is formatted on the
//! thread that logs. `docs/logs.md` lists the lines.

mod redact;
#[cfg(test)]
mod tests;

pub(crate) use redact::{Redaction, Redactor, redactor};

use crate::failure::Failure;
use clap::ValueEnum;
use spool_core::log::{Line, Record, Redact, Value};
use spool_core::{Clock, SystemClock, Timestamp, is_printable_ascii, visible};
use std::borrow::Cow;
use std::error::Error;
use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Directive;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, registry};

/// The most entries that wait for the reader of standard error.
const QUEUE: usize = 8192;
/// The most bytes of them.
const QUEUE_BYTES: usize = 8 << 20;

/// How long entries gather before they are written.
const GATHER: Duration = Duration::from_millis(2);
/// How long the end of the process waits for a reader of its last lines.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What was logged.
#[derive(Debug)]
enum What {
    /// About mail.
    Record(Arc<Record>),
    /// Anything else: a message and fields.
    Other {
        message: String,
        fields: Vec<(&'static str, Value<'static>)>,
    },
}

/// One entry of the queue.
#[derive(Debug)]
struct Entry {
    at: Timestamp,
    level: Level,
    what: What,
    /// Its share of [`QUEUE_BYTES`].
    bytes: usize,
}

/// What goes to the writing thread.
#[derive(Debug)]
enum Job {
    Write(Box<Entry>),
    /// Answer once everything before is written.
    Flush,
}

/// Writes out what is still queued when it is dropped.
#[derive(Debug)]
pub(crate) struct Flush {
    queue: SyncSender<Job>,
    flushed: Receiver<()>,
}

impl Drop for Flush {
    fn drop(&mut self) {
        if self.queue.try_send(Job::Flush).is_ok() {
            let _ = self.flushed.recv_timeout(FLUSH_TIMEOUT);
        }
    }
}

/// What both ends of the queue count.
#[derive(Debug, Default)]
struct Counts {
    waiting: AtomicUsize,
    dropped: AtomicU64,
}

/// Hands entries to the writing thread.
#[derive(Debug)]
struct Hand {
    queue: SyncSender<Job>,
    counts: Arc<Counts>,
}

impl Hand {
    fn give(&self, entry: Entry) {
        let bytes = entry.bytes;
        let before = self.counts.waiting.fetch_add(bytes, Ordering::Relaxed);
        let fits = before == 0 || before.saturating_add(bytes) <= QUEUE_BYTES;
        if !fits || self.queue.try_send(Job::Write(Box::new(entry))).is_err() {
            self.counts.waiting.fetch_sub(bytes, Ordering::Relaxed);
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<S: Subscriber> Layer<S> for Hand {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut seen = Seen::default();
        event.record(&mut seen);
        let (what, bytes) = match seen.record {
            Some(record) => {
                let bytes = record.footprint();
                (What::Record(record), bytes)
            }
            None => {
                let (message, fields) = (seen.message, seen.fields);
                let bytes = 256 + message.len() + seen.bytes;
                (What::Other { message, fields }, bytes)
            }
        };
        self.give(Entry {
            at: SystemClock.now(),
            level: *event.metadata().level(),
            what,
            bytes,
        });
    }
}

/// The fields of an event.
#[derive(Debug, Default)]
struct Seen {
    record: Option<Arc<Record>>,
    message: String,
    fields: Vec<(&'static str, Value<'static>)>,
    bytes: usize,
}

impl Seen {
    fn text(&mut self, field: &Field, text: String) {
        if field.name() == "message" {
            self.message = text;
            return;
        }
        self.bytes += text.len() + 32;
        let value = match field.name() {
            "user" => Value::User(text.into()),
            _ => listed(text),
        };
        self.fields.push((field.name(), value));
    }

    fn value(&mut self, field: &Field, value: Value<'static>) {
        self.bytes += 32;
        self.fields.push((field.name(), value));
    }
}

/// What a list looks like when it was written for debugging is a list again, unless it has texts in it.
fn listed(text: String) -> Value<'static> {
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match inner.filter(|inner| !inner.contains(['"', '[', ']'])) {
        None => Value::Text(text.into()),
        Some("") => Value::List(Vec::new()),
        Some(inner) => {
            let items = inner.split(", ").map(|item| Value::Text(item.to_owned().into()));
            Value::List(items.collect())
        }
    }
}

impl Visit for Seen {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            "user" => self.text(field, value.to_owned()),
            _ => {
                self.bytes += value.len();
                self.value(field, Value::Text(value.to_owned().into()));
            }
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.value(field, Value::Number(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.value(field, Value::Integer(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.value(field, Value::Float(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.value(field, Value::Flag(value));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        match Record::of(value) {
            Some(record) => self.record = Some(record),
            None => self.text(field, value.to_string()),
        }
    }
}

/// Formats entries, each line as one line of visible text, whatever stands in it.
struct Writer {
    format: LogFormat,
    redactor: Option<Arc<Redactor>>,
    line: String,
    batch: Vec<u8>,
}

impl Writer {
    fn entry(&mut self, entry: &Entry) {
        match &entry.what {
            What::Record(record) => record.lines(&mut |mut line| {
                if let Some(redactor) = &self.redactor {
                    line.redact(redactor.as_ref());
                }
                let level = match line.level {
                    spool_core::log::Level::Info => Level::INFO,
                    spool_core::log::Level::Warn => Level::WARN,
                };
                self.write("event", &line, line.event, entry.at, level);
            }),
            What::Other { message, fields } => {
                let mut line = Line::new("", spool_core::log::Level::Info);
                line.fields.extend(fields.iter().cloned());
                let mut message = Cow::Borrowed(message.as_str());
                if let Some(redactor) = &self.redactor {
                    line.redact(redactor.as_ref());
                    message = redactor.text(&message).into_owned().into();
                }
                self.write("message", &line, &message, entry.at, entry.level);
            }
        }
    }

    fn write(&mut self, kind: &str, line: &Line<'_>, what: &str, at: Timestamp, level: Level) {
        self.line.clear();
        // Writing to a String cannot fail.
        let _ = match self.format {
            LogFormat::Text => text(&mut self.line, line, what, at, level),
            LogFormat::Json => json(&mut self.line, kind, line, what, at, level),
        };
        append(&mut self.batch, self.line.as_bytes());
    }
}

fn text(out: &mut String, line: &Line<'_>, what: &str, at: Timestamp, level: Level) -> fmt::Result {
    write!(out, "{at} {level} {what}")?;
    for (key, value) in &line.fields {
        out.push(' ');
        out.push_str(key);
        out.push('=');
        value.write_text(out)?;
    }
    Ok(())
}

fn json(
    out: &mut String,
    kind: &str,
    line: &Line<'_>,
    what: &str,
    at: Timestamp,
    level: Level,
) -> fmt::Result {
    write!(out, "{{\"timestamp\":\"{at}\",\"level\":\"{level}\",\"{kind}\":")?;
    Value::Word(what.into()).write_json(out)?;
    for (key, value) in &line.fields {
        out.push_str(",\"");
        out.push_str(key);
        out.push_str("\":");
        value.write_json(out)?;
    }
    out.push('}');
    Ok(())
}

fn append(batch: &mut Vec<u8>, line: &[u8]) {
    if is_printable_ascii(line) {
        batch.extend_from_slice(line);
    } else {
        batch.extend_from_slice(visible(&String::from_utf8_lossy(line)).as_bytes());
    }
    batch.push(b'\n');
}

/// Writes what has gathered in one go.
fn write_lines(
    queue: &Receiver<Job>,
    counts: &Counts,
    flushed: &SyncSender<()>,
    format: LogFormat,
    redaction: &Redaction,
    err: &mut dyn Write,
) {
    let mut writer = Writer {
        format,
        redactor: None,
        line: String::new(),
        batch: Vec::new(),
    };
    while let Ok(first) = queue.recv() {
        // Whoever logs does not have to wake this thread for every line while it sleeps.
        if matches!(first, Job::Write(_)) {
            std::thread::sleep(GATHER);
        }
        writer.redactor = redaction.now();
        let mut asked = false;
        for job in std::iter::once(first).chain(queue.try_iter().take(QUEUE)) {
            match job {
                Job::Flush => asked = true,
                Job::Write(entry) => {
                    writer.entry(&entry);
                    counts.waiting.fetch_sub(entry.bytes, Ordering::Relaxed);
                }
            }
            if writer.batch.len() >= 1 << 20 {
                // Nothing can be said about an error in saying things.
                let _ = err.write_all(&writer.batch);
                writer.batch.clear();
            }
        }
        let lost = counts.dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let mut line = Line::new("", spool_core::log::Level::Warn);
            line.fields.push(("lines", Value::Number(lost)));
            let what = "log lines were dropped: nobody read them";
            writer.write("message", &line, what, SystemClock.now(), Level::WARN);
        }
        let _ = err.write_all(&writer.batch);
        writer.batch.clear();
        writer.batch.shrink_to(64 * 1024);
        if asked {
            let _ = flushed.try_send(());
        }
    }
}

/// Turns off what actix-http logs.
fn quiet() -> Result<Directive, Failure> {
    "actix_http=off"
        .parse()
        .map_err(|error| Failure::Failed(format!("the log's filter: {error}")))
}

/// Sets logging up for this process, until the value is dropped. `SPOOL_LOG` filters it (default `info`).
pub(crate) fn init(format: LogFormat, redaction: Redaction) -> Result<Flush, Failure> {
    let filter = match std::env::var("SPOOL_LOG") {
        Ok(filter) => filter
            .parse::<EnvFilter>()
            .map_err(|error| Failure::Usage(format!("SPOOL_LOG: {error}")))?,
        Err(_) => EnvFilter::new("info,actix_server=warn"),
    };
    // What clients of the admin API do wrong is no error of ours; it is counted, and told at DEBUG, where it is handled.
    let filter = match filter.to_string().contains("actix_http") {
        true => filter,
        false => filter.add_directive(quiet()?),
    };
    let (queue, jobs) = sync_channel(QUEUE);
    let (tell, flushed) = sync_channel(1);
    let flush = Flush {
        queue: queue.clone(),
        flushed,
    };
    let counts = Arc::new(Counts::default());
    let hand = Hand {
        queue,
        counts: Arc::clone(&counts),
    };
    let thread = std::thread::Builder::new().name("spool-log".into());
    thread
        .spawn(move || write_lines(&jobs, &counts, &tell, format, &redaction, &mut io::stderr()))
        .map_err(|error| Failure::Failed(format!("no thread for the log: {error}")))?;
    registry().with(filter).with(hand).init();
    Ok(flush)
}
