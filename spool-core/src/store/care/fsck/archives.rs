//! The archives' part of a checkup: every pair with its text, and files that are not part of a pair.

use super::examined::{Act, Examined};
use crate::archive::Archive;
use crate::id::MessageId;
use crate::store::archive::{ArchiveDir, PairError};
use crate::store::care::finding::ProblemKind;
use crate::store::error::{Attempted as _, OpenError};
use crate::store::fs::ops;
use crate::store::layout::{self, METADATA, METADATA_DRAFT, TEXT};
use std::collections::BTreeSet;

impl Examined<'_> {
    /// Both archives. A message that is `live` in the journal must not be in an archive.
    pub(super) fn archives(&mut self, live: &dyn Fn(MessageId) -> bool) -> Result<(), OpenError> {
        let mut before = BTreeSet::new();
        for archive in Archive::ALL {
            let path = self.dir.join(archive.name());
            let names = ops::names(&**self.fs, &path).on("list", &path)?;
            let of = |kind: &'static str| -> BTreeSet<MessageId> {
                let ids = names.iter().filter_map(|name| layout::archived_id(name, kind));
                ids.collect()
            };
            let (texts, metadata) = (of(TEXT), of(METADATA));
            // Incomplete pairs are found by their drafts.
            let drafts = of(METADATA_DRAFT);
            let whole = |id: &&MessageId| metadata.contains(id) || !drafts.contains(id) || live(**id);
            for id in texts.union(&metadata).filter(whole) {
                if live(*id) {
                    self.on_both(archive, *id, [texts.contains(id), metadata.contains(id)])?;
                } else if !metadata.contains(id) {
                    self.lone_text(archive, *id)?;
                } else if before.contains(id) {
                    let file = layout::archived_file(archive.name(), *id, METADATA);
                    let what = "is also in the other archive".to_owned();
                    self.note(ProblemKind::Duplicated, file, Some(*id), what, None);
                } else {
                    self.pair(archive, *id);
                }
            }
            before.extend(metadata);
            self.other_names(archive, &names);
        }
        Ok(())
    }

    /// The message is in the journal and in the archive. The journal counts.
    fn on_both(&mut self, archive: Archive, id: MessageId, there: [bool; 2]) -> Result<(), OpenError> {
        for (kind, _) in [TEXT, METADATA]
            .into_iter()
            .zip(there)
            .filter(|(_, there)| *there)
        {
            let file = layout::archived_file(archive.name(), id, kind);
            let repair = Some((Act::Archive, Some(self.whole(&file)?)));
            let what = "is also in the queue, which counts".to_owned();
            self.note(ProblemKind::Duplicated, file, Some(id), what, repair);
        }
        Ok(())
    }

    fn lone_text(&mut self, archive: Archive, id: MessageId) -> Result<(), OpenError> {
        let file = layout::archived_file(archive.name(), id, TEXT);
        let repair = Some((Act::Unlink(self.dir.join(&file)), Some(self.whole(&file)?)));
        let what = format!("a text without its .{METADATA}");
        self.note(ProblemKind::Orphaned, file, Some(id), what, repair);
        Ok(())
    }

    fn pair(&mut self, archive: Archive, id: MessageId) {
        let (problem, what) = match ArchiveDir::new(&**self.fs, self.dir, archive).look_at(id) {
            Ok(_) => {
                self.found.archived += 1;
                return;
            }
            Err(PairError::Unreadable(what)) => (ProblemKind::Unreadable, what),
            Err(PairError::Mismatched(what)) => (ProblemKind::Mismatched, what),
        };
        let file = layout::archived_file(archive.name(), id, METADATA);
        self.note(problem, file, Some(id), what, None);
    }

    fn other_names(&mut self, archive: Archive, names: &[String]) {
        for name in names {
            let file = format!("{}/{name}", archive.name());
            let of = |kind| layout::archived_id(name, kind).is_some();
            if layout::is_archived_draft(name) {
                let what = "incomplete, or partly deleted".to_owned();
                self.note(
                    ProblemKind::Orphaned,
                    file,
                    None,
                    what,
                    Some((Act::Archive, None)),
                );
            } else if !of(TEXT) && !of(METADATA) {
                let what = "its name is not that of a message".to_owned();
                self.note(ProblemKind::Orphaned, file, None, what, None);
            }
        }
    }
}
