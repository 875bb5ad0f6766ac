//! Parses the TXT record and the policy (RFC 8461 sections 3.1, 3.2 and 4.1). Pure.

use std::time::Duration;
use thiserror::Error;

/// The longest time that a policy may be kept (section 3.2).
const MAX_MAX_AGE: u64 = 31_557_600;
/// White space, as the grammars have it.
const WSP: [char; 2] = [' ', '\t'];
/// The most host patterns of a policy, and the most bytes of all of them.
const MAX_PATTERNS: usize = 100;
const MAX_PATTERN_BYTES: usize = 8 << 10;

/// The mode of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::client) enum Mode {
    /// Mail is sent only as the policy allows.
    Enforce,
    /// Failures are only reported.
    Testing,
    /// The policy is withdrawn.
    None,
}

/// A domain's policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::client) struct Policy {
    pub(in crate::client) mode: Mode,
    /// Host names in lower case; a leading `*.` stands for one label.
    mx: Vec<String>,
    pub(in crate::client) max_age: Duration,
}

/// Why a text is not a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(in crate::client) enum PolicyError {
    #[error("a line is not \"key: value\"")]
    Line,
    #[error("the version is not STSv1")]
    Version,
    #[error("the mode is missing or unknown")]
    Mode,
    #[error("max_age is missing or no number up to 31557600")]
    MaxAge,
    #[error("there is no mx, there are too many, or one is not a host")]
    Mx,
}

impl Policy {
    /// Parses a policy (section 3.2). Unknown keys are ignored; of a repeated key other than mx, the first one counts. Empty lines are
    /// ignored, although the grammar does not allow them.
    pub(in crate::client) fn parse(text: &str) -> Result<Self, PolicyError> {
        let (mut version, mut mode, mut max_age, mut mx) = (None, None, None, Vec::new());
        for line in text.lines().filter(|line| !line.trim_matches(WSP).is_empty()) {
            let (key, value) = line.split_once(':').ok_or(PolicyError::Line)?;
            let value = value.trim_matches(WSP);
            match key {
                "version" => _ = version.get_or_insert(value),
                "mode" => _ = mode.get_or_insert(value),
                "max_age" => _ = max_age.get_or_insert(value),
                "mx" if is_pattern(value) => mx.push(value.to_ascii_lowercase()),
                "mx" => return Err(PolicyError::Mx),
                _ if !is_extension_name(key) || value.is_empty() || value.contains(char::is_control) => {
                    return Err(PolicyError::Line);
                }
                _ => {}
            }
        }
        if version != Some("STSv1") {
            return Err(PolicyError::Version);
        }
        let mode = match mode {
            Some("enforce") => Mode::Enforce,
            Some("testing") => Mode::Testing,
            Some("none") => Mode::None,
            Some(_) | None => return Err(PolicyError::Mode),
        };
        // Without a sign.
        let digits = max_age.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let seconds: Option<u64> = digits.and_then(|text| text.parse().ok());
        let seconds = seconds.filter(|seconds| *seconds <= MAX_MAX_AGE);
        let bytes: usize = mx.iter().map(String::len).sum();
        if mx.len() > MAX_PATTERNS || bytes > MAX_PATTERN_BYTES || mx.is_empty() && mode != Mode::None {
            return Err(PolicyError::Mx);
        }
        Ok(Self {
            mode,
            mx,
            max_age: Duration::from_secs(seconds.ok_or(PolicyError::MaxAge)?),
        })
    }

    /// Whether `host`, in A-labels and lower case, is one of the domain's mail exchangers.
    pub(in crate::client) fn allows(&self, host: &str) -> bool {
        self.mx.iter().any(|pattern| match pattern.strip_prefix("*.") {
            // One label, as in certificates (RFC 6125 section 6.4.3).
            Some(parent) => host.split_once('.').is_some_and(|(_, rest)| rest == parent),
            None => pattern == host,
        })
    }
}

/// A host name, with or without a leading `*.`.
fn is_pattern(value: &str) -> bool {
    let host = value.strip_prefix("*.").unwrap_or(value);
    let label = |label: &str| {
        let letters = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        !label.is_empty() && label.bytes().all(letters)
    };
    value.len() <= 255 && host.split('.').all(label)
}

/// The id in the TXT records of `_mta-sts.DOMAIN`; `None` unless exactly one of them is an MTA-STS record, and valid.
pub(super) fn record_id(records: &[String]) -> Option<&str> {
    let mut ours = records.iter().filter_map(|record| fields(record));
    let (fields, None) = (ours.next()?, ours.next()) else {
        return None;
    };
    // A delimiter may follow the last field.
    let fields = fields.strip_suffix(';').unwrap_or(fields);
    let mut id = None;
    for field in fields.split(';').map(|field| field.trim_matches(WSP)) {
        let (key, value) = field.split_once('=')?;
        match key {
            "id" if !is_id(value) => return None,
            "id" => _ = id.get_or_insert(value),
            _ if !is_extension_name(key) || !is_extension_value(value) => return None,
            _ => {}
        }
    }
    id
}

/// The fields of an MTA-STS record after its version, without surrounding white space.
fn fields(record: &str) -> Option<&str> {
    let rest = record.strip_prefix("v=STSv1")?.trim_start_matches(WSP);
    Some(rest.strip_prefix(';')?.trim_matches(WSP))
}

fn is_id(value: &str) -> bool {
    (1..=32).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn is_extension_name(name: &str) -> bool {
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let begins = name
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric());
    begins && name.len() <= 32 && name.bytes().all(letters)
}

fn is_extension_value(value: &str) -> bool {
    let letters = |byte: u8| byte.is_ascii_graphic() && byte != b'=' && byte != b';';
    !value.is_empty() && value.bytes().all(letters)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.Example.net\r\nmax_age: 604800\r\n";

    #[test]
    fn a_policy_is_read_as_the_rfc_writes_it() {
        let policy = Policy::parse(GOOD).unwrap();
        assert_eq!(
            (policy.mode, policy.max_age),
            (Mode::Enforce, Duration::from_secs(604_800))
        );
        assert_eq!(Policy::parse(&GOOD.replace("\r\n", "\n")), Ok(policy.clone()));
        let spaced = GOOD.replace(": ", ":\t ").replace("\r\n", " \t\r\n");
        assert_eq!(Policy::parse(&spaced), Ok(policy.clone()));
        // What is not known, and what comes twice, changes nothing.
        let more = format!("{GOOD}x-key: 1\nmode: none\nversion: 2\nmax_age: x\n\n");
        assert_eq!(Policy::parse(&more), Ok(policy));
        let none = Policy::parse("version:STSv1\nmode:none\nmax_age:0").unwrap();
        assert_eq!(none.mode, Mode::None);
    }

    #[test]
    fn an_invalid_policy_is_refused() {
        for (from, to, expected) in [
            ("STSv1", "STSv2", PolicyError::Version),
            ("version: STSv1\r\n", "", PolicyError::Version),
            ("enforce", "Enforce", PolicyError::Mode),
            ("604800", "31557601", PolicyError::MaxAge),
            ("604800", "-1", PolicyError::MaxAge),
            ("max_age: 604800\r\n", "", PolicyError::MaxAge),
            ("604800", "+604800", PolicyError::MaxAge),
            ("mode: ", "mode ", PolicyError::Line),
            ("mode: ", " mode: ", PolicyError::Line),
            ("mode: ", "mode : ", PolicyError::Line),
            ("mode: ", "x_y: \r\nmode: ", PolicyError::Line),
            ("mx: mail.example.com", "mx: ", PolicyError::Mx),
            ("mx: mail.example.com", "mx: a.*.example", PolicyError::Mx),
            ("mx: mail.example.com", "mx: a..example", PolicyError::Mx),
        ] {
            assert_eq!(Policy::parse(&GOOD.replace(from, to)), Err(expected), "{to}");
        }
        let without = "version: STSv1\nmode: testing\nmax_age: 1\n";
        assert_eq!(Policy::parse(without), Err(PolicyError::Mx));
        let crowd = format!("{GOOD}{}", "mx: a.example\n".repeat(100));
        assert_eq!(Policy::parse(&crowd), Err(PolicyError::Mx));
        let long = format!("mx: {}.example\n", "a.long.label".repeat(20));
        assert!(Policy::parse(&format!("{GOOD}{}", long.repeat(30))).is_ok());
        assert_eq!(
            Policy::parse(&format!("{GOOD}{}", long.repeat(40))),
            Err(PolicyError::Mx)
        );
        assert!(Policy::parse("").is_err() && Policy::parse("<html>").is_err());
    }

    #[test]
    fn a_star_stands_for_one_label() {
        let policy = Policy::parse(GOOD).unwrap();
        for (host, expected) in [
            ("mail.example.com", true),
            ("a.example.net", true),
            ("a.b.example.net", false),
            ("example.net", false),
            ("aexample.net", false),
            ("x.mail.example.com", false),
        ] {
            assert_eq!(policy.allows(host), expected, "{host}");
        }
    }

    #[test]
    fn exactly_one_record_announces_a_policy() {
        let id = |records: &[&str]| {
            let records: Vec<_> = records.iter().map(|record| (*record).to_owned()).collect();
            record_id(&records).map(str::to_owned)
        };
        assert_eq!(
            id(&["v=STSv1; id=20160831085700Z;"]),
            Some("20160831085700Z".to_owned())
        );
        for good in [
            "v=STSv1 ; id=1 ;",
            "v=STSv1;id=1",
            "v=STSv1;\tid=1\t;\t",
            "v=STSv1; x-y.z_=a:b,c; id=1; id=2",
            "v=STSv1; id=1 ; Id=! ;",
            "v=STSv1; id=1 ",
        ] {
            assert_eq!(id(&[good]), Some("1".to_owned()), "{good}");
        }
        assert_eq!(id(&["v=spf1 -all", "v=STSv1;x=y;id=1"]), Some("1".to_owned()));
        // Of another version, and so of another kind.
        assert_eq!(id(&["v=STSv10;id=2", "v=STSv1;id=1"]), Some("1".to_owned()));
        for none in [
            &[][..],
            &["v=STSv1; id=1;", "v=STSv1; id=2;"],
            &["v=STSv2; id=1;"],
            &["v=STSv1;"],
            &["v=STSv1; id=;"],
            &["v=STSv1; id=a b;"],
            &["v=STSv1; id=123456789012345678901234567890123;"],
            &["v=STSv1 ; id=1 ;", "v=STSv1;id=2"],
            &["v=STSv1; id =1"],
            &["v=STSv1; id= 1"],
            &["v=STSv1; id=1;;"],
            &["v=STSv1;; id=1"],
            &["v=STSv1; id=1; x"],
            &["v=STSv1; id=1; x="],
            &["v=STSv1; id=1; x=a=b"],
            &["v=STSv1; id=1; -x=a"],
            &["V=STSv1; id=1"],
            &[" v=STSv1; id=1"],
        ] {
            assert_eq!(id(none), None, "{none:?}");
        }
    }
}
