//! `spool explain`: why a message waits, in order, and until when.

use super::columns::Columns;
use super::console;
use super::which::Admin;
use crate::failure::Failure;
use crate::format::{when, wrapped};
use crate::selector::read_id;
use clap::Args;
use serde_json::Value;
use spool_core::{Clock, Hold, SystemClock, harmless};
use std::io::{self, Write};

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  spool explain 01M86G2VQ3ZCK4M6B0S0A98KXB
  1. waits for its next attempt at 2026-11-24T03:40:42.042Z (in 90s)

Each line is a reason: of the queue, of a limit, or of the disk. The message is sent when none is left. Only a running \
service knows them.")]
pub(super) struct ExplainArgs {
    /// The id of the message
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    admin: Admin,
    /// Output format
    #[arg(long, value_name = "FORMAT", value_parser = ["text", "json"], default_value = "text")]
    format: String,
    #[command(flatten)]
    columns: Columns,
}

impl ExplainArgs {
    pub(super) fn run(self) -> Result<(), Failure> {
        let id = read_id(&self.id).map_err(Failure::Usage)?;
        let path = format!("/api/v1/messages/{id}/explain");
        let answer: Value = self.admin.service()?.get(&path)?.json()?;
        if self.format == "json" {
            return console::print_json(&answer);
        }
        let lines = lines(&answer);
        console::print(|out| print(&lines, self.columns.width(), out))
    }
}

/// Each line with what it begins with.
fn lines(answer: &Value) -> Vec<(String, String)> {
    let list = |name| answer.get(name).and_then(Value::as_array).into_iter().flatten();
    let holds = (1..).zip(list("holds"));
    let mut lines: Vec<_> = holds
        .map(|(number, hold)| (format!("{number}. "), line(hold)))
        .collect();
    if lines.is_empty() {
        let text = "nothing holds it: its attempt is about to begin";
        lines.push((String::new(), text.to_owned()));
    }
    let text = |name: &'static str| move |text: &str| (format!("{name}: "), harmless(text));
    lines.extend(answer.get("reason").and_then(Value::as_str).map(text("reason")));
    lines.extend(list("notices").filter_map(Value::as_str).map(text("notice")));
    lines
}

/// Prints lines of at most `width` columns; words are not broken.
fn print(lines: &[(String, String)], width: usize, out: &mut impl Write) -> io::Result<()> {
    let mut lines = lines.iter();
    lines.try_for_each(|(first, text)| wrapped(out, width, first, first.len(), text))
}

/// The text of a hold; an unknown one is printed as the service sent it.
fn line(hold: &Value) -> String {
    let text = hold.get("text").and_then(Value::as_str);
    let known = serde_json::from_value::<Hold>(hold.clone()).ok();
    let text = match (&known, text) {
        (Some(known), _) => known.to_string(),
        (None, Some(text)) => text.to_owned(),
        (None, None) => hold.to_string(),
    };
    let now = SystemClock.now();
    let ends = known.and_then(|known| known.until()).map(|until| {
        let when = when(until, now);
        // The time itself is in the text.
        when.split_once(' ')
            .map_or(String::new(), |(_, span)| format!(" {span}"))
    });
    format!("{}{}", harmless(&text), ends.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_and_the_reason_are_wrapped_with_indent() {
        let answer = serde_json::json!({
            "holds": [{"hold": "moon", "text": "waits for its next attempt at 2026-11-24T03:40:42.042Z (in 90s)"}],
            "reason": "450 4.7.1 please come back a little later",
            "notices": ["failed: no notice was wanted"],
        });
        let told = |width| {
            let mut out = Vec::new();
            print(&lines(&answer), width, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            told(40),
            "1. waits for its next attempt at\n   2026-11-24T03:40:42.042Z (in 90s)\n\
             reason: 450 4.7.1 please come back a\n        little later\n\
             notice: failed: no notice was wanted\n"
        );
        assert_eq!(told(usize::MAX).lines().count(), 3);
    }

    #[test]
    fn known_and_unknown_holds_are_printed() {
        let told = |json: &str| line(&serde_json::from_str(json).unwrap());
        assert_eq!(told(r#"{"hold":"frozen","text":"x"}"#), Hold::Frozen.to_string());
        let retry = told(r#"{"hold":"retry_time","until":"2026-11-24T03:39:12.042Z"}"#);
        assert!(
            retry.contains("2026-11-24T03:39:12.042Z (") && retry.ends_with(')'),
            "{retry}"
        );
        assert_eq!(
            told(r#"{"hold":"moon","text":"the \u001b moon"}"#),
            "the \\u001b moon"
        );
    }
}
