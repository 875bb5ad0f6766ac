//! The format of a file in the drop directory: a line of JSON with the envelope, then the message.
//!
//! The reader trusts nothing: any user who can enter the directory can leave any file there.

use crate::config::SubmissionLimits;
use crate::sendmail::is_envid;
use serde::{Deserialize, Serialize};
use spool_core::{Address, Envelope, MailParameters, Notify, Recipient, ReversePath, crlf};

/// The version of the format, by which a file is recognised.
const VERSION: u32 = 1;
/// Bytes of the first line, beside those of the recipients.
const HEAD: usize = 4096;
/// Bytes of one recipient in the first line: the longest address, each byte of which is escaped.
const RECIPIENT: usize = 2048;

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EnvelopeLine {
    spool_drop: u32,
    /// Empty for the null reverse-path.
    from: String,
    to: Vec<Address>,
    #[serde(default)]
    parameters: MailParameters,
    /// Of every recipient.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    notify: Option<Notify>,
}

/// The most bytes of a file.
pub(super) const fn max_file(limits: SubmissionLimits) -> u64 {
    let head = limits.recipients.saturating_mul(RECIPIENT).saturating_add(HEAD);
    limits.message_size.saturating_add(head) as u64
}

/// The first line with its end. All recipients have the NOTIFY of the first.
pub(super) fn head(envelope: &Envelope) -> Result<Vec<u8>, serde_json::Error> {
    let to = envelope.recipients.iter();
    let head = EnvelopeLine {
        spool_drop: VERSION,
        from: envelope.reverse_path.as_str().to_owned(),
        to: to.map(|recipient| recipient.address.clone()).collect(),
        parameters: envelope.parameters.clone(),
        notify: envelope.recipients.first().and_then(|recipient| recipient.notify),
    };
    let mut line = serde_json::to_vec(&head)?;
    line.push(b'\n');
    Ok(line)
}

/// The envelope and the message of a file.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read(file: &[u8], limits: SubmissionLimits) -> Result<(Envelope, &[u8]), String> {
    let end = memchr::memchr(b'\n', file).ok_or("has no first line")?;
    let (head, message) = file.split_at_checked(end + 1).unwrap_or((file, b""));
    let head: EnvelopeLine =
        serde_json::from_slice(head).map_err(|error| format!("the first line: {error}"))?;
    let version = head.spool_drop;
    if version != VERSION {
        return Err(format!("is of format {version}, and must be of format {VERSION}"));
    }
    let reverse_path = ReversePath::parse(&head.from).map_err(|error| format!("from: {error}"))?;
    let (count, most) = (head.to.len(), limits.recipients);
    if !(1..=most).contains(&count) {
        return Err(format!("to: {count} recipients; a message has 1 to {most}"));
    }
    if !head.parameters.envid.as_deref().is_none_or(is_envid) {
        return Err("parameters.envid: is not an ENVID".to_owned());
    }
    let size = limits.message_size;
    if message.len() > size {
        return Err(format!("the message is larger than {size} bytes"));
    }
    let whole = crlf(bytes::Bytes::copy_from_slice(message))
        .map_err(|at| format!("the message has a NUL at byte {at}"))?;
    if whole != message {
        return Err("a line of the message does not end by CRLF".to_owned());
    }
    let recipient = |address| Recipient {
        notify: head.notify,
        ..Recipient::new(address)
    };
    let mut envelope = Envelope {
        reverse_path,
        recipients: head.to.into_iter().map(recipient).collect(),
        parameters: head.parameters,
    };
    envelope.parameters.smtputf8 |= envelope.needs_smtputf8();
    Ok((envelope, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: SubmissionLimits = SubmissionLimits {
        message_size: 100,
        recipients: 2,
    };

    fn file(head: &str, message: &str) -> Result<(Envelope, String), String> {
        let file = format!("{head}\n{message}");
        let (envelope, message) = read(file.as_bytes(), LIMITS)?;
        Ok((envelope, String::from_utf8(message.to_vec()).unwrap()))
    }

    const GOOD: &str = r#"{"spool_drop":1,"from":"a@b.example","to":["c@d.example"]}"#;

    #[test]
    fn what_is_written_is_read() {
        let mut envelope = Envelope::of(
            ReversePath::Null,
            ["c@d".parse().unwrap(), "\u{fc}@d".parse().unwrap()],
        );
        for recipient in &mut envelope.recipients {
            recipient.notify = Some(Notify {
                delay: true,
                ..Notify::default()
            });
        }
        envelope.parameters.envid = Some("x y".to_owned());
        envelope.parameters.requiretls = true;
        envelope.parameters.smtputf8 = true;
        let mut file = head(&envelope).unwrap();
        file.extend_from_slice(b"Subject: x\r\n\r\n.\r\n");
        let (read_back, message) = read(&file, LIMITS).unwrap();
        assert_eq!(read_back, envelope);
        assert_eq!(message, b"Subject: x\r\n\r\n.\r\n");
        assert_eq!(file_of(GOOD).reverse_path.as_str(), "a@b.example");
    }

    fn file_of(head: &str) -> Envelope {
        file(head, "x\r\n").unwrap().0
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (head, part) in [
            ("", "the first line"),
            ("{}", "the first line"),
            ("[1]", "the first line"),
            (&GOOD.replace(":1,", ":2,"), "format 2"),
            (&GOOD.replace("a@b.example", "a b"), "from: "),
            (
                &GOOD.replace("c@d.example", "c@d.example\\r\\nX: y"),
                "the first line",
            ),
            (&GOOD.replace("\"c@d.example\"", ""), "to: 0 recipients"),
            (
                &GOOD.replace("\"c@d.example\"", "\"c@d\",\"e@d\",\"f@d\""),
                "to: 3 recipients",
            ),
            (&GOOD.replace("}", ",\"uid\":0}"), "unknown field"),
            (
                &GOOD.replace("}", ",\"parameters\":{\"envid\":\"a\\nb\"}}"),
                "parameters.envid",
            ),
        ] {
            let why = file(head, "x\r\n").unwrap_err();
            assert!(why.contains(part), "{head}: {why}");
        }
        for (message, part) in [
            ("a\0b\r\n", "NUL"),
            ("a\nb\r\n", "CRLF"),
            ("a\rb\r\n", "CRLF"),
            ("a", "CRLF"),
            (&"0123456789\r\n".repeat(9), "larger than 100 bytes"),
        ] {
            let why = file(GOOD, message).unwrap_err();
            assert!(why.contains(part), "{message:?}: {why}");
        }
        assert!(read(b"no line", LIMITS).is_err());
    }

    #[test]
    fn the_largest_message_fits_into_a_file() {
        let long = format!("{}@{}", "\u{e9}".repeat(32), "a.".repeat(120) + "example");
        let address: Address = long.parse().unwrap();
        let envelope = Envelope::of(ReversePath::Mailbox(address.clone()), [address.clone(), address]);
        let head = head(&envelope).unwrap();
        assert!((head.len() + LIMITS.message_size) as u64 <= max_file(LIMITS));
    }

    proptest! {
        #[test]
        fn any_file_is_read_or_refused(file in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&file, LIMITS);
        }

        #[test]
        fn a_file_that_is_read_holds_only_whole_lines(message in "[a\r\n\\x00]{0,20}") {
            if let Ok((_, message)) = file(GOOD, &message) {
                prop_assert!(message.is_empty() || message.ends_with("\r\n"));
                prop_assert!(!message.replace("\r\n", "").contains(['\r', '\n', '\0']));
            }
        }
    }
}
