//! A segment: one file of the journal. Its name, its header, and places in it.
//!
//! `journal/<seq>.log`, the number in ten digits. A header, then frames without gaps, then zeros. Numbers rise for
//! ever, so that the order of the numbers is the order of the changes. Once nothing more comes, the header says where the
//! frames end. It does no input or output.

use super::frame::Fields;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

/// The number of a segment.
pub(super) type Seq = NonZeroU32;

/// Bytes of a segment's header; the first frame follows.
pub(super) const HEADER: usize = 32;
/// Where in the header stands what changes when the segment is sealed: its end, and the checksum.
pub(super) const END: usize = 24;
const MAGIC: [u8; 8] = *b"SPOOLJNL";
/// The version of the layout written here.
pub(super) const VERSION: u32 = 1;
/// The preallocated file that becomes the next segment.
pub(super) const SPARE: &str = "spare";

/// Where a frame stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) seq: Seq,
    pub(super) offset: u32,
}

/// Where the frames of a segment end, as its header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
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
pub(super) enum Found {
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
pub(super) fn encode_header(seq: Seq, salt: u64, end: End) -> [u8; HEADER] {
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
pub(super) fn decode_header(bytes: &[u8], seq: Seq) -> Found {
    if bytes.iter().all(|byte| *byte == 0) {
        return Found::Unwritten;
    }
    let Some((bytes, _)) = bytes.split_first_chunk::<HEADER>() else {
        return Found::Bad;
    };
    let (covered, crc) = bytes.split_at(HEADER - 4);
    if crc != crc32c::crc32c(covered).to_le_bytes() || !covered.starts_with(&MAGIC) {
        return Found::Bad;
    }
    let mut fields = Fields(covered.get(MAGIC.len()..).unwrap_or_default());
    match u32::from_le_bytes(fields.take()) {
        VERSION => {}
        newer @ 2.. => return Found::Newer(newer),
        0 => return Found::Bad,
    }
    match Seq::new(u32::from_le_bytes(fields.take())) {
        Some(number) if number == seq => Found::Own {
            salt: u64::from_le_bytes(fields.take()),
            end: End::from_code(u32::from_le_bytes(fields.take())),
        },
        Some(other) => Found::Other(other),
        None => Found::Bad,
    }
}

/// The file name of segment `seq`.
pub(super) fn name(seq: Seq) -> String {
    format!("{seq:010}.log")
}

/// The path of segment `seq` in the directory `journal`.
pub(super) fn path(journal: &Path, seq: Seq) -> PathBuf {
    journal.join(name(seq))
}

/// The number in a file name, if it is one of a segment.
pub(super) fn parse_name(text: &str) -> Option<Seq> {
    let seq = text.strip_suffix(".log")?.parse().ok()?;
    (name(seq) == text).then_some(seq)
}
