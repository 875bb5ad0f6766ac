//! Writes a notice: a complete message as in RFC 6522 and RFC 3464, in ASCII, so that any host accepts it.
//!
//! It depends on the record of the original only; the same input gives the same bytes. Text of a peer, a submitter or
//! the original cannot change its structure.

use super::original::{Original, message_id, original};
use super::parts::{delivery_status, explanation};
use super::record::Action;
use super::report::Report;
use super::write::{Lines, word};
use crate::clock::Timestamp;
use crate::domain::a_labels;
use crate::envelope::{BodyKind, Envelope, MailParameters, Notify, Recipient, ReversePath};
use crate::id::MessageId;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem;

/// Recipients that X-Failed-Recipients names; the delivery status names all of them.
const MAX_FAILED_NAMED: usize = 50;
/// Bytes in a line of base64, before they are encoded.
const BASE64_LINE: usize = 57;

/// Who returns a notice, and how much of the original goes with it.
#[derive(Debug, Clone, Copy)]
pub struct Returned<'a> {
    /// The id of the notice.
    pub id: MessageId,
    /// When it is made.
    pub at: Timestamp,
    /// The name of this host: the Reporting-MTA.
    pub host: &'a str,
    /// The address in From.
    pub from: &'a str,
    /// The largest original that is returned whole, in bytes.
    pub size_limit: usize,
}

/// The envelope of a notice about `message`, and its text. `None` when the reverse-path is null.
#[must_use]
pub fn build(report: &Report<'_>, returned: &Returned<'_>) -> Option<(Envelope, Vec<u8>)> {
    let ReversePath::Mailbox(to) = &report.message.envelope.reverse_path else {
        return None;
    };
    let (third, note) = original(report.body, report.extent(), returned.size_limit);
    let (text, fields) = (
        explanation(report, returned.host, note.as_deref()),
        delivery_status(report, returned.host),
    );
    let parts: [&[u8]; 3] = [&text, &fields, carried(&third)];
    let boundary = boundary(returned.id, &parts);
    let mut out = Lines::default();
    header(&mut out, report, returned, to.as_str());
    if let Some(note) = &note {
        out.field("X-Spool-Note", note);
    }
    out.line("MIME-Version: 1.0");
    out.line("Content-Type: multipart/report; report-type=delivery-status;");
    out.line(&format!(" boundary=\"{boundary}\""));
    out.line("Content-Transfer-Encoding: 7bit");
    out.line("");
    out.line("This is a delivery status notification in MIME format (RFC 3464).");
    let mut part = |kind: &str, description: &str, encoding: &str, content: &[u8]| {
        out.line("");
        out.line(&format!("--{boundary}"));
        out.line(&format!("Content-Type: {kind}"));
        out.line(&format!("Content-Description: {description}"));
        out.line(&format!("Content-Transfer-Encoding: {encoding}"));
        out.line("");
        out.raw(content);
    };
    part("text/plain; charset=us-ascii", "Notification", "7bit", &text);
    part("message/delivery-status", "Delivery report", "7bit", &fields);
    match &third {
        Original::Whole(bytes) => part("message/rfc822", "Undelivered message", "7bit", bytes),
        Original::Headers(lines) => part(
            "text/rfc822-headers; charset=us-ascii",
            "Headers of the message",
            "7bit",
            lines,
        ),
        Original::Encoded(lines) => {
            let encoded = base64(lines);
            part(
                "text/rfc822-headers; charset=utf-8",
                "Headers of the message",
                "base64",
                &encoded,
            );
        }
        Original::Nothing => {}
    }
    out.line("");
    out.line(&format!("--{boundary}--"));
    let envelope = Envelope {
        reverse_path: ReversePath::Null,
        recipients: vec![Recipient {
            address: to.clone(),
            notify: Some(Notify::default()),
            orcpt: None,
        }],
        parameters: MailParameters {
            body: BodyKind::SevenBit,
            ..MailParameters::default()
        },
    };
    Some((envelope, out.into_bytes()))
}

/// The bytes of the original that are in the notice without an encoding.
fn carried<'a>(third: &'a Original<'_>) -> &'a [u8] {
    match third {
        Original::Whole(bytes) => bytes,
        Original::Headers(lines) => lines,
        // In base64 there is no hyphen.
        Original::Encoded(_) | Original::Nothing => &[],
    }
}

/// A boundary that occurs in no part.
fn boundary(id: MessageId, parts: &[&[u8]]) -> String {
    let mut number = 0_u64;
    loop {
        let boundary = format!("=_{id}.{number}");
        let stands = |part: &&[u8]| memmem::find(part, boundary.as_bytes()).is_some();
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

fn header(out: &mut Lines, report: &Report<'_>, returned: &Returned<'_>, to: &str) {
    let subject = match (report.has(Action::Failed), report.has(Action::Delayed)) {
        (true, _) => "Undelivered mail: returned to its sender",
        (false, true) => "Delayed mail: still being tried",
        (false, false) => "Relayed mail: no further notices can be expected",
    };
    let host = word(returned.host);
    let from = format!("<{}>", word(returned.from));
    out.word_field("From", "Mail Delivery System ", &from);
    out.word_field("To", "", &to_header(to));
    out.field("Subject", subject);
    out.field("Date", &returned.at.rfc5322());
    out.field("Message-ID", &format!("<{}@{host}>", returned.id));
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
