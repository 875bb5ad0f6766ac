//! The directory of an archive: how the two files of a pair are written and deleted.
//!
//! A pair exists as soon as its metadata file has its name. A pair is added as two drafts, which are durable before one
//! of them is renamed. A pair is deleted by making its metadata a draft again, durably, before the text is deleted. So
//! a start can distinguish what a crash left from what a person added: a text alone was added by a person, a text with a draft
//! of its metadata was not. The journal is not used here.

use super::metadata::{Metadata, PairError};
use crate::archive::{Archive, Archived};
use crate::crlf::crlf;
use crate::id::MessageId;
use crate::store::fs::{Fs, FsFile, Mode, ops};
use crate::store::layout::{self, METADATA, METADATA_DRAFT, TEXT, TEXT_DRAFT};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Longer metadata is rejected. The metadata of a message with a million recipients have about 100 MiB.
const MAX_METADATA: u64 = 1 << 30;
/// The largest body that the journal accepts.
const MAX_TEXT: u64 = u32::MAX as u64;
/// Pairs that are deleted with one sync.
const MAX_DISCARDED: usize = 32;

/// The directory of an archive.
pub(in crate::store) struct ArchiveDir<'a> {
    fs: &'a dyn Fs,
    dir: PathBuf,
}

/// The extensions of the files of a message.
const ALL: [&str; 4] = [METADATA, METADATA_DRAFT, TEXT, TEXT_DRAFT];

impl<'a> ArchiveDir<'a> {
    pub(in crate::store) fn new(fs: &'a dyn Fs, spool: &Path, archive: Archive) -> Self {
        Self::at(fs, &spool.join(archive.name()))
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

    /// The ids of all metadata files, in order.
    pub(in crate::store) fn ids(&self) -> io::Result<Vec<MessageId>> {
        let names = ops::names(self.fs, &self.dir)?;
        let mut ids: Vec<MessageId> = names
            .iter()
            .filter_map(|name| layout::archived_id(name, METADATA))
            .collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// Adds pairs, durably, with two syncs of the directory for all of them. Nothing is left of a pair that fails.
    pub(in crate::store) fn add(&self, pairs: &[(Archived, Bytes)]) -> Vec<io::Result<()>> {
        let mut added: Vec<io::Result<()>> = pairs
            .iter()
            .map(|(archived, body)| self.draft(archived, body))
            .collect();
        self.sync_all(&mut added);
        let drafted: Vec<bool> = added.iter().map(Result::is_ok).collect();
        for (done, (archived, _)) in added.iter_mut().zip(pairs) {
            let id = archived.message.id;
            let name = |draft, kind| self.fs.rename(&self.path(id, draft), &self.path(id, kind));
            if done.is_ok() {
                *done = name(TEXT_DRAFT, TEXT).and_then(|()| name(METADATA_DRAFT, METADATA));
            }
        }
        self.sync_all(&mut added);
        for ((done, drafted), (archived, _)) in added.iter().zip(drafted).zip(pairs) {
            let left: &[&str] = match (done, drafted) {
                (Ok(()), _) => &[],
                (Err(_), true) => &[METADATA, TEXT, TEXT_DRAFT, METADATA_DRAFT],
                // An older pair with the same id is still there.
                (Err(_), false) => &[TEXT_DRAFT, METADATA_DRAFT],
            };
            for kind in left {
                // What cannot be deleted now is deleted at the next start.
                let _ = self.fs.unlink(&self.path(archived.message.id, kind));
            }
        }
        added
    }

    /// Writes both files of a pair as drafts. Their names are durable after the next sync of the directory.
    fn draft(&self, archived: &Archived, body: &[u8]) -> io::Result<()> {
        let mut metadata = serde_json::to_vec_pretty(&Metadata::of(archived, body)?)?;
        metadata.push(b'\n');
        let id = archived.message.id;
        self.write(id, TEXT_DRAFT, body)?;
        self.write(id, METADATA_DRAFT, &metadata)
    }

    fn write(&self, id: MessageId, kind: &str, bytes: &[u8]) -> io::Result<()> {
        let file = ops::create_anew(self.fs, &self.path(id, kind))?;
        file.write_at(0, bytes).and_then(|()| file.sync_data())
    }

    /// Syncs the directory for all pairs that were added without an error; if that fails, all of them fail.
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

    /// Deletes pairs, durably. A missing pair is no error.
    pub(in crate::store) fn discard(&self, ids: &[MessageId]) -> io::Result<()> {
        let there = |id: &MessageId| ALL.iter().any(|kind| self.is_there(*id, kind));
        let there: Vec<MessageId> = ids.iter().copied().filter(there).collect();
        let mut slices = there.chunks(MAX_DISCARDED);
        slices.try_for_each(|slice| self.discard_slice(slice))
    }

    fn discard_slice(&self, ids: &[MessageId]) -> io::Result<()> {
        for id in ids {
            let metadata = self.path(*id, METADATA);
            match self.fs.rename(&metadata, &self.path(*id, METADATA_DRAFT)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // A full disk may have no room for a name. Then a crash leaves the text behind.
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
        // A draft that stays is deleted at the next start.
        ids.iter().try_for_each(|id| self.unlink(*id, METADATA_DRAFT))
    }

    fn unlink(&self, id: MessageId, kind: &str) -> io::Result<()> {
        ops::remove(self.fs, &self.path(id, kind))
    }

    fn is_there(&self, id: MessageId, kind: &str) -> bool {
        let opened = self.open(id, kind);
        opened.map_or_else(|error| error.kind() != io::ErrorKind::NotFound, |_| true)
    }

    /// Completes what a crash interrupted, and deletes the pairs of messages that are `live` in the journal.
    fn tidy(&self, live: &dyn Fn(MessageId) -> bool) -> io::Result<()> {
        let mut names = ops::names(self.fs, &self.dir)?;
        if names.is_empty() {
            return Ok(());
        }
        names.sort_unstable();
        // Syncs names that an earlier process created but did not sync.
        self.fs.sync_dir(&self.dir)?;
        let id_in = |name: &String| ALL.iter().find_map(|kind| layout::archived_id(name, kind));
        let ids: BTreeSet<MessageId> = names.iter().filter_map(id_in).collect();
        let mut gone = Vec::new();
        for id in ids {
            let has = |kind: &str| names.binary_search(&layout::archived_name(id, kind)).is_ok();
            if live(id) {
                tracing::info!(%id, archive = %self.dir.display(), "deleted from the archive: the message is in the queue");
                gone.push(id);
            } else if has(METADATA_DRAFT) && !has(METADATA) {
                gone.push(id);
            } else {
                // Completes a pair whose text is still a draft; deletes drafts of complete files.
                if has(METADATA) && has(TEXT_DRAFT) && !has(TEXT) {
                    self.fs.rename(&self.path(id, TEXT_DRAFT), &self.path(id, TEXT))?;
                    self.fs.sync_dir(&self.dir)?;
                }
                for draft in [TEXT_DRAFT, METADATA_DRAFT].into_iter().filter(|kind| has(kind)) {
                    self.unlink(id, draft)?;
                }
            }
        }
        self.discard(&gone)
    }

    fn open(&self, id: MessageId, kind: &str) -> io::Result<Arc<dyn FsFile>> {
        self.fs.open(&self.path(id, kind), Mode::Read)
    }

    /// Reads a pair, or returns what is wrong with it; `None` without a metadata file.
    pub(in crate::store) fn read(&self, id: MessageId) -> Option<Result<(Archived, Bytes), PairError>> {
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

    /// The content of the text file.
    fn text(&self, id: MessageId) -> Result<Vec<u8>, PairError> {
        let file = self.open(id, TEXT);
        let text = file.and_then(|file| ops::read_whole(&*file, MAX_TEXT));
        text.map_err(|error| complaint(id, TEXT, &error))
    }

    /// The text alone, checked against the metadata if there are any; `None` without a text file.
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

    /// Bytes of the text file.
    pub(in crate::store) fn text_size(&self, id: MessageId) -> io::Result<u64> {
        self.open(id, TEXT).and_then(|file| file.size())
    }

    /// The message without its text.
    pub(in crate::store) fn look(&self, id: MessageId) -> Result<Archived, PairError> {
        let size = self.text_size(id);
        let size = size.map_err(|error| complaint(id, TEXT, &error))?;
        let metadata = parse(id, self.open(id, METADATA))?;
        metadata.check(id, size)?;
        metadata.message(id, size)
    }

    /// Reads a pair that should be complete.
    pub(in crate::store) fn look_at(&self, id: MessageId) -> Result<Archived, PairError> {
        let missing = || Err(complaint(id, METADATA, &io::ErrorKind::NotFound.into()));
        let (archived, _) = self.read(id).unwrap_or_else(missing)?;
        Ok(archived)
    }
}

fn parse(id: MessageId, metadata: io::Result<Arc<dyn FsFile>>) -> Result<Metadata, PairError> {
    let text = metadata.and_then(|file| ops::read_whole(&*file, MAX_METADATA));
    let text = text.map_err(|error| complaint(id, METADATA, &error))?;
    serde_json::from_slice(&text).map_err(|error| PairError::Unreadable(format!("{id}.{METADATA}: {error}")))
}

/// Converts the line ends to those of mail.
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

/// Cleans up both archives.
pub(in crate::store) fn tidy(fs: &dyn Fs, dir: &Path, live: &dyn Fn(MessageId) -> bool) -> io::Result<()> {
    let dirs = Archive::ALL.map(|archive| ArchiveDir::new(fs, dir, archive));
    dirs.iter().try_for_each(|archive| archive.tidy(live))
}
