//! One line of the log: an event and its fields. How it looks as text and as JSON, and how it is redacted.

use crate::id::{FlowId, MessageId};
use std::borrow::Cow;
use std::fmt::{self, Write};
use tracing::Level;

/// The value of a field.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// A whole number.
    Number(u64),
    /// A number or a boolean, as JSON writes it.
    Plain(Cow<'static, str>),
    /// Milliseconds, written as seconds with three decimals.
    Seconds(u64),
    /// The id of a message or a flow, written the same.
    Id(MessageId),
    /// A word that contains no mail address: an id, a host, a name defined by this program.
    Word(Cow<'a, str>),
    /// Text from outside, which may contain addresses.
    Text(Cow<'a, str>),
    /// A mail address; empty: the null reverse-path.
    Address(Cow<'a, str>),
    /// A login name, which may be an address.
    User(Cow<'a, str>),
    /// Several.
    List(Vec<Value<'a>>),
    /// Several durations in milliseconds, which text writes as `0.001/0/0.12`.
    Stages([u64; 4]),
}

impl<'a> Value<'a> {
    /// An address.
    #[must_use]
    pub const fn address(text: &'a str) -> Self {
        Self::Address(Cow::Borrowed(text))
    }

    /// A boolean.
    #[must_use]
    pub const fn flag(set: bool) -> Self {
        Self::Plain(Cow::Borrowed(if set { "true" } else { "false" }))
    }

    /// The id of a flow.
    #[must_use]
    pub const fn flow(flow: FlowId) -> Self {
        Self::Id(MessageId::from_u128(flow.as_u128()))
    }

    /// A value that is one word when written.
    #[must_use]
    pub fn shown(value: impl fmt::Display) -> Self {
        Self::Word(value.to_string().into())
    }
}

/// Redacts addresses.
pub trait Redact {
    /// The replacement of an address or a login.
    fn address(&self, address: &str) -> String;
    /// A text with its addresses replaced.
    fn text<'t>(&self, text: &'t str) -> Cow<'t, str>;
}

impl Value<'_> {
    /// The text of a value that is one.
    fn as_text(&self) -> Option<&str> {
        if let Self::Word(text) | Self::Text(text) | Self::Address(text) | Self::User(text) = self {
            Some(text)
        } else {
            None
        }
    }

    fn redact(&mut self, by: &dyn Redact) {
        if let Self::Address(address) | Self::User(address) = self {
            if !address.is_empty() {
                *address = by.address(address).into();
            }
        } else if let Self::Text(text) = self {
            if let Cow::Owned(redacted) = by.text(text) {
                *text = redacted.into();
            }
        } else if let Self::List(all) = self {
            all.iter_mut().for_each(|value| value.redact(by));
        }
    }

    /// As text. A list is joined by commas; a text that is no single word is quoted as in JSON.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_text(&self, out: &mut dyn Write) -> fmt::Result {
        match self {
            Self::Number(number) => write!(out, "{number}"),
            Self::Plain(text) => out.write_str(text),
            Self::Id(id) => write!(out, "{id}"),
            Self::Seconds(millis) => seconds(*millis, out),
            Self::Word(text) | Self::Text(text) | Self::Address(text) | Self::User(text) => {
                word(text, false, out)
            }
            Self::List(all) => joined(all, ["[", ",", "]"], out, |value, out| match value.as_text() {
                Some(text) => word(text, true, out),
                None => value.write_text(out),
            }),
            Self::Stages(all) => joined(all, ["", "/", ""], out, |millis, out| seconds(*millis, out)),
        }
    }

    /// As JSON.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_json(&self, out: &mut dyn Write) -> fmt::Result {
        match self {
            Self::Number(_) | Self::Plain(_) | Self::Seconds(_) => self.write_text(out),
            Self::Id(id) => write!(out, "\"{id}\""),
            Self::Word(text) | Self::Text(text) | Self::Address(text) | Self::User(text) => quoted(text, out),
            Self::List(all) => joined(all, ["[", ",", "]"], out, |value, out| value.write_json(out)),
            Self::Stages(all) => joined(all, ["[", ",", "]"], out, |millis, out| seconds(*millis, out)),
        }
    }
}

/// Writes `all` between the first and the last of `marks`, with the second one between them.
fn joined<T>(
    all: &[T],
    [begin, between, end]: [&str; 3],
    out: &mut dyn Write,
    write: impl Fn(&T, &mut dyn Write) -> fmt::Result,
) -> fmt::Result {
    out.write_str(begin)?;
    for (nth, one) in all.iter().enumerate() {
        if nth > 0 {
            out.write_str(between)?;
        }
        write(one, out)?;
    }
    out.write_str(end)
}

/// `0`, `0.05`, `12.345`: no more decimals than needed.
fn seconds(millis: u64, out: &mut dyn Write) -> fmt::Result {
    let (whole, rest) = (millis / 1000, millis % 1000);
    match (rest, rest % 100, rest % 10) {
        (0, _, _) => write!(out, "{whole}"),
        (_, 0, _) => write!(out, "{whole}.{}", rest / 100),
        (_, _, 0) => write!(out, "{whole}.{:02}", rest / 10),
        _ => write!(out, "{whole}.{rest:03}"),
    }
}

/// A word as it is, any other text quoted. In a list, the separator of the items is not part of a word.
fn word(text: &str, in_list: bool, out: &mut dyn Write) -> fmt::Result {
    let special = |byte: u8| matches!(byte, 0..=b' ' | b'"' | b'\\' | b'=' | 0x7f);
    let separates = |byte: u8| matches!(byte, b',' | b'[' | b']');
    let begins_list = text.starts_with('[');
    // Without branches, so that it is vectorized.
    let quoting = text.bytes().fold(text.is_empty() || begins_list, |any, byte| {
        any | special(byte) | (in_list & separates(byte))
    });
    match quoting {
        false => out.write_str(text),
        true => quoted(text, out),
    }
}

/// As a JSON string (RFC 8259 section 7).
fn quoted(text: &str, out: &mut dyn Write) -> fmt::Result {
    out.write_char('"')?;
    let mut rest = text;
    while let Some(at) = rest.find(|c| matches!(c, '"' | '\\' | '\u{0}'..='\u{1f}')) {
        let (plain, special) = rest.split_at(at);
        out.write_str(plain)?;
        let mut chars = special.chars();
        match chars.next() {
            Some('"') => out.write_str("\\\"")?,
            Some('\\') => out.write_str("\\\\")?,
            Some('\n') => out.write_str("\\n")?,
            Some('\r') => out.write_str("\\r")?,
            Some('\t') => out.write_str("\\t")?,
            Some(control) => write!(out, "\\u{:04x}", u32::from(control))?,
            None => {}
        }
        rest = chars.as_str();
    }
    out.write_str(rest)?;
    out.write_char('"')
}

/// One line: the event, and its fields in the order in which they are written.
#[derive(Debug, Clone, PartialEq)]
pub struct Line<'a> {
    /// The event, in one word.
    pub event: &'static str,
    /// Its level.
    pub level: Level,
    /// The fields.
    pub fields: Vec<(&'static str, Value<'a>)>,
}

impl<'a> Line<'a> {
    /// A line without fields.
    #[must_use]
    pub fn new(event: &'static str, level: Level) -> Self {
        Self {
            event,
            level,
            fields: Vec::with_capacity(20),
        }
    }

    pub(super) fn add(&mut self, key: &'static str, value: Value<'a>) {
        self.fields.push((key, value));
    }

    /// Replaces the value of a field that it has.
    pub(super) fn replace(&mut self, key: &'static str, value: Value<'a>) {
        if let Some((_, old)) = self.fields.iter_mut().find(|(other, _)| *other == key) {
            *old = value;
        }
    }

    /// About how many bytes it takes in memory.
    pub(super) fn footprint(&self) -> usize {
        let texts = self.fields.iter().filter_map(|(_, value)| value.as_text());
        size_of_val(self.fields.as_slice()) + texts.map(str::len).sum::<usize>()
    }

    pub(super) fn list(&mut self, key: &'static str, values: impl Iterator<Item = Value<'a>>) {
        self.add(key, Value::List(values.collect()));
    }

    pub(super) fn word(&mut self, key: &'static str, text: &'a str) {
        self.add(key, Value::Word(text.into()));
    }

    pub(super) fn text(&mut self, key: &'static str, text: &'a str) {
        self.add(key, Value::Text(text.into()));
    }

    pub(super) fn shown(&mut self, key: &'static str, value: impl fmt::Display) {
        self.add(key, Value::shown(value));
    }

    pub(super) fn number(&mut self, key: &'static str, number: usize) {
        self.add(key, Value::Number(u64::try_from(number).unwrap_or(u64::MAX)));
    }

    /// Redacts its addresses. Those in its fields are searched for in its texts too.
    pub fn redact(&mut self, by: &dyn Redact) {
        let mut named: Vec<String> = Vec::new();
        for (_, value) in &self.fields {
            if let Value::Address(address) = value
                && !address.is_empty()
            {
                named.push(address.to_string());
            }
        }
        for (_, value) in &mut self.fields {
            if let Value::Text(text) = value {
                for address in &named {
                    if text.contains(address.as_str()) {
                        *text = text.replace(address.as_str(), &by.address(address)).into();
                    }
                }
            }
            value.redact(by);
        }
    }
}

/// `delivered id=01M8… relay=mx.example.net[192.0.2.1]:25`.
impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.event)?;
        for (key, value) in &self.fields {
            write!(f, " {key}=")?;
            value.write_text(f)?;
        }
        Ok(())
    }
}
