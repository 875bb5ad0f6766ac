//! The domain of a message's author: that of the one address in its one `From` field (RFC 5322 section 3.6.2).
//!
//! It only selects a key: a reader that parses the field differently sees a signature of another domain.

use super::addresses::{AddressList, Mailbox, Strays};
use super::fields::Fields;
use spool_core::{a_labels, valid_domain};
use thiserror::Error;

/// The longest `From` field that is read. An address has at most 320 bytes.
const MAX_FIELD: usize = 64 << 10;

/// Why a message has no author whose domain could sign it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum NoAuthor {
    /// There is no `From` field, or no address in it.
    #[error("it has no author: there is no address in a From field")]
    None,
    /// There are several `From` fields, several addresses, or a group.
    #[error("it has several authors: more than one From field, or more than one address in it")]
    Several,
    /// The field cannot be read.
    #[error("its author cannot be read from its From field")]
    Unreadable,
}

/// The domain of the author of `message`, in A-labels and lower case.
///
/// # Errors
/// Why there is none.
pub fn author_domain(message: &[u8]) -> Result<String, NoAuthor> {
    let mut from = Fields::of(message).filter(|field| field.is("From"));
    let field = from.next().ok_or(NoAuthor::None)?;
    if from.next().is_some() {
        return Err(NoAuthor::Several);
    }
    if field.raw.len() > MAX_FIELD {
        return Err(NoAuthor::Unreadable);
    }
    let text = String::from_utf8_lossy(field.value());
    let list = AddressList::parse(&text, 2, Strays::Ignored).map_err(|_| NoAuthor::Unreadable)?;
    match list.mailboxes.as_slice() {
        _ if list.has_group => Err(NoAuthor::Several),
        [] => Err(NoAuthor::None),
        [one] => domain(one).ok_or(NoAuthor::Unreadable),
        [_, _, ..] => Err(NoAuthor::Several),
    }
}

fn domain(mailbox: &Mailbox<'_>) -> Option<String> {
    let domain = mailbox.domain()?;
    let ascii = a_labels(&domain);
    let readable = valid_domain(&domain) && !domain.starts_with('[') && ascii.is_ascii();
    readable.then(|| ascii.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(from: &str) -> Result<String, NoAuthor> {
        author_domain(format!("To: x@y\r\n{from}\r\n\r\nFrom: body@b.example\r\n").as_bytes())
    }

    #[test]
    fn one_address_has_one_domain() {
        for from in [
            "From: ada@Example.ORG",
            "From: Ada <ada@example.org>",
            "from : \"Ada, of <x@y.example>\" <ada@example.org> (Countess (of \\) Lovelace))",
            "From:\r\n =?utf-8?q?=C3=A4?=\r\n\t<ada@example.org>",
            "From: ada@example.org (a@b, c@d)",
            "From: \"a@b\"@example.org",
            "From: ada @ example.org,",
            "From: <@a.example,@b.example:ada@example.org>",
            "From: Gr\u{fc}\u{df}e <ada@example.org>",
            "From: Lovelace; Ada <ada@example.org>",
            "From: Ada ;) <ada@example.org>",
            "From: Sales 50%) <ada@example.org>",
        ] {
            assert_eq!(of(from).as_deref(), Ok("example.org"), "{from}");
        }
        assert_eq!(
            of("From: a@b\u{fc}cher.example").as_deref(),
            Ok("xn--bcher-kva.example")
        );
        let latin = b"From: Gr\xfc\xdfe <ada@example.org>\r\n\r\n";
        assert_eq!(author_domain(latin).as_deref(), Ok("example.org"));
    }

    #[test]
    fn none_several_or_an_unreadable_one_have_none() {
        for (from, why) in [
            ("Sender: a@b", NoAuthor::None),
            ("From:", NoAuthor::None),
            ("From: (nobody)", NoAuthor::None),
            ("From: a@b, c@d", NoAuthor::Several),
            ("From: a@b\r\nFROM: a@b", NoAuthor::Several),
            ("From: Ada <a@b>, Bob <c@d>, Eve", NoAuthor::Several),
            ("From: friends: a@b;", NoAuthor::Several),
            ("From: undisclosed:;", NoAuthor::Several),
            ("From: Ada", NoAuthor::Unreadable),
            ("From: Ada <ada>", NoAuthor::Unreadable),
            ("From: <>", NoAuthor::Unreadable),
            ("From: a@b@c", NoAuthor::Unreadable),
            ("From: a@[192.0.2.1]", NoAuthor::Unreadable),
            ("From: \"open <a@b>", NoAuthor::Unreadable),
            ("From: (open <a@b>", NoAuthor::Unreadable),
            ("From: <a@b", NoAuthor::Unreadable),
            ("From: a@b>", NoAuthor::Unreadable),
            ("From: <a@b> <c@d>", NoAuthor::Unreadable),
            ("From: <a@b> c@d", NoAuthor::Unreadable),
            ("From: @b", NoAuthor::Unreadable),
            ("From: <ada> <c@d>", NoAuthor::Unreadable),
            ("From: a <b> c <d@e>", NoAuthor::Unreadable),
            ("From: a@b;", NoAuthor::Unreadable),
            ("From: a@b)", NoAuthor::Unreadable),
        ] {
            assert_eq!(of(from), Err(why), "{from}");
        }
    }

    #[test]
    fn a_field_that_is_too_long_is_not_read() {
        let from = |name: usize| of(&format!("From: {} <ada@example.org>", "x".repeat(name)));
        assert_eq!(from((64 << 10) - 100).as_deref(), Ok("example.org"));
        assert_eq!(from(64 << 10), Err(NoAuthor::Unreadable));
    }

    proptest! {
        #[test]
        fn any_field_has_a_domain_or_a_reason(value in proptest::collection::vec(any::<u8>(), 0..60), soup in "[a@<>(),:;\"\\\\ .\\[\\]]{0,30}") {
            for value in [&value[..], soup.as_bytes()] {
                let message = [b"From: ", value, b"\r\n\r\n"].concat();
                if let Ok(domain) = author_domain(&message) {
                    prop_assert!(valid_domain(&domain) && domain.is_ascii());
                }
            }
        }
    }
}
