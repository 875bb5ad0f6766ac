//! The commands of a transaction, as the envelope and the peer's extensions have them; and what a peer cannot take.

use super::capabilities::Capabilities;
use spool_core::{BodyKind, Envelope, Job, Recipient, RecipientIndex, Reply, Ret};
use std::fmt::Write;

/// What this peer cannot take, known before anything is sent. The replies are ours, with the codes the RFCs have for it.
pub(super) fn lacking(offers: &Capabilities, job: &Job) -> Option<Reply> {
    let asked = &job.envelope.parameters;
    if asked.requiretls && !offers.requiretls {
        return Some(Reply::new(
            550,
            "5.7.30 the next hop does not offer REQUIRETLS, which this message needs",
        ));
    }
    let mut mailboxes = job
        .recipients
        .iter()
        .filter_map(|index| recipient(&job.envelope, *index));
    let ascii = mailboxes.all(|recipient| recipient.address.is_ascii())
        && job.envelope.reverse_path.as_str().is_ascii();
    if (asked.smtputf8 || !ascii) && !offers.smtputf8 {
        return Some(Reply::new(
            553,
            "5.6.7 the next hop does not offer SMTPUTF8, which this message needs",
        ));
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

pub(super) fn recipient(envelope: &Envelope, index: RecipientIndex) -> Option<&Recipient> {
    envelope.recipients.get(usize::try_from(index).ok()?)
}

/// MAIL.
pub(super) fn mail(offers: &Capabilities, job: &Job) -> String {
    let asked = &job.envelope.parameters;
    let mut line = format!("MAIL FROM:{}", job.envelope.reverse_path);
    let mut add = |text: std::fmt::Arguments<'_>| {
        let _ = line.write_fmt(text);
    };
    if offers.size.is_some() {
        add(format_args!(" SIZE={}", job.body.len()));
    }
    if offers.eight_bit_mime && (asked.body == BodyKind::EightBitMime || !job.body.is_ascii()) {
        add(format_args!(" BODY=8BITMIME"));
    }
    if offers.smtputf8 && (asked.smtputf8 || job.envelope.needs_smtputf8()) {
        add(format_args!(" SMTPUTF8"));
    }
    if asked.requiretls {
        add(format_args!(" REQUIRETLS"));
    }
    if offers.dsn {
        match asked.ret {
            Some(Ret::Full) => add(format_args!(" RET=FULL")),
            Some(Ret::Headers) => add(format_args!(" RET=HDRS")),
            None => {}
        }
        if let Some(envid) = &asked.envid {
            add(format_args!(" ENVID={}", xtext(envid)));
        }
    }
    line.push_str("\r\n");
    line
}

/// RCPT.
pub(super) fn rcpt(offers: &Capabilities, recipient: &Recipient) -> String {
    let mut line = format!("RCPT TO:<{}>", recipient.address);
    if offers.dsn {
        if let Some(notify) = recipient.notify {
            let words = [
                (notify.success, "SUCCESS"),
                (notify.failure, "FAILURE"),
                (notify.delay, "DELAY"),
            ];
            let words: Vec<_> = words
                .into_iter()
                .filter_map(|(on, word)| on.then_some(word))
                .collect();
            let words = if words.is_empty() {
                "NEVER".to_owned()
            } else {
                words.join(",")
            };
            let _ = write!(line, " NOTIFY={words}");
        }
        if let Some(orcpt) = &recipient.orcpt {
            // The type before the semicolon stays as it is (RFC 3461 section 4.2).
            let (kind, address) = orcpt.split_once(';').unwrap_or(("rfc822", orcpt));
            let _ = write!(line, " ORCPT={};{}", xtext(kind), xtext(address));
        }
    }
    line.push_str("\r\n");
    line
}

/// RFC 3461 section 4: everything but printable ASCII, `+` and `=` as `+` and two hexadecimal digits.
fn xtext(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if (b'!'..=b'~').contains(&byte) && !matches!(byte, b'+' | b'=') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "+{byte:02X}");
        }
    }
    out
}
