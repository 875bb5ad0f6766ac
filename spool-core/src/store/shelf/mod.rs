//! The shelves: `removed/` and `quarantine/`, where mail lies as plain files for people.
//!
//! A message there is a pair `<id>.eml` and `<id>.json`, which a person may read, edit, move away or bring in. A pair is
//! there once both names are durable: the text comes first and goes last, so that a slip always has its text. The journal
//! is never touched here, and no failure here fails the store.

mod slip;

use super::dir;
use super::fs::{Fs, FsFile, Mode, RealFs};
use super::replay::io_error;
use super::{OpenError, Store, StoreError};
use crate::clock::Timestamp;
use crate::crlf::crlf;
use crate::id::MessageId;
use crate::message::{Message, Queue};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use slip::Slip;
use std::io;
use std::path::{Path, PathBuf};

/// A slip that is longer is none.
const MAX_SLIP: u64 = 16 << 20;
/// The most bytes of a body that the journal takes.
const MAX_TEXT: u64 = u32::MAX as u64;
/// Pairs that are deleted at once.
const DISCARDS: usize = 32;
pub(super) const TEXT: &str = "eml";
pub(super) const SLIP: &str = "json";

/// One of the two shelves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shelf {
    /// What a person took off the spool.
    Removed,
    /// What was set aside for inspection.
    Quarantine,
}

impl Shelf {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Removed, Self::Quarantine];

    /// Its queue, as a listing names it.
    #[must_use]
    pub const fn queue(self) -> Queue {
        match self {
            Self::Removed => Queue::Removed,
            Self::Quarantine => Queue::Quarantine,
        }
    }

    /// Its directory in the spool's own.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Removed => "removed",
            Self::Quarantine => "quarantine",
        }
    }
}

/// A message on a shelf.
#[derive(Debug, Clone, PartialEq)]
pub struct Shelved {
    /// The message; its state says what has become of each recipient.
    pub message: Message,
    /// When it was laid there.
    pub at: Timestamp,
    /// Why.
    pub reason: Option<String>,
}

/// A line of a shelf's listing: the message, or what is wrong with its pair.
pub type Listed = (MessageId, Result<Shelved, String>);

impl Store {
    /// Lays messages on `shelf`, durably: when this answers, each pair is on disk with its names, or its error says
    /// why not and nothing of it is there. An older pair of the same id is replaced.
    pub fn shelve(&self, shelf: Shelf, messages: &[(Shelved, Bytes)]) -> Vec<Result<(), StoreError>> {
        if let Some(text) = self.failed.get() {
            let failed = || Err(StoreError::Failed(text.clone()));
            return messages.iter().map(|_| failed()).collect();
        }
        // Drafts of now would be taken for those of an earlier life.
        if let Err(error) = self.all_known() {
            return messages.iter().map(|_| Err(error.clone())).collect();
        }
        let board = Board::new(&*self.fs, self.dir(), shelf);
        if let Err(error) = board.make() {
            return messages.iter().map(|_| Err(refusal(&error))).collect();
        }
        let mut laid: Vec<io::Result<()>> = messages
            .iter()
            .map(|(shelved, body)| board.lay(shelved.message.id, TEXT, body))
            .collect();
        board.sync_all(&mut laid);
        for (done, (shelved, _)) in laid.iter_mut().zip(messages) {
            if done.is_ok() {
                *done = board.lay_slip(shelved);
            }
        }
        board.sync_all(&mut laid);
        let clean = |(done, (shelved, _)): (io::Result<()>, &(Shelved, Bytes))| {
            done.map_err(|error| {
                board.clear(shelved.message.id);
                refusal(&error)
            })
        };
        laid.into_iter().zip(messages).map(clean).collect()
    }

    /// Reads one pair, edited or foreign-made ones too.
    ///
    /// # Errors
    /// [`StoreError::NoSuchMessage`]; [`StoreError::Damaged`] with what is wrong with the pair.
    pub fn shelved(&self, shelf: Shelf, id: MessageId) -> Result<(Shelved, Bytes), StoreError> {
        let board = Board::new(&*self.fs, self.dir(), shelf);
        let slip = match board.open(id, SLIP) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::NoSuchMessage(id));
            }
            opened => opened,
        };
        let read = || {
            let slip = slip.map_err(|error| board.complaint(id, SLIP, error))?;
            let text = board.text(id)?;
            let shelved = board.message(id, &*slip, text.len() as u64)?;
            Ok((shelved, text))
        };
        read().map_err(|reason| StoreError::Damaged { id, reason })
    }

    /// Deletes pairs for good, durably. One that is not there is none to delete.
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    pub fn discard(&self, shelf: Shelf, ids: &[MessageId]) -> Result<(), StoreError> {
        Board::new(&*self.fs, self.dir(), shelf)
            .discard(ids)
            .map_err(|error| StoreError::Failed(error.to_string()))
    }

    /// What lies on `shelf`, in the order of ids: the pairs after `after`, at most `limit` of them, an unreadable one with
    /// what is wrong with it.
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    pub fn list_shelf(
        &self,
        shelf: Shelf,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<Listed>, StoreError> {
        let board = Board::new(&*self.fs, self.dir(), shelf);
        let ids = board
            .ids()
            .map_err(|error| StoreError::Failed(error.to_string()))?;
        let page = ids.into_iter().filter(|id| after.is_none_or(|after| *id > after));
        Ok(page.take(limit).map(|id| (id, board.look(id))).collect())
    }

    /// Clears away what a crash left: half-written files, and pairs of messages that are still, or again, on the journal.
    pub(super) fn tidy_shelves(&self) -> io::Result<()> {
        for shelf in Shelf::ALL {
            let board = Board::new(&*self.fs, self.dir(), shelf);
            let names = board.names()?;
            let drafts = names.iter().filter(|name| is_draft(name));
            for draft in drafts {
                self.fs.unlink(&board.dir.join(draft))?;
            }
            let index = super::locked(&self.index);
            let pairs = names
                .iter()
                .filter_map(|name| id_of(name, TEXT).or_else(|| id_of(name, SLIP)));
            let live: Vec<MessageId> = pairs.filter(|id| index.get(*id).is_some()).collect();
            drop(index);
            if !live.is_empty() {
                tracing::info!(
                    shelf = shelf.name(),
                    files = live.len(),
                    "on the spool too: taken off the shelf"
                );
                board.discard(&live)?;
            }
        }
        Ok(())
    }

    pub(super) fn dir(&self) -> &Path {
        self.journal.parent().unwrap_or(&self.journal)
    }
}

/// What lies on `shelf` of the spool in `dir`, without its lock and beside a running one.
///
/// # Errors
/// [`OpenError`] when `dir` is no spool or cannot be read.
pub fn shelf_from_disk(
    dir: &Path,
    shelf: Shelf,
    each: &mut dyn FnMut(MessageId, Result<Shelved, String>),
) -> Result<(), OpenError> {
    dir::check(&RealFs, dir)?;
    let board = Board::new(&RealFs, dir, shelf);
    let ids = board.ids().map_err(io_error("list", &board.dir))?;
    for id in ids {
        each(id, board.look(id));
    }
    Ok(())
}

/// A pair that is to be whole, with its text.
pub(super) fn look_at(fs: &dyn Fs, dir: &Path, shelf: Shelf, id: MessageId) -> Result<Shelved, String> {
    let board = Board::new(fs, dir, shelf);
    board.text(id)?;
    board.look(id)
}

/// The text of a message on `shelf` of the spool in `dir`, without its lock; `None` when it is not there.
///
/// # Errors
/// [`OpenError`] when `dir` is no spool; in the inner result, what is wrong with the file. A symbolic link is none.
pub fn shelved_text_from_disk(
    dir: &Path,
    shelf: Shelf,
    id: MessageId,
) -> Result<Option<Result<Bytes, String>>, OpenError> {
    dir::check(&RealFs, dir)?;
    let board = Board::new(&RealFs, dir, shelf);
    match board.open(id, TEXT) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Ok(_) | Err(_) => Ok(Some(board.text(id))),
    }
}

/// Writes a message as a pair of plain files into `dir`, as they lie on a shelf: durable when this answers. A pair of the
/// same name is replaced.
///
/// # Errors
/// Those of the file system; the pair is not there then, or not whole.
pub fn export_pair(dir: &Path, shelved: &Shelved, body: &[u8]) -> io::Result<()> {
    let board = Board {
        fs: &RealFs,
        dir: dir.to_owned(),
    };
    board.lay(shelved.message.id, TEXT, body)?;
    board.lay_slip(shelved)?;
    RealFs.sync_dir(dir)
}

/// One shelf's directory.
struct Board<'a> {
    fs: &'a dyn Fs,
    dir: PathBuf,
}

impl<'a> Board<'a> {
    fn new(fs: &'a dyn Fs, spool: &Path, shelf: Shelf) -> Self {
        let dir = spool.join(shelf.name());
        Self { fs, dir }
    }

    fn path(&self, id: MessageId, kind: &str) -> PathBuf {
        self.dir.join(format!("{id}.{kind}"))
    }

    fn make(&self) -> io::Result<()> {
        match self.fs.make_dir(&self.dir) {
            Ok(()) => self.dir.parent().map_or(Ok(()), |spool| self.fs.sync_dir(spool)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Every name; none when the shelf was never used.
    fn names(&self) -> io::Result<Vec<String>> {
        match self.fs.list(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            listed => listed,
        }
    }

    /// Of every slip, in order.
    fn ids(&self) -> io::Result<Vec<MessageId>> {
        let names = self.names()?;
        let mut ids: Vec<MessageId> = names.iter().filter_map(|name| id_of(name, SLIP)).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// A whole file under its name, which lasts after the next sync of the directory.
    fn lay(&self, id: MessageId, kind: &str, bytes: &[u8]) -> io::Result<()> {
        let draft = self.path(id, &format!("{kind}.tmp"));
        let file = match self.fs.open(&draft, Mode::Create) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.fs.unlink(&draft)?;
                self.fs.open(&draft, Mode::Create)?
            }
            opened => opened?,
        };
        let written = file.write_at(0, bytes).and_then(|()| file.sync_data());
        let named = written.and_then(|()| self.fs.rename(&draft, &self.path(id, kind)));
        if named.is_err() {
            // Best effort: the next start clears drafts away too.
            let _ = self.fs.unlink(&draft);
        }
        named
    }

    fn lay_slip(&self, shelved: &Shelved) -> io::Result<()> {
        let mut slip = serde_json::to_vec_pretty(&Slip::of(shelved))?;
        slip.push(b'\n');
        self.lay(shelved.message.id, SLIP, &slip)
    }

    /// One sync for all that were laid well; it is well with none of them when that fails.
    fn sync_all(&self, laid: &mut [io::Result<()>]) {
        if laid.iter().all(Result::is_err) {
            return;
        }
        if let Err(error) = self.fs.sync_dir(&self.dir) {
            for done in laid.iter_mut().filter(|done| done.is_ok()) {
                *done = Err(io::Error::new(error.kind(), error.to_string()));
            }
        }
    }

    /// After a failure: what cannot be taken away now stays an unfinished pair, which nobody was told of.
    fn clear(&self, id: MessageId) {
        for kind in [SLIP, TEXT] {
            let _ = self.fs.unlink(&self.path(id, kind));
        }
    }

    /// The slips of a slice are gone for good before its texts are touched. A small slice: a crash in between leaves texts
    /// that nobody knows.
    fn discard(&self, ids: &[MessageId]) -> io::Result<()> {
        let mut slices = ids.chunks(DISCARDS);
        slices.try_for_each(|slice| {
            self.unlink_all(slice, SLIP)
                .and_then(|()| self.unlink_all(slice, TEXT))
        })
    }

    fn unlink_all(&self, ids: &[MessageId], kind: &str) -> io::Result<()> {
        let mut any = false;
        for id in ids {
            match self.fs.unlink(&self.path(*id, kind)) {
                Ok(()) => any = true,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        if any { self.fs.sync_dir(&self.dir) } else { Ok(()) }
    }

    fn open(&self, id: MessageId, kind: &str) -> io::Result<std::sync::Arc<dyn FsFile>> {
        self.fs.open(&self.path(id, kind), Mode::Read)
    }

    /// The text, with the line ends that mail has.
    fn text(&self, id: MessageId) -> Result<Bytes, String> {
        let file = self.open(id, TEXT);
        let text = file.and_then(|file| whole(&*file, MAX_TEXT));
        let text = text.map_err(|error| self.complaint(id, TEXT, error))?;
        crlf(text.into()).map_err(|at| format!("{id}.{TEXT}: a NUL at byte {at}: no mail may carry one"))
    }

    fn message(&self, id: MessageId, slip: &dyn FsFile, body_size: u64) -> Result<Shelved, String> {
        let text = whole(slip, MAX_SLIP).map_err(|error| self.complaint(id, SLIP, error))?;
        let slip: Slip = serde_json::from_slice(&text).map_err(|error| format!("{id}.{SLIP}: {error}"))?;
        slip.message(id, body_size)
            .map_err(|reason| format!("{id}.{SLIP}: {reason}"))
    }

    /// The message without its text.
    fn look(&self, id: MessageId) -> Result<Shelved, String> {
        let size = self.open(id, TEXT).and_then(|file| file.size());
        let size = size.map_err(|error| self.complaint(id, TEXT, error))?;
        let slip = self
            .open(id, SLIP)
            .map_err(|error| self.complaint(id, SLIP, error))?;
        self.message(id, &*slip, size)
    }

    #[allow(clippy::needless_pass_by_value, reason = "it stands in map_err")]
    fn complaint(&self, id: MessageId, kind: &str, error: io::Error) -> String {
        if error.kind() == io::ErrorKind::NotFound {
            format!("{id}.{kind} is missing")
        } else {
            format!("{id}.{kind}: {error}")
        }
    }
}

/// The whole of a file that is not longer than `limit`.
fn whole(file: &dyn FsFile, limit: u64) -> io::Result<Vec<u8>> {
    let size = file.size()?;
    let bytes = usize::try_from(size).ok().filter(|_| size <= limit);
    let bytes = bytes.ok_or_else(|| io::Error::other(format!("{size} bytes: at most {limit} are read")))?;
    let mut text = vec![0; bytes];
    let read = file.read_at(0, &mut text)?;
    text.truncate(read);
    Ok(text)
}

/// Only what this store would have named so: `id` in its own spelling.
pub(super) fn id_of(name: &str, kind: &str) -> Option<MessageId> {
    let stem = name.strip_suffix(kind)?.strip_suffix('.')?;
    let id: MessageId = stem.parse().ok()?;
    (id.to_string() == stem).then_some(id)
}

pub(super) fn is_draft(name: &str) -> bool {
    let stem = name.strip_suffix(".tmp");
    stem.is_some_and(|name| id_of(name, TEXT).or_else(|| id_of(name, SLIP)).is_some())
}

/// A shelf that fails says nothing about the journal.
fn refusal(error: &io::Error) -> StoreError {
    if matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    ) {
        StoreError::Full(error.to_string())
    } else {
        StoreError::Failed(error.to_string())
    }
}
