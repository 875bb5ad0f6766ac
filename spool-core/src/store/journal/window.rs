//! A file that is read through a buffer, for scans and copies. Unreadable blocks are read as a filler, and counted.
//! Memory is bounded by the buffer and the length of one request. It reads only.

use crate::store::fs::{FsFile, is_unreadable};
use std::io;
use std::sync::Arc;

const WINDOW: usize = 128 << 10;
/// The unit of reading where the whole buffer cannot be read.
const BLOCK: usize = 4096;
/// Unreadable blocks after which no more are read: a failing disk may take seconds for each.
const MAX_UNREADABLE: usize = 256;
/// The filler for unreadable bytes. No frame and no end looks like it.
const FILLER: u8 = 0xee;

/// A file read through a buffer.
#[derive(Debug)]
pub(in crate::store) struct Window {
    file: Arc<dyn FsFile>,
    /// Bytes of the file.
    pub(in crate::store) size: u64,
    start: u64,
    buffer: Vec<u8>,
    /// Unreadable blocks.
    unreadable: usize,
}

impl Window {
    pub(in crate::store) fn new(file: Arc<dyn FsFile>) -> io::Result<Self> {
        let size = file.size()?;
        Ok(Self {
            file,
            size,
            start: 0,
            buffer: Vec::new(),
            unreadable: 0,
        })
    }

    /// Whether bytes requested so far were unreadable.
    pub(in crate::store) fn has_unreadable(&self) -> bool {
        self.unreadable > 0
    }

    /// `length` bytes from `at` on, fewer at the end of the file. The caller has checked `length` against the file
    /// size.
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

    /// Fills the buffer block by block from `at` on.
    fn read_blocks(&mut self, mut at: u64) -> io::Result<()> {
        let mut rest = self.buffer.as_mut_slice();
        while !rest.is_empty() {
            let aligned = BLOCK - usize::try_from(at % BLOCK as u64).unwrap_or(0);
            let (block, after) = rest.split_at_mut(aligned.min(rest.len()));
            let read = match self.unreadable < MAX_UNREADABLE {
                true => self.file.read_at(at, block),
                false => Err(io::Error::from_raw_os_error(libc::EIO)),
            };
            match read {
                Ok(count) => block.iter_mut().skip(count).for_each(|byte| *byte = FILLER),
                Err(error) if is_unreadable(&error) => {
                    block.fill(FILLER);
                    self.unreadable += 1;
                }
                Err(error) => return Err(error),
            }
            at += block.len() as u64;
            rest = after;
        }
        Ok(())
    }

    /// The buffered bytes from `at` on, after filling the buffer; empty only at the end of the file.
    fn chunk(&mut self, at: u64) -> io::Result<&[u8]> {
        self.bytes(at, 1)?;
        let from = usize::try_from(at.saturating_sub(self.start)).unwrap_or(usize::MAX);
        Ok(self.buffer.get(from..).unwrap_or_default())
    }

    /// Calls `find` with each part of the file from `at` on and its offset, until it finds something.
    fn search<T>(
        &mut self,
        mut at: u64,
        mut find: impl FnMut(u64, &[u8]) -> Option<T>,
    ) -> io::Result<Option<T>> {
        loop {
            let chunk = self.chunk(at)?;
            if chunk.is_empty() {
                return Ok(None);
            }
            if let Some(found) = find(at, chunk) {
                return Ok(Some(found));
            }
            at += chunk.len() as u64;
        }
    }

    /// The checksum of the bytes from `at` to `end`.
    pub(in crate::store) fn checksum(&mut self, at: u64, end: u64) -> io::Result<u32> {
        let mut crc = 0;
        if at < end {
            self.search(at, |at, chunk| {
                let left = usize::try_from(end - at).unwrap_or(usize::MAX);
                crc = crc32c::crc32c_append(crc, chunk.get(..left).unwrap_or(chunk));
                (left <= chunk.len()).then_some(())
            })?;
        }
        Ok(crc)
    }

    /// The offset of the first byte from `at` on that is not zero.
    pub(in crate::store) fn first_nonzero(&mut self, at: u64) -> io::Result<Option<u64>> {
        self.search(at, |at, chunk| Some(at + position_nonzero(chunk)? as u64))
    }

    /// The offset after the last byte from `at` on that is not zero.
    pub(in crate::store) fn end_of_content(&mut self, at: u64) -> io::Result<u64> {
        let mut end = at;
        self.search(at, |at, chunk| {
            position_nonzero(chunk)?;
            end = at + chunk.iter().rposition(|byte| *byte != 0)? as u64 + 1;
            None::<()>
        })?;
        Ok(end)
    }

    /// The first offset from `at` on of `pattern`.
    pub(in crate::store) fn find(&mut self, mut at: u64, pattern: [u8; 4]) -> io::Result<Option<u64>> {
        let [first, ..] = pattern;
        let begin = |at, chunk: &[u8]| Some(at + memchr::memchr(first, chunk)? as u64);
        while let Some(found) = self.search(at, begin)? {
            if self.bytes(found, pattern.len())? == pattern {
                return Ok(Some(found));
            }
            at = found + 1;
        }
        Ok(None)
    }
}

/// Compares blocks: most input is a preallocated rest, megabytes of zeros.
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
