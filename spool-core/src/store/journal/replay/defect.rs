//! Defects that a replay finds in segments, for recovery to repair: damage, torn ends, missing ends in headers.

use crate::store::journal::frame::{Header, Place};
use crate::store::journal::scan::Bad;
use crate::store::layout::Seq;

/// Damaged bytes.
#[derive(Debug)]
pub(in crate::store) struct DamagedRange {
    pub(in crate::store) seq: Seq,
    pub(in crate::store) offset: u64,
    pub(in crate::store) length: u64,
    /// The part of them that can be copied.
    pub(in crate::store) kept: u64,
    /// No intact frame follows: they are cut off.
    pub(in crate::store) last: bool,
    pub(in crate::store) reason: String,
    /// The segment's salt, if an intact header or frame gives it.
    pub(in crate::store) salt: Option<u64>,
    /// The segment cannot be read completely, and is left as it is.
    pub(in crate::store) unreadable: bool,
}

impl DamagedRange {
    /// `last`: no intact frame follows.
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

    /// A frame that can be skipped but not read.
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
