//! The end of the head of a request.
//!
//! actix-http would read on and decode request after request, whatever becomes of the answers. Here one head is passed on at
//! a time. This finds the end of a head, and interprets nothing else of it.

/// How far the head has come.
#[derive(Debug, Default)]
pub(super) struct HeadEnd {
    /// Whether the last line that was passed on is empty so far.
    blank: bool,
}

impl HeadEnd {
    /// How many of the next `bytes` belong to the head: up to the empty line. A line may end without CR.
    pub(super) fn count(&mut self, bytes: &[u8]) -> usize {
        let mut blank = self.blank;
        let end = bytes.iter().position(|byte| {
            let is_end = *byte == b'\n' && blank;
            blank = *byte == b'\n' || *byte == b'\r' && blank;
            is_end
        });
        self.blank = end.is_none() && blank;
        end.map_or(bytes.len(), |end| end + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is passed on of `text`, a head at a time, in pieces of at most so many bytes.
    fn heads(text: &str, room: usize) -> Vec<String> {
        let (mut head, mut unread) = (HeadEnd::default(), text.as_bytes());
        let mut heads = vec![];
        while !unread.is_empty() {
            let fits = &unread[..room.min(unread.len())];
            let (passed, rest) = unread.split_at(head.count(fits));
            heads.push(String::from_utf8(passed.to_vec()).unwrap());
            unread = rest;
        }
        heads
    }

    #[test]
    fn a_head_ends_with_an_empty_line() {
        for (text, expected) in [
            (
                "GET / HTTP/1.1\r\nA: b\r\n\r\nGET /2",
                vec!["GET / HTTP/1.1\r\nA: b\r\n\r\n", "GET /2"],
            ),
            ("GET /\n\nGET /2\n\r\nx", vec!["GET /\n\n", "GET /2\n\r\n", "x"]),
            ("a\r\nb\r\r\nc\n\r", vec!["a\r\nb\r\r\nc\n\r"]),
            ("\r\n\r\nGET /\r\n\r\n", vec!["\r\n\r\n", "GET /\r\n\r\n"]),
        ] {
            assert_eq!(heads(text, 100), expected, "{text:?}");
            // Wherever a piece ends, the head ends where it did.
            let ends = |heads: &[String]| {
                let mut passed = 0;
                let all = heads.iter().map(|head| {
                    passed += head.len();
                    passed
                });
                all.collect::<Vec<_>>()
            };
            for room in [1, 3] {
                let found = ends(&heads(text, room));
                let all = ends(&heads(text, 100));
                assert!(all.iter().all(|end| found.contains(end)), "{text:?}");
            }
        }
    }
}
