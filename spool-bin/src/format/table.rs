//! The table: six columns, cut to fit, coloured by age on a terminal.

use super::grid::Grid;
use super::{Style, age};
use crate::print::Canvas;
use spool_core::{MessageSummary, Queue, ShownStatus, harmless};
use std::io;

const HEAD: [&str; 6] = ["id", "sender", "recipients", "age", "next attempt", "next hop"];

pub(super) fn print(messages: &[MessageSummary], style: Style, out: &mut impl Canvas) -> io::Result<()> {
    let rows: Vec<[String; 6]> = messages.iter().map(|message| row(message, style)).collect();
    let grid = Grid::new(&HEAD, &rows, 0, style.width);
    grid.head(&HEAD, style.width, out)?;
    for (message, row) in messages.iter().zip(&rows) {
        let colour = colour(message, style);
        out.colour(colour)?;
        grid.line(row, out)?;
        out.colour(if colour.is_empty() { "" } else { "\u{1b}[0m" })?;
        writeln!(out)?;
    }
    Ok(())
}

fn row(message: &MessageSummary, style: Style) -> [String; 6] {
    let envelope = message.envelope.as_ref();
    let missing = if message.unreadable {
        "*** unreadable ***"
    } else {
        ""
    };
    let sender = envelope.map_or(missing.to_owned(), |envelope| {
        format!("<{}>", harmless(&envelope.sender))
    });
    let recipients = envelope.map_or(String::new(), |envelope| match envelope.recipients.as_slice() {
        [] => String::new(),
        [one] => harmless(one),
        [first, rest @ ..] => format!("{} +{}", harmless(first), rest.len()),
    });
    let shelved = matches!(message.queue, Queue::Removed | Queue::Quarantine);
    let next = match message.status {
        _ if shelved => message.queue.to_string(),
        ShownStatus::SendAt(_) | ShownStatus::SendNow if message.next_hops.is_empty() => {
            "no route".to_owned()
        }
        ShownStatus::SendAt(due) => format!("in {}", age(due.since(style.now))),
        ShownStatus::SendNow => "now".to_owned(),
        other @ (ShownStatus::Sending
        | ShownStatus::Frozen
        | ShownStatus::Removed
        | ShownStatus::Quarantined
        | _) => other.to_string(),
    };
    let hops = match message.next_hops.first() {
        Some(first) => first.to_string(),
        None if shelved => String::new(),
        None => super::hops(&[]),
    };
    [
        message.id.to_string(),
        sender,
        recipients,
        age(style.now.since(message.spooled_at)),
        next,
        hops,
    ]
}

/// Yellow after an hour, red after a day, blue when frozen.
fn colour(message: &MessageSummary, style: Style) -> &'static str {
    let hours = style.now.since(message.spooled_at).as_secs() / 3600;
    match (style.colour, message.status.is_frozen(), hours) {
        (false, _, _) | (true, false, 0) => "",
        (true, true, _) => "\u{1b}[34m",
        (true, false, 1..24) => "\u{1b}[33m",
        (true, false, _) => "\u{1b}[31m",
    }
}
