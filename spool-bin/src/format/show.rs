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
    let mut facts = Facts { width, out };
    facts.add("id", &page.id.to_string())?;
    facts.add("queue", &page.queue.to_string())?;
    facts.add("status", &status(page, now))?;
    facts.add_if("reason", page.reason.as_deref().map(harmless))?;
    facts.add("spooled", &when(page.spooled_at, now))?;
    facts.add_if("gives up", page.expires_at.map(|at| when(at, now)))?;
    facts.add_if(
        "in flight",
        page.in_flight.map(|at| format!("since {}", when(at, now))),
    )?;
    facts.add("size", &size(page.size))?;
    facts.add("sender", &format!("<{}>", harmless(&page.sender)))?;
    facts.add_if("parameters", some(page.parameters.join(" ")))?;
    facts.add("next hops", &hops(&page.next_hops))?;
    let afterwards = page.next_hops_afterwards.as_deref().map(hops);
    facts.add_if(
        "rerouted",
        afterwards.map(|hops| format!("to {hops}, for the recipients that are left when this attempt ends")),
    )?;
    facts.add("route", route(page.route))?;
    facts.add("retries", &retries(page))?;
    facts.add_if("parent", page.parent.map(|id| id.to_string()))?;
    for notice in &page.notices {
        facts.add("notice", &notice.text())?;
    }
    if page.unknown_submitter {
        facts.add("submitter", "not known: only `spool bounce` returns a notice")?;
    }
    facts.add_if("related", some(join(&page.related)))?;
    facts.add_if("parts", some(join(&page.parts)))?;
    facts.add_if("flows", some(join(&page.flows)))?;
    facts.head(&format!("{} recipients", page.recipients.len()))?;
    for recipient in &page.recipients {
        facts.item(&self::recipient(recipient))?;
    }
    let left_out = page.attempts_left_out;
    let total = left_out.saturating_add(page.attempts.len() as u64);
    facts.head(&format!("{total} attempts"))?;
    for (nth, tried) in page.attempts.iter().enumerate() {
        if nth == 1 && left_out > 0 {
            facts.item(&format!("… {left_out} more, not kept"))?;
        }
        facts.item(&attempt(tried))?;
        for refused in &tried.refused {
            let reply = words(Some(refused.code), refused.enhanced.as_deref(), &refused.text);
            facts.item(&format!("    <{}> refused: {reply}", harmless(&refused.address)))?;
        }
    }
    Ok(())
}

fn route(origin: RouteOrigin) -> &'static str {
    match origin {
        RouteOrigin::Named => "named by the submitter or an operator; it stays",
        RouteOrigin::Configured => "by the configuration; it is looked up again when the message is sent",
        RouteOrigin::BuiltInSink => "the built-in sink",
        _ => "unknown to this program",
    }
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
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
                .map(ToString::to_string)
                .unwrap_or_default();
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
        .map(|stage| format!(" at {stage}"))
        .unwrap_or_default();
    let reply = words(attempt.code, attempt.enhanced.as_deref(), &attempt.text);
    let doubt = if attempt.in_doubt {
        "; IN DOUBT: the peer may hold the message"
    } else {
        ""
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

struct Facts<'o, W> {
    width: usize,
    out: &'o mut W,
}

impl<W: Write> Facts<'_, W> {
    fn add(&mut self, name: &str, value: &str) -> io::Result<()> {
        self.wrapped(&format!("{:<INDENT$}", format!("{name}:")), INDENT, value)
    }

    fn add_if(&mut self, name: &str, value: Option<String>) -> io::Result<()> {
        value.map_or(Ok(()), |value| self.add(name, &value))
    }

    fn head(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "\n{text}")
    }

    fn item(&mut self, text: &str) -> io::Result<()> {
        let blanks = text.len() - text.trim_start().len();
        self.wrapped(&" ".repeat(2 + blanks), 6 + blanks, text.trim_start())
    }

    fn wrapped(&mut self, first: &str, indent: usize, text: &str) -> io::Result<()> {
        wrapped(self.out, self.width, first, indent, text)
    }
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
