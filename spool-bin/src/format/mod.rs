//! Output for people and programs: listings of messages (table, exim, ids, JSON; the oldest first), one message, events,
//! destinations, connections, clients.
//!
//! It prints the values it is given, and shows hidden characters of strangers as escapes.

mod cell;
mod clients;
pub(crate) mod event;
mod exim;
mod grid;
mod outbound;
mod show;
mod style;
mod table;
mod units;
mod wrap;

pub(crate) use clients::clients;
pub(crate) use grid::NARROWEST;
pub(crate) use outbound::{connections, destinations, reset};
pub(crate) use show::show;
pub(crate) use style::{Format, Style};
pub(crate) use units::when;
pub(crate) use wrap::wrapped;

use crate::print::{Visible, json_line};
use spool_core::MessageSummary;
use std::io::{self, Write};

/// Prints `messages`, sorted.
pub(crate) fn print(
    mut messages: Vec<MessageSummary>,
    style: Style,
    out: &mut Visible<impl Write>,
) -> io::Result<()> {
    messages.sort_by_key(|message| (message.spooled_at, message.id));
    if style.format == Format::Table {
        return table::print(&messages, style, out);
    }
    messages
        .iter()
        .try_for_each(|message| print_one(message, style, out))
}

/// Prints one message of a listing that is sorted already. A table needs all messages for its widths: here it prints the id.
pub(crate) fn print_one(
    message: &MessageSummary,
    style: Style,
    out: &mut Visible<impl Write>,
) -> io::Result<()> {
    match style.format {
        Format::Exim => exim::print(message, style.now, out),
        Format::Table | Format::Id => writeln!(out, "{}", message.id),
        Format::Json => json_line(out, message),
    }
}

#[cfg(test)]
mod tests {
    use super::units::{age, size, span};
    use super::*;
    use spool_core::{EnvelopeSummary, MessageId, Queue, ShownStatus, Timestamp};

    use std::time::Duration;

    const NOW: Timestamp = Timestamp(10_000_000_000);

    fn message(
        number: u128,
        age_s: i64,
        sender: &str,
        recipients: &[&str],
        status: ShownStatus,
    ) -> MessageSummary {
        MessageSummary {
            id: MessageId::from_u128(number),
            queue: if status.is_frozen() {
                Queue::Frozen
            } else {
                Queue::Active
            },
            status,
            spooled_at: Timestamp(NOW.0 - age_s * 1000),
            next_hops: ["mx.example.net:25".parse().unwrap()].into(),
            origin: spool_core::RouteOrigin::Configured,
            envelope: Some(EnvelopeSummary {
                sender: sender.into(),
                recipients: recipients.iter().map(|r| (*r).to_owned()).collect(),
                size: 2970,
            }),
            reason: None,
            frozen: None,
            unreadable: false,
        }
    }

    fn printed(format: Format, width: usize, colour: bool) -> String {
        let messages = vec![
            message(2, 30, "", &["x@example.com"], ShownStatus::Frozen),
            message(
                1,
                1500,
                "ada@example.org",
                &["bob@example.net", "c@example.net"],
                ShownStatus::SendAt(NOW.after(Duration::from_secs(90))),
            ),
        ];
        let mut out = Visible::new(Vec::new());
        print(
            messages,
            Style {
                format,
                width,
                colour,
                now: NOW,
            },
            &mut out,
        )
        .unwrap();
        String::from_utf8(out.into_inner()).unwrap()
    }

    #[test]
    fn the_exim_format_is_that_of_exim() {
        assert_eq!(
            printed(Format::Exim, 80, false),
            "25m  2.9K 00000000000000000000000001 <ada@example.org>\n          bob@example.net\n          c@example.net\n\n\
             30s  2.9K 00000000000000000000000002 <> *** frozen ***\n          x@example.com\n\n"
        );
    }

    #[test]
    fn a_table_fits_its_width() {
        for width in [40, 80, 180] {
            let table = printed(Format::Table, width, false);
            assert!(
                table.lines().all(|line| line.chars().count() <= width),
                "{width}:\n{table}"
            );
            let rows = table.lines().skip(2).filter(|line| !line.starts_with("    "));
            assert_eq!(rows.count(), 2, "{table}");
            assert!(table.contains(":25") && table.contains("+1"), "{table}");
        }
        let table = printed(Format::Table, 180, false);
        assert!(
            table.contains("bob@example.net +1") && table.contains("frozen") && table.contains("in 90s"),
            "{table}"
        );
        assert!(!table.contains('\u{1b}') && printed(Format::Table, 180, true).contains('\u{1b}'));
    }

    #[test]
    fn at_80_columns_a_listing_keeps_ids_states_ports_and_counts() {
        let mut long = message(
            1,
            90_000,
            "bounces+very-long-tag-of-a-sender@mailings.example.org",
            &["somebody.with.a.long.name@a-long-domain.example.net", "c@x"],
            ShownStatus::Sending,
        );
        long.next_hops = ["a-long-name-of-a-host.example.net:2525", "b.example:25"]
            .map(|hop| hop.parse().unwrap())
            .into();
        let short = message(2, 30, "", &["x@example.com"], ShownStatus::Frozen);
        let mut shown = Visible::new(Vec::new());
        let style = Style {
            format: Format::Table,
            width: 80,
            colour: false,
            now: NOW,
        };
        print(vec![long, short], style, &mut shown).unwrap();
        let text = String::from_utf8(shown.into_inner()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.iter().all(|line| line.chars().count() <= 80), "{text}");
        assert!(lines[2].starts_with("00000000000000000000000001  <b"), "{text}");
        assert!(
            lines[2].contains(" +1  25h  sending ") && lines[2].ends_with(":2525 +1"),
            "{text}"
        );
        assert!(
            lines[3].contains("  frozen ") && lines[3].ends_with(":25"),
            "{text}"
        );
    }

    #[test]
    fn ids_and_json_are_for_machines() {
        assert_eq!(
            printed(Format::Id, 80, false),
            "00000000000000000000000001\n00000000000000000000000002\n"
        );
        let json = printed(Format::Json, 80, false);
        let first: MessageSummary = serde_json::from_str(json.lines().next().unwrap()).unwrap();
        assert_eq!(first.envelope.unwrap().sender, "ada@example.org");
    }

    #[test]
    fn ages_and_sizes_are_short() {
        assert_eq!(
            [0, 1234, 90_000, 300_000, 7_200_000, 172_800_000].map(span),
            ["0ms", "1234ms", "90s", "5m", "2h", "2d"]
        );
        assert!(when(NOW.after(Duration::from_secs(90)), NOW).ends_with("Z (in 90s)"));
        assert!(when(Timestamp(NOW.0 - 5000), NOW).ends_with("Z (5s ago)"));
        assert_eq!(
            [0, 119, 120, 7199, 7200, 172_800].map(|s| age(Duration::from_secs(s))),
            ["0s", "119s", "2m", "119m", "2h", "2d"]
        );
        assert_eq!(
            [0, 999, 1000, 2970, 15_000, 15 << 20].map(size),
            ["0", "999", "1.0K", "2.9K", "15K", "15M"]
        );
    }
}
