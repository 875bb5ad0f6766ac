//! The message of standard input: its lines, its header, its recipients, and missing fields. Pure, except for the reader.
//!
//! In the result every line ends with CRLF and has no other CR, LF or NUL, so that no part can be taken for a command or for the end
//! of the message. A CR within a line becomes a blank, as in Postfix: as a line end it could begin an unintended header field. Nothing
//! is folded, encoded or reordered.

use super::exit::{Exit, SendmailError};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use memchr::memchr;
use spool_core::{Address, is_hidden};
use spool_smtp::submission::{Completion, Field, Fields, addresses, complete};
use std::io::{BufRead, Read};

/// Bytes of UTF-8 in one encoded word: with its frame at most 75 characters (RFC 2047 section 2).
const ENCODED: usize = 45;

/// Reads the lines of a message, at most `most` bytes of them. Without `dot_is_text` a line of one dot ends it, and what follows is
/// not read.
///
/// # Errors
/// EX_DATAERR for a NUL, and for a message that is too large; EX_IOERR.
pub(super) fn read(
    input: &mut impl BufRead,
    dot_is_text: bool,
    most: usize,
) -> Result<Vec<u8>, SendmailError> {
    let too_large = || SendmailError::data(format!("the message is larger than {most} bytes"));
    let (mut text, mut line) = (Vec::new(), Vec::new());
    for number in 1_u64.. {
        line.clear();
        // One byte more than may be kept, and a line end.
        let left = most.saturating_sub(text.len()).saturating_add(3);
        let read = input
            .by_ref()
            .take(u64::try_from(left).unwrap_or(u64::MAX))
            .read_until(b'\n', &mut line);
        if read.map_err(|error| SendmailError::new(Exit::Io, format!("standard input: {error}")))? == 0 {
            break;
        }
        let content = line.strip_suffix(b"\n").unwrap_or(&line);
        let content = content.strip_suffix(b"\r").unwrap_or(content);
        if content == b"." && !dot_is_text {
            break;
        }
        if memchr(0, content).is_some() {
            let text = format!("line {number} of the message holds a NUL");
            return Err(SendmailError::data(text));
        }
        let blank = |byte: &u8| if *byte == b'\r' { b' ' } else { *byte };
        text.extend(content.iter().map(blank));
        text.extend_from_slice(b"\r\n");
        if text.len() > most {
            return Err(too_large());
        }
    }
    Ok(text)
}

/// A message divided into header fields and body.
#[derive(Debug)]
pub(super) struct Letter<'m> {
    fields: Vec<Field<'m>>,
    /// The text after the empty line.
    body: &'m [u8],
}

impl<'m> Letter<'m> {
    /// Divides `text`, whose lines end by CRLF. The header ends with an empty line, or before the first line that is no part of
    /// one. A first line `From ` is the separator of a mailbox file, and is left out.
    pub(super) fn of(text: &'m [u8]) -> Self {
        let separator = text.starts_with(b"From ") || text.starts_with(b">From ");
        let start = memchr(b'\n', text).filter(|_| separator).map_or(0, |end| end + 1);
        let fields = Fields::from(text, start).take_while(|field| field.name().is_some());
        let fields: Vec<_> = fields.collect();
        let end = fields.last().map_or(start, |field| field.at + field.raw.len());
        let rest = text.get(end..).unwrap_or_default();
        let body = rest.strip_prefix(b"\r\n").unwrap_or(rest);
        Self { fields, body }
    }

    /// The recipients that the header names: To, Cc and Bcc; of a message that was sent again, those of the fields that say so.
    ///
    /// # Errors
    /// EX_DATAERR, with the field.
    pub(super) fn recipients(&self, domain: &str) -> Result<Vec<Address>, SendmailError> {
        let again = ["resent-to", "resent-cc", "resent-bcc"];
        let first = ["to", "cc", "bcc"];
        let is_again = |field: &Field<'_>| again.iter().any(|name| field.is(name));
        let wanted = if self.fields.iter().any(is_again) {
            again
        } else {
            first
        };
        let mut found = Vec::new();
        for field in &self.fields {
            if let Some(name) = wanted.iter().find(|name| field.is(name)) {
                // A name may be in any character set; an address that is not UTF-8 is refused for its replacement character.
                let named = addresses(&String::from_utf8_lossy(field.value()), domain);
                found.extend(named.map_err(|why| SendmailError::data(format!("{name}: {why}")))?);
            }
        }
        Ok(found)
    }

    /// The message as it is sent: without Bcc and Resent-Bcc, with missing fields at the end of its header: From with the value `from`,
    /// Date and Message-ID.
    pub(super) fn completed(&self, from: &str, completion: &Completion<'_>) -> Vec<u8> {
        let mut message = Vec::new();
        for field in &self.fields {
            message.extend_from_slice(field.raw);
        }
        if !self.fields.iter().any(|field| field.is("From")) {
            message.extend_from_slice(format!("From: {from}\r\n").as_bytes());
        }
        message.extend_from_slice(b"\r\n");
        message.extend_from_slice(self.body);
        complete(message, completion)
    }
}

/// The value of From for `address` with a name, quoted or encoded as it needs.
pub(super) fn from_value(name: Option<&str>, address: &Address) -> String {
    let name = name.map(str::trim).unwrap_or_default();
    let name = name.chars().filter(|c| !is_hidden(*c) && !c.is_control());
    let name: String = name.collect();
    let plain = |c: char| c.is_ascii_alphanumeric() || " !#$%&'*+-/=?^_`{|}~".contains(c);
    let name = match name.as_str() {
        "" => return address.to_string(),
        name if name.chars().all(plain) && !name.contains("=?") => name.to_owned(),
        name if name.is_ascii() => format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\"")),
        name => encoded(name),
    };
    format!("{name} <{address}>")
}

/// Encoded words (RFC 2047), none of which divides a character, one a line.
fn encoded(text: &str) -> String {
    let (mut words, mut word) = (Vec::new(), String::new());
    for c in text.chars() {
        if word.len() + c.len_utf8() > ENCODED {
            words.push(std::mem::take(&mut word));
        }
        word.push(c);
    }
    words.push(word);
    let words = words
        .iter()
        .map(|word| format!("=?utf-8?B?{}?=", STANDARD.encode(word)));
    words.collect::<Vec<_>>().join("\r\n ")
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
