//! The domain of a message's author: that of the one address in its one `From` field (RFC 5322 section 3.6.2).
//!
//! It only selects a key: a reader that parses the field differently sees a signature of another domain.

use super::fields::Fields;
use memchr::memrchr;
use spool_core::{a_labels, valid_domain};
use thiserror::Error;

/// The longest `From` field that is read: its addresses are copied. An address has at most 320 bytes.
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
    let mut addresses = addresses(field.value())?.into_iter();
    let address = addresses.next().ok_or(NoAuthor::None)?;
    if addresses.next().is_some() {
        return Err(NoAuthor::Several);
    }
    domain(&address)
}

/// The addresses of a list without comments, quoted text and white space; at most two of them.
fn addresses(list: &[u8]) -> Result<Vec<Vec<u8>>, NoAuthor> {
    let mut found = Vec::new();
    let (mut address, mut angle, mut literal) = (Vec::new(), false, false);
    let mut bytes = list.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b'(' if !literal => skip_comment(&mut bytes)?,
            b'"' if !literal => {
                skip_quoted(&mut bytes)?;
                address.push(b'"');
            }
            b'<' if angle => return Err(NoAuthor::Unreadable),
            b'<' => {
                // What stood before it was a name.
                address.clear();
                angle = true;
            }
            b'>' if !angle => return Err(NoAuthor::Unreadable),
            b'>' => {
                found.push(std::mem::take(&mut address));
                angle = false;
                skip_to_comma(&mut bytes)?;
            }
            b'[' => {
                literal = true;
                address.push(byte);
            }
            b']' => {
                literal = false;
                address.push(byte);
            }
            b',' if !angle => {
                found.extend(Some(std::mem::take(&mut address)).filter(|address| !address.is_empty()));
            }
            b':' if !angle && !literal => return Err(NoAuthor::Several),
            b' ' | b'\t' | b'\r' | b'\n' => {}
            _ => address.push(byte),
        }
        if found.len() > 1 {
            return Ok(found);
        }
    }
    if angle || literal {
        return Err(NoAuthor::Unreadable);
    }
    found.extend(Some(address).filter(|address| !address.is_empty()));
    Ok(found)
}

fn skip_comment(bytes: &mut impl Iterator<Item = u8>) -> Result<(), NoAuthor> {
    let mut depth = 1_usize;
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Ok(());
        }
    }
    Err(NoAuthor::Unreadable)
}

fn skip_quoted(bytes: &mut impl Iterator<Item = u8>) -> Result<(), NoAuthor> {
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'"' => return Ok(()),
            _ => {}
        }
    }
    Err(NoAuthor::Unreadable)
}

/// Behind an address in angle brackets only comments and a comma may stand.
fn skip_to_comma(bytes: &mut impl Iterator<Item = u8>) -> Result<(), NoAuthor> {
    while let Some(byte) = bytes.next() {
        match byte {
            b',' => return Ok(()),
            b'(' => skip_comment(bytes)?,
            b' ' | b'\t' | b'\r' | b'\n' => {}
            _ => return Err(NoAuthor::Unreadable),
        }
    }
    Ok(())
}

fn domain(address: &[u8]) -> Result<String, NoAuthor> {
    let at = memrchr(b'@', address).ok_or(NoAuthor::Unreadable)?;
    let (local, domain) = address.split_at_checked(at).ok_or(NoAuthor::Unreadable)?;
    let domain = std::str::from_utf8(domain.get(1..).unwrap_or_default());
    let domain = domain.map_err(|_| NoAuthor::Unreadable)?;
    // A route (RFC 5322 section 4.4) ends in a colon; any other second @ belongs to no address.
    let local = local.rsplit(|byte| *byte == b':').next().unwrap_or_default();
    let readable =
        !local.is_empty() && !local.contains(&b'@') && valid_domain(domain) && !domain.starts_with('[');
    let ascii = a_labels(domain);
    match readable && ascii.is_ascii() {
        true => Ok(ascii.into_owned()),
        false => Err(NoAuthor::Unreadable),
    }
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
