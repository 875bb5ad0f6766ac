//! The commands of a transaction for an envelope and the peer's extensions, and the reasons why a peer cannot accept a message.

use super::capabilities::Capabilities;
use spool_core::{
    Address, BodyKind, Envelope, Job, Recipient, RecipientIndex, Reply, ReversePath, a_labels, xtext,
};
use std::borrow::Cow;
use std::fmt::Write;

/// The reply for a peer that lacks an extension which the message needs for all of `recipients`. It is our own reply, with the code that
/// the RFC of the extension gives.
pub(super) fn lacking(offers: &Capabilities, job: &Job, recipients: &[RecipientIndex]) -> Option<Reply> {
    let asked = &job.envelope.parameters;
    if asked.requiretls && !offers.requiretls {
        return Some(Reply::new(
            550,
            "5.7.30 the next hop does not offer REQUIRETLS, which this message needs",
        ));
    }
    if !offers.smtputf8 && as_a_whole_needs_smtputf8(job) {
        return Some(Reply::new(
            553,
            "5.6.7 the next hop does not offer SMTPUTF8, which this message needs",
        ));
    }
    if !offers.smtputf8 && recipients.iter().all(|index| is_not_ascii(job, *index)) {
        return Some(without_smtputf8());
    }
    if !offers.eight_bit_mime && !job.body.is_ascii() {
        return Some(Reply::new(
            554,
            "5.6.3 the next hop does not offer 8BITMIME, which this message needs",
        ));
    }
    let too_large = offers.too_large(job.body.len());
    too_large.then(|| Reply::new(552, "5.3.4 the message is larger than the next hop says it takes"))
}

/// The reply for a recipient whose address needs SMTPUTF8, which the peer does not offer (RFC 6531 section 3.5).
pub(super) fn without_smtputf8() -> Reply {
    Reply::new(
        553,
        "5.6.7 the next hop does not offer SMTPUTF8, which this address needs",
    )
}

/// Whether the message needs SMTPUTF8 for `recipients` (RFC 6531 section 3.4): its header is not ASCII, or an address is not ASCII with its
/// domain in A-labels. SMTPUTF8 in the submission alone does not require it.
pub(super) fn needs_smtputf8(job: &Job, recipients: &[RecipientIndex]) -> bool {
    recipients.iter().any(|index| is_not_ascii(job, *index)) || as_a_whole_needs_smtputf8(job)
}

/// Whether the message needs SMTPUTF8 for its sender or its header.
fn as_a_whole_needs_smtputf8(job: &Job) -> bool {
    let sender_needs_it = match &job.envelope.reverse_path {
        ReversePath::Null => false,
        ReversePath::Mailbox(address) => !in_a_labels(address).is_ascii(),
    };
    sender_needs_it || (job.envelope.parameters.smtputf8 && !header(&job.body).is_ascii())
}

/// Whether the recipient's address is not ASCII even with its domain in A-labels.
pub(super) fn is_not_ascii(job: &Job, index: RecipientIndex) -> bool {
    job.envelope
        .recipient(index)
        .is_some_and(|recipient| !in_a_labels(&recipient.address).is_ascii())
}

/// The header section of a message: up to its first empty line.
fn header(body: &[u8]) -> &[u8] {
    if body.starts_with(b"\r\n") {
        return &[];
    }
    let end = memchr::memmem::find(body, b"\r\n\r\n").unwrap_or(body.len());
    body.get(..end).unwrap_or(body)
}

/// The address with its domain in A-labels.
fn in_a_labels(address: &Address) -> Cow<'_, str> {
    match address.domain().is_ascii() {
        true => address.as_str().into(),
        false => format!("{}@{}", address.local_part(), a_labels(address.domain())).into(),
    }
}

/// The address as it is sent: unchanged with SMTPUTF8, otherwise with its domain in A-labels.
fn on_the_wire(address: &Address, utf8: bool) -> Cow<'_, str> {
    match utf8 {
        true => address.as_str().into(),
        false => in_a_labels(address),
    }
}

/// Appends MAIL for a message with this envelope and body; `utf8`: it needs SMTPUTF8.
pub fn mail(line: &mut String, offers: &Capabilities, envelope: &Envelope, body: &[u8], utf8: bool) {
    let asked = &envelope.parameters;
    let sender = match &envelope.reverse_path {
        ReversePath::Null => "".into(),
        ReversePath::Mailbox(address) => on_the_wire(address, utf8),
    };
    let mut add = |text: std::fmt::Arguments<'_>| {
        // Writing to a String cannot fail.
        let _ = line.write_fmt(text);
    };
    add(format_args!("MAIL FROM:<{sender}>"));
    if offers.size.is_some() {
        add(format_args!(" SIZE={}", body.len()));
    }
    if offers.eight_bit_mime && (asked.body == BodyKind::EightBitMime || !body.is_ascii()) {
        add(format_args!(" BODY=8BITMIME"));
    }
    if utf8 {
        add(format_args!(" SMTPUTF8"));
    }
    if asked.requiretls {
        add(format_args!(" REQUIRETLS"));
    }
    if offers.dsn {
        if let Some(ret) = asked.ret {
            add(format_args!(" RET={ret}"));
        }
        if let Some(envid) = &asked.envid {
            add(format_args!(" ENVID={}", xtext::encode(envid)));
        }
    }
    line.push_str("\r\n");
}

/// Appends RCPT; `utf8`: the message needs SMTPUTF8.
pub fn rcpt(line: &mut String, offers: &Capabilities, recipient: &Recipient, utf8: bool) {
    let _ = write!(line, "RCPT TO:<{}>", on_the_wire(&recipient.address, utf8));
    if offers.dsn {
        if let Some(notify) = recipient.notify {
            let _ = write!(line, " NOTIFY={notify}");
        }
        if let Some(orcpt) = &recipient.orcpt {
            // The semicolon between type and address is not encoded (RFC 3461 section 4.2).
            let (kind, address) = orcpt.split_once(';').unwrap_or(("rfc822", orcpt));
            let _ = write!(line, " ORCPT={};{}", xtext::encode(kind), xtext::encode(address));
        }
    }
    line.push_str("\r\n");
}
