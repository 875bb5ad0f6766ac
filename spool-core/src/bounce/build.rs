//! Writes a notice: a complete message as in RFC 6522 and RFC 3464, in ASCII, so that any host accepts it.
//!
//! It depends on the record of the original only; the same input gives the same bytes. Text of a peer, a submitter or
//! the original cannot change its structure.

use super::config::NoticeConfig;
use super::original::{Original, message_id, original};
use super::parts::{delivery_status, explanation};
use super::record::Action;
use super::report::Report;
use super::write::{Lines, word};
use crate::clock::Timestamp;
use crate::domain::a_labels;
use crate::envelope::{Envelope, Notify, Recipient, ReversePath};
use crate::id::MessageId;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem;
use std::borrow::Cow;

/// Recipients that X-Failed-Recipients names; the delivery status names all of them.
const MAX_FAILED_NAMED: usize = 50;
/// Bytes in a line of base64, before they are encoded.
const BASE64_LINE: usize = 57;

/// The envelope of the notice `id` about a message, made at `at`, and its text. `None` when the reverse-path is null.
#[must_use]
pub fn build(
    report: &Report<'_>,
    config: &NoticeConfig,
    id: MessageId,
    at: Timestamp,
) -> Option<(Envelope, Vec<u8>)> {
    let ReversePath::Mailbox(to) = &report.message.envelope.reverse_path else {
        return None;
    };
    let (third, note) = original(report.body, report.extent(), config.size_limit);
    let text = explanation(report, &config.host, note.as_deref());
    let mut parts: Vec<NoticePart<'_>> = vec![
        (
            "text/plain; charset=us-ascii",
            "Notification",
            "7bit",
            text.into(),
        ),
        (
            "message/delivery-status",
            "Delivery report",
            "7bit",
            delivery_status(report, &config.host).into(),
        ),
    ];
    parts.extend(part(third));
    let boundary = boundary(id, &parts);
    let mut out = Lines::default();
    header(&mut out, report, config, (id, at), to.as_str());
    if let Some(note) = &note {
        out.field("X-Spool-Note", note);
    }
    out.line("MIME-Version: 1.0");
    out.line("Content-Type: multipart/report; report-type=delivery-status;");
    out.line(&format!(" boundary=\"{boundary}\""));
    out.line("Content-Transfer-Encoding: 7bit");
    out.line("");
    out.line("This is a delivery status notification in MIME format (RFC 3464).");
    for (kind, description, encoding, content) in &parts {
        out.line("");
        out.line(&format!("--{boundary}"));
        out.line(&format!("Content-Type: {kind}"));
        out.line(&format!("Content-Description: {description}"));
        out.line(&format!("Content-Transfer-Encoding: {encoding}"));
        out.line("");
        out.raw(content);
    }
    out.line("");
    out.line(&format!("--{boundary}--"));
    let recipient = Recipient {
        notify: Some(Notify::default()),
        ..Recipient::new(to.clone())
    };
    let envelope = Envelope {
        recipients: vec![recipient],
        ..Envelope::of(ReversePath::Null, [])
    };
    Some((envelope, out.into_bytes()))
}

/// A part of a notice: its type, description, encoding, and the encoded content.
type NoticePart<'a> = (&'static str, &'static str, &'static str, Cow<'a, [u8]>);

/// The part with the original, if there is anything to carry.
fn part(third: Original<'_>) -> Option<NoticePart<'_>> {
    const HEADERS: &str = "Headers of the message";
    Some(match third {
        Original::Whole(bytes) => ("message/rfc822", "Undelivered message", "7bit", bytes.into()),
        Original::Headers(lines) => (
            "text/rfc822-headers; charset=us-ascii",
            HEADERS,
            "7bit",
            lines.into(),
        ),
        Original::Encoded(lines) => {
            let kind = "text/rfc822-headers; charset=utf-8";
            (kind, HEADERS, "base64", base64(&lines).into())
        }
        Original::Nothing => return None,
    })
}

/// A boundary that occurs in no part.
fn boundary(id: MessageId, parts: &[NoticePart<'_>]) -> String {
    let mut number = 0_u64;
    loop {
        let boundary = format!("=_{id}.{number}");
        let stands = |(.., content): &NoticePart<'_>| memmem::find(content, boundary.as_bytes()).is_some();
        if !parts.iter().any(stands) {
            return boundary;
        }
        number += 1;
    }
}

fn base64(bytes: &[u8]) -> Vec<u8> {
    let mut out = Lines::default();
    for line in bytes.chunks(BASE64_LINE) {
        out.line(&STANDARD.encode(line));
    }
    out.into_bytes()
}

fn header(
    out: &mut Lines,
    report: &Report<'_>,
    config: &NoticeConfig,
    (id, at): (MessageId, Timestamp),
    to: &str,
) {
    let subject = match (report.has(Action::Failed), report.has(Action::Delayed)) {
        (true, _) => "Undelivered mail: returned to its sender",
        (false, true) => "Delayed mail: still being tried",
        (false, false) => "Relayed mail: no further notices can be expected",
    };
    let host = word(&config.host);
    let from = format!("<{}>", word(&config.from));
    out.word_field("From", "Mail Delivery System ", &from);
    out.word_field("To", "", &to_header(to));
    out.field("Subject", subject);
    out.field("Date", &at.rfc5322());
    out.field("Message-ID", &format!("<{id}@{host}>"));
    if let Some(id) = message_id(report.body) {
        out.field("In-Reply-To", id);
        out.field("References", id);
    }
    out.field("Auto-Submitted", "auto-replied");
    let failed = report
        .recipients
        .iter()
        .filter(|recipient| recipient.action == Action::Failed);
    let failed: Vec<String> = failed
        .filter_map(|failed| {
            Some(word(
                report.message.envelope.recipient(failed.index)?.address.as_str(),
            ))
        })
        .take(MAX_FAILED_NAMED)
        .collect();
    if !failed.is_empty() {
        out.words_field("X-Failed-Recipients", &failed);
    }
}

/// The address in To; none for an address that cannot be written in ASCII.
fn to_header(to: &str) -> String {
    let (local, domain) = to.rsplit_once('@').unwrap_or((to, ""));
    let domain = a_labels(domain);
    match local.is_ascii() && domain.is_ascii() {
        true => format!("<{}>", word(&format!("{local}@{domain}"))),
        false => "undisclosed-recipients:;".to_owned(),
    }
}

#[cfg(test)]
mod tests;
