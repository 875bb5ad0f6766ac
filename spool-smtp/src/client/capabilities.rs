//! What a peer offers in its reply to EHLO, read without regard to case. Unknown words are passed over.

/// The extensions that matter to us.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Capabilities {
    pub(super) pipelining: bool,
    pub(super) eight_bit_mime: bool,
    pub(super) smtputf8: bool,
    pub(super) dsn: bool,
    /// SIZE: `Some(None)` when offered without a limit.
    pub(super) size: Option<Option<u64>>,
}

impl Capabilities {
    /// Reads the lines of the reply; the first one is the peer's name.
    pub(super) fn parse(lines: &[String]) -> Self {
        let mut found = Self::default();
        for line in lines.iter().skip(1) {
            let mut words = line.split_ascii_whitespace();
            match words.next().unwrap_or_default().to_ascii_uppercase().as_str() {
                "PIPELINING" => found.pipelining = true,
                "8BITMIME" => found.eight_bit_mime = true,
                "SMTPUTF8" => found.smtputf8 = true,
                "DSN" => found.dsn = true,
                // RFC 1870: zero, or no number, is no fixed limit.
                "SIZE" => found.size = Some(words.next().and_then(|n| n.parse().ok()).filter(|n| *n > 0)),
                _ => {}
            }
        }
        found
    }

    /// Whether the peer said that it takes no message of `bytes`.
    pub(super) fn too_large(&self, bytes: usize) -> bool {
        let limit = self.size.flatten().unwrap_or(u64::MAX);
        u64::try_from(bytes).unwrap_or(u64::MAX) > limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_strangers_do_not_matter() {
        let lines = [
            "me",
            "Pipelining",
            "8bitmime",
            "XFOO bar",
            "size 1000",
            "",
            "AUTH=LOGIN",
        ]
        .map(str::to_owned);
        let found = Capabilities::parse(&lines);
        assert!(found.pipelining && found.eight_bit_mime && !found.smtputf8 && !found.dsn);
        assert!(found.too_large(1001) && !found.too_large(1000));
        assert!(!Capabilities::parse(&["me".into(), "SIZE 0".into()]).too_large(usize::MAX));
    }
}
