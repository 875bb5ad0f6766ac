//! The listing of `exim -bp`: one line for the message, one for each recipient, an empty one.

use super::units::{age, size};
use spool_core::{MessageSummary, Timestamp, harmless};
use std::io::{self, Write};

pub(super) fn print(message: &MessageSummary, now: Timestamp, out: &mut impl Write) -> io::Result<()> {
    let envelope = message.envelope.as_ref();
    let (bytes, sender) = envelope.map_or((0, ""), |envelope| (envelope.size, envelope.sender.as_str()));
    let frozen = if message.status.is_frozen() {
        " *** frozen ***"
    } else {
        ""
    };
    let unreadable = if message.unreadable {
        " *** unreadable ***"
    } else {
        ""
    };
    let (age, size) = (age(now.since(message.spooled_at)), size(bytes));
    let (id, sender) = (message.id, harmless(sender));
    writeln!(out, "{age:>3} {size:>5} {id} <{sender}>{frozen}{unreadable}")?;
    for recipient in envelope.into_iter().flat_map(|envelope| &envelope.recipients) {
        writeln!(out, "          {}", harmless(recipient))?;
    }
    writeln!(out)
}
