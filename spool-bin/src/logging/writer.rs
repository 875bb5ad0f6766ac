//! Formats log entries as text or JSON.

use super::fields::EventFields;
use super::redact::Redactor;
use clap::ValueEnum;
use spool_core::log::{Line, Redact, Value};
use spool_core::{Timestamp, is_printable_ascii, visible};
use std::fmt::{self, Write as _};
use std::sync::Arc;
use tracing::Level;

/// The format of log lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// One entry of the queue.
#[derive(Debug)]
pub(super) struct LogEntry {
    pub(super) at: Timestamp,
    pub(super) level: Level,
    pub(super) event: EventFields,
}

/// Formats entries. Each becomes one line of visible text.
pub(super) struct Writer {
    pub(super) format: LogFormat,
    pub(super) redactor: Option<Arc<Redactor>>,
    pub(super) line: String,
    pub(super) batch: Vec<u8>,
}

impl Writer {
    pub(super) fn entry(&mut self, entry: &LogEntry) {
        let redactor = self.redactor.clone();
        let redact = |line: &mut Line<'_>| {
            if let Some(redactor) = &redactor {
                line.redact(redactor.as_ref());
            }
        };
        if let Some(record) = &entry.event.record {
            return record.lines(&mut |mut line| {
                redact(&mut line);
                self.write("event", &line, line.event, entry.at);
            });
        }
        let mut line = Line::new("", entry.level);
        line.fields.extend(entry.event.fields.iter().cloned());
        redact(&mut line);
        let message = match &redactor {
            Some(redactor) => redactor.text(&entry.event.message),
            None => entry.event.message.as_str().into(),
        };
        self.write("message", &line, &message, entry.at);
    }

    pub(super) fn write(&mut self, kind: &str, line: &Line<'_>, what: &str, at: Timestamp) {
        self.line.clear();
        // Writing to a String cannot fail.
        let _ = match self.format {
            LogFormat::Text => text(&mut self.line, line, what, at),
            LogFormat::Json => json(&mut self.line, kind, line, what, at),
        };
        append(&mut self.batch, self.line.as_bytes());
    }
}

fn text(out: &mut String, line: &Line<'_>, what: &str, at: Timestamp) -> fmt::Result {
    write!(out, "{at} {} {what}", line.level)?;
    for (key, value) in &line.fields {
        out.push(' ');
        out.push_str(key);
        out.push('=');
        value.write_text(out)?;
    }
    Ok(())
}

fn json(out: &mut String, kind: &str, line: &Line<'_>, what: &str, at: Timestamp) -> fmt::Result {
    let level = line.level;
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

pub(super) fn append(batch: &mut Vec<u8>, line: &[u8]) {
    if is_printable_ascii(line) {
        batch.extend_from_slice(line);
    } else {
        batch.extend_from_slice(visible(&String::from_utf8_lossy(line)).as_bytes());
    }
    batch.push(b'\n');
}
