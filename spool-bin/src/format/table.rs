//! The table of messages: six columns, coloured by age on a terminal.

use super::cell::Cell;
use super::grid::{Column, Grid, Shrinks};
use super::style::Style;
use super::units::age;
use crate::print::Visible;
use spool_core::{MessageSummary, Queue, ShownStatus, harmless};
use std::io::{self, Write};

const COLUMNS: [Column; 6] = [
    Column::new("id", Shrinks::Never, 0),
    Column::new("sender", Shrinks::First, 3),
    Column::new("recipients", Shrinks::First, 2),
    Column::new("age", Shrinks::Never, 4),
    Column::new("next attempt", Shrinks::Never, 0),
    Column::new("next hop", Shrinks::Second, 1),
];

pub(super) fn print(
    messages: &[MessageSummary],
    style: Style,
    out: &mut Visible<impl Write>,
) -> io::Result<()> {
    let rows: Vec<[Cell; 6]> = messages.iter().map(|message| row(message, style)).collect();
    let grid = Grid::new(COLUMNS, &rows, style.width);
    grid.head(out)?;
    for (message, row) in messages.iter().zip(&rows) {
        let colour = colour(message, style);
        out.colour(colour)?;
        grid.line(row, out)?;
        out.colour(if colour.is_empty() { "" } else { "\u{1b}[0m" })?;
        writeln!(out)?;
    }
    Ok(())
}

fn row(message: &MessageSummary, style: Style) -> [Cell; 6] {
    let envelope = message.envelope.as_ref();
    let sender = match envelope {
        Some(envelope) => format!("<{}>", harmless(&envelope.sender)),
        None if message.unreadable => "*** unreadable ***".to_owned(),
        None => String::new(),
    };
    let recipients = envelope.map_or(Cell::default(), |envelope| match envelope.recipients.as_slice() {
        [] => Cell::default(),
        [one] => Cell::text(harmless(one), 0),
        [first, rest @ ..] => {
            let more = format!(" +{}", rest.len());
            Cell::name(format!("{}{more}", harmless(first)), more.len())
        }
    });
    let archived = matches!(message.queue, Queue::Removed | Queue::Quarantine);
    let next = match message.status {
        _ if archived => message.queue.to_string(),
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
    let hops = match message.next_hops.is_empty() && archived {
        true => Cell::default(),
        false => Cell::hops(&message.next_hops),
    };
    [
        Cell::whole(message.id),
        Cell::text(sender, 0),
        recipients,
        Cell::whole(age(style.now.since(message.spooled_at))),
        Cell::whole(next),
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
