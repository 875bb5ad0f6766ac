//! The part of the original that a notice carries, and its form.
//!
//! A part of the type message/rfc822 is never encoded (RFC 2046 section 5.2.1), so a message that would need an
//! encoding is reduced to its headers. The body is never truncated. An 8-bit body is left out too: the sender's host
//! may not offer 8BITMIME, and then the notice would be lost.

use memchr::{memchr, memmem};

/// The longest line that mail may have, without its CRLF (RFC 5322 section 2.1.1).
const MAX_LINE: usize = 998;

/// The third part of a notice.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Original<'a> {
    /// message/rfc822: the whole message, in ASCII.
    Whole(&'a [u8]),
    /// text/rfc822-headers: these lines, ASCII and short enough to be returned unchanged.
    Headers(Vec<u8>),
    /// The same, but to be encoded.
    Encoded(Vec<u8>),
    /// There is nothing to carry.
    Nothing,
}

/// How much to carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// All of it.
    Full,
    /// The headers.
    Headers,
    /// Only the Message-ID: the return path may not meet the submitter's requirement of TLS (RFC 8689 section 5).
    Redacted,
}

/// The part that is carried, and a note when it is less than `extent`.
pub(super) fn original(body: &[u8], extent: Extent, limit: usize) -> (Original<'_>, Option<String>) {
    let header = header(body);
    if extent == Extent::Redacted {
        let note = "the message may be sent over verified TLS only (REQUIRETLS), so it is not returned";
        let fields = fields(header).filter(|field| is_named(field, b"message-id"));
        return (
            as_headers(fields.collect::<Vec<_>>().concat()),
            Some(note.to_owned()),
        );
    }
    let cut = |why: String| Some(format!("only the headers are returned: {why}"));
    let note = match extent {
        Extent::Headers | Extent::Redacted => None,
        Extent::Full if body.len() > limit => cut(format!("the message has more than {limit} bytes")),
        Extent::Full if has_long_line(body) => {
            cut(format!("the message has a line of more than {MAX_LINE} bytes"))
        }
        Extent::Full if !header.is_ascii() => cut("they hold other characters than ASCII".to_owned()),
        Extent::Full if !body.is_ascii() => cut(
            "the body is left out because it is 8-bit, which the mail system of the sender may not take"
                .to_owned(),
        ),
        Extent::Full if body.is_empty() => None,
        Extent::Full => return (Original::Whole(body), None),
    };
    let mut kept = Vec::new();
    let mut all = true;
    for field in fields(header) {
        // The first fields, complete: they have the trace and the sender.
        all = kept.len() + field.len() <= limit;
        if !all {
            break;
        }
        kept.extend_from_slice(field);
    }
    let note = match all {
        true => note,
        false => cut(format!("the first {limit} bytes of them")),
    };
    (as_headers(kept), note)
}

fn as_headers(lines: Vec<u8>) -> Original<'static> {
    if lines.is_empty() {
        Original::Nothing
    } else if lines.is_ascii() && !has_long_line(&lines) {
        Original::Headers(lines)
    } else {
        Original::Encoded(lines)
    }
}

/// The header of a message: its lines up to the first empty one.
fn header(body: &[u8]) -> &[u8] {
    if body.starts_with(b"\r\n") {
        return &[];
    }
    let end = memmem::find(body, b"\r\n\r\n").map_or(body.len(), |at| at + 2);
    body.get(..end).unwrap_or(body)
}

/// The fields of a header, each with the lines that continue it.
fn fields(header: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = header;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut end = 0;
        loop {
            let left = rest.get(end..).unwrap_or_default();
            end += memchr(b'\n', left).map_or(left.len(), |at| at + 1);
            if !matches!(rest.get(end), Some(b' ' | b'\t')) {
                break;
            }
        }
        let (field, left) = rest.split_at_checked(end)?;
        rest = left;
        Some(field)
    })
}

fn is_named(field: &[u8], name: &[u8]) -> bool {
    let (head, rest) = field.split_at_checked(name.len()).unwrap_or_default();
    head.eq_ignore_ascii_case(name) && rest.trim_ascii_start().starts_with(b":")
}

fn has_long_line(text: &[u8]) -> bool {
    let mut rest = text;
    while rest.len() > MAX_LINE {
        let Some(at) = memchr(b'\n', rest) else {
            return true;
        };
        if at > MAX_LINE + 1 {
            return true;
        }
        rest = rest.get(at + 1..).unwrap_or_default();
    }
    false
}

/// The Message-ID of a message, if it can be used in another header: angle brackets, printable ASCII, one `@`.
pub(super) fn message_id(body: &[u8]) -> Option<&str> {
    let mut named = fields(header(body)).filter(|field| is_named(field, b"message-id"));
    let (field, None) = (named.next()?, named.next()) else {
        return None;
    };
    let (_, value) = std::str::from_utf8(field).ok()?.split_once(':')?;
    let value = value.trim_ascii();
    let (left, right) = value.strip_prefix('<')?.strip_suffix('>')?.split_once('@')?;
    let plain = |text: &str| {
        let plain = |byte: u8| byte.is_ascii_graphic() && !b"<>()@,;:\\\"".contains(&byte);
        !text.is_empty() && text.bytes().all(plain)
    };
    // The host may be an address literal.
    let is_id = value.len() <= 250 && plain(left) && plain(right);
    is_id.then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAIL: &[u8] = b"Received: a\r\n\tb\r\nMessage-ID:\r\n <i@d>\r\nSubject: x\r\n\r\nbody\r\n";

    fn kept(body: &[u8], extent: Extent, limit: usize) -> (String, bool) {
        let (original, note) = original(body, extent, limit);
        let text = match original {
            Original::Whole(bytes) => format!("whole {}", bytes.len()),
            Original::Headers(lines) => String::from_utf8(lines).unwrap(),
            Original::Encoded(lines) => format!("encoded {}", lines.len()),
            Original::Nothing => "nothing".to_owned(),
        };
        (text, note.is_some())
    }

    #[test]
    fn a_message_is_carried_whole_or_cut_down_to_its_headers() {
        let headers = std::str::from_utf8(&MAIL[..MAIL.len() - 8]).unwrap().to_owned();
        assert_eq!(
            kept(MAIL, Extent::Full, 1000),
            (format!("whole {}", MAIL.len()), false)
        );
        assert_eq!(kept(MAIL, Extent::Full, MAIL.len() - 1), (headers.clone(), true));
        assert_eq!(kept(MAIL, Extent::Headers, 1000), (headers, false));
        assert_eq!(
            kept(MAIL, Extent::Headers, 20),
            ("Received: a\r\n\tb\r\n".to_owned(), true)
        );
        assert_eq!(
            kept(MAIL, Extent::Redacted, 1000),
            ("Message-ID:\r\n <i@d>\r\n".to_owned(), true)
        );
        assert_eq!(kept(b"\r\nx\r\n", Extent::Headers, 1000).0, "nothing");
        assert_eq!(kept(b"", Extent::Full, 1000), ("nothing".to_owned(), false));
    }

    #[test]
    fn what_could_only_be_carried_encoded_is_cut_down() {
        let long = |length| format!("A: b\r\n\r\n{}\r\n", "x".repeat(length));
        assert!(
            kept(long(998).as_bytes(), Extent::Full, 9000)
                .0
                .starts_with("whole")
        );
        assert_eq!(
            kept(long(999).as_bytes(), Extent::Full, 9000),
            ("A: b\r\n".to_owned(), true)
        );
        let eight_bit = "A: b\r\n\r\n\u{fc}\r\n";
        assert_eq!(
            kept(eight_bit.as_bytes(), Extent::Full, 9000),
            ("A: b\r\n".to_owned(), true)
        );
        assert_eq!(
            kept("A: \u{fc}\r\n\r\nx\r\n".as_bytes(), Extent::Full, 9000),
            ("encoded 7".to_owned(), true)
        );
    }

    #[test]
    fn only_a_proper_message_id_is_referred_to() {
        assert_eq!(message_id(MAIL), Some("<i@d>"));
        for (field, expected) in [
            ("message-id : <a.b+c@[192.0.2.1]>", Some("<a.b+c@[192.0.2.1]>")),
            ("Message-ID: <a@b> <c@d>", None),
            ("Message-ID: a@b", None),
            ("Message-ID: <a>", None),
            ("Message-ID: <a@b\u{fc}>", None),
            ("Message-ID: <a@b>\r\nMessage-ID: <c@d>", None),
            ("X-Message-ID: <a@b>", None),
            ("Subject: x\r\n\r\nMessage-ID: <a@b>", None),
        ] {
            let body = format!("{field}\r\n\r\n");
            assert_eq!(message_id(body.as_bytes()), expected, "{field}");
        }
    }
}
