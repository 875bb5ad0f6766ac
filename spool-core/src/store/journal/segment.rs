//! A segment: one file of the journal. Its name, its header, and places in it.
//!
//! `journal/<seq>.log`, the number in ten digits. A header, then frames without gaps, then zeros. Numbers rise for
//! ever, so that the order of the numbers is the order of the changes. Once nothing more comes, the header says where the
//! frames end. It does no input or output.

use super::frame::Fields;
use crate::store::layout::Seq;

/// Bytes of a segment's header; the first frame follows.
pub(in crate::store) const HEADER: usize = 32;
/// Where in the header stands what changes when the segment is sealed: its end, and the checksum.
pub(in crate::store) const END: usize = 24;
const MAGIC: [u8; 8] = *b"SPOOLJNL";
/// The version of the layout written here.
pub(in crate::store) const VERSION: u32 = 1;
/// Where the frames of a segment end, as its header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum End {
    /// Nothing: written by a program that did not say it.
    Untold,
    /// It is being written, or was when its process ended.
    Open,
    /// Here. All before it was on disk when this was written, and nothing came after it.
    At(u32),
}

/// What stands in a header for [`End::Open`]. No segment ends so early.
const OPEN: u32 = 1;

impl End {
    const fn code(self) -> u32 {
        match self {
            Self::Untold => 0,
            Self::Open => OPEN,
            Self::At(end) => end,
        }
    }

    const fn from_code(code: u32) -> Self {
        match code {
            OPEN => Self::Open,
            end if end as usize >= HEADER => Self::At(end),
            _ => Self::Untold,
        }
    }
}

/// What the first bytes of a segment say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum HeaderKind {
    /// Only zeros: nothing was ever written.
    Unwritten,
    /// Its own header.
    Own {
        /// The number drawn for it.
        salt: u64,
        /// Where it ends.
        end: End,
    },
    /// A whole header of this later version.
    Newer(u32),
    /// A whole header of the segment with this number.
    Other(Seq),
    /// Something else.
    Bad,
}

/// The header of segment `seq`. `salt` is drawn at random for it.
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

/// Reads the header of segment `seq`.
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
