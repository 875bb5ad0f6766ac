//! Scans one segment from start to end, and classifies every byte as frame, damage or end.
//!
//! If the header says where the frames end, missing bytes before that are damage too. Memory is bounded by a window and
//! the longest payload. Bodies are skipped unless they are to be checked. Unreadable bytes are damage. The scan reads
//! only, and decodes no payload.

use crate::store::fs::{Fs, FsFile, Mode};
use crate::store::journal::frame::Place;
use crate::store::journal::frame::{self, Header, HeaderError, Kind};
use crate::store::journal::segment::{self, End, HeaderKind};
use crate::store::journal::window::Window;
use crate::store::layout::{self, Seq};
use std::borrow::Cow;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// An item of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) enum Item {
    /// An intact frame. Its payload is [`Scan::payload`].
    Frame {
        /// Its place.
        place: Place,
        /// Its header.
        header: Header,
    },
    /// Bytes that are not a frame, followed by an intact frame.
    Damage(Bad),
    /// Bytes that are not a frame, or missing, with no frame after them. The last item.
    Tail(Bad),
}

/// Bytes that are not a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct Bad {
    pub(in crate::store) offset: u64,
    /// Of a tail: up to its last byte that is not zero, or to the end in the header.
    pub(in crate::store) length: u64,
    /// The part of them that exists and is worth keeping: not zeros at the end, nor bytes missing from the file.
    pub(in crate::store) kept: u64,
    pub(in crate::store) reason: Cow<'static, str>,
}

/// Why a scan stopped.
#[derive(Debug)]
pub(in crate::store) enum ScanError {
    Io(io::Error),
    /// Written by a newer program.
    Newer(String),
}

impl From<io::Error> for ScanError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// What is at one place.
enum Check {
    Frame(Header),
    Zeros,
    Bad {
        /// Where to continue the search for a frame.
        next: u64,
        reason: &'static str,
    },
}

/// A scan of one segment, up to its length when the scan began.
#[derive(Debug)]
pub(in crate::store) struct Scan {
    window: Window,
    seq: Seq,
    /// The salt of the segment, once known.
    pub(in crate::store) salt: Option<u64>,
    /// The end in the header, once an intact header was read.
    header_end: Option<End>,
    unwritten: bool,
    at: u64,
    bodies: bool,
    done: bool,
    /// Whether the header is an intact one of another segment. An interrupted write does not leave that.
    pub(in crate::store) foreign: bool,
    /// The payload of the last frame.
    pub(in crate::store) payload: Vec<u8>,
}

impl Scan {
    /// A scan of segment `seq` in the directory `journal`.
    pub(in crate::store) fn open(fs: &dyn Fs, journal: &Path, seq: Seq, bodies: bool) -> io::Result<Self> {
        Self::new(
            fs.open(&layout::segment_path(journal, seq), Mode::Read)?,
            seq,
            bodies,
        )
    }

    /// Starts at the header. With `bodies`, a frame is intact only if its body is.
    pub(in crate::store) fn new(file: Arc<dyn FsFile>, seq: Seq, bodies: bool) -> io::Result<Self> {
        Ok(Self {
            window: Window::new(file)?,
            seq,
            salt: None,
            header_end: None,
            unwritten: false,
            at: 0,
            bodies,
            done: false,
            foreign: false,
            payload: Vec::new(),
        })
    }

    /// The end of the intact part, once the scan is complete.
    pub(in crate::store) fn end(&self) -> u64 {
        self.at
    }

    /// Bytes of the file.
    pub(in crate::store) fn size(&self) -> u64 {
        self.window.size
    }

    /// Whether bytes read so far were unreadable.
    pub(in crate::store) fn has_unreadable(&self) -> bool {
        self.window.has_unreadable()
    }

    /// The end of the frames that the header gives.
    pub(in crate::store) fn sealed_end(&self) -> Option<u64> {
        match self.header_end {
            Some(End::At(end)) => Some(u64::from(end)),
            Some(End::Open | End::Unknown) | None => None,
        }
    }

    /// Whether the header was written by a program that records ends; `None` without an intact header.
    pub(in crate::store) fn records_ends(&self) -> Option<bool> {
        self.header_end.map(|end| end != End::Unknown)
    }

    /// Whether a tail may be a write that was interrupted.
    pub(in crate::store) fn may_be_torn(&self) -> bool {
        !self.has_unreadable() && !self.foreign && self.sealed_end().is_none()
    }

    /// The damage of a segment that has only zeros, or no bytes at all, if it was ever written.
    pub(in crate::store) fn nothing_left(&self) -> Option<Bad> {
        self.unwritten.then_some(Bad {
            offset: 0,
            length: self.window.size,
            kept: 0,
            reason: "nothing is left of the segment".into(),
        })
    }

    /// The next item; `None` at the clean end.
    pub(in crate::store) fn next(&mut self) -> Result<Option<Item>, ScanError> {
        while !self.done {
            let check = if self.at == 0 {
                self.check_start()?
            } else {
                self.check(self.at)?
            };
            let (next, reason) = match check {
                Check::Frame(header) => {
                    let place = self.place(self.at);
                    self.at += header.frame_len();
                    self.salt = Some(header.salt);
                    if header.kind == Kind::Gap {
                        continue;
                    }
                    return Ok(Some(Item::Frame { place, header }));
                }
                Check::Zeros => match self.window.first_nonzero(self.at)? {
                    None if self.sealed_end().is_some_and(|end| end > self.at) => {
                        return self
                            .tail("frames are missing at the end of the segment")
                            .map(Some);
                    }
                    None => {
                        self.unwritten = self.at == 0;
                        break;
                    }
                    Some(next) => (next, "zeros where a frame should be"),
                },
                Check::Bad { next, reason } => (next, reason),
            };
            return self.bad(next, reason).map(Some);
        }
        self.done = true;
        Ok(None)
    }

    fn bad(&mut self, next: u64, reason: &'static str) -> Result<Item, ScanError> {
        let offset = self.at;
        if let Some(found) = self.resync(next.max(segment::HEADER as u64))? {
            self.at = found;
            let length = found - offset;
            return Ok(Item::Damage(Bad {
                offset,
                length,
                kept: length,
                reason: reason.into(),
            }));
        }
        self.tail(reason)
    }

    fn tail(&mut self, reason: &'static str) -> Result<Item, ScanError> {
        self.done = true;
        let offset = self.at;
        let kept = self.window.end_of_content(offset)? - offset;
        let missing = self.sealed_end().unwrap_or(0).saturating_sub(offset);
        Ok(Item::Tail(Bad {
            offset,
            length: kept.max(missing),
            kept,
            reason: reason.into(),
        }))
    }

    /// Checks the header of the segment, and the first frame if the header is intact.
    fn check_start(&mut self) -> Result<Check, ScanError> {
        let bytes = self.window.bytes(0, segment::HEADER)?;
        match segment::decode_header(bytes, self.seq) {
            HeaderKind::Unwritten => Ok(Check::Zeros),
            HeaderKind::Bad => Ok(Check::Bad {
                next: segment::HEADER as u64,
                reason: "the header of the segment is damaged",
            }),
            HeaderKind::Other(_) => {
                self.foreign = true;
                Ok(Check::Bad {
                    next: segment::HEADER as u64,
                    reason: "the header is that of another segment",
                })
            }
            HeaderKind::Newer(version) => Err(ScanError::Newer(format!("segment version {version}"))),
            HeaderKind::Own { salt, end } => {
                self.salt = Some(salt);
                self.header_end = Some(end);
                self.at = segment::HEADER as u64;
                self.check(self.at)
            }
        }
    }

    fn check(&mut self, at: u64) -> Result<Check, ScanError> {
        let bad = |next, reason| Ok(Check::Bad { next, reason });
        let place = self.place(at);
        let bytes = self.window.bytes(at, frame::HEADER)?;
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(Check::Zeros);
        }
        let Some(bytes) = bytes.first_chunk() else {
            return bad(at + 1, "too short for a frame");
        };
        let header = match Header::decode(bytes, place, self.salt) {
            Ok(header) => header,
            // Without a salt this may be anything, such as the text of a message.
            Err(HeaderError::Newer) if self.salt.is_some() => {
                return Err(ScanError::Newer("frames of a later kind".to_owned()));
            }
            Err(HeaderError::Newer | HeaderError::Bad) => {
                return bad(at + 1, "the frame's header is damaged");
            }
        };
        let end = at + header.frame_len();
        if end > self.window.size {
            return bad(at + 1, "the frame is longer than its segment");
        }
        if header.kind == Kind::Gap {
            return Ok(Check::Frame(header));
        }
        let length = usize::try_from(header.payload_len).unwrap_or(usize::MAX);
        let payload = self.window.bytes(at + frame::HEADER as u64, length)?;
        if crc32c::crc32c(payload) != header.payload_crc {
            return bad(end, "the frame's record is damaged");
        }
        self.payload.clear();
        self.payload.extend_from_slice(payload);
        if self.bodies && self.window.checksum(at + header.body_at(), end)? != header.body_crc {
            return bad(end, "the frame's body is damaged");
        }
        Ok(Check::Frame(header))
    }

    /// The place of the first intact frame from `at` on.
    fn resync(&mut self, mut at: u64) -> Result<Option<u64>, ScanError> {
        while let Some(found) = self.window.find(at, frame::MAGIC)? {
            match self.check(found)? {
                Check::Frame(_) => return Ok(Some(found)),
                Check::Zeros => at = found + 1,
                Check::Bad { next, .. } => at = next,
            }
        }
        Ok(None)
    }

    fn place(&self, at: u64) -> Place {
        // No segment is longer than 4 GiB; in a longer file the rest fails its checksums.
        let offset = u32::try_from(at).unwrap_or(u32::MAX);
        Place {
            seq: self.seq,
            offset,
        }
    }
}
