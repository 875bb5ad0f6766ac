//! What a replay finds wrong in the segments, for recovery to mend: damage, torn ends, ends that no header tells.

use crate::store::journal::frame::{Header, Place};
use crate::store::journal::scan::Bad;
use crate::store::layout::Seq;

/// Bytes to set aside.
#[derive(Debug)]
pub(in crate::store) struct DamagedRange {
    pub(in crate::store) seq: Seq,
    pub(in crate::store) offset: u64,
    pub(in crate::store) length: u64,
    /// Of these, what there is to be copied.
    pub(in crate::store) kept: u64,
    /// Nothing whole follows: it is cut off.
    pub(in crate::store) last: bool,
    pub(in crate::store) reason: String,
    /// The segment's salt, if a whole header or frame told it.
    pub(in crate::store) salt: Option<u64>,
    /// The disk does not give all of the segment back: it is left as it is.
    pub(in crate::store) unreadable: bool,
}

impl DamagedRange {
    /// `last`: nothing whole follows.
    pub(super) fn of(seq: Seq, bad: Bad, last: bool) -> Self {
        Self {
            seq,
            offset: bad.offset,
            length: bad.length,
            kept: bad.kept,
            last,
            reason: bad.reason.to_owned(),
            salt: None,
            unreadable: false,
        }
    }

    /// A frame that can be stepped over, and not be read.
    pub(in crate::store) fn frame(place: Place, header: Header, reason: String) -> Self {
        Self {
            seq: place.seq,
            offset: u64::from(place.offset),
            length: header.frame_len(),
            kept: header.frame_len(),
            last: false,
            reason,
            salt: Some(header.salt),
            unreadable: false,
        }
    }
}

/// A segment that is longer than what it holds.
#[derive(Debug)]
pub(in crate::store) struct Trailing {
    pub(in crate::store) seq: Seq,
    pub(in crate::store) end: u64,
    /// Bytes behind the end that are no zeros.
    pub(in crate::store) torn: u64,
}

impl Trailing {
    /// Whether nothing was ever written behind the end.
    pub(in crate::store) fn is_reserve(&self, damaged: &[DamagedRange]) -> bool {
        let is_damaged = |range: &DamagedRange| range.seq == self.seq && range.last;
        self.torn == 0 && !damaged.iter().any(is_damaged)
    }
}

/// A segment whose header is to say where it ends.
#[derive(Debug)]
pub(in crate::store) struct Unsealed {
    pub(in crate::store) seq: Seq,
    pub(in crate::store) end: u64,
    pub(in crate::store) salt: Option<u64>,
}
