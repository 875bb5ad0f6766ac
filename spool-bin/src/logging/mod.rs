//! The log, on standard error. A reader that stops reading must not stop the relay: entries go through a queue, bounded in number
//! and in bytes, to a thread that formats and writes them. Entries beyond the bounds are dropped and counted.
//!
//! Lines about mail arrive as a [`Record`](spool_core::log::Record), other lines as their message and fields. Nothing is formatted
//! on the thread that logs. `docs/logs.md` lists the lines.

mod fields;
mod redact;
#[cfg(test)]
mod tests;
mod writer;

pub(crate) use redact::{Redaction, Redactor, redactor};
pub(crate) use writer::LogFormat;

use crate::failure::Failure;
use fields::EventFields;
use spool_core::log::{Line, Value};
use spool_core::{Clock, SystemClock};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, registry};
use writer::{LogEntry, Writer};

/// The most entries in the queue.
const QUEUE: usize = 8192;
/// The most bytes of entries in the queue.
const QUEUE_BYTES: usize = 8 << 20;

/// How long entries are collected before they are written.
const GATHER: Duration = Duration::from_millis(2);
/// How long the end of the process waits until the last lines are written.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);

/// A job of the writing thread.
#[derive(Debug)]
enum WriterJob {
    Write(Box<LogEntry>),
    /// Answer once everything before is written.
    Flush(SyncSender<()>),
}

/// Flushes the queue when it is dropped.
#[derive(Debug)]
pub(crate) struct Flush(SyncSender<WriterJob>);

impl Drop for Flush {
    fn drop(&mut self) {
        let (tell, flushed) = sync_channel(1);
        if self.0.try_send(WriterJob::Flush(tell)).is_ok() {
            let _ = flushed.recv_timeout(FLUSH_TIMEOUT);
        }
    }
}

/// Counts that both ends of the queue share.
#[derive(Debug, Default)]
struct Counts {
    waiting: AtomicUsize,
    dropped: AtomicU64,
}

/// Passes entries to the writing thread.
#[derive(Debug)]
struct QueueLayer {
    queue: SyncSender<WriterJob>,
    counts: Arc<Counts>,
}

impl QueueLayer {
    fn give(&self, entry: LogEntry) {
        let bytes = entry.event.bytes;
        let before = self.counts.waiting.fetch_add(bytes, Ordering::Relaxed);
        let fits = before == 0 || before.saturating_add(bytes) <= QUEUE_BYTES;
        if !fits || self.queue.try_send(WriterJob::Write(Box::new(entry))).is_err() {
            self.counts.waiting.fetch_sub(bytes, Ordering::Relaxed);
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<S: Subscriber> Layer<S> for QueueLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.give(LogEntry {
            at: SystemClock.now(),
            level: *event.metadata().level(),
            event: EventFields::of(event),
        });
    }
}

/// Writes the entries that have been collected at once.
fn write_lines(
    queue: &Receiver<WriterJob>,
    counts: &Counts,
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
        // While this thread sleeps, threads that log do not have to wake it for each line.
        if matches!(first, WriterJob::Write(_)) {
            std::thread::sleep(GATHER);
        }
        writer.redactor = redaction.borrow().clone();
        let mut asked = None;
        for job in std::iter::once(first).chain(queue.try_iter().take(QUEUE)) {
            match job {
                WriterJob::Flush(flushed) => asked = Some(flushed),
                WriterJob::Write(entry) => {
                    writer.entry(&entry);
                    counts.waiting.fetch_sub(entry.event.bytes, Ordering::Relaxed);
                }
            }
            if writer.batch.len() >= 1 << 20 {
                // An error of the log cannot be logged.
                let _ = err.write_all(&writer.batch);
                writer.batch.clear();
            }
        }
        let lost = counts.dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let mut line = Line::new("", Level::WARN);
            line.fields.push(("lines", Value::Number(lost)));
            let what = "log lines were dropped: nobody read them";
            writer.write("message", &line, what, SystemClock.now());
        }
        let _ = err.write_all(&writer.batch);
        writer.batch.clear();
        writer.batch.shrink_to(64 * 1024);
        if let Some(flushed) = asked {
            let _ = flushed.try_send(());
        }
    }
}

/// Sets logging up for this process, until the value is dropped. `SPOOL_LOG` filters it (default `info`).
pub(crate) fn init(format: LogFormat, redaction: Redaction) -> Result<Flush, Failure> {
    let mut filter = std::env::var("SPOOL_LOG").unwrap_or_else(|_| "info,actix_server=warn".to_owned());
    // Errors of clients of the admin API are counted, and logged at DEBUG where they are handled.
    if !filter.contains("actix_http") {
        filter.push_str(",actix_http=off");
    }
    let filter: EnvFilter = filter
        .parse()
        .map_err(|error| Failure::Usage(format!("SPOOL_LOG: {error}")))?;
    let (queue, jobs) = sync_channel(QUEUE);
    let flush = Flush(queue.clone());
    let counts = Arc::new(Counts::default());
    let layer = QueueLayer {
        queue,
        counts: Arc::clone(&counts),
    };
    let thread = std::thread::Builder::new().name("spool-log".into());
    thread
        .spawn(move || write_lines(&jobs, &counts, format, &redaction, &mut io::stderr()))
        .map_err(|error| Failure::Failed(format!("no thread for the log: {error}")))?;
    registry().with(filter).with(layer).init();
    Ok(flush)
}
