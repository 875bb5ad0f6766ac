//! The first two parts of a notice: the text for people, and the delivery status for programs.

use super::record::Action;
use super::report::{Report, ReportedRecipient};
use super::write::{Lines, ascii, given_utf8_address, utf8_address, word, words};
use crate::next_hop::NextHop;
use crate::reply::Reply;

/// The first part: for people.
pub(super) fn explanation(report: &Report<'_>, host: &str, note: Option<&str>) -> Vec<u8> {
    let mut out = Lines::default();
    out.paragraph("", &format!("This is the mail system at host {}.", word(host)));
    for (action, text) in [
        (
            Action::Failed,
            "Your message could not be delivered to the recipients below, and is not tried any more:",
        ),
        (
            Action::Delayed,
            "Your message has not been delivered to the recipients below yet. It is still being tried, you need not send it again:",
        ),
        (
            Action::Relayed,
            "Your message was handed to the mail systems of the recipients below. They do not tell when it is delivered, so you will hear no more:",
        ),
    ] {
        let about = report
            .recipients
            .iter()
            .filter(|recipient| recipient.action == action);
        let mut first = true;
        for reported in about {
            let Some(address) = report.message.envelope.recipient(reported.index) else {
                continue;
            };
            if std::mem::take(&mut first) {
                out.line("");
                out.paragraph("", text);
            }
            out.line("");
            out.line(&format!("<{}>", word(address.address.as_str())));
            out.paragraph("    ", &said(reported));
        }
    }
    if let (true, Some(end)) = (report.has(Action::Delayed), report.message.state.expires_at) {
        out.line("");
        out.paragraph("", &format!("It is tried until {}.", end.rfc5322()));
    }
    if let Some(note) = note {
        out.line("");
        out.paragraph("", &format!("Note: {note}."));
    }
    out.into_bytes()
}

/// The result for one recipient, as text.
fn said(reported: &ReportedRecipient<'_>) -> String {
    let quoted = |reply: &Reply, remote: Option<&NextHop>, ours: bool| {
        let host = remote.map_or(String::new(), |hop| match ours {
            true => format!("not sent to {}: ", word(hop.host())),
            false => format!("host {} said: ", word(hop.host())),
        });
        format!("{host}{}", words(&reply.to_string()))
    };
    // The reason may contain the error.
    let error = reported
        .error
        .filter(|error| reported.reason.is_none_or(|reason| !reason.contains(error)));
    let all: Vec<String> = [
        reported.reason.map(words),
        error.map(words),
        reported
            .reply
            .map(|reply| quoted(reply, reported.remote, reported.ours)),
        reported
            .earlier
            .map(|(reply, remote)| format!("in an earlier attempt: {}", quoted(reply, remote, false))),
    ]
    .into_iter()
    .flatten()
    .collect();
    match all.is_empty() {
        true => reported.action.to_string(),
        false => all.join("; "),
    }
}

/// The second part: message/delivery-status, for programs.
pub(super) fn delivery_status(report: &Report<'_>, host: &str) -> Vec<u8> {
    let envelope = &report.message.envelope;
    let mut out = Lines::default();
    if let Some(envid) = &envelope.parameters.envid {
        out.word_field("Original-Envelope-Id", "", &word(envid));
    }
    out.field("Reporting-MTA", &format!("dns; {}", word(host)));
    out.field("Arrival-Date", &report.message.spooled_at.rfc5322());
    for reported in &report.recipients {
        let Some(recipient) = envelope.recipient(reported.index) else {
            continue;
        };
        out.line("");
        if let Some((kind, address)) = recipient.orcpt.as_ref().and_then(|orcpt| orcpt.split_once(';')) {
            let before = format!("{}; ", ascii(kind, 64));
            let address = match kind.eq_ignore_ascii_case("utf-8") {
                true => given_utf8_address(address),
                false => word(address),
            };
            out.word_field("Original-Recipient", &before, &address);
        }
        let address = recipient.address.as_str();
        match address.is_ascii() {
            true => out.word_field("Final-Recipient", "rfc822; ", &word(address)),
            false => out.word_field("Final-Recipient", "utf-8; ", &utf8_address(address)),
        }
        out.field("Action", &reported.action.to_string());
        out.field("Status", &reported.status.to_string());
        if let Some(hop) = reported.remote.filter(|hop| !hop.is_mx() && !reported.ours) {
            out.field("Remote-MTA", &format!("dns; {}", word(hop.host())));
        }
        match (reported.reply, reported.error.or(reported.reason)) {
            (Some(reply), _) => {
                let kind = if reported.ours { "x-spool" } else { "smtp" };
                out.field(
                    "Diagnostic-Code",
                    &format!("{kind}; {}", words(&reply.to_string())),
                );
            }
            (None, Some(reason)) => out.field("Diagnostic-Code", &format!("x-spool; {}", words(reason))),
            (None, None) => {}
        }
        if let Some(at) = reported.last_attempt {
            out.field("Last-Attempt-Date", &at.rfc5322());
        }
        if let (Action::Delayed, Some(end)) = (reported.action, report.message.state.expires_at) {
            out.field("Will-Retry-Until", &end.rfc5322());
        }
    }
    out.into_bytes()
}
