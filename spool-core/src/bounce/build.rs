//! Writes a notice: a complete message in the form of RFC 6522 and RFC 3464, in ASCII, so that any host takes it.
//!
//! It reads what is known of the original and nothing else; the same input gives the same bytes. Whatever a peer, a submitter or the original
//! said, the structure is this module's own.

use super::decision::{Decision, recipient};
use super::original::{Extent, Original, message_id, original};
use super::record::Action;
use super::write::{Lines, ascii, given_utf8_address, utf8_address, word, words};
use crate::attempt::{Attempt, AttemptResult, RecipientIndex, Stage};
use crate::clock::Timestamp;
use crate::domain::a_labels;
use crate::envelope::{BodyKind, Envelope, MailParameters, Notify, Recipient, Ret, ReversePath};
use crate::id::MessageId;
use crate::message::Message;
use crate::next_hop::NextHop;
use crate::reply::{EnhancedCode, Reply};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem;
use std::collections::HashMap;

/// Recipients that X-Failed-Recipients names; the delivery status names all of them.
const MAX_FAILED_NAMED: usize = 50;
/// Bytes in a line of base64, before they are encoded.
const BASE64_LINE: usize = 57;

/// What a notice is about.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Report<'a> {
    /// The message it is about.
    pub message: &'a Message,
    /// At least one.
    pub recipients: Vec<ReportedRecipient<'a>>,
    /// The body of that message.
    pub body: &'a [u8],
}

/// What a notice says of one recipient.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ReportedRecipient<'a> {
    /// Which.
    pub index: RecipientIndex,
    /// What became of it.
    pub action: Action,
    /// The status of RFC 3463. Its class fits the action.
    pub status: EnhancedCode,
    /// What a peer said of it in the newest attempt that concerns it; `None` where that attempt brought no reply.
    pub reply: Option<&'a Reply>,
    /// In one line, how that attempt ended without a reply.
    pub error: Option<&'a str>,
    /// In one line, why it was given up, when that is more than the reply.
    pub reason: Option<&'a str>,
    /// The host of that attempt.
    pub remote: Option<&'a NextHop>,
    /// When that attempt ended.
    pub last_attempt: Option<Timestamp>,
    /// The last reply before that attempt and the host that gave it, when that attempt brought none. It is for people only.
    pub earlier: Option<(&'a Reply, Option<&'a NextHop>)>,
    /// Whether the reply is this host's own ([`Stage::Route`]): no peer said it.
    pub ours: bool,
}

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

impl<'a> Report<'a> {
    /// What `decision` is to tell of `message`, whose state is that after the round, before the decision was written into it. `by_hand`: a
    /// person gave it up, and no time ran out.
    #[must_use]
    pub fn new(message: &'a Message, decision: &Decision, body: &'a [u8], by_hand: bool) -> Self {
        let attempts = message.state.attempts.kept();
        // What each attempt said of single recipients.
        let mut refused = HashMap::new();
        for (nth, attempt) in attempts.iter().enumerate() {
            let told = attempt.report.refused.iter();
            refused.extend(told.map(|one| ((nth, one.recipient), &one.reply)));
        }
        let failed: HashMap<_, _> = message
            .state
            .failed
            .iter()
            .map(|one| (one.recipient, one))
            .collect();
        let one = |index: RecipientIndex, action: Action| {
            let given_up = failed.get(&index).filter(|_| action == Action::Failed);
            let own = given_up.and_then(|failed| failed.reply.as_ref());
            // Newest first.
            let mut concerning = attempts.iter().enumerate().rev().filter_map(|(nth, attempt)| {
                let of_it = refused.get(&(nth, index)).copied();
                Some((reply_to(attempt, of_it, action)?, attempt))
            });
            let source = concerning.find(|(reply, _)| own.is_none() || own == *reply);
            let reply = own.or(source.and_then(|(reply, _)| reply));
            let attempt = source.map(|(_, attempt)| attempt);
            let result = attempt.map(|attempt| &attempt.report.result);
            let ours = result.is_some_and(|result| is_ours(result, reply));
            let earlier = match reply {
                Some(_) => None,
                None => concerning.find_map(|(reply, attempt)| Some((reply?, attempt.report.peer.as_ref()))),
            };
            let said = given_up.map(|failed| failed.reason.as_str());
            ReportedRecipient {
                index,
                action,
                status: status(action, reply, own.is_some() || by_hand, result),
                reply,
                error: result.filter(|_| reply.is_none()).and_then(text_of),
                reason: said.filter(|_| own.is_none()),
                remote: attempt.and_then(|attempt| attempt.report.peer.as_ref()),
                last_attempt: attempt.map(|attempt| attempt.at.after(attempt.duration())),
                earlier,
                ours,
            }
        };
        let actions = decision.actions();
        let recipients = actions
            .iter()
            .flat_map(|(action, indices)| indices.iter().map(|index| one(*index, *action)));
        Self {
            message,
            recipients: recipients.collect(),
            body,
        }
    }

    fn has(&self, action: Action) -> bool {
        self.recipients.iter().any(|recipient| recipient.action == action)
    }

    fn extent(&self) -> Extent {
        let asked = &self.message.envelope.parameters;
        match asked.ret {
            _ if asked.requiretls => Extent::Redacted,
            // RET is about failures alone (RFC 3461 section 4.3).
            Some(Ret::Full) | None if self.has(Action::Failed) => Extent::Full,
            Some(Ret::Full | Ret::Headers) | None => Extent::Headers,
        }
    }
}

/// What an attempt brought for a recipient, `of_it` being the reply to it alone: `None` when the attempt does not concern it, `Some(None)`
/// when there was no reply. Whoever was neither taken nor refused alone shares the fate of the session.
fn reply_to<'a>(attempt: &'a Attempt, of_it: Option<&'a Reply>, action: Action) -> Option<Option<&'a Reply>> {
    match (&attempt.report.result, action) {
        (AttemptResult::Accepted(reply), Action::Relayed) if of_it.is_none() => Some(Some(reply)),
        (_, Action::Relayed) => None,
        (_, Action::Failed | Action::Delayed) if of_it.is_some() => Some(of_it),
        (AttemptResult::Refused { reply, .. }, Action::Failed | Action::Delayed) => Some(Some(reply)),
        (
            AttemptResult::NoConnection { .. }
            | AttemptResult::Broken { .. }
            | AttemptResult::Interrupted
            | AttemptResult::Panicked { .. },
            Action::Failed | Action::Delayed,
        ) => Some(None),
        (
            AttemptResult::Accepted(_) | AttemptResult::AllRefused | AttemptResult::NotBegun { .. },
            Action::Failed | Action::Delayed,
        ) => None,
    }
}

/// Whether `reply` is this host's own.
fn is_ours(result: &AttemptResult, reply: Option<&Reply>) -> bool {
    matches!(result, AttemptResult::Refused { stage: Stage::Route, reply: own } if Some(own) == reply)
}

/// What a result without a reply says.
fn text_of(result: &AttemptResult) -> Option<&str> {
    match result {
        AttemptResult::NoConnection { error } | AttemptResult::Broken { error, .. } => Some(error),
        AttemptResult::Interrupted => Some("the attempt was interrupted"),
        AttemptResult::Panicked { .. } => Some("the attempt failed"),
        AttemptResult::Accepted(_)
        | AttemptResult::AllRefused
        | AttemptResult::Refused { .. }
        | AttemptResult::NotBegun { .. } => None,
    }
}

/// The status: the peer's own where its class fits, otherwise one of RFC 3463. `settled`: the reply is why the recipient failed.
fn status(
    action: Action,
    reply: Option<&Reply>,
    settled: bool,
    result: Option<&AttemptResult>,
) -> EnhancedCode {
    let class = match action {
        Action::Failed => 5,
        Action::Delayed => 4,
        Action::Relayed => 2,
    };
    let own = reply.and_then(|reply| reply.enhanced);
    match (own, action, result) {
        (Some(own), _, _) if own.0 == class && (settled || action != Action::Failed) => own,
        (_, Action::Relayed, _) => EnhancedCode(class, 0, 0),
        // Delivery time expired.
        (_, Action::Failed, _) if !settled => EnhancedCode(class, 4, 7),
        (_, Action::Delayed, Some(AttemptResult::NoConnection { .. })) => EnhancedCode(class, 4, 1),
        (_, Action::Delayed, Some(AttemptResult::Broken { .. })) => EnhancedCode(class, 4, 2),
        (
            _,
            _,
            Some(AttemptResult::Refused {
                stage: Stage::Route, ..
            }),
        ) => EnhancedCode(class, 4, 4),
        (_, Action::Failed | Action::Delayed, _) => EnhancedCode(class, 0, 0),
    }
}

/// The envelope of a notice about `message`, and its text. `None` when there is nobody to return it to: the reverse-path is null.
#[must_use]
pub fn build(report: &Report<'_>, returned: &Returned<'_>) -> Option<(Envelope, Vec<u8>)> {
    let ReversePath::Mailbox(to) = &report.message.envelope.reverse_path else {
        return None;
    };
    let (third, note) = original(report.body, report.extent(), returned.size_limit);
    let (text, fields) = (
        explanation(report, returned, note.as_deref()),
        delivery_status(report, returned),
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

/// What of the original stands in the notice as it is.
fn carried<'a>(third: &'a Original<'_>) -> &'a [u8] {
    match third {
        Original::Whole(bytes) => bytes,
        Original::Headers(lines) => lines,
        // In base64 there is no hyphen.
        Original::Encoded(_) | Original::Nothing => &[],
    }
}

/// A boundary that stands in no part.
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
        .filter_map(|failed| Some(word(recipient(report.message, failed.index)?.address.as_str())))
        .take(MAX_FAILED_NAMED)
        .collect();
    if !failed.is_empty() {
        out.words_field("X-Failed-Recipients", &failed);
    }
}

/// The address in To; of one that cannot be written in ASCII, none.
fn to_header(to: &str) -> String {
    let (local, domain) = to.rsplit_once('@').unwrap_or((to, ""));
    let domain = a_labels(domain);
    match local.is_ascii() && domain.is_ascii() {
        true => format!("<{}>", word(&format!("{local}@{domain}"))),
        false => "undisclosed-recipients:;".to_owned(),
    }
}

/// The first part: for people.
fn explanation(report: &Report<'_>, returned: &Returned<'_>, note: Option<&str>) -> Vec<u8> {
    let mut out = Lines::default();
    out.paragraph(
        "",
        &format!("This is the mail system at host {}.", word(returned.host)),
    );
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
            let Some(address) = recipient(report.message, reported.index) else {
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

/// What is known of one recipient, in words.
fn said(reported: &ReportedRecipient<'_>) -> String {
    let quoted = |reply: &Reply, remote: Option<&NextHop>, ours: bool| {
        let host = remote.map_or(String::new(), |hop| match ours {
            true => format!("not sent to {}: ", word(hop.host())),
            false => format!("host {} said: ", word(hop.host())),
        });
        format!("{host}{}", words(&reply.to_string()))
    };
    // A reason may name the error.
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
fn delivery_status(report: &Report<'_>, returned: &Returned<'_>) -> Vec<u8> {
    let envelope = &report.message.envelope;
    let mut out = Lines::default();
    if let Some(envid) = &envelope.parameters.envid {
        out.word_field("Original-Envelope-Id", "", &word(envid));
    }
    out.field("Reporting-MTA", &format!("dns; {}", word(returned.host)));
    out.field("Arrival-Date", &report.message.spooled_at.rfc5322());
    for reported in &report.recipients {
        let Some(recipient) = recipient(report.message, reported.index) else {
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

#[cfg(test)]
#[path = "build_tests.rs"]
mod tests;
