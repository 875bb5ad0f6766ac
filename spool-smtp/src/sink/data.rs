//! Reads message data: finds the end and removes stuffed dots.
//!
//! Only CRLF `.` CRLF ends the data; bare CR, bare LF and NUL are content like any other byte. The scanner stores no
//! bytes, only the position in a line at the end of the last chunk, and never allocates.

use memchr::memmem;
use std::sync::LazyLock;

static LINE_DOT: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(b"\r\n."));

/// The position after the bytes read so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum ScanState {
    /// At the start of a line.
    #[default]
    Line,
    /// Within a line.
    Text,
    /// After a CR that may belong to a line end; already passed on.
    Cr,
    /// After a dot at the start of a line; held back.
    Dot,
    /// After a dot at the start of a line and a CR; both held back.
    DotCr,
}

/// Decodes the data of one message, chunk by chunk.
#[derive(Debug, Default)]
pub(super) struct DataScanner(ScanState);

impl DataScanner {
    /// Decodes `chunk` and passes its content to `content` in order. Returns how many bytes of the chunk belong to the message,
    /// the final dot and line end included, or `None` if the message does not end in it.
    pub(super) fn scan(&mut self, chunk: &[u8], mut content: impl FnMut(&[u8])) -> Option<usize> {
        let mut at = 0;
        while let Some(rest) = chunk.get(at..)
            && let Some(&next) = rest.first()
        {
            match (self.0, next) {
                (ScanState::Line, b'.') => {
                    self.0 = ScanState::Dot;
                    at += 1;
                }
                (ScanState::Cr, b'\n') => {
                    content(b"\n");
                    self.0 = ScanState::Line;
                    at += 1;
                }
                (ScanState::Dot, b'\r') => {
                    self.0 = ScanState::DotCr;
                    at += 1;
                }
                (ScanState::DotCr, b'\n') => return Some(at + 1),
                (ScanState::DotCr, _) => {
                    content(b"\r");
                    self.0 = ScanState::Text;
                }
                (ScanState::Line | ScanState::Cr | ScanState::Dot, _) => self.0 = ScanState::Text,
                (ScanState::Text, _) => at += self.text(rest, &mut content),
            }
        }
        None
    }

    /// From within a line to the next line that begins with a dot, or to the end of the chunk.
    fn text(&mut self, rest: &[u8], content: &mut impl FnMut(&[u8])) -> usize {
        let Some(found) = LINE_DOT.find(rest) else {
            content(rest);
            self.0 = match rest {
                [.., b'\r', b'\n'] => ScanState::Line,
                [.., b'\r'] => ScanState::Cr,
                _ => ScanState::Text,
            };
            return rest.len();
        };
        content(rest.get(..found + 2).unwrap_or_default());
        self.0 = ScanState::Dot;
        found + 3
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A simple implementation over the whole input: the content, and the number of consumed bytes.
    fn naive(input: &[u8]) -> Option<(Vec<u8>, usize)> {
        let with_start = [b"\r\n", input].concat();
        let end = with_start.windows(5).position(|w| w == b"\r\n.\r\n")?;
        let mut content = Vec::new();
        for i in 2..end + 2 {
            if with_start[i] == b'.' && with_start[i - 2..i] == *b"\r\n" {
                continue;
            }
            content.push(with_start[i]);
        }
        Some((content, end + 3))
    }

    fn chunked(input: &[u8], cuts: &[usize]) -> (Vec<u8>, Option<usize>) {
        let mut scanner = DataScanner::default();
        let (mut content, mut rest, mut before) = (Vec::new(), input, 0);
        for cut in cuts.iter().copied().chain([input.len()]) {
            let (chunk, tail) = rest.split_at(cut.clamp(1, rest.len().max(1)).min(rest.len()));
            if let Some(n) = scanner.scan(chunk, |bytes| content.extend_from_slice(bytes)) {
                return (content, Some(before + n));
            }
            before += chunk.len();
            rest = tail;
        }
        (content, None)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn agrees_with_the_plain_rules_wherever_the_chunks_end(
            body in prop::collection::vec(
                prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'.'), Just(b'a'), Just(0)], 0..60),
            cuts in prop::collection::vec(1usize..9, 0..70),
        ) {
            let input = [body.as_slice(), b"\r\n.\r\nQUIT\r\n"].concat();
            let (content, consumed) = naive(&input).unwrap();
            prop_assert_eq!(chunked(&input, &cuts), (content, Some(consumed)));
        }

        #[test]
        fn what_was_stuffed_comes_back(lines in prop::collection::vec("[.a]{0,5}", 0..20), cuts in prop::collection::vec(1usize..9, 0..70)) {
            let body: String = lines.iter().map(|l| format!("{l}\r\n")).collect();
            let wire: String = lines.iter().map(|l| if l.starts_with('.') { format!(".{l}\r\n") } else { format!("{l}\r\n") }).collect();
            let wire = wire + ".\r\n";
            prop_assert_eq!(chunked(wire.as_bytes(), &cuts), (body.into_bytes(), Some(wire.len())));
        }
    }

    #[test]
    fn only_the_whole_sequence_ends_the_data() {
        for input in [
            "a\n.\n",
            "a\r\n.\n",
            "a\n.\r\n",
            "a\r.\r",
            "a\r\n.\r",
            "a\r\n\0.\r\n",
            "a\r\n.\r\r\n",
        ] {
            assert_eq!(chunked(input.as_bytes(), &[]).1, None, "{input:?}");
        }
        assert_eq!(chunked(b".\r\n", &[]), (vec![], Some(3)));
    }
}
