//! Defects that a replay finds in segments, for recovery to repair: damage, torn ends, missing ends in headers.

use crate::store::journal::frame::{Header, Place};
use crate::store::journal::scan::Bad;
use crate::store::layout::Seq;

/// Damaged bytes.
#[derive(Debug)]
pub(in crate::store) struct DamagedRange {
    pub(in crate::store) seq: Seq,
    pub(in crate::store) bad: Bad,
    /// No intact frame follows: they are cut off.
    pub(in crate::store) last: bool,
    /// The segment's salt, if an intact header or frame gives it.
    pub(in crate::store) salt: Option<u64>,
    /// The segment cannot be read completely, and is left as it is.
    pub(in crate::store) unreadable: bool,
}

impl DamagedRange {
    /// `last`: no intact frame follows.
    pub(super) fn of(seq: Seq, bad: Bad, last: bool) -> Self {
        let (salt, unreadable) = (None, false);
        Self {
            seq,
            bad,
            last,
            salt,
            unreadable,
        }
    }

    /// A frame that can be skipped but not read.
    pub(in crate::store) fn frame(place: Place, header: Header, reason: String) -> Self {
        let bad = Bad {
            offset: u64::from(place.offset),
            length: header.frame_len(),
            kept: header.frame_len(),
            reason: reason.into(),
        };
        let salt = Some(header.salt);
        Self {
            salt,
            ..Self::of(place.seq, bad, false)
        }
    }
}

/// Space after the last frame of a segment.
#[derive(Debug)]
pub(in crate::store) struct Trailing {
    pub(in crate::store) seq: Seq,
    pub(in crate::store) end: u64,
    /// Bytes after the end that are not zero.
    pub(in crate::store) torn: u64,
}

impl Trailing {
    /// Whether nothing was written after the end.
    pub(in crate::store) fn is_reserve(&self, damaged: &[DamagedRange]) -> bool {
        let is_damaged = |range: &DamagedRange| range.seq == self.seq && range.last;
        self.torn == 0 && !damaged.iter().any(is_damaged)
    }
}

/// A segment whose header must be given its end.
#[derive(Debug)]
pub(in crate::store) struct Unsealed {
    pub(in crate::store) seq: Seq,
    pub(in crate::store) end: u64,
    pub(in crate::store) salt: Option<u64>,
}
