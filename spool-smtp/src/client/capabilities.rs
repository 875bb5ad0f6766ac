//! The extensions that a peer offers in its reply to EHLO. Case is ignored, and so are unknown keywords.

/// The extensions that the client uses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    pub(super) pipelining: bool,
    pub(super) eight_bit_mime: bool,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    pub(super) dsn: bool,
    pub(super) chunking: bool,
    /// SIZE; `Some(None)`: offered without a limit.
    pub(super) size: Option<Option<u64>>,
    pub(super) starttls: bool,
    /// REQUIRETLS (RFC 8689).
    pub requiretls: bool,
    /// The mechanisms of AUTH, in capitals.
    pub(super) auth: Vec<String>,
    /// LIMITS RCPTMAX (RFC 9422): recipients in one transaction.
    pub(super) rcpt_max: Option<u32>,
    /// LIMITS RCPTDOMAINMAX (RFC 9422): domains of the recipients in one transaction.
    pub(super) rcpt_domain_max: Option<u32>,
    /// LIMITS MAILMAX (RFC 9422): transactions in one session.
    pub(super) mail_max: Option<u32>,
}

impl Capabilities {
    /// Parses the lines of the reply; the first one is the peer's name.
    #[must_use]
    pub fn parse<'l>(lines: impl Iterator<Item = &'l str>) -> Self {
        let mut found = Self::default();
        for line in lines.skip(1) {
            let mut words = line.split_ascii_whitespace();
            match words.next().unwrap_or_default().to_ascii_uppercase().as_str() {
                "PIPELINING" => found.pipelining = true,
                "8BITMIME" => found.eight_bit_mime = true,
                "SMTPUTF8" => found.smtputf8 = true,
                "DSN" => found.dsn = true,
                "CHUNKING" => found.chunking = true,
                // Zero or no number means no fixed limit (RFC 1870).
                "SIZE" => found.size = Some(words.next().and_then(|n| n.parse().ok()).filter(|n| *n > 0)),
                "STARTTLS" => found.starttls = true,
                "REQUIRETLS" => found.requiretls = true,
                "AUTH" => found.auth.extend(words.map(str::to_ascii_uppercase)),
                "LIMITS" => words.for_each(|word| found.limit(word)),
                _ => {}
            }
        }
        found
    }

    /// Parses a limit (RFC 9422 section 3): a name, `=`, and a number of one to six digits that is not zero. Anything else is ignored.
    fn limit(&mut self, word: &str) {
        let Some((name, value)) = word.split_once('=') else {
            return;
        };
        let digits = (1..=6).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_digit());
        let value = value.parse().ok().filter(|value| digits && *value > 0);
        if name.eq_ignore_ascii_case("RCPTMAX") {
            self.rcpt_max = value.or(self.rcpt_max);
        } else if name.eq_ignore_ascii_case("RCPTDOMAINMAX") {
            self.rcpt_domain_max = value.or(self.rcpt_domain_max);
        } else if name.eq_ignore_ascii_case("MAILMAX") {
            self.mail_max = value.or(self.mail_max);
        }
    }

    /// Whether `bytes` is more than the peer's limit.
    pub(super) fn too_large(&self, bytes: usize) -> bool {
        let limit = self.size.flatten().unwrap_or(u64::MAX);
        u64::try_from(bytes).unwrap_or(u64::MAX) > limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_unknown_keywords_are_ignored() {
        let lines = [
            "me",
            "Pipelining",
            "8bitmime",
            "XFOO bar",
            "size 1000",
            "",
            "AUTH=LOGIN",
        ];
        let found = Capabilities::parse(lines.into_iter());
        assert!(found.pipelining && found.eight_bit_mime && !found.smtputf8 && !found.dsn);
        assert!(found.too_large(1001) && !found.too_large(1000));
        assert!(found.auth.is_empty(), "AUTH= is older than RFC 2554");
        assert!(!Capabilities::parse("me\nSIZE 0".lines()).too_large(usize::MAX));
    }

    #[test]
    fn limits_and_mechanisms_are_read_and_invalid_ones_are_ignored() {
        let lines = [
            "me",
            "auth Plain xoauth2",
            "StartTLS",
            "Limits rcptmax=20 MAILMAX=5 RCPTDOMAINMAX=1 X",
        ];
        let found = Capabilities::parse(lines.into_iter());
        assert_eq!(found.auth, ["PLAIN", "XOAUTH2"]);
        assert!(found.starttls && !found.requiretls);
        assert_eq!((found.rcpt_max, found.mail_max), (Some(20), Some(5)));
        assert_eq!(found.rcpt_domain_max, Some(1));
        for invalid in [
            "RCPTMAX=0",
            "RCPTMAX=",
            "RCPTMAX=+5",
            "RCPTMAX=1234567",
            "RCPTMAX",
        ] {
            let found = Capabilities::parse(format!("me\nLIMITS {invalid} MAILMAX=2").lines());
            assert_eq!((found.rcpt_max, found.mail_max), (None, Some(2)), "{invalid}");
        }
    }
}
