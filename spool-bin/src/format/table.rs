//! The table: six columns, cut to fit, coloured by age on a terminal.

use super::{Style, age};
use spool_core::{MessageSummary, Queue, ShownStatus, harmless};
use std::io::{self, Write};

const HEAD: [&str; 6] = ["id", "sender", "recipients", "age", "next attempt", "next hop"];
/// The least a column shrinks to; ids stay whole as long as anything else can give way.
const LEAST: usize = 4;

pub(super) fn print(messages: &[MessageSummary], style: Style, out: &mut impl Write) -> io::Result<()> {
    let rows: Vec<[String; 6]> = messages.iter().map(|message| row(message, style)).collect();
    let widths = widths(&rows, style.width);
    line(&HEAD.map(str::to_owned), &widths, out)?;
    writeln!(out)?;
    let rule = widths.iter().sum::<usize>() + 2 * (widths.len() - 1);
    writeln!(out, "{}", "-".repeat(rule.min(style.width)))?;
    for (message, row) in messages.iter().zip(&rows) {
        let colour = colour(message, style);
        out.write_all(colour.as_bytes())?;
        line(row, &widths, out)?;
        writeln!(out, "{}", if colour.is_empty() { "" } else { "\u{1b}[0m" })?;
    }
    Ok(())
}

fn row(message: &MessageSummary, style: Style) -> [String; 6] {
    let envelope = message.envelope.as_ref();
    let sender = envelope.map_or(String::new(), |envelope| {
        format!("<{}>", harmless(&envelope.sender))
    });
    let recipients = envelope.map_or(String::new(), |envelope| match envelope.recipients.as_slice() {
        [] => String::new(),
        [one] => harmless(one),
        [first, rest @ ..] => format!("{} +{}", harmless(first), rest.len()),
    });
    let next = match message.status {
        _ if matches!(message.queue, Queue::Removed | Queue::Quarantine) => message.queue.to_string(),
        ShownStatus::SendAt(due) => format!("in {}", age(due.since(style.now))),
        ShownStatus::SendNow => "now".to_owned(),
        other @ (ShownStatus::Sending
        | ShownStatus::Frozen
        | ShownStatus::Removed
        | ShownStatus::Quarantined
        | _) => other.to_string(),
    };
    let hops = message
        .next_hops
        .first()
        .map_or(String::new(), ToString::to_string);
    [
        message.id.to_string(),
        sender,
        recipients,
        age(style.now.since(message.spooled_at)),
        next,
        hops,
    ]
}

/// As wide as needed; when that is too much, the widest column gives way, then the next.
fn widths(rows: &[[String; 6]], width: usize) -> [usize; 6] {
    let mut widths = HEAD.map(|head| head.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let gaps = 2 * (widths.len() - 1);
    while widths.iter().sum::<usize>() + gaps > width {
        // The id is what one copies: it gives way last.
        let id = |place: usize| usize::from(place != 0) * 1000;
        let widest = widths.iter_mut().enumerate().filter(|(_, width)| **width > LEAST);
        match widest.max_by_key(|(place, width)| **width + id(*place)) {
            Some((_, widest)) => *widest -= 1,
            None => break,
        }
    }
    widths
}

fn line(row: &[String; 6], widths: &[usize; 6], out: &mut impl Write) -> io::Result<()> {
    let mut text = String::new();
    for (cell, width) in row.iter().zip(widths) {
        if !text.is_empty() {
            text.push_str("  ");
        }
        let long = cell.chars().count() > *width;
        let kept: String = cell
            .chars()
            .take(if long { width.saturating_sub(1) } else { *width })
            .collect();
        let kept = if long { format!("{kept}…") } else { kept };
        text += &format!("{kept:<width$}");
    }
    out.write_all(text.trim_end().as_bytes())
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
