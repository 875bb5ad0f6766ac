//! The idempotency key of an add, and the fingerprint that shows whether the same submission was added under it.
//!
//! A fingerprint covers what was submitted: senders, recipients, their parameters, and the body. It does not cover next
//! hops, retry intervals and the division into sections, which may come from the service's configuration.

use crate::message::Section;
use derive_more::{Debug, Display};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use xxhash_rust::xxh3::{Xxh3Default, xxh3_128};

/// An idempotency key, with the fingerprint of what was added under it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddKey {
    /// The key: 1 to 255 bytes.
    pub key: String,
    /// What was added; `None` if it was not recorded (format 1): then any submission matches.
    #[serde(deserialize_with = "crate::since::format::<2, _, _>")]
    pub fingerprint: Option<Fingerprint>,
}

impl AddKey {
    /// A key without a fingerprint.
    #[must_use]
    pub fn new(key: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            fingerprint: None,
        }
    }
}

/// A digest of 128 bits of an idempotency key, which takes less memory than the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyDigest([u8; 16]);

impl KeyDigest {
    /// The digest of `key`.
    #[must_use]
    pub fn of(key: &str) -> Self {
        Self(xxh3_128(key.as_bytes()).to_be_bytes())
    }
}

/// A digest of 128 bits of a submission. It detects mistakes, not attacks: a submitter who makes two submissions with the same
/// fingerprint deceives nobody else.
#[derive(Debug, Display, Clone, Copy, PartialEq, Eq, Hash)]
#[debug("{self}")]
#[display("{:032x}", u128::from_be_bytes(self.0))]
pub struct Fingerprint([u8; 16]);

impl Fingerprint {
    /// The fingerprint of `sections` with `body`: 128-bit XXH3 over the XXH3 of each recipient in ascending order
    /// (reverse-path, parameters and recipient, as the journal encodes them), and then the body.
    #[must_use]
    pub fn of(sections: &[Section], body: &[u8]) -> Self {
        let mut recipients: Vec<u128> = Vec::new();
        let mut bytes = Vec::new();
        for section in sections {
            let envelope = &section.envelope;
            for recipient in &envelope.recipients {
                bytes.clear();
                let all = (&envelope.reverse_path, &envelope.parameters, recipient);
                // These types can always be encoded.
                if let Ok(encoded) = postcard::to_extend(&all, std::mem::take(&mut bytes)) {
                    bytes = encoded;
                }
                recipients.push(xxh3_128(&bytes));
            }
        }
        recipients.sort_unstable();
        let mut hash = Xxh3Default::new();
        for recipient in &recipients {
            hash.update(&recipient.to_be_bytes());
        }
        hash.update(body);
        Self(hash.digest128().to_be_bytes())
    }
}

/// Text of 32 hexadecimal digits for people, 16 bytes otherwise.
impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return <[u8; 16]>::deserialize(deserializer).map(Self);
        }
        let text = String::deserialize(deserializer)?;
        let number = u128::from_str_radix(&text, 16).map_err(D::Error::custom)?;
        Ok(Self(number.to_be_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::{Envelope, ReversePath};
    use crate::message::RouteOrigin;
    use crate::retry::RetryPolicy;

    fn section(from: &str, to: &[&str], hop: &str) -> Section {
        let to = to.iter().map(|to| to.parse().unwrap());
        Section {
            envelope: Envelope::of(ReversePath::parse(from).unwrap(), to.collect::<Vec<_>>()),
            next_hops: [hop.parse().unwrap()].into(),
            origin: RouteOrigin::Named,
            retry: RetryPolicy::default(),
        }
    }

    #[test]
    fn a_fingerprint_depends_on_envelope_and_body_only() {
        let print = |sections: &[Section], body: &str| Fingerprint::of(sections, body.as_bytes());
        let whole = print(&[section("a@x", &["b@y", "c@z"], "h:25")], "hi\r\n");
        let split = [section("a@x", &["c@z"], "i:25"), section("a@x", &["b@y"], "h:25")];
        assert_eq!(print(&split, "hi\r\n"), whole);
        assert_ne!(print(&split, "ho\r\n"), whole);
        assert_ne!(print(&split[..1], "hi\r\n"), whole);
        assert_ne!(print(&[section("d@x", &["b@y", "c@z"], "h:25")], "hi\r\n"), whole);
        let mut utf8 = section("a@x", &["b@y", "c@z"], "h:25");
        utf8.envelope.parameters.smtputf8 = true;
        assert_ne!(print(&[utf8], "hi\r\n"), whole);
    }

    #[test]
    fn a_fingerprint_is_the_same_in_every_release() {
        let print = Fingerprint::of(&[section("", &["b@c"], "h:25")], b"hi\r\n");
        assert_eq!(print.to_string(), "f93e3e23c1b92e341d9cf50c10ed7fd7");
        let json = serde_json::to_string(&print).unwrap();
        assert_eq!(serde_json::from_str::<Fingerprint>(&json).unwrap(), print);
        let bytes = postcard::to_allocvec(&print).unwrap();
        assert_eq!(bytes.len(), 16);
        assert_eq!(postcard::from_bytes::<Fingerprint>(&bytes).unwrap(), print);
    }
}
