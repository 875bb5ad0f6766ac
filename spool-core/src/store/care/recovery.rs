//! Repairs what a replay found damaged, so that the next replay finds no damage.
//!
//! First every damaged byte is copied to `corrupt/`, durably; then the damage is covered by a gap, and a torn end is
//! cut off. The only change before that is to cut off space that was reserved and never written. After a crash, the
//! same steps are repeated with the same result. No damaged byte is deleted that was not copied; a segment that cannot
//! be read completely is left as it is. The intact part is synced, with its names: a killed process may leave data that
//! only the system's cache holds. Only then are the ends of segments written to their headers: until then, events of
//! the lost part are written again.

use crate::store::error::{Attempted as _, OpenError};
use crate::store::fs::{Fs, FsFile, Mode, ops};
use crate::store::journal::frame::{self, Header, Place};
use crate::store::journal::replay::{DamagedRange, Replay, Trailing, Unsealed};
use crate::store::journal::segment::{self, End};
use crate::store::journal::window::Window;
use crate::store::layout::{self, CORRUPT, JOURNAL, Seq};
use crate::store::types::Damage;
use std::collections::btree_map::{BTreeMap, Entry};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const CHUNK: usize = 64 << 10;
/// The reason given for damage in a segment that is left as it is.
const UNREADABLE: &str = "the disk does not give all of the segment back";
/// The most different copies of bytes that start at the same offset.
const MAX_COPIES: u32 = 1000;

/// Copies, covers, cuts, syncs and seals; returns what was copied.
pub(in crate::store) fn repair(fs: &dyn Fs, dir: &Path, replay: &Replay) -> Result<Vec<Damage>, OpenError> {
    let journal = dir.join(JOURNAL);
    let mut touched = Touched {
        fs,
        journal: &journal,
        files: BTreeMap::new(),
    };
    // Where nothing is damaged up to the end, only reserved zeros follow: cutting them off makes room for the copies on
    // a full disk.
    for trailing in replay
        .trailing
        .iter()
        .filter(|trailing| trailing.is_reserve(&replay.damaged))
    {
        touched.cut(trailing)?;
    }
    let damage = copy_damage(fs, dir, &replay.damaged)?;
    keep_torn(fs, dir, &replay.trailing);
    let covered = |range: &&DamagedRange| !range.unreadable && !range.last;
    for range in replay.damaged.iter().filter(covered) {
        touched.change(range.seq, "write", |file| cover(file, range))?;
    }
    for trailing in &replay.trailing {
        touched.cut(trailing)?;
    }
    // The newest segment may have been read from the system's cache: the process may have ended before its sync, or its
    // sync failed, and a second sync would prove nothing. Older segments were synced before this one was begun.
    for (seq, end) in &replay.unsynced {
        touched.change(*seq, "write again", |file| ops::rewrite_in_place(file, *end))?;
    }
    touched.sync()?;
    for unsealed in &replay.unsealed {
        touched.change(unsealed.seq, "write", |file| seal(file, unsealed))?;
    }
    touched.sync()?;
    fs.sync_dir(&journal).on("sync", &journal)?;
    Ok(damage)
}

/// The segments that a repair changes, and whether each has unsynced changes.
struct Touched<'a> {
    fs: &'a dyn Fs,
    journal: &'a Path,
    files: BTreeMap<Seq, (Arc<dyn FsFile>, bool)>,
}

impl Touched<'_> {
    fn change(
        &mut self,
        seq: Seq,
        action: &'static str,
        change: impl FnOnce(&dyn FsFile) -> io::Result<()>,
    ) -> Result<(), OpenError> {
        let path = layout::segment_path(self.journal, seq);
        let (file, dirty) = match self.files.entry(seq) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(free) => {
                let file = self.fs.open(&path, Mode::Write);
                free.insert((file.on("open", &path)?, false))
            }
        };
        *dirty = true;
        change(&**file).on(action, &path)
    }

    /// Cuts off what follows the end, but never the header: it is written there if there is none.
    fn cut(&mut self, trailing: &Trailing) -> Result<(), OpenError> {
        let end = trailing.end.max(segment::HEADER as u64);
        self.change(trailing.seq, "cut", |file| file.set_len(end))
    }

    fn sync(&mut self) -> Result<(), OpenError> {
        for (seq, (file, dirty)) in self.files.iter_mut().filter(|(_, (_, dirty))| *dirty) {
            let path = layout::segment_path(self.journal, *seq);
            file.sync_data().on("sync", &path)?;
            *dirty = false;
        }
        Ok(())
    }
}

/// Copies torn ends to `corrupt/`. Most are from a write that was never answered, but a corrupt byte in the last frame
/// looks the same, and then it may be a message. If there is no room for a copy, the start continues.
fn keep_torn(fs: &dyn Fs, dir: &Path, all: &[Trailing]) {
    for trailing in all.iter().filter(|trailing| trailing.torn > 0) {
        let (file, bytes) = (layout::segment_file(trailing.seq), trailing.torn);
        let kept = set_aside(fs, dir, &trailing.copy(dir)).and_then(|name| {
            let corrupt = dir.join(CORRUPT);
            fs.sync_dir(&corrupt).on("sync", &corrupt)?;
            Ok(name)
        });
        let text = "the end of a write that was not finished is cut off";
        match kept {
            Ok(name) => tracing::warn!(file, bytes, kept_as = format!("{CORRUPT}/{name}"), "{text}"),
            Err(error) => tracing::warn!(file, bytes, %error, "{text}; it cannot be copied"),
        }
    }
}

/// Copies damaged bytes to `corrupt/`, durably.
fn copy_damage(fs: &dyn Fs, dir: &Path, all: &[DamagedRange]) -> Result<Vec<Damage>, OpenError> {
    let mut damage = Vec::with_capacity(all.len());
    for range in all {
        let file = layout::segment_file(range.seq);
        let (bad, reason) = (&range.bad, range.bad.reason.to_string());
        let (reason, kept_as) = match range.copy(dir) {
            _ if range.unreadable => (format!("{UNREADABLE}; {reason}"), file.clone()),
            Some(copy) => (reason, format!("{CORRUPT}/{}", set_aside(fs, dir, &copy)?)),
            None => (reason, file.clone()),
        };
        damage.push(Damage {
            file,
            offset: bad.offset,
            length: bad.length,
            reason,
            kept_as,
        });
    }
    if all.iter().any(|range| !range.unreadable) {
        let corrupt = dir.join(CORRUPT);
        fs.sync_dir(&corrupt).on("sync", &corrupt)?;
    }
    Ok(damage)
}

impl DamagedRange {
    /// The copy to make, if there are bytes to keep.
    pub(in crate::store) fn copy(&self, dir: &Path) -> Option<Copy> {
        (self.bad.kept > 0).then(|| Copy::of_segment(dir, self.seq, self.bad.offset, self.bad.kept))
    }
}

impl Trailing {
    /// The copy to make of its torn end.
    pub(in crate::store) fn copy(&self, dir: &Path) -> Copy {
        Copy::of_segment(dir, self.seq, self.end, self.torn)
    }
}

impl Copy {
    /// The parts in which it is copied: the offset from its start, and the length.
    fn chunks(&self) -> impl Iterator<Item = (u64, usize)> + use<> {
        let length = self.length;
        let left = move |at| usize::try_from(length - at).map_or(CHUNK, |left| left.min(CHUNK));
        (0..length).step_by(CHUNK).map(move |at| (at, left(at)))
    }

    fn of_segment(dir: &Path, seq: Seq, offset: u64, length: u64) -> Self {
        Self {
            source: layout::segment_path(&dir.join(JOURNAL), seq),
            name: layout::segment_copy_name(seq, offset),
            offset,
            length,
        }
    }
}

/// Bytes of a file, to be copied to `corrupt/`.
#[derive(Debug, Clone)]
pub(in crate::store) struct Copy {
    pub(in crate::store) source: PathBuf,
    /// The name of the copy, with an extension. It says where the bytes were.
    pub(in crate::store) name: String,
    pub(in crate::store) offset: u64,
    pub(in crate::store) length: u64,
}

/// Makes the copy and returns its name in `corrupt/`. The name is durable after a sync of that directory.
pub(in crate::store) fn set_aside(fs: &dyn Fs, dir: &Path, copy: &Copy) -> Result<String, OpenError> {
    let corrupt = dir.join(CORRUPT);
    let file = fs.open(&copy.source, Mode::Read).on("open", &copy.source)?;
    let mut from = Window::new(file).on("read", &copy.source)?;
    for number in 0..MAX_COPIES {
        let name = layout::numbered_copy_name(&copy.name, number);
        let path = corrupt.join(&name);
        match fs.open(&path, Mode::Read) {
            // Copied by an earlier start that was interrupted.
            Ok(there) if same(&mut from, copy, &there).on("read", &path)? => {
                return Ok(name);
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                copy_to(fs, &corrupt, &path, &mut from, copy).on("write", &path)?;
                return Ok(name);
            }
            Err(error) => return Err(OpenError::io("open", &path, error)),
        }
    }
    Err(OpenError::io(
        "find a free name for damage in",
        &corrupt,
        io::ErrorKind::AlreadyExists.into(),
    ))
}

fn copy_to(fs: &dyn Fs, corrupt: &Path, path: &Path, from: &mut Window, copy: &Copy) -> io::Result<()> {
    let draft = corrupt.join(layout::COPY_DRAFT);
    let done = write_copy(&*ops::create_anew(fs, &draft)?, from, copy).and_then(|()| fs.rename(&draft, path));
    if done.is_err() {
        let _ = fs.unlink(&draft);
    }
    done
}

fn write_copy(to: &dyn FsFile, from: &mut Window, copy: &Copy) -> io::Result<()> {
    for (at, length) in copy.chunks() {
        let chunk = from.bytes(copy.offset + at, length)?;
        if chunk.len() < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        to.write_at(at, chunk)?;
    }
    to.sync_data()
}

fn same(from: &mut Window, copy: &Copy, there: &Arc<dyn FsFile>) -> io::Result<bool> {
    if there.size()? != copy.length {
        return Ok(false);
    }
    let mut there = Window::new(Arc::clone(there))?;
    for (at, length) in copy.chunks() {
        if from.bytes(copy.offset + at, length)? != there.bytes(at, length)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Rewrites the header with the end of the segment, which is synced. Without a frame the salt is not needed.
fn seal(file: &dyn FsFile, unsealed: &Unsealed) -> io::Result<()> {
    let Unsealed { seq, end, salt } = *unsealed;
    // No segment is longer.
    let end = u32::try_from(end).map_or(End::Open, End::At);
    file.write_at(0, &segment::encode_header(seq, salt.unwrap_or(0), end))
}

/// Covers damage that is followed by a frame with a gap; rewrites the segment's header if it was damaged.
fn cover(file: &dyn FsFile, range: &DamagedRange) -> io::Result<()> {
    let Some(salt) = range.salt else {
        return Ok(());
    };
    let mut start = range.bad.offset;
    if start == 0 {
        file.write_at(0, &segment::encode_header(range.seq, salt, End::Open))?;
        start = segment::HEADER as u64;
    }
    let end = range.bad.offset + range.bad.length;
    let gap = end
        .checked_sub(start)
        .and_then(|length| Header::gap(length, salt));
    let offset = u32::try_from(start);
    // Bytes shorter than a header have no room for a gap. They stay, and are reported at every start.
    let (Some(gap), Ok(offset)) = (gap, offset) else {
        return Ok(());
    };
    let place = Place {
        seq: range.seq,
        offset,
    };
    let bytes: [u8; frame::HEADER] = gap.encode(place);
    file.write_at(start, &bytes)
}
