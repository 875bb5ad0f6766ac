//! A window on a file: what a scan or a copy looks at, read in pieces, with what the disk does not give back marked.
//!
//! Memory is bounded by the window and by what is asked for at once. It reads only.

use crate::store::fs::{FsFile, is_unreadable};
use std::io;
use std::sync::Arc;

const WINDOW: usize = 128 << 10;
/// What is tried by itself where a window cannot be read whole.
const BLOCK: usize = 4096;
/// Blocks that cannot be read before no more are tried: a dying disk takes seconds for each.
const MAX_LOST: usize = 256;
/// What stands in for bytes that cannot be read. No frame and no end looks like it.
const LOST: u8 = 0xee;

/// A file read through a buffer.
#[derive(Debug)]
pub(in crate::store) struct Window {
    file: Arc<dyn FsFile>,
    size: u64,
    start: u64,
    buffer: Vec<u8>,
    /// Blocks that could not be read.
    lost: usize,
}

impl Window {
    pub(in crate::store) fn new(file: Arc<dyn FsFile>) -> io::Result<Self> {
        let size = file.size()?;
        Ok(Self {
            file,
            size,
            start: 0,
            buffer: Vec::new(),
            lost: 0,
        })
    }

    /// Bytes of the file.
    pub(in crate::store) fn size(&self) -> u64 {
        self.size
    }

    /// Whether the disk did not give back some of what was looked at so far.
    pub(in crate::store) fn has_lost(&self) -> bool {
        self.lost > 0
    }

    /// `length` bytes from `at` on, fewer at the end of the file. The caller has checked `length` against the file.
    pub(in crate::store) fn bytes(&mut self, at: u64, length: usize) -> io::Result<&[u8]> {
        let left = usize::try_from(self.size.saturating_sub(at)).unwrap_or(usize::MAX);
        let length = length.min(left);
        let inside = |start: u64, held: usize| {
            let from = usize::try_from(at.checked_sub(start)?).ok()?;
            (from + length <= held).then_some(from)
        };
        if inside(self.start, self.buffer.len()).is_none() {
            self.buffer.resize(length.max(WINDOW).min(left), 0);
            self.start = at;
            match self.file.read_at(at, &mut self.buffer) {
                Ok(count) => self.buffer.truncate(count),
                Err(error) if is_unreadable(&error) => self.read_blocks(at)?,
                Err(error) => return Err(error),
            }
        }
        let from = inside(self.start, self.buffer.len());
        Ok(from
            .and_then(|from| self.buffer.get(from..from + length))
            .unwrap_or_default())
    }

    /// Fills the buffer with what can be read from `at` on.
    fn read_blocks(&mut self, mut at: u64) -> io::Result<()> {
        let mut rest = self.buffer.as_mut_slice();
        while !rest.is_empty() {
            let aligned = BLOCK - usize::try_from(at % BLOCK as u64).unwrap_or(0);
            let (block, after) = rest.split_at_mut(aligned.min(rest.len()));
            let read = match self.lost < MAX_LOST {
                true => self.file.read_at(at, block),
                false => Err(io::Error::from_raw_os_error(libc::EIO)),
            };
            match read {
                Ok(count) => block.iter_mut().skip(count).for_each(|byte| *byte = LOST),
                Err(error) if is_unreadable(&error) => {
                    block.fill(LOST);
                    self.lost += 1;
                }
                Err(error) => return Err(error),
            }
            at += block.len() as u64;
            rest = after;
        }
        Ok(())
    }

    /// What the buffer holds from `at` on, after filling it: empty only at the end of the file.
    fn chunk(&mut self, at: u64) -> io::Result<&[u8]> {
        self.bytes(at, 1)?;
        let from = usize::try_from(at.saturating_sub(self.start)).unwrap_or(usize::MAX);
        Ok(self.buffer.get(from..).unwrap_or_default())
    }

    /// The checksum of what stands from `at` on up to `end`.
    pub(in crate::store) fn checksum(&mut self, mut at: u64, end: u64) -> io::Result<u32> {
        let mut crc = 0;
        while at < end {
            let chunk = self.chunk(at)?;
            let length = chunk.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
            let Some(bytes) = chunk.get(..length).filter(|bytes| !bytes.is_empty()) else {
                break;
            };
            crc = crc32c::crc32c_append(crc, bytes);
            at += length as u64;
        }
        Ok(crc)
    }

    /// The first place from `at` on with a byte that is not zero.
    pub(in crate::store) fn first_nonzero(&mut self, mut at: u64) -> io::Result<Option<u64>> {
        loop {
            let chunk = self.chunk(at)?;
            if chunk.is_empty() {
                return Ok(None);
            }
            if let Some(found) = position_nonzero(chunk) {
                return Ok(Some(at + found as u64));
            }
            at += chunk.len() as u64;
        }
    }

    /// Behind the last byte from `at` on that is not zero.
    pub(in crate::store) fn end_of_content(&mut self, mut at: u64) -> io::Result<u64> {
        let mut end = at;
        loop {
            let chunk = self.chunk(at)?;
            if chunk.is_empty() {
                return Ok(end);
            }
            if position_nonzero(chunk).is_some()
                && let Some(last) = chunk.iter().rposition(|byte| *byte != 0)
            {
                end = at + last as u64 + 1;
            }
            at += chunk.len() as u64;
        }
    }

    /// The first place from `at` on where `pattern` stands.
    pub(in crate::store) fn find(&mut self, mut at: u64, pattern: [u8; 4]) -> io::Result<Option<u64>> {
        let [first, ..] = pattern;
        loop {
            let chunk = self.chunk(at)?;
            if chunk.is_empty() {
                return Ok(None);
            }
            let Some(found) = chunk.iter().position(|byte| *byte == first) else {
                at += chunk.len() as u64;
                continue;
            };
            at += found as u64;
            if self.bytes(at, pattern.len())? == pattern {
                return Ok(Some(at));
            }
            at += 1;
        }
    }
}

/// Compares by blocks: most of what is looked at is a preallocated rest, megabytes of zeros.
fn position_nonzero(bytes: &[u8]) -> Option<usize> {
    const ZEROS: [u8; 1024] = [0; 1024];
    let mut at = 0;
    for block in bytes.chunks(ZEROS.len()) {
        if ZEROS.get(..block.len()) != Some(block) {
            return block.iter().position(|byte| *byte != 0).map(|inside| at + inside);
        }
        at += block.len();
    }
    None
}
