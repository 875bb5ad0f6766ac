//! One message as text: its state, its recipients, its attempts.
//!
//! Lines are wrapped at blanks to fit the width; ids and addresses are never cut.

use super::units::{hops, size, span, when};
use super::wrap::wrapped;
use crate::page::{AttemptPage, Page, RecipientFate, RecipientPage};
use spool_core::{RouteOrigin, ShownStatus, Timestamp, harmless, millis};
use std::io::{self, Write};

/// The column of the values.
const INDENT: usize = 14;

/// Prints the page of one message in lines of at most `width` columns, as of `now`.
pub(crate) fn show(page: &Page, width: usize, now: Timestamp, out: &mut impl Write) -> io::Result<()> {
    for (name, value) in facts(page, now).iter().filter(|(_, value)| !value.is_empty()) {
        let name = format!("{name}:");
        wrapped(out, width, &format!("{name:<INDENT$}"), INDENT, value)?;
    }
    writeln!(out, "\n{} recipients", page.recipients.len())?;
    for recipient in &page.recipients {
        item(out, width, &self::recipient(recipient))?;
    }
    let left_out = page.attempts_left_out;
    let total = left_out.saturating_add(page.attempts.len() as u64);
    writeln!(out, "\n{total} attempts")?;
    for (nth, tried) in page.attempts.iter().enumerate() {
        if nth == 1 && left_out > 0 {
            item(out, width, &format!("… {left_out} more, not kept"))?;
        }
        item(out, width, &attempt(tried))?;
        for refused in &tried.refused {
            let reply = words(Some(refused.code), refused.enhanced.as_deref(), &refused.text);
            let refused = format!("    <{}> refused: {reply}", harmless(&refused.address));
            item(out, width, &refused)?;
        }
    }
    Ok(())
}

/// The values with their names; those without a text are not shown.
fn facts(page: &Page, now: Timestamp) -> Vec<(&'static str, String)> {
    let at = |at: Option<Timestamp>, before: &str| {
        at.map_or_else(String::new, |at| format!("{before}{}", when(at, now)))
    };
    let rerouted = page.next_hops_afterwards.as_deref().map(|afterwards| {
        let hops = hops(afterwards);
        format!("to {hops}, for the recipients that are left when this attempt ends")
    });
    let mut facts = vec![
        ("id", page.id.to_string()),
        ("queue", page.queue.to_string()),
        ("status", status(page, now)),
        ("reason", harmless(page.reason.as_deref().unwrap_or_default())),
        ("spooled", when(page.spooled_at, now)),
        ("gives up", at(page.expires_at, "")),
        ("in flight", at(page.in_flight, "since ")),
        ("size", size(page.size)),
        ("sender", format!("<{}>", harmless(&page.sender))),
        ("parameters", page.parameters.join(" ")),
        ("next hops", hops(&page.next_hops)),
        ("rerouted", rerouted.unwrap_or_default()),
        ("route", route(page.route).to_owned()),
        ("retries", retries(page)),
        ("parent", join(page.parent.as_slice())),
    ];
    facts.extend(page.notices.iter().map(|notice| ("notice", notice.text())));
    if page.unknown_submitter {
        let text = "not known: only `spool bounce` returns a notice";
        facts.push(("submitter", text.to_owned()));
    }
    facts.extend([
        ("related", join(&page.related)),
        ("parts", join(&page.parts)),
        ("flows", join(&page.flows)),
    ]);
    facts
}

/// A line of a list; blanks at its beginning are kept.
fn item(out: &mut impl Write, width: usize, text: &str) -> io::Result<()> {
    let blanks = text.len() - text.trim_start().len();
    wrapped(out, width, &" ".repeat(2 + blanks), 6 + blanks, text.trim_start())
}

fn route(origin: RouteOrigin) -> &'static str {
    match origin {
        RouteOrigin::Named => "named by the submitter or an operator; it stays",
        RouteOrigin::Configured => "by the configuration; it is looked up again when the message is sent",
        RouteOrigin::BuiltInSink => "the built-in sink",
        _ => "unknown to this program",
    }
}

fn join(ids: &[impl ToString]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn status(page: &Page, now: Timestamp) -> String {
    match page.status {
        ShownStatus::Removed => "removed; `spool recover` brings it back, frozen".to_owned(),
        ShownStatus::Quarantined => {
            "in quarantine; `spool recover --from quarantine` brings it back, frozen".to_owned()
        }
        ShownStatus::SendAt(_) | ShownStatus::SendNow if page.next_hops.is_empty() => {
            "has no route and waits; `spool explain` shows why, `spool reroute` sets one".to_owned()
        }
        ShownStatus::SendAt(due) => format!("next attempt at {}", when(due, now)),
        ShownStatus::SendNow => "due now; `spool explain` shows why it waits".to_owned(),
        ShownStatus::Sending => "being sent".to_owned(),
        ShownStatus::Frozen => "frozen: waits for `spool send`".to_owned(),
        other => other.to_string(),
    }
}

fn retries(page: &Page) -> String {
    let intervals = page.retry_intervals.iter().map(|interval| {
        let [length, jitter] = [interval.span(), interval.jitter()].map(millis);
        match jitter {
            0 => span(length),
            jitter => format!("{}±{}", span(length), span(jitter)),
        }
    });
    let intervals: Vec<String> = intervals.collect();
    match (intervals.is_empty(), page.repeat_last) {
        (true, _) => "none left".to_owned(),
        (false, false) => intervals.join(" "),
        (false, true) => format!("{}, the last repeated", intervals.join(" ")),
    }
}

fn recipient(recipient: &RecipientPage) -> String {
    let mut text = format!("<{}> ", harmless(&recipient.address));
    match recipient.fate {
        RecipientFate::Remaining => text += "to be tried",
        RecipientFate::Done => text += "done",
        RecipientFate::Bounced => text += "failed; a notice was returned, or none was wanted",
        RecipientFate::Elsewhere => {
            text += "not delivered by this message: it moved to another one, or a hook took care of it";
        }
        RecipientFate::Failed => {
            text += "failed";
            let reason = recipient.reason.as_deref().unwrap_or_default();
            let reply = recipient
                .reply
                .as_ref()
                .map_or_else(String::new, ToString::to_string);
            // The reason often quotes the reply already.
            let said = match reason.contains(&reply) {
                true => reason.to_owned(),
                false => format!("{reason}: {reply}"),
            };
            if !said.is_empty() {
                text += &format!(": {}", harmless(&said));
            }
        }
    }
    if !recipient.parameters.is_empty() {
        text += &format!(" ({})", recipient.parameters.join(" "));
    }
    text
}

fn attempt(attempt: &AttemptPage) -> String {
    let peer = attempt
        .peer
        .as_ref()
        .map_or("nobody".to_owned(), ToString::to_string);
    let tls = attempt.tls.as_deref().map_or("no TLS".to_owned(), harmless);
    let stage = attempt
        .stage
        .map_or_else(String::new, |stage| format!(" at {stage}"));
    let reply = words(attempt.code, attempt.enhanced.as_deref(), &attempt.text);
    let doubt = match attempt.in_doubt {
        true => "; IN DOUBT: the peer may hold the message",
        false => "",
    };
    format!(
        "{}  {peer}  {}{stage}{}{reply}{doubt}  ({}, {tls})",
        attempt.at,
        harmless(&attempt.outcome.replace('_', " ")),
        if reply.is_empty() { "" } else { ": " },
        span(attempt.duration_ms),
    )
}

fn words(code: Option<u16>, enhanced: Option<&str>, text: &str) -> String {
    let code = code.map(|code| code.to_string());
    let parts = [code, enhanced.map(harmless), Some(harmless(text))];
    let parts = parts.into_iter().flatten().filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::tests::page;

    fn shown(width: usize) -> String {
        let mut out = Vec::new();
        let page = page();
        show(&page, width, page.spooled_at, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_page_has_all_values() {
        let text = shown(usize::MAX);
        for line in [
            "id:           00000000000000000000000007",
            "status:       next attempt at 2026-11-24T03:40:42.042Z (in 90s)",
            "sender:       <ada@example.org>",
            "parameters:   ENVID=e-1",
            "retries:      5m±1m, the last repeated",
            "related:      00000000000000000000000008",
            "3 recipients",
            "  <done@x.example> done",
            "  <failed@x.example> failed: refused: 550 5.1.1 nobody\\u001b[31m here",
            "  <late@x.example> to be tried (NOTIFY=FAILURE,DELAY)",
            "2 attempts",
            "  2026-11-24T03:39:12.042Z  mx.example.net:25  accepted: 250 2.0.0 taken  (1234ms, TLSv1.3 TLS_AES_256_GCM_SHA384)",
            "      <failed@x.example> refused: 550 5.1.1 nobody",
            "  2026-11-24T03:40:12.042Z  nobody  broken at final reply: timed out; IN DOUBT: the peer may hold the message  (1234ms, no TLS)",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line}\n---\n{text}");
        }
    }

    #[test]
    fn a_route_after_the_attempt_is_shown() {
        let mut page = page();
        page.next_hops_afterwards = Some(["b.example:25".parse().unwrap()].into());
        let mut out = Vec::new();
        show(&page, usize::MAX, page.spooled_at, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let line = "rerouted:     to b.example:25, for the recipients that are left when this attempt ends";
        assert!(text.lines().any(|shown| shown == line), "{text}");
    }

    #[test]
    fn lines_fit_the_width_and_keep_all_words() {
        let narrow = shown(50);
        assert!(narrow.lines().all(|line| line.chars().count() <= 50), "{narrow}");
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(&narrow), words(&shown(usize::MAX)));
    }
}
