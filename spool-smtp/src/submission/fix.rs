//! Completes a submitted message: a missing `Date` and `Message-ID` are added, `Bcc` and `Resent-Bcc` are removed (RFC 6409
//! sections 8.2 and 8.3, RFC 5322 section 3.6.3). No other byte changes. A message without a header section is body from its first
//! line on: it gets a header section, and nothing is removed. A first line `From …` of a mailbox file does not count: the header section
//! follows it.

use super::fields::{Field, Fields};
use spool_core::{Admission, Timestamp};

/// Whose messages are completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FixSubmissions {
    /// Nobody's.
    Never,
    /// Those of authenticated users.
    #[default]
    Authenticated,
    /// Also those of the networks that may relay, and of local programs.
    Networks,
}

impl FixSubmissions {
    /// Whether a message with this admission is completed. Mail that is relayed for other domains never is.
    #[must_use]
    pub const fn applies_to(self, admission: &Admission) -> bool {
        match admission {
            Admission::User(_) => matches!(self, Self::Authenticated | Self::Networks),
            Admission::Network => matches!(self, Self::Networks),
            Admission::Domain => false,
        }
    }
}

/// The values for missing fields.
#[derive(Debug, Clone, Copy)]
pub struct Completion<'a> {
    /// The date.
    pub now: Timestamp,
    /// The message's identifier, without angle brackets: `unique@host.example`.
    pub message_id: &'a str,
}

/// Completes `message`, which consists of lines ended by CRLF. The work is done in place and needs no memory
/// except for the added lines, which have a few hundred bytes at most.
///
/// New fields go to the end of the header section, before the first line that is not a header field. If that is the first line of the
/// message, an empty line follows the new fields, and later lines that look like header fields are body.
#[must_use]
pub fn complete(mut message: Vec<u8>, completion: &Completion<'_>) -> Vec<u8> {
    let trace = trace_end(&message);
    let start = header_start(&message, trace);
    if !is_text(&message, start) {
        remove(&mut message, start, is_bcc);
    }
    let no_header = is_text(&message, start);
    let (mut date, mut message_id) = (false, false);
    let mut end = if no_header { trace } else { start };
    let fields = Fields::from(&message, start).take_while(|_| !no_header);
    for field in fields {
        date |= field.is("Date");
        message_id |= field.is("Message-ID");
        if field.name().is_some() && end == field.at {
            end += field.raw.len();
        }
    }
    let mut lines = String::new();
    if !date {
        lines.push_str(&format!("Date: {}\r\n", completion.now.rfc5322()));
    }
    if !message_id {
        lines.push_str(&format!("Message-ID: <{}>\r\n", completion.message_id));
    }
    if no_header {
        lines.push_str("\r\n");
    }
    insert(&mut message, end, lines.as_bytes());
    message
}

/// Where the submitter's part begins: after the trace header.
fn trace_end(message: &[u8]) -> usize {
    let trace = Fields::of(message).take_while(|field| field.is("Received"));
    trace.last().map_or(0, |field| field.at + field.raw.len())
}

/// Where the submitter's header section begins: at `trace`, or after the separator line of a mailbox file (RFC 4155).
fn header_start(message: &[u8], trace: usize) -> usize {
    let first = Fields::from(message, trace).next();
    let separator = first.filter(|first| first.name().is_none() && first.raw.starts_with(b"From "));
    trace + separator.map_or(0, |line| line.raw.len())
}

/// Whether a message has no header section: the line at `start` is neither a header field nor empty.
fn is_text(message: &[u8], start: usize) -> bool {
    let first = Fields::from(message, start).next();
    first.is_some_and(|first| first.name().is_none())
}

fn is_bcc(field: &Field<'_>) -> bool {
    field.is("Bcc") || field.is("Resent-Bcc")
}

/// Removes the fields that `unwanted` names from `message`, from `start` on.
fn remove(message: &mut Vec<u8>, start: usize, unwanted: impl Fn(&Field<'_>) -> bool) {
    let (mut from, mut to) = (start, start);
    while let Some(field) = Fields::from(message, from).next() {
        let (length, keep) = (field.raw.len(), !unwanted(&field));
        if keep && from != to {
            message.copy_within(from..from + length, to);
        }
        from += length;
        to += if keep { length } else { 0 };
    }
    if from != to {
        let rest = message.len() - from;
        message.copy_within(from.., to);
        message.truncate(to + rest);
    }
}

/// Inserts `bytes` into `message` at `at`.
pub(crate) fn insert(message: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let old = message.len();
    if bytes.is_empty() || at > old {
        return;
    }
    message.reserve_exact(bytes.len());
    message.extend_from_slice(bytes);
    message.copy_within(at..old, at + bytes.len());
    if let Some(gap) = message.get_mut(at..at + bytes.len()) {
        gap.copy_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DATE: &str = "Date: Thu, 1 Jan 1970 00:00:00 +0000\r\n";
    const ID: &str = "Message-ID: <1@h.example>\r\n";

    fn completed(message: &str) -> String {
        let completion = Completion {
            now: Timestamp(0),
            message_id: "1@h.example",
        };
        String::from_utf8(complete(message.as_bytes().to_vec(), &completion)).unwrap()
    }

    #[test]
    fn what_is_missing_goes_to_the_end_of_the_header_section() {
        for (from, to) in [
            (
                "Received: x\r\nFrom: a\r\n\r\nDate: body\r\n",
                format!("Received: x\r\nFrom: a\r\n{DATE}{ID}\r\nDate: body\r\n"),
            ),
            ("dAtE: x\r\n\r\nx\r\n", format!("dAtE: x\r\n{ID}\r\nx\r\n")),
            (
                "Message-Id : <x@y>\r\n\r\n",
                format!("Message-Id : <x@y>\r\n{DATE}\r\n"),
            ),
            ("A: b\r\n", format!("A: b\r\n{DATE}{ID}")),
            ("", format!("{DATE}{ID}")),
            ("\r\nbody\r\n", format!("{DATE}{ID}\r\nbody\r\n")),
            ("no header\r\n", format!("{DATE}{ID}\r\nno header\r\n")),
            (
                "A: b\r\nno field\r\nC: d\r\n\r\nx\r\n",
                format!("A: b\r\n{DATE}{ID}no field\r\nC: d\r\n\r\nx\r\n"),
            ),
            (" indented\r\n", format!("{DATE}{ID}\r\n indented\r\n")),
        ] {
            assert_eq!(completed(from), to, "{from:?}");
        }
    }

    #[test]
    fn blind_copies_are_removed_with_all_of_their_lines() {
        let whole = format!("{DATE}{ID}");
        for (from, to) in [
            ("Bcc: a@x\r\nTo: b@y\r\n", "To: b@y\r\n"),
            (
                "To: b@y\r\nBCC : a@x,\r\n\tc@z,\r\n \r\nresent-bcc:\r\nCc: d@e\r\n",
                "To: b@y\r\nCc: d@e\r\n",
            ),
            ("Bcc: a@x\r\n", ""),
            ("X-Bcc: a@x\r\nBccx: b\r\n", "X-Bcc: a@x\r\nBccx: b\r\n"),
        ] {
            assert_eq!(
                completed(&format!("{whole}{from}\r\nBcc: body\r\n")),
                format!("{whole}{to}\r\nBcc: body\r\n")
            );
        }
        // A reader that skips the line in between would still show it.
        assert_eq!(
            completed(&format!("{whole}no field\r\nBcc: a@x\r\n\r\n")),
            format!("{whole}no field\r\n\r\n")
        );
    }

    #[test]
    fn a_message_without_a_header_section_is_not_changed() {
        for text in [
            "Dear all,\r\nBcc: the following is important\r\nDate: tomorrow\r\n\r\nBcc: x\r\n",
            " indented\r\nBcc: a@x\r\n",
            "Dear all\r\n Bcc: a@x\r\nMessage-ID: <a@b>\r\n",
            "\r\nBcc: a@x\r\n",
        ] {
            let empty = if text.starts_with("\r\n") { "" } else { "\r\n" };
            assert_eq!(completed(text), format!("{DATE}{ID}{empty}{text}"), "{text:?}");
        }
    }

    #[test]
    fn the_trace_in_front_of_a_message_is_no_header_of_it() {
        let trace = "Received: from a\r\n\tby b; now\r\nReceived: by c; now\r\n";
        for (from, to) in [
            (
                "Dear all,\r\nBcc: the following is important\r\n",
                format!("{DATE}{ID}\r\nDear all,\r\nBcc: the following is important\r\n"),
            ),
            (
                "To: b@y\r\nBcc: a@x\r\n\r\nhi\r\n",
                format!("To: b@y\r\n{DATE}{ID}\r\nhi\r\n"),
            ),
            ("", format!("{DATE}{ID}")),
        ] {
            assert_eq!(completed(&format!("{trace}{from}")), format!("{trace}{to}"));
        }
    }

    #[test]
    fn a_header_after_a_mailbox_separator_is_found() {
        let separator = "From ada@x.example Thu Jan  1 00:00:00 1970\r\n";
        for trace in ["", "Received: by c; now\r\n"] {
            let message = format!("{trace}{separator}To: b@y\r\nBcc: a@x\r\n\r\nBcc: text\r\n");
            let expected = format!("{trace}{separator}To: b@y\r\n{DATE}{ID}\r\nBcc: text\r\n");
            assert_eq!(completed(&message), expected);
            // Text that happens to begin so.
            let text = "From now on,\r\nplease write to us.\r\n";
            assert_eq!(
                completed(&format!("{trace}{text}")),
                format!("{trace}{DATE}{ID}\r\n{text}")
            );
        }
    }

    #[test]
    fn whose_mail_is_completed() {
        let (user, network) = (Admission::User("ada".into()), Admission::Network);
        for (fix, expected) in [
            (FixSubmissions::Never, [false, false]),
            (FixSubmissions::Authenticated, [true, false]),
            (FixSubmissions::Networks, [true, true]),
        ] {
            assert_eq!([fix.applies_to(&user), fix.applies_to(&network)], expected);
            assert!(!fix.applies_to(&Admission::Domain));
        }
    }

    proptest! {
        #[test]
        fn completing_twice_changes_nothing_more(
            lines in proptest::collection::vec(
                proptest::sample::select(vec!["Date: x", "Bcc: y", " z", "", "Message-ID: <a@b>", "plain", "To: c", "\tq", "Resent-Bcc:"]), 0..12)
        ) {
            let message: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
            let once = completed(&message);
            prop_assert_eq!(&completed(&once), &once);
            if is_text(message.as_bytes(), 0) {
                prop_assert_eq!(once, format!("{DATE}{ID}\r\n{message}"));
                return Ok(());
            }
            // Nothing else has changed; a continuation line is removed with its field.
            let fields = Fields::of(message.as_bytes()).filter(|field| !is_bcc(field));
            let mut kept: Vec<u8> = fields.flat_map(|field| field.raw.to_vec()).collect();
            let end = Fields::of(message.as_bytes()).last().map_or(0, |field| field.at + field.raw.len());
            kept.extend_from_slice(&message.as_bytes()[end..]);
            if is_text(&kept, 0) {
                // Its header section was nothing but blind copies.
                let head = format!("{DATE}{ID}\r\n");
                prop_assert_eq!(once.as_bytes(), [head.as_bytes(), &kept[..]].concat());
                return Ok(());
            }
            let rest = once.replacen(DATE, "", 1).replacen(ID, "", 1);
            prop_assert_eq!(rest.as_bytes(), &kept[..]);
        }
    }
}
