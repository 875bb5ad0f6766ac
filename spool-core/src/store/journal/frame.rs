//! The frame: one change in the journal, with a header that lets a scan check it and step over it.
//!
//! A frame is a header, a payload and a body (empty except for an add), each with its own checksum. The header's
//! checksum covers the place of the frame, and the header repeats the salt, a random number of its segment: bytes that
//! look like a frame but are in another place, or come from the text of a message, are not taken for one. Decoding
//! never allocates and never trusts a length before its checksum.

use crate::store::layout::Seq;

/// The place of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::store) struct Place {
    pub(in crate::store) seq: Seq,
    pub(in crate::store) offset: u32,
}

/// Bytes of a header.
pub(in crate::store) const HEADER: usize = 36;
/// The first bytes of every frame. They are not valid UTF-8, and so rare in mail.
pub(in crate::store) const MAGIC: [u8; 4] = [0xf5, b'S', b'P', 0xf6];
/// The version of the payloads that are written, and the oldest one that is read.
pub(in crate::store) const VERSION: u8 = 3;
const OLDEST: u8 = 1;

/// The kind of a frame, with its number on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Kind {
    /// Messages and their body.
    Add = 1,
    /// A new status, and the start of an attempt, of a message.
    Mark = 2,
    /// A new state of a message.
    State = 3,
    /// The end of a message.
    Finish = 4,
    /// Events about a message that is not in the journal.
    Note = 6,
    /// Live messages and their body, copied from an older segment.
    Move = 7,
    /// New next hops of a message.
    Route = 8,
    /// Nothing: it covers damaged bytes. Its payload and body must not be read.
    Gap = 5,
}

impl Kind {
    /// Every kind: first those of the variants of [`Change`](crate::store::Change), in their order, then the gap, which has no variant. A
    /// new kind goes before the gap.
    pub(in crate::store) const ALL: [Self; 8] = [
        Self::Add,
        Self::Mark,
        Self::State,
        Self::Finish,
        Self::Note,
        Self::Move,
        Self::Route,
        Self::Gap,
    ];
}

/// A checked header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Header {
    pub(in crate::store) kind: Kind,
    /// The format of the payload.
    pub(in crate::store) version: u8,
    pub(in crate::store) payload_len: u32,
    pub(in crate::store) payload_crc: u32,
    pub(in crate::store) body_len: u32,
    pub(in crate::store) body_crc: u32,
    pub(in crate::store) salt: u64,
}

/// Why bytes are not a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum HeaderError {
    /// Damaged, or something else.
    Bad,
    /// Intact, but of an unknown kind or version: written by a newer program.
    Newer,
}

impl Header {
    /// The header of a frame with these parts. `None` when a part has 4 GiB or more.
    pub(in crate::store) fn of(kind: Kind, payload: &[u8], body: &[u8], salt: u64) -> Option<Self> {
        Some(Self {
            kind,
            version: VERSION,
            payload_len: u32::try_from(payload.len()).ok()?,
            payload_crc: crc32c::crc32c(payload),
            body_len: u32::try_from(body.len()).ok()?,
            body_crc: crc32c::crc32c(body),
            salt,
        })
    }

    /// The header of a gap of `length` bytes, header included. `None` when they are too few or too many.
    pub(in crate::store) fn gap(length: u64, salt: u64) -> Option<Self> {
        let rest = u32::try_from(length.checked_sub(HEADER as u64)?).ok()?;
        Some(Self {
            kind: Kind::Gap,
            // It has no payload that differs between formats, and may be in a spool of format 1.
            version: OLDEST,
            payload_len: rest,
            payload_crc: 0,
            body_len: 0,
            body_crc: 0,
            salt,
        })
    }

    /// Bytes of the whole frame.
    pub(in crate::store) fn frame_len(&self) -> u64 {
        self.body_at() + u64::from(self.body_len)
    }

    /// Offset of the body from the start of the frame.
    pub(in crate::store) fn body_at(&self) -> u64 {
        HEADER as u64 + u64::from(self.payload_len)
    }

    /// The bytes of this header at `place`.
    pub(in crate::store) fn encode(&self, place: Place) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        let fields: [&[u8]; 7] = [
            &MAGIC,
            &[self.kind as u8, self.version, 0, 0],
            &self.payload_len.to_le_bytes(),
            &self.payload_crc.to_le_bytes(),
            &self.body_len.to_le_bytes(),
            &self.body_crc.to_le_bytes(),
            &self.salt.to_le_bytes(),
        ];
        let all = fields.iter().copied().flatten();
        bytes.iter_mut().zip(all).for_each(|(to, from)| *to = *from);
        let (covered, crc) = bytes.split_at_mut(HEADER - 4);
        crc.copy_from_slice(&checksum(covered, place).to_le_bytes());
        bytes
    }

    /// Decodes the header at `place`. `salt` is that of the segment, if known.
    pub(in crate::store) fn decode(
        bytes: &[u8; HEADER],
        place: Place,
        salt: Option<u64>,
    ) -> Result<Self, HeaderError> {
        let (covered, crc) = bytes.split_at(HEADER - 4);
        if !covered.starts_with(&MAGIC) || crc != checksum(covered, place).to_le_bytes() {
            return Err(HeaderError::Bad);
        }
        let mut fields = Fields(covered.get(MAGIC.len()..).unwrap_or_default());
        let [kind, version, reserved @ ..] = fields.take::<4>();
        let header = Self {
            kind: Kind::Gap,
            version,
            payload_len: u32::from_le_bytes(fields.take()),
            payload_crc: u32::from_le_bytes(fields.take()),
            body_len: u32::from_le_bytes(fields.take()),
            body_crc: u32::from_le_bytes(fields.take()),
            salt: u64::from_le_bytes(fields.take()),
        };
        if salt.is_some_and(|salt| salt != header.salt) {
            return Err(HeaderError::Bad);
        }
        match Kind::ALL.into_iter().find(|known| *known as u8 == kind) {
            Some(kind) if (OLDEST..=VERSION).contains(&version) && reserved == [0, 0] => {
                Ok(Self { kind, ..header })
            }
            Some(_) | None => Err(HeaderError::Newer),
        }
    }
}

fn checksum(covered: &[u8], place: Place) -> u32 {
    let crc = crc32c::crc32c_append(crc32c::crc32c(covered), &place.seq.get().to_le_bytes());
    crc32c::crc32c_append(crc, &place.offset.to_le_bytes())
}

/// Takes fixed-size fields off the front of a slice; zeros when it is too short.
pub(in crate::store) struct Fields<'a>(pub(in crate::store) &'a [u8]);

impl Fields<'_> {
    pub(in crate::store) fn take<const N: usize>(&mut self) -> [u8; N] {
        match self.0.split_first_chunk::<N>() {
            Some((field, rest)) => {
                self.0 = rest;
                *field
            }
            None => [0; N],
        }
    }
}
