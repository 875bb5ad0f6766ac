//! The fields of an event of `tracing`.

use spool_core::log::{Record, Value};
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use tracing::Event;
use tracing::field::{Field, Visit};

/// The fields of an event.
#[derive(Debug, Default)]
pub(super) struct EventFields {
    pub(super) record: Option<Arc<Record>>,
    pub(super) message: String,
    pub(super) fields: Vec<(&'static str, Value<'static>)>,
    /// Their share of the bytes of the queue.
    pub(super) bytes: usize,
}

impl EventFields {
    /// The fields of `event`.
    pub(super) fn of(event: &Event<'_>) -> Self {
        let mut fields = Self::default();
        event.record(&mut fields);
        fields.bytes = match &fields.record {
            Some(record) => record.footprint(),
            None => 256 + fields.message.len() + fields.bytes,
        };
        fields
    }

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

/// A list that was written by `Debug` is a list again, unless it has quoted texts in it.
pub(super) fn listed(text: String) -> Value<'static> {
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

impl Visit for EventFields {
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
        self.value(field, Value::Plain(value.to_string().into()));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        let number = if value.is_finite() {
            value.to_string()
        } else {
            "null".to_owned()
        };
        self.value(field, Value::Plain(number.into()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.value(field, Value::flag(value));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        match Record::of(value) {
            Some(record) => self.record = Some(record),
            None => self.text(field, value.to_string()),
        }
    }
}
