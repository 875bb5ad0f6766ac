//! Maps by message id.

use crate::id::MessageId;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map by message id.
pub(in crate::store) type Ids<T> = HashMap<MessageId, T, BuildHasherDefault<IdHasher>>;

/// Message ids are random bits and a counter: one multiplication distributes them well enough.
#[derive(Debug, Default)]
pub(in crate::store) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u128(u128::from(*byte));
        }
    }

    #[allow(clippy::cast_possible_truncation, reason = "both halves are used")]
    fn write_u128(&mut self, number: u128) {
        let folded = number as u64 ^ (number >> 64) as u64 ^ self.0.rotate_left(5);
        self.0 = folded.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}
