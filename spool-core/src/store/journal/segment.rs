//! A segment: one file of the journal, and its header.
//!
//! `journal/<seq>.log`, the number in ten digits: a header, then frames without gaps, then zeros. Numbers only rise, so
//! the order of the numbers is the order of the changes. When a segment is complete, its header says where the frames
//! end. No input or output.

use super::frame::Fields;
use crate::store::layout::Seq;

/// Bytes of a segment's header; the first frame follows.
pub(in crate::store) const HEADER: usize = 32;
/// Offset in the header of the part that changes when the segment is sealed: the end and the checksum.
pub(in crate::store) const END: usize = 24;
const MAGIC: [u8; 8] = *b"SPOOLJNL";
/// The version of the header.
pub(in crate::store) const VERSION: u32 = 1;
/// Where the frames of a segment end, according to its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum End {
    /// Unknown: written by a program that did not record ends.
    Unknown,
    /// The segment is being written, or was when its process ended.
    Open,
    /// Here. All bytes before it were on disk when this was written, and none were added.
    At(u32),
}

/// The value for [`End::Open`]. No segment ends that early.
const OPEN: u32 = 1;

impl End {
    const fn code(self) -> u32 {
        match self {
            Self::Unknown => 0,
            Self::Open => OPEN,
            Self::At(end) => end,
        }
    }

    const fn from_code(code: u32) -> Self {
        match code {
            OPEN => Self::Open,
            end if end as usize >= HEADER => Self::At(end),
            _ => Self::Unknown,
        }
    }
}

/// What the first bytes of a segment are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum HeaderKind {
    /// Zeros: nothing was written.
    Unwritten,
    /// The segment's own header.
    Own {
        /// The salt.
        salt: u64,
        /// The end.
        end: End,
    },
    /// An intact header of this newer version.
    Newer(u32),
    /// An intact header of the segment with this number.
    Other(Seq),
    /// Something else.
    Bad,
}

/// The header of segment `seq`. `salt` is a random number.
pub(in crate::store) fn encode_header(seq: Seq, salt: u64, end: End) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    let fields: [&[u8]; 5] = [
        &MAGIC,
        &VERSION.to_le_bytes(),
        &seq.get().to_le_bytes(),
        &salt.to_le_bytes(),
        &end.code().to_le_bytes(),
    ];
    let all = fields.iter().copied().flatten();
    bytes.iter_mut().zip(all).for_each(|(to, from)| *to = *from);
    let (covered, crc) = bytes.split_at_mut(HEADER - 4);
    crc.copy_from_slice(&crc32c::crc32c(covered).to_le_bytes());
    bytes
}

/// Decodes the header of segment `seq`.
pub(in crate::store) fn decode_header(bytes: &[u8], seq: Seq) -> HeaderKind {
    if bytes.iter().all(|byte| *byte == 0) {
        return HeaderKind::Unwritten;
    }
    let Some((bytes, _)) = bytes.split_first_chunk::<HEADER>() else {
        return HeaderKind::Bad;
    };
    let (covered, crc) = bytes.split_at(HEADER - 4);
    if crc != crc32c::crc32c(covered).to_le_bytes() || !covered.starts_with(&MAGIC) {
        return HeaderKind::Bad;
    }
    let mut fields = Fields(covered.get(MAGIC.len()..).unwrap_or_default());
    match u32::from_le_bytes(fields.take()) {
        VERSION => {}
        newer @ 2.. => return HeaderKind::Newer(newer),
        0 => return HeaderKind::Bad,
    }
    match Seq::new(u32::from_le_bytes(fields.take())) {
        Some(number) if number == seq => HeaderKind::Own {
            salt: u64::from_le_bytes(fields.take()),
            end: End::from_code(u32::from_le_bytes(fields.take())),
        },
        Some(other) => HeaderKind::Other(other),
        None => HeaderKind::Bad,
    }
}
