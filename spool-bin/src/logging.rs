//! Logs, on standard error. A reader that stops reading must not stop the relay: lines go through a bounded queue to
//! a thread, and those that find it full are dropped and counted.

use crate::failure::Failure;
use clap::ValueEnum;
use spool_core::{is_printable_ascii, visible};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::Directive;
use tracing_subscriber::fmt::MakeWriter;

/// The most lines that wait for the reader of standard error.
const QUEUE: usize = 8192;

/// How long lines gather before they are written.
const GATHER: Duration = Duration::from_millis(2);
/// How long the end of the process waits for a reader of its last lines.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);

/// Writes out what is still queued when it is dropped.
#[derive(Debug)]
pub(crate) struct Flush {
    queue: SyncSender<Vec<u8>>,
    flushed: Receiver<()>,
}

impl Drop for Flush {
    fn drop(&mut self) {
        if self.queue.try_send(Vec::new()).is_ok() {
            let _ = self.flushed.recv_timeout(FLUSH_TIMEOUT);
        }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Hands whole lines to the writing thread.
#[derive(Debug, Clone)]
struct Lines {
    queue: SyncSender<Vec<u8>>,
    dropped: Arc<AtomicU64>,
}

impl Lines {
    /// And what they go to.
    fn new() -> (Self, Receiver<Vec<u8>>) {
        let (queue, lines) = sync_channel(QUEUE);
        let dropped = Arc::default();
        (Self { queue, dropped }, lines)
    }
}

/// One event's line, handed over when it is complete.
struct Line {
    text: Vec<u8>,
    lines: Lines,
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if !self.text.is_empty() && self.lines.queue.try_send(std::mem::take(&mut self.text)).is_err() {
            self.lines.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line;
    fn make_writer(&'a self) -> Line {
        Line {
            text: Vec::with_capacity(256),
            lines: self.clone(),
        }
    }
}

/// One line of the log as one line of visible text, whatever stands in it.
fn append(batch: &mut Vec<u8>, line: &[u8]) {
    let text = line.strip_suffix(b"\n").unwrap_or(line);
    if is_printable_ascii(text) {
        batch.extend_from_slice(text);
    } else {
        let text = String::from_utf8_lossy(text);
        batch.extend_from_slice(visible(text.trim_end_matches('\n')).as_bytes());
    }
    if !line.is_empty() {
        batch.push(b'\n');
    }
}

/// Writes what has gathered in one go. An empty line asks for an answer once everything before it is written.
fn write_lines(queue: &Receiver<Vec<u8>>, dropped: &AtomicU64, flushed: &SyncSender<()>) {
    let mut err = io::stderr();
    let mut batch = Vec::new();
    while let Ok(first) = queue.recv() {
        // Whoever logs does not have to wake this thread for every line while it sleeps.
        if !first.is_empty() {
            std::thread::sleep(GATHER);
        }
        let mut asked = false;
        for line in std::iter::once(first).chain(queue.try_iter().take(QUEUE)) {
            asked |= line.is_empty();
            append(&mut batch, &line);
        }
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            batch.extend_from_slice(
                format!("spool: {lost} log lines were dropped: nobody read them\n").as_bytes(),
            );
        }
        // Nothing can be said about an error in saying things.
        let _ = err.write_all(&batch);
        batch.clear();
        batch.shrink_to(64 * 1024);
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
pub(crate) fn init(format: LogFormat) -> Result<Flush, Failure> {
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
    let (writer, lines) = Lines::new();
    let (tell, flushed) = sync_channel(1);
    let flush = Flush {
        queue: writer.queue.clone(),
        flushed,
    };
    let dropped = Arc::clone(&writer.dropped);
    let thread = std::thread::Builder::new().name("spool-log".into());
    thread
        .spawn(move || write_lines(&lines, &dropped, &tell))
        .map_err(|error| Failure::Failed(format!("no thread for the log: {error}")))?;
    let plain = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_target(false);
    match format {
        LogFormat::Text => plain.with_ansi(false).init(),
        LogFormat::Json => plain.json().flatten_event(true).init(),
    }
    Ok(flush)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_nobody_reads_are_dropped_and_counted_beyond_the_bound() {
        let (lines, waiting) = Lines::new();
        for _ in 0..8192 + 3 {
            lines.make_writer().write_all(b"INFO x\n").unwrap();
        }
        assert_eq!(lines.dropped.load(Ordering::Relaxed), 3);
        assert_eq!(waiting.try_iter().count(), 8192);
    }

    #[test]
    fn a_line_of_the_log_is_one_visible_line() {
        let mut batch = Vec::new();
        append(
            &mut batch,
            "INFO reply=550 a\nERROR forged \u{1b}[31m\u{2060}\u{e0041}\n".as_bytes(),
        );
        append(&mut batch, b"");
        append(&mut batch, b"next\n");
        assert_eq!(
            String::from_utf8(batch).unwrap(),
            "INFO reply=550 a\\nERROR forged \\u001b[31m\\u2060\\udb40\\udc41\nnext\n"
        );
    }
}
