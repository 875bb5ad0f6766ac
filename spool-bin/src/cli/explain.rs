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
        let answer = self.admin.service()?.request("GET", &path, None)?.json()?;
        if self.format == "json" {
            return console::print(|out| writeln!(out, "{answer}"));
        }
        let list = |name| answer.get(name).and_then(Value::as_array).into_iter().flatten();
        let lines: Vec<String> = list("holds").map(line).collect();
        let reason = answer.get("reason").and_then(Value::as_str);
        let notices: Vec<&str> = list("notices").filter_map(Value::as_str).collect();
        let width = self.columns.width();
        console::print(|out| print(&lines, reason, &notices, width, out))
    }
}

/// Prints lines of at most `width` columns; words are not broken.
fn print(
    lines: &[String],
    reason: Option<&str>,
    notices: &[&str],
    width: usize,
    out: &mut impl Write,
) -> io::Result<()> {
    if lines.is_empty() {
        writeln!(out, "nothing holds it: its attempt is about to begin")?;
    }
    for (number, line) in (1..).zip(lines) {
        let first = format!("{number}. ");
        wrapped(out, width, &first, first.len(), line)?;
    }
    let reason = reason.map(|reason| ("reason: ", reason));
    let notices = notices.iter().map(|notice| ("notice: ", *notice));
    for (first, text) in reason.into_iter().chain(notices) {
        wrapped(out, width, first, first.len(), &harmless(text))?;
    }
    Ok(())
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
        let lines = ["waits for its next attempt at 2026-11-24T03:40:42.042Z (in 90s)".to_owned()];
        let told = |width| {
            let mut out = Vec::new();
            print(
                &lines,
                Some("450 4.7.1 please come back a little later"),
                &["failed: no notice was wanted"],
                width,
                &mut out,
            )
            .unwrap();
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
