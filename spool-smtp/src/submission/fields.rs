//! Iterates over the fields of a header section without copying.
//!
//! It ends at the first empty line, or with the message. Lines in it that are no header field are found and named, never interpreted.

use memchr::memchr;

/// One header field with its continuation lines, or another line.
#[derive(Debug, Clone, Copy)]
pub struct Field<'m> {
    /// Where it begins in the message.
    pub at: usize,
    /// All of its lines with their line ends.
    pub raw: &'m [u8],
    /// The position of the colon in `raw`; `None`: not a header field.
    colon: Option<usize>,
}

impl<'m> Field<'m> {
    /// The name as it was written; `None`: not a header field.
    #[must_use]
    pub fn name(&self) -> Option<&'m [u8]> {
        let name = self.raw.get(..self.colon?)?;
        Some(name.trim_ascii_end())
    }

    /// The text after the colon, line ends included.
    #[must_use]
    pub fn value(&self) -> &'m [u8] {
        let start = self.colon.map_or(0, |colon| colon + 1);
        self.raw.get(start..).unwrap_or_default()
    }

    /// Whether its name is `name`, in any case.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.name()
            .is_some_and(|own| own.eq_ignore_ascii_case(name.as_bytes()))
    }
}

/// The fields of a header section, from the top.
#[derive(Debug, Clone)]
pub struct Fields<'m> {
    message: &'m [u8],
    at: usize,
}

impl<'m> Fields<'m> {
    /// Those of `message`.
    #[must_use]
    pub const fn of(message: &'m [u8]) -> Self {
        Self { message, at: 0 }
    }

    /// Those from a field that begins at `at`.
    #[must_use]
    pub const fn from(message: &'m [u8], at: usize) -> Self {
        Self { message, at }
    }
}

impl<'m> Iterator for Fields<'m> {
    type Item = Field<'m>;

    fn next(&mut self) -> Option<Field<'m>> {
        let rest = self.message.get(self.at..)?;
        if rest.is_empty() || rest.starts_with(b"\r\n") || rest.starts_with(b"\n") {
            return None;
        }
        let mut end = 0;
        loop {
            let line = rest.get(end..).unwrap_or_default();
            end += memchr(b'\n', line).map_or(line.len(), |newline| newline + 1);
            if !matches!(rest.get(end), Some(b' ' | b'\t')) {
                break;
            }
        }
        let raw = rest.get(..end).unwrap_or(rest);
        let field = Field {
            at: self.at,
            raw,
            colon: colon(raw),
        };
        self.at += raw.len();
        Some(field)
    }
}

/// The position of the colon after a field name (RFC 5322 section 2.2; white space before it as section 4.5 allows).
fn colon(raw: &[u8]) -> Option<usize> {
    let colon = memchr(b':', raw)?;
    let name = raw.get(..colon)?;
    let end = name.trim_ascii_end().len();
    let printable = |byte: &u8| (33..=126).contains(byte);
    let gap = |byte: &u8| matches!(byte, b' ' | b'\t');
    let (name, space) = name.split_at_checked(end)?;
    (!name.is_empty() && name.iter().all(printable) && space.iter().all(gap)).then_some(colon)
}

/// Where the body begins: after the first empty line, or at the end of a message without one.
pub(crate) fn body_start(message: &[u8]) -> usize {
    let end = Fields::of(message)
        .last()
        .map_or(0, |field| field.at + field.raw.len());
    let rest = message.get(end..).unwrap_or_default();
    match rest {
        [b'\r', b'\n', ..] => end + 2,
        [b'\n', ..] => end + 1,
        _ => end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(message: &str) -> Vec<Option<&str>> {
        Fields::of(message.as_bytes())
            .map(|field| field.name().map(|name| std::str::from_utf8(name).unwrap()))
            .collect()
    }

    #[test]
    fn fields_end_at_the_first_empty_line() {
        let message = "A: 1\r\nB : 2\r\n\tb\r\n \r\nno field\r\nC:\r\n\r\nD: body\r\n";
        assert_eq!(names(message), [Some("A"), Some("B"), None, Some("C")]);
        assert_eq!(&message[body_start(message.as_bytes())..], "D: body\r\n");
        let fields: Vec<_> = Fields::of(message.as_bytes()).collect();
        assert_eq!(fields[1].raw, b"B : 2\r\n\tb\r\n \r\n");
        assert_eq!(fields[1].value(), b" 2\r\n\tb\r\n \r\n");
        assert!(fields[1].is("b") && !fields[1].is("c") && !fields[2].is(""));
    }

    #[test]
    fn what_has_no_name_is_no_field() {
        for line in [": x", " A: x", "A B: x", "\u{fc}: x", "A", "A\x01: x"] {
            assert_eq!(names(&format!("{line}\r\n")), [None], "{line:?}");
        }
        assert_eq!(names(""), [None::<&str>; 0]);
        assert_eq!(names("\r\nA: x\r\n"), [None::<&str>; 0]);
        assert_eq!(body_start(b"A: x\r\n"), 6);
        assert_eq!(body_start(b"\r\nA: x\r\n"), 2);
        assert_eq!(body_start(b""), 0);
    }

    proptest! {
        #[test]
        fn the_fields_and_what_follows_them_are_the_message(message in "[a:\t \r\n]{0,40}") {
            let bytes = message.as_bytes();
            let mut at = 0;
            for field in Fields::of(bytes) {
                prop_assert_eq!(field.at, at);
                prop_assert!(!field.raw.is_empty());
                at += field.raw.len();
            }
            let body = body_start(bytes);
            prop_assert!((at..=at + 2).contains(&body) && body <= bytes.len());
        }
    }
}
