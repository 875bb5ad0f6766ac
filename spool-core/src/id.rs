//! Identifiers of messages and of flows. They are ULIDs, so that they sort by age and reveal nothing.
//!
//! An id from outside must be 26 characters of Crockford's alphabet; file names contain ids in no other form.

use crate::clock::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;
use ulid::Ulid;

/// A text is not an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("an id is 26 characters of 0-9 and A-Z without I, L, O, U")]
pub struct IdError;

macro_rules! ulid_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(derive_more::Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[debug("{self}")]
        pub struct $name(Ulid);

        impl $name {
            /// The id with this number.
            #[must_use]
            pub const fn from_u128(number: u128) -> Self {
                Self(Ulid(number))
            }

            /// The number of the id.
            #[must_use]
            pub const fn as_u128(self) -> u128 {
                self.0.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut buffer = [0; ulid::ULID_LEN];
                f.pad(self.0.array_to_str(&mut buffer))
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                let id = Self(Ulid::from_string(text).map_err(|_| IdError)?);
                // Crockford's alphabet has aliases (i, l, o, lower case): one id has one spelling here.
                if id.to_string() == text { Ok(id) } else { Err(IdError) }
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    self.0.to_bytes().serialize(serializer)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    let text = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
                    text.parse().map_err(serde::de::Error::custom)
                } else {
                    Ok(Self(Ulid::from_bytes(<[u8; 16]>::deserialize(deserializer)?)))
                }
            }
        }
    };
}

ulid_newtype! {
    /// Identifies one message of one spool.
    MessageId
}

ulid_newtype! {
    /// Identifies sessions, envelopes and messages that belong to one mail in logs and events. It has 128 bits, so that
    /// a trace id of the embedding program fits.
    FlowId
}

impl MessageId {
    /// Whether this is the id of the notice number `nth` about `parent`.
    #[must_use]
    pub fn is_notice(self, parent: Self, nth: u64) -> bool {
        self.as_u128() & ((1 << Ulid::RAND_BITS) - 1) == notice_digest(parent, nth)
    }

    /// The time of its creation, which is part of it.
    #[must_use]
    pub fn made_at(self) -> crate::clock::Timestamp {
        let millis = self.as_u128() >> Ulid::RAND_BITS;
        crate::clock::Timestamp(i64::try_from(millis).unwrap_or(i64::MAX))
    }
}

impl FlowId {
    /// A random id.
    #[must_use]
    pub fn random() -> Self {
        Self(Ulid::generate())
    }
}

/// The 80 bits of a notice's id that come from its parent.
fn notice_digest(parent: MessageId, nth: u64) -> u128 {
    let mut bytes = [0; 24];
    let (first, second) = bytes.split_at_mut(16);
    first.copy_from_slice(&parent.as_u128().to_be_bytes());
    second.copy_from_slice(&nth.to_be_bytes());
    xxhash_rust::xxh3::xxh3_128(&bytes) & ((1 << Ulid::RAND_BITS) - 1)
}

/// Creates message ids that never repeat and always rise, even if the clock is set back.
#[derive(Debug)]
pub struct IdSource {
    last: u128,
    /// No id was created yet: there may be unrecorded ids after `last`.
    new: bool,
}

impl IdSource {
    /// Continues after `last`, the highest id known to exist.
    #[must_use]
    pub const fn after(last: Option<MessageId>) -> Self {
        Self {
            last: match last {
                Some(id) => id.as_u128(),
                None => 0,
            },
            new: true,
        }
    }

    /// Whether `id` may have been created by `now`. An id from elsewhere must not be one that is still to be created.
    /// One hour of difference between clocks is allowed.
    #[must_use]
    pub fn is_past(&self, id: MessageId, now: Timestamp) -> bool {
        let millis = u64::try_from(now.0).unwrap_or(0).saturating_add(3_600_000);
        id.as_u128() >> Ulid::RAND_BITS <= u128::from(millis) || id.as_u128() <= self.last
    }

    /// An id for the notice number `nth`, from 0, about `parent`. It rises like any other; its random bits are a digest
    /// of both, which [`MessageId::is_notice`] recognizes.
    pub fn notice(&mut self, parent: MessageId, nth: u64, now: Timestamp) -> MessageId {
        let (millis, last) = (
            u128::from(u64::try_from(now.0).unwrap_or(0)),
            self.last >> Ulid::RAND_BITS,
        );
        let digest = notice_digest(parent, nth);
        let at = |millis: u128| millis << Ulid::RAND_BITS | digest;
        let id = at(millis.max(last));
        self.last = if id > self.last {
            id
        } else {
            at(last.saturating_add(1))
        };
        self.new = false;
        MessageId::from_u128(self.last)
    }

    /// The next id. A new millisecond uses 80 random bits; within one, or after the clock was set back, ids count up.
    /// The first id always uses random bits, so that it does not repeat an id that a crash left in an archive.
    pub fn next(&mut self, now: Timestamp) -> MessageId {
        let (millis, last) = (u64::try_from(now.0).unwrap_or(0), self.last >> Ulid::RAND_BITS);
        let last = u64::try_from(last).unwrap_or(u64::MAX);
        self.last = if millis > last || self.new {
            Ulid::from_parts(millis.max(last.saturating_add(1)), Ulid::generate().random()).0
        } else {
            self.last.saturating_add(1)
        };
        self.new = false;
        MessageId::from_u128(self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_rise_through_a_clock_that_jumps_back() {
        let mut source = IdSource::after(None);
        let mut last = MessageId::from_u128(0);
        for millis in [5, 5, 5, 9, 2, 1, 9, 10] {
            let next = source.next(Timestamp(millis));
            assert!(next > last);
            last = next;
        }
        let first = |_| IdSource::after(Some(last)).next(Timestamp(0));
        let (one, other) = (first(1), first(2));
        assert!(one > last && other > last);
        assert_ne!(one, other, "each start draws anew");
    }

    #[test]
    fn the_id_of_a_notice_comes_from_its_parent_and_rises() {
        let mut source = IdSource::after(None);
        let parent = source.next(Timestamp(5));
        let mut last = parent;
        for (nth, millis) in [(0, 5), (1, 5), (2, 5), (3, 2), (4, 100)] {
            let id = source.notice(parent, nth, Timestamp(millis));
            assert!(id > last, "{nth}");
            assert!(id.is_notice(parent, nth) && !id.is_notice(parent, nth + 1) && !id.is_notice(id, nth));
            last = id;
            let next = source.next(Timestamp(millis));
            assert!(next > last);
            last = next;
        }
    }

    #[test]
    fn an_id_has_one_spelling() {
        let id = IdSource::after(None).next(Timestamp(1_795_491_552_042));
        let text = id.to_string();
        assert_eq!(text.parse(), Ok(id));
        assert!(text.to_lowercase().parse::<MessageId>().is_err());
        for bad in [
            "",
            "../../etc/passwd",
            "01D39ZY06FGSCTVN4T2V9PKHF",
            "ZZZZZZZZZZZZZZZZZZZZZZZZZZ",
        ] {
            assert!(bad.parse::<MessageId>().is_err(), "{bad}");
        }
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(json, format!("\"{text}\""));
        assert_eq!(serde_json::from_str::<MessageId>(&json).unwrap(), id);
    }
}
