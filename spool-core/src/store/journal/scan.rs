//! Reads one segment from front to back, and says of every byte whether it is a frame, damage, or the end.
//!
//! Where the header tells where the frames end, what is missing before that is damage too. Memory is bounded by a window and the
//! longest payload. Bodies are stepped over unless they are to be checked. What the disk does not give back is damage like any
//! other. It reads only, and decodes no payload.

use crate::store::fs::FsFile;
use crate::store::journal::frame::Place;
use crate::store::journal::frame::{self, Header, Kind, NoHeader};
use crate::store::journal::segment::{self, End, HeaderKind};
use crate::store::journal::window::Window;
use crate::store::layout::Seq;
use std::io;
use std::sync::Arc;

/// What a scan found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) enum Item {
    /// A whole frame. Its payload is [`Scan::payload`].
    Frame {
        /// Where it begins.
        place: Place,
        /// Its header.
        header: Header,
    },
    /// Bytes that are no frame, with a whole frame after them.
    Damage(Bad),
    /// Bytes that are no frame, or are missing, with no frame after them. The last item.
    Tail(Bad),
}

/// Bytes that are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Bad {
    pub(in crate::store) offset: u64,
    /// For a tail: up to its last byte that is not zero, or to where the header says that the frames end.
    pub(in crate::store) length: u64,
    /// Of these, what there is to be kept: not zeros at the end, nor what was cut off the file.
    pub(in crate::store) kept: u64,
    pub(in crate::store) reason: &'static str,
}

/// Why a scan cannot go on.
#[derive(Debug)]
pub(in crate::store) enum ScanError {
    Io(io::Error),
    /// A newer program wrote this.
    Newer(String),
}

impl From<io::Error> for ScanError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// What stands at one place.
enum Check {
    Frame(Header),
    Zeros,
    Bad {
        /// Where to look for the next frame.
        next: u64,
        reason: &'static str,
    },
}

/// A scan of one segment, as long as it was when the scan began.
#[derive(Debug)]
pub(in crate::store) struct Scan {
    window: Window,
    seq: Seq,
    salt: Option<u64>,
    /// What the header says, once a whole one was read.
    told: Option<End>,
    unwritten: bool,
    at: u64,
    bodies: bool,
    done: bool,
    foreign: bool,
    payload: Vec<u8>,
}

impl Scan {
    /// Begins at the header. With `bodies`, a frame counts only when its body is whole.
    pub(in crate::store) fn new(file: Arc<dyn FsFile>, seq: Seq, bodies: bool) -> io::Result<Self> {
        Ok(Self {
            window: Window::new(file)?,
            seq,
            salt: None,
            told: None,
            unwritten: false,
            at: 0,
            bodies,
            done: false,
            foreign: false,
            payload: Vec::new(),
        })
    }

    /// The payload of the last frame.
    pub(in crate::store) fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The salt of the segment, once known.
    pub(in crate::store) fn salt(&self) -> Option<u64> {
        self.salt
    }

    /// Where what is whole ends, once the scan is over.
    pub(in crate::store) fn end(&self) -> u64 {
        self.at
    }

    /// Bytes of the file.
    pub(in crate::store) fn size(&self) -> u64 {
        self.window.size()
    }

    /// Whether the disk did not give back some of what was looked at so far.
    pub(in crate::store) fn has_lost(&self) -> bool {
        self.window.has_lost()
    }

    /// Where the header says that the frames end.
    pub(in crate::store) fn sealed_end(&self) -> Option<u64> {
        match self.told {
            Some(End::At(end)) => Some(u64::from(end)),
            Some(End::Open | End::Untold) | None => None,
        }
    }

    /// Whether a program wrote the header that says where segments end; `None` when there is no whole one.
    pub(in crate::store) fn tells_ends(&self) -> Option<bool> {
        self.told.map(|end| end != End::Untold)
    }

    /// Whether a tail may be what a write left that was cut off.
    pub(in crate::store) fn may_be_torn(&self) -> bool {
        !self.has_lost() && !self.foreign && self.sealed_end().is_none()
    }

    /// What is wrong with a segment that has nothing in it but zeros, or no bytes at all, if it was written once.
    pub(in crate::store) fn nothing_left(&self) -> Option<Bad> {
        self.unwritten.then_some(Bad {
            offset: 0,
            length: self.window.size(),
            kept: 0,
            reason: "nothing is left of the segment",
        })
    }

    /// Whether the header is a whole one of another segment. No write that was cut off leaves that.
    pub(in crate::store) fn is_foreign(&self) -> bool {
        self.foreign
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
                    if header.kind == Kind::Hole {
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
                    Some(next) => (next, "zeros where a frame should stand"),
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
                reason,
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
            reason,
        }))
    }

    /// Looks at the header of the segment, and at the first frame when the header is whole.
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
                self.told = Some(end);
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
            // Without a salt this may be anything, a mail's text too.
            Err(NoHeader::Newer) if self.salt.is_some() => {
                return Err(ScanError::Newer("frames of a later kind".to_owned()));
            }
            Err(NoHeader::Newer | NoHeader::Bad) => return bad(at + 1, "the frame's header is damaged"),
        };
        let end = at + header.frame_len();
        if end > self.window.size() {
            return bad(at + 1, "the frame is longer than its segment");
        }
        if header.kind == Kind::Hole {
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

    /// The first place from `at` on with a whole frame.
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
        // No segment is longer than 4 GiB; a longer file's rest fails its checksums.
        let offset = u32::try_from(at).unwrap_or(u32::MAX);
        Place {
            seq: self.seq,
            offset,
        }
    }
}
