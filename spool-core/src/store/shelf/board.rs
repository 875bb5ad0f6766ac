//! One shelf's directory: how the two files of a pair come, lie and go.
//!
//! A pair is there as soon as its slip has its name. What is being laid has two drafts, both durable before one of them is
//! renamed; what is being taken away has its slip made a draft again, durably, before its text goes. So a start can tell
//! what a crash has left from what a person has put there: a text alone is a person's, a text with a draft of its slip is
//! nobody's. Nothing here knows the journal.

use super::slip::Slip;
use super::{Flaw, Shelf, Shelved};
use crate::crlf::crlf;
use crate::id::MessageId;
use crate::store::fs::{Fs, FsFile, Mode};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A slip that is longer is none. One of a message with a million recipients has about 100 MiB.
const MAX_SLIP: u64 = 1 << 30;
/// The most bytes of a body that the journal takes.
const MAX_TEXT: u64 = u32::MAX as u64;
/// Pairs that are deleted at once.
const DISCARDS: usize = 32;
pub(in crate::store) const TEXT: &str = "eml";
pub(in crate::store) const SLIP: &str = "json";
const TEXT_DRAFT: &str = "eml.draft";
pub(in crate::store) const SLIP_DRAFT: &str = "json.draft";

/// See the module.
pub(super) struct Board<'a> {
    fs: &'a dyn Fs,
    dir: PathBuf,
}

/// Which files there are of one message.
#[derive(Default)]
struct Files {
    text: bool,
    slip: bool,
    text_draft: bool,
    slip_draft: bool,
}

impl<'a> Board<'a> {
    pub(super) fn new(fs: &'a dyn Fs, spool: &Path, shelf: Shelf) -> Self {
        Self::at(fs, &spool.join(shelf.name()))
    }

    pub(super) fn at(fs: &'a dyn Fs, dir: &Path) -> Self {
        let dir = dir.to_owned();
        Self { fs, dir }
    }

    fn path(&self, id: MessageId, kind: &str) -> PathBuf {
        self.dir.join(format!("{id}.{kind}"))
    }

    pub(super) fn make(&self) -> io::Result<()> {
        match self.fs.make_dir(&self.dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            // Made before, and then the sync failed, perhaps.
            Ok(()) | Err(_) => {}
        }
        let spool = self.dir.parent();
        spool.map_or(Ok(()), |spool| self.fs.sync_dir(spool))
    }

    /// Every name; none when the shelf was never used.
    fn names(&self) -> io::Result<Vec<String>> {
        match self.fs.list(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            listed => listed,
        }
    }

    /// Of every slip, in order.
    pub(super) fn ids(&self) -> io::Result<Vec<MessageId>> {
        let names = self.names()?;
        let mut ids: Vec<MessageId> = names.iter().filter_map(|name| id_of(name, SLIP)).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// Lays pairs, durably, with two syncs of the directory for all of them. Nothing is left of one that fails.
    pub(super) fn lay(&self, pairs: &[(Shelved, Bytes)]) -> Vec<io::Result<()>> {
        let mut laid: Vec<io::Result<()>> = pairs
            .iter()
            .map(|(shelved, body)| self.draft(shelved, body))
            .collect();
        self.sync_all(&mut laid);
        let drafted: Vec<bool> = laid.iter().map(Result::is_ok).collect();
        for (done, (shelved, _)) in laid.iter_mut().zip(pairs) {
            let id = shelved.message.id;
            let name = |draft, kind| self.fs.rename(&self.path(id, draft), &self.path(id, kind));
            if done.is_ok() {
                *done = name(TEXT_DRAFT, TEXT).and_then(|()| name(SLIP_DRAFT, SLIP));
            }
        }
        self.sync_all(&mut laid);
        for ((done, drafted), (shelved, _)) in laid.iter().zip(drafted).zip(pairs) {
            match (done, drafted) {
                (Ok(()), _) => {}
                (Err(_), true) => self.clear(shelved.message.id, &[SLIP, TEXT, TEXT_DRAFT, SLIP_DRAFT]),
                // An older pair of the same name still stands.
                (Err(_), false) => self.clear(shelved.message.id, &[TEXT_DRAFT, SLIP_DRAFT]),
            }
        }
        laid
    }

    /// Both files of a pair under their drafts' names, which last after the next sync of the directory.
    fn draft(&self, shelved: &Shelved, body: &[u8]) -> io::Result<()> {
        let mut slip = serde_json::to_vec_pretty(&Slip::of(shelved, body)?)?;
        slip.push(b'\n');
        let id = shelved.message.id;
        self.write(id, TEXT_DRAFT, body)?;
        self.write(id, SLIP_DRAFT, &slip)
    }

    fn write(&self, id: MessageId, kind: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(id, kind);
        let file = match self.fs.open(&path, Mode::Create) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.fs.unlink(&path)?;
                self.fs.open(&path, Mode::Create)?
            }
            opened => opened?,
        };
        file.write_at(0, bytes).and_then(|()| file.sync_data())
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

    /// After a failure: what cannot be taken away now is left to the next start.
    fn clear(&self, id: MessageId, kinds: &[&str]) {
        for kind in kinds {
            let _ = self.fs.unlink(&self.path(id, kind));
        }
    }

    /// Takes pairs away, durably. One that is not there is none to take.
    pub(super) fn discard(&self, ids: &[MessageId]) -> io::Result<()> {
        let all = [SLIP, SLIP_DRAFT, TEXT, TEXT_DRAFT];
        let there = |id: &MessageId| all.iter().any(|kind| self.is_there(*id, kind));
        let there: Vec<MessageId> = ids.iter().copied().filter(there).collect();
        let mut slices = there.chunks(DISCARDS);
        slices.try_for_each(|slice| self.discard_slice(slice))
    }

    fn discard_slice(&self, ids: &[MessageId]) -> io::Result<()> {
        for id in ids {
            let slip = self.path(*id, SLIP);
            match self.fs.rename(&slip, &self.path(*id, SLIP_DRAFT)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // A full disk may have no room for a name. A crash leaves the text behind then.
                Err(_) => self.fs.unlink(&slip)?,
                Ok(()) => {}
            }
        }
        self.fs.sync_dir(&self.dir)?;
        for id in ids {
            for kind in [TEXT, TEXT_DRAFT] {
                self.unlink(*id, kind)?;
            }
        }
        self.fs.sync_dir(&self.dir)?;
        // What stays or comes back is a draft of nothing, and the next start clears it away.
        ids.iter().try_for_each(|id| self.unlink(*id, SLIP_DRAFT))
    }

    fn unlink(&self, id: MessageId, kind: &str) -> io::Result<()> {
        match self.fs.unlink(&self.path(id, kind)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn is_there(&self, id: MessageId, kind: &str) -> bool {
        let opened = self.open(id, kind);
        opened.map_or_else(|error| error.kind() != io::ErrorKind::NotFound, |_| true)
    }

    /// Ends what a crash has cut off, and takes away the pairs of messages that are `live` on the journal.
    pub(super) fn tidy(&self, live: &dyn Fn(MessageId) -> bool) -> io::Result<()> {
        let names = self.names()?;
        if names.is_empty() {
            return Ok(());
        }
        // Names that a killed process did not live to sync are built on from here on.
        self.fs.sync_dir(&self.dir)?;
        let mut all: BTreeMap<MessageId, Files> = BTreeMap::new();
        for name in &names {
            let mut note = |kind, file: fn(&mut Files) -> &mut bool| {
                if let Some(id) = id_of(name, kind) {
                    *file(all.entry(id).or_default()) = true;
                }
            };
            note(TEXT, |files| &mut files.text);
            note(SLIP, |files| &mut files.slip);
            note(TEXT_DRAFT, |files| &mut files.text_draft);
            note(SLIP_DRAFT, |files| &mut files.slip_draft);
        }
        let mut gone = Vec::new();
        for (id, files) in all {
            if live(id) {
                tracing::info!(%id, shelf = %self.dir.display(), "on the spool too: taken off the shelf");
                gone.push(id);
            } else if files.slip_draft && !files.slip {
                gone.push(id);
            } else {
                self.finish(id, &files)?;
            }
        }
        self.discard(&gone)
    }

    /// Gives a slip the text that was laid with it; drafts beside whole files go.
    fn finish(&self, id: MessageId, files: &Files) -> io::Result<()> {
        if files.slip && files.text_draft && !files.text {
            self.fs.rename(&self.path(id, TEXT_DRAFT), &self.path(id, TEXT))?;
            self.fs.sync_dir(&self.dir)?;
        }
        if files.text_draft {
            self.unlink(id, TEXT_DRAFT)?;
        }
        if files.slip_draft {
            self.unlink(id, SLIP_DRAFT)?;
        }
        Ok(())
    }

    fn open(&self, id: MessageId, kind: &str) -> io::Result<Arc<dyn FsFile>> {
        self.fs.open(&self.path(id, kind), Mode::Read)
    }

    /// A pair with its text, or what is wrong with it; `None` when there is no slip.
    pub(super) fn read(&self, id: MessageId) -> Option<Result<(Shelved, Bytes), Flaw>> {
        let slip = match self.open(id, SLIP) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            opened => opened,
        };
        let read = || {
            let slip = parse(id, slip)?;
            let text = self.text(id)?;
            slip.check(id, text.len() as u64)?;
            slip.check_text(id, &text)?;
            let text = as_mail(id, text)?;
            Ok((slip.message(id, text.len() as u64)?, text))
        };
        Some(read())
    }

    /// The text as it is in its file.
    fn text(&self, id: MessageId) -> Result<Vec<u8>, Flaw> {
        let file = self.open(id, TEXT);
        let text = file.and_then(|file| whole(&*file, MAX_TEXT));
        text.map_err(|error| complaint(id, TEXT, &error))
    }

    /// The text alone, checked if there is a slip to check it with; `None` when there is none.
    pub(super) fn text_if_there(&self, id: MessageId) -> Option<Result<Bytes, Flaw>> {
        if !self.is_there(id, TEXT) {
            return None;
        }
        let read = || {
            let text = self.text(id)?;
            if let Ok(slip) = parse(id, self.open(id, SLIP)) {
                slip.check_text(id, &text)?;
            }
            as_mail(id, text)
        };
        Some(read())
    }

    /// Bytes of the text in its file.
    pub(super) fn text_size(&self, id: MessageId) -> io::Result<u64> {
        self.open(id, TEXT).and_then(|file| file.size())
    }

    /// The message without its text.
    pub(super) fn look(&self, id: MessageId) -> Result<Shelved, Flaw> {
        let size = self.text_size(id);
        let size = size.map_err(|error| complaint(id, TEXT, &error))?;
        let slip = parse(id, self.open(id, SLIP))?;
        slip.check(id, size)?;
        slip.message(id, size)
    }
}

fn parse(id: MessageId, slip: io::Result<Arc<dyn FsFile>>) -> Result<Slip, Flaw> {
    let text = slip.and_then(|file| whole(&*file, MAX_SLIP));
    let text = text.map_err(|error| complaint(id, SLIP, &error))?;
    serde_json::from_slice(&text).map_err(|error| Flaw::Unreadable(format!("{id}.{SLIP}: {error}")))
}

/// With the line ends that mail has.
fn as_mail(id: MessageId, text: Vec<u8>) -> Result<Bytes, Flaw> {
    let nul = |at| format!("{id}.{TEXT}: a NUL at byte {at}: no mail may carry one");
    crlf(text.into()).map_err(|at| Flaw::Unreadable(nul(at)))
}

fn complaint(id: MessageId, kind: &str, error: &io::Error) -> Flaw {
    Flaw::Unreadable(if error.kind() == io::ErrorKind::NotFound {
        format!("{id}.{kind} is missing")
    } else {
        format!("{id}.{kind}: {error}")
    })
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
pub(in crate::store) fn id_of(name: &str, kind: &str) -> Option<MessageId> {
    let stem = name.strip_suffix(kind)?.strip_suffix('.')?;
    let id: MessageId = stem.parse().ok()?;
    (id.to_string() == stem).then_some(id)
}

/// Whether it is one of the two drafts of a pair.
pub(in crate::store) fn is_draft(name: &str) -> bool {
    id_of(name, TEXT_DRAFT)
        .or_else(|| id_of(name, SLIP_DRAFT))
        .is_some()
}
