//! One shelf's directory: how the two files of a pair come, lie and go.
//!
//! A pair is there as soon as its metadata has its name. What is being added has two drafts, both durable before one of them is
//! renamed; what is being taken away has its metadata made a draft again, durably, before its text goes. So a start can tell
//! what a crash has left from what a person has put there: a text alone is a person's, a text with a draft of its metadata is
//! nobody's. Nothing here knows the journal.

use super::error::PairError;
use super::metadata::Metadata;
use crate::archive::{Shelf, Shelved};
use crate::crlf::crlf;
use crate::id::MessageId;
use crate::store::fs::{Fs, FsFile, Mode, ops};
use crate::store::layout::{self, METADATA, METADATA_DRAFT, TEXT, TEXT_DRAFT};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A metadata that is longer is none. One of a message with a million recipients has about 100 MiB.
const MAX_METADATA: u64 = 1 << 30;
/// The most bytes of a body that the journal takes.
const MAX_TEXT: u64 = u32::MAX as u64;
/// Pairs that are deleted at once.
const MAX_DISCARDED: usize = 32;

/// See the module.
pub(in crate::store) struct ArchiveDir<'a> {
    fs: &'a dyn Fs,
    dir: PathBuf,
}

/// Which files there are of one message.
#[derive(Default)]
struct Files {
    text: bool,
    metadata: bool,
    text_draft: bool,
    metadata_draft: bool,
}

impl<'a> ArchiveDir<'a> {
    pub(in crate::store) fn new(fs: &'a dyn Fs, spool: &Path, shelf: Shelf) -> Self {
        Self::at(fs, &spool.join(shelf.name()))
    }

    pub(in crate::store) fn at(fs: &'a dyn Fs, dir: &Path) -> Self {
        let dir = dir.to_owned();
        Self { fs, dir }
    }

    fn path(&self, id: MessageId, kind: &str) -> PathBuf {
        self.dir.join(layout::archived_name(id, kind))
    }

    pub(in crate::store) fn make(&self) -> io::Result<()> {
        ops::ensure_dir_durably(self.fs, &self.dir)
    }

    /// Of every metadata, in order.
    pub(in crate::store) fn ids(&self) -> io::Result<Vec<MessageId>> {
        let names = ops::names(self.fs, &self.dir)?;
        let mut ids: Vec<MessageId> = names
            .iter()
            .filter_map(|name| layout::archived_id(name, METADATA))
            .collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// Lays pairs, durably, with two syncs of the directory for all of them. Nothing is left of one that fails.
    pub(in crate::store) fn add(&self, pairs: &[(Shelved, Bytes)]) -> Vec<io::Result<()>> {
        let mut added: Vec<io::Result<()>> = pairs
            .iter()
            .map(|(shelved, body)| self.draft(shelved, body))
            .collect();
        self.sync_all(&mut added);
        let drafted: Vec<bool> = added.iter().map(Result::is_ok).collect();
        for (done, (shelved, _)) in added.iter_mut().zip(pairs) {
            let id = shelved.message.id;
            let name = |draft, kind| self.fs.rename(&self.path(id, draft), &self.path(id, kind));
            if done.is_ok() {
                *done = name(TEXT_DRAFT, TEXT).and_then(|()| name(METADATA_DRAFT, METADATA));
            }
        }
        self.sync_all(&mut added);
        for ((done, drafted), (shelved, _)) in added.iter().zip(drafted).zip(pairs) {
            match (done, drafted) {
                (Ok(()), _) => {}
                (Err(_), true) => {
                    self.clear(shelved.message.id, &[METADATA, TEXT, TEXT_DRAFT, METADATA_DRAFT])
                }
                // An older pair of the same name still stands.
                (Err(_), false) => self.clear(shelved.message.id, &[TEXT_DRAFT, METADATA_DRAFT]),
            }
        }
        added
    }

    /// Both files of a pair under their drafts' names, which last after the next sync of the directory.
    fn draft(&self, shelved: &Shelved, body: &[u8]) -> io::Result<()> {
        let mut metadata = serde_json::to_vec_pretty(&Metadata::of(shelved, body)?)?;
        metadata.push(b'\n');
        let id = shelved.message.id;
        self.write(id, TEXT_DRAFT, body)?;
        self.write(id, METADATA_DRAFT, &metadata)
    }

    fn write(&self, id: MessageId, kind: &str, bytes: &[u8]) -> io::Result<()> {
        let file = ops::create_anew(self.fs, &self.path(id, kind))?;
        file.write_at(0, bytes).and_then(|()| file.sync_data())
    }

    /// One sync for all that were added well; it is well with none of them when that fails.
    fn sync_all(&self, added: &mut [io::Result<()>]) {
        if added.iter().all(Result::is_err) {
            return;
        }
        if let Err(error) = self.fs.sync_dir(&self.dir) {
            for done in added.iter_mut().filter(|done| done.is_ok()) {
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
    pub(in crate::store) fn discard(&self, ids: &[MessageId]) -> io::Result<()> {
        let all = [METADATA, METADATA_DRAFT, TEXT, TEXT_DRAFT];
        let there = |id: &MessageId| all.iter().any(|kind| self.is_there(*id, kind));
        let there: Vec<MessageId> = ids.iter().copied().filter(there).collect();
        let mut slices = there.chunks(MAX_DISCARDED);
        slices.try_for_each(|slice| self.discard_slice(slice))
    }

    fn discard_slice(&self, ids: &[MessageId]) -> io::Result<()> {
        for id in ids {
            let metadata = self.path(*id, METADATA);
            match self.fs.rename(&metadata, &self.path(*id, METADATA_DRAFT)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // A full disk may have no room for a name. A crash leaves the text behind then.
                Err(_) => self.fs.unlink(&metadata)?,
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
        ids.iter().try_for_each(|id| self.unlink(*id, METADATA_DRAFT))
    }

    fn unlink(&self, id: MessageId, kind: &str) -> io::Result<()> {
        ops::remove(self.fs, &self.path(id, kind))
    }

    fn is_there(&self, id: MessageId, kind: &str) -> bool {
        let opened = self.open(id, kind);
        opened.map_or_else(|error| error.kind() != io::ErrorKind::NotFound, |_| true)
    }

    /// Ends what a crash has cut off, and takes away the pairs of messages that are `live` on the journal.
    fn tidy(&self, live: &dyn Fn(MessageId) -> bool) -> io::Result<()> {
        let names = ops::names(self.fs, &self.dir)?;
        if names.is_empty() {
            return Ok(());
        }
        // Names that a killed process did not live to sync are built on from here on.
        self.fs.sync_dir(&self.dir)?;
        let mut all: BTreeMap<MessageId, Files> = BTreeMap::new();
        for name in &names {
            let mut note = |kind, file: fn(&mut Files) -> &mut bool| {
                if let Some(id) = layout::archived_id(name, kind) {
                    *file(all.entry(id).or_default()) = true;
                }
            };
            note(TEXT, |files| &mut files.text);
            note(METADATA, |files| &mut files.metadata);
            note(TEXT_DRAFT, |files| &mut files.text_draft);
            note(METADATA_DRAFT, |files| &mut files.metadata_draft);
        }
        let mut gone = Vec::new();
        for (id, files) in all {
            if live(id) {
                tracing::info!(%id, shelf = %self.dir.display(), "on the spool too: taken off the shelf");
                gone.push(id);
            } else if files.metadata_draft && !files.metadata {
                gone.push(id);
            } else {
                self.finish(id, &files)?;
            }
        }
        self.discard(&gone)
    }

    /// Gives a metadata the text that was added with it; drafts beside whole files go.
    fn finish(&self, id: MessageId, files: &Files) -> io::Result<()> {
        if files.metadata && files.text_draft && !files.text {
            self.fs.rename(&self.path(id, TEXT_DRAFT), &self.path(id, TEXT))?;
            self.fs.sync_dir(&self.dir)?;
        }
        if files.text_draft {
            self.unlink(id, TEXT_DRAFT)?;
        }
        if files.metadata_draft {
            self.unlink(id, METADATA_DRAFT)?;
        }
        Ok(())
    }

    fn open(&self, id: MessageId, kind: &str) -> io::Result<Arc<dyn FsFile>> {
        self.fs.open(&self.path(id, kind), Mode::Read)
    }

    /// A pair with its text, or what is wrong with it; `None` when there is no metadata.
    pub(in crate::store) fn read(&self, id: MessageId) -> Option<Result<(Shelved, Bytes), PairError>> {
        let metadata = match self.open(id, METADATA) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            opened => opened,
        };
        let read = || {
            let metadata = parse(id, metadata)?;
            let text = self.text(id)?;
            metadata.check(id, text.len() as u64)?;
            metadata.check_text(id, &text)?;
            let text = as_mail(id, text)?;
            Ok((metadata.message(id, text.len() as u64)?, text))
        };
        Some(read())
    }

    /// The text as it is in its file.
    fn text(&self, id: MessageId) -> Result<Vec<u8>, PairError> {
        let file = self.open(id, TEXT);
        let text = file.and_then(|file| ops::read_whole(&*file, MAX_TEXT));
        text.map_err(|error| complaint(id, TEXT, &error))
    }

    /// The text alone, checked if there is a metadata to check it with; `None` when there is none.
    pub(in crate::store) fn text_if_there(&self, id: MessageId) -> Option<Result<Bytes, PairError>> {
        if !self.is_there(id, TEXT) {
            return None;
        }
        let read = || {
            let text = self.text(id)?;
            if let Ok(metadata) = parse(id, self.open(id, METADATA)) {
                metadata.check_text(id, &text)?;
            }
            as_mail(id, text)
        };
        Some(read())
    }

    /// Bytes of the text in its file.
    pub(in crate::store) fn text_size(&self, id: MessageId) -> io::Result<u64> {
        self.open(id, TEXT).and_then(|file| file.size())
    }

    /// The message without its text.
    pub(in crate::store) fn look(&self, id: MessageId) -> Result<Shelved, PairError> {
        let size = self.text_size(id);
        let size = size.map_err(|error| complaint(id, TEXT, &error))?;
        let metadata = parse(id, self.open(id, METADATA))?;
        metadata.check(id, size)?;
        metadata.message(id, size)
    }

    /// A pair that should be whole, read with its text.
    pub(in crate::store) fn look_at(&self, id: MessageId) -> Result<Shelved, PairError> {
        let missing = || {
            Err(PairError::Unreadable(format!(
                "{} is missing",
                layout::archived_name(id, METADATA)
            )))
        };
        self.read(id).unwrap_or_else(missing).map(|(shelved, _)| shelved)
    }
}

fn parse(id: MessageId, metadata: io::Result<Arc<dyn FsFile>>) -> Result<Metadata, PairError> {
    let text = metadata.and_then(|file| ops::read_whole(&*file, MAX_METADATA));
    let text = text.map_err(|error| complaint(id, METADATA, &error))?;
    serde_json::from_slice(&text).map_err(|error| PairError::Unreadable(format!("{id}.{METADATA}: {error}")))
}

/// With the line ends that mail has.
fn as_mail(id: MessageId, text: Vec<u8>) -> Result<Bytes, PairError> {
    let nul = |at| format!("{id}.{TEXT}: a NUL at byte {at}: no mail may carry one");
    crlf(text.into()).map_err(|at| PairError::Unreadable(nul(at)))
}

fn complaint(id: MessageId, kind: &str, error: &io::Error) -> PairError {
    PairError::Unreadable(if error.kind() == io::ErrorKind::NotFound {
        format!("{id}.{kind} is missing")
    } else {
        format!("{id}.{kind}: {error}")
    })
}

/// See [`Store::tidy_shelves`].
pub(in crate::store) fn tidy(fs: &dyn Fs, dir: &Path, live: &dyn Fn(MessageId) -> bool) -> io::Result<()> {
    let dirs = Shelf::ALL.map(|shelf| ArchiveDir::new(fs, dir, shelf));
    dirs.iter().try_for_each(|archive| archive.tidy(live))
}
