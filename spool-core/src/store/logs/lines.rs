//! An append-only log of text lines in numbered files, beside the journal.
//!
//! A line is a JSON object whose last member is a checksum of what precedes it; a line that does not match is ignored.
//! Only the newest file can be torn: a file is synced before the next one is begun. The log holds what can be written
//! again from the journal, or is optional; a failure here does not fail a commit.

use crate::store::fs::{Fs, FsFile, Mode, ops};
use crate::store::layout;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::VecDeque;
use std::io::{self, BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const CHUNK: usize = 64 << 10;
/// A longer line is damage. The event of a message with a million recipients has about 30 MiB.
const MAX_LINE: u64 = 1 << 30;

/// Bytes of the checksum at the end of a line.
const TRAILER: usize = 23;
/// One file of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct LogFile {
    /// Its name. Files are read in the order of their numbers.
    pub(in crate::store) number: u64,
    pub(in crate::store) size: u64,
}

/// The files of one log.
#[derive(Debug)]
pub(in crate::store) struct LogFiles {
    fs: Arc<dyn Fs>,
    pub(super) dir: PathBuf,
    pub(super) parts: VecDeque<LogFile>,
    /// The newest file, once it was begun by this process.
    pub(super) head: Option<Arc<dyn FsFile>>,
    /// Bytes written since the last sync.
    dirty: u64,
    /// Whether the name of the newest file may not be synced.
    unnamed: bool,
    /// The first sync that failed.
    pub(super) failed: Option<String>,
}

/// A sync of more bytes would delay commits too long.
const MOST_UNSYNCED: u64 = 1 << 20;

impl LogFiles {
    /// The log in the directory `dir`, which is created with the first line. Bytes of the newest file that are not
    /// lines are dropped, and the rest is rewritten and synced: an earlier process may have ended before its sync, or
    /// the sync failed.
    pub(in crate::store) fn open(fs: Arc<dyn Fs>, dir: PathBuf) -> io::Result<Self> {
        let names = ops::names(&*fs, &dir)?;
        let mut numbers: Vec<u64> = names
            .iter()
            .filter_map(|name| layout::parse_log_name(name))
            .collect();
        numbers.sort_unstable();
        let mut lines = Self {
            fs,
            dir,
            parts: VecDeque::new(),
            head: None,
            dirty: 0,
            unnamed: false,
            failed: None,
        };
        for name in names.iter().filter(|name| layout::is_log_draft(name)) {
            lines.fs.unlink(&lines.dir.join(name))?;
        }
        for number in numbers {
            let size = lines.fs.open(&lines.path(number), Mode::Read)?.size()?;
            lines.parts.push_back(LogFile { number, size });
        }
        if let Some(newest) = lines.parts.back_mut() {
            clean(&*lines.fs, &lines.dir, newest);
            // The file may have been read from the system's cache: an earlier sync may have failed, and a second one
            // would prove nothing.
            let file = lines
                .fs
                .open(&layout::log_path(&lines.dir, newest.number), Mode::Write)?;
            ops::rewrite_in_place(&*file, newest.size)?;
            file.sync_data()?;
            lines.fs.sync_dir(&lines.dir)?;
        }
        Ok(lines)
    }

    fn path(&self, number: u64) -> PathBuf {
        layout::log_path(&self.dir, number)
    }

    /// Starts a new file.
    pub(in crate::store) fn begin(&mut self, number: u64) -> io::Result<()> {
        self.sync()?;
        ops::ensure_dir_durably(&*self.fs, &self.dir)?;
        let path = self.path(number);
        if self.parts.back().is_some_and(|part| part.number == number) {
            self.parts.pop_back();
        }
        // An empty file of an earlier attempt may be there.
        let head = ops::create_anew(&*self.fs, &path)?;
        self.parts.push_back(LogFile { number, size: 0 });
        self.head = Some(head);
        self.unnamed = true;
        Ok(())
    }

    /// Appends whole lines to the newest file. After an error the same lines can be written again in the same place.
    pub(in crate::store) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (Some(head), Some(part)) = (&self.head, self.parts.back_mut()) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let length = bytes.len() as u64;
        self.dirty += length;
        head.write_at(part.size, bytes)?;
        part.size += length;
        if self.dirty >= MOST_UNSYNCED {
            return self.sync();
        }
        Ok(())
    }

    /// Makes all lines durable. After a failure the newest file is not used again: its content on disk is unknown, and
    /// a later sync proves nothing.
    pub(in crate::store) fn sync(&mut self) -> io::Result<()> {
        // Without a descriptor, no sync has failed yet.
        let dir = if self.unnamed {
            Some(self.fs.open_dir(&self.dir)?)
        } else {
            None
        };
        let head = self.head.as_ref().filter(|_| self.dirty > 0);
        let synced = head.map_or(Ok(()), |head| head.sync_data());
        let synced = synced.and_then(|()| dir.map_or(Ok(()), |dir| dir.sync_data()));
        (self.dirty, self.unnamed) = (0, false);
        if let Err(error) = &synced {
            let text = format!("sync {}: {error}", self.dir.display());
            self.failed.get_or_insert(text);
            self.head = None;
        }
        synced
    }

    pub(in crate::store) fn total(&self) -> u64 {
        self.parts.iter().map(|part| part.size).sum()
    }

    /// Deletes the oldest file. It may be back after a power cut, which does no harm.
    pub(in crate::store) fn drop_oldest(&mut self) {
        if let Some(part) = self.parts.pop_front() {
            // It is deleted after the next start.
            let _ = self.fs.unlink(&self.path(part.number));
        }
    }
}

/// Drops bytes that are not lines from a file that may be torn. On a full disk they stay, and are skipped.
fn clean(fs: &dyn Fs, dir: &Path, part: &mut LogFile) {
    let path = layout::log_path(dir, part.number);
    let done = bad_lines(fs, dir, *part).and_then(|bad| {
        if !bad.is_empty() {
            part.size = rewrite(fs, dir, *part)?;
            let bytes: u64 = bad.iter().map(|bad| bad.length).sum();
            tracing::warn!(file = %path.display(), bytes, "dropped bytes that are not complete lines");
        }
        Ok(())
    });
    if let Err(error) = done {
        tracing::warn!(file = %path.display(), %error, "could not drop bytes that are not complete lines");
    }
}

/// Bytes of a file that are not lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct BadLines {
    pub(in crate::store) offset: u64,
    pub(in crate::store) length: u64,
    /// No line follows.
    pub(in crate::store) last: bool,
}

/// The bytes of a file that are not lines.
pub(in crate::store) fn bad_lines(fs: &dyn Fs, dir: &Path, part: LogFile) -> io::Result<Vec<BadLines>> {
    let (mut all, mut good): (Vec<BadLines>, u64) = (Vec::new(), 0);
    let mut bad = |offset, end, last| {
        if end > offset {
            let length = end - offset;
            all.push(BadLines { offset, length, last });
        }
    };
    for read in scan(fs, dir, part, 0)? {
        let (line, behind) = read?;
        if is_sealed(&line) {
            bad(good, behind - line.len() as u64 - 1, false);
            good = behind;
        }
    }
    bad(good, part.size, true);
    Ok(all)
}

/// Rewrites a file with its lines only, atomically; returns its size.
pub(in crate::store) fn rewrite(fs: &dyn Fs, dir: &Path, part: LogFile) -> io::Result<u64> {
    let draft = layout::log_draft_path(dir, part.number);
    let to = ops::create_anew(fs, &draft)?;
    let (mut size, mut buffer) = (0, Vec::new());
    let mut put = |buffer: &mut Vec<u8>| {
        let done = to.write_at(size, buffer);
        size += buffer.len() as u64;
        buffer.clear();
        done
    };
    let mut copy = || -> io::Result<()> {
        for read in scan(fs, dir, part, 0)? {
            let (line, _) = read?;
            if is_sealed(&line) {
                buffer.extend_from_slice(&line);
                buffer.push(b'\n');
            }
            if buffer.len() >= CHUNK {
                put(&mut buffer)?;
            }
        }
        put(&mut buffer)?;
        to.sync_data()?;
        fs.rename(&draft, &layout::log_path(dir, part.number))
    };
    if let Err(error) = copy() {
        let _ = fs.unlink(&draft);
        return Err(error);
    }
    fs.sync_dir(dir)?;
    Ok(size)
}

/// Appends `value`, which must serialize as an object, as a line with its checksum.
pub(in crate::store) fn seal(bytes: &mut Vec<u8>, value: &impl Serialize) -> io::Result<()> {
    let start = bytes.len();
    serde_json::to_writer(&mut *bytes, value)?;
    bytes.pop();
    let trailer = trailer(bytes.get(start..).unwrap_or_default());
    bytes.extend_from_slice(trailer.as_bytes());
    bytes.push(b'\n');
    Ok(())
}

/// The value of a line; `None` when the checksum does not match.
pub(in crate::store) fn unseal<T: DeserializeOwned>(line: &[u8]) -> Option<T> {
    is_sealed(line)
        .then(|| serde_json::from_slice(line).ok())
        .flatten()
}

fn is_sealed(line: &[u8]) -> bool {
    let covered = line.len().checked_sub(TRAILER);
    let parts = covered.and_then(|covered| line.split_at_checked(covered));
    parts.is_some_and(|(covered, end)| end == trailer(covered).as_bytes())
}

fn trailer(covered: &[u8]) -> String {
    format!(",\"checksum\":\"{:08x}\"}}", crc32c::crc32c(covered))
}

/// Every line of a file from the offset `from` on, with the offset after it. An incomplete last line is left out.
pub(in crate::store) fn scan(
    fs: &dyn Fs,
    dir: &Path,
    part: LogFile,
    from: u64,
) -> io::Result<impl Iterator<Item = io::Result<(Vec<u8>, u64)>> + use<>> {
    let file = fs.open(&layout::log_path(dir, part.number), Mode::Read)?;
    let mut at = from;
    let end = part.size;
    let mut rest = BufReader::with_capacity(CHUNK, Rest { file, at, end });
    Ok(std::iter::from_fn(move || {
        let mut line = Vec::new();
        let read = rest.by_ref().take(MAX_LINE).read_until(b'\n', &mut line);
        at += line.len() as u64;
        match read {
            Err(error) => Some(Err(error)),
            // The parts of a line that is too long are lines without a checksum.
            Ok(_) => (line.pop()? == b'\n' || at < end).then_some(Ok((line, at))),
        }
    }))
}

/// The bytes of a file from `at` to `end`.
struct Rest {
    file: Arc<dyn FsFile>,
    at: u64,
    end: u64,
}

impl Read for Rest {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let length = buffer.len().min(left);
        let count = self
            .file
            .read_at(self.at, buffer.get_mut(..length).unwrap_or_default())?;
        self.at += count as u64;
        Ok(count)
    }
}
