//! The shelves' part of a checkup: every pair with its text, and files that are none.

use super::examined::Examined;
use super::step::{Act, whole};
use crate::archive::Shelf;
use crate::id::MessageId;
use crate::store::archive::{ArchiveDir, PairError};
use crate::store::care::finding::Ailment;
use crate::store::error::OpenError;
use crate::store::fs::ops;
use crate::store::layout::{self, METADATA, METADATA_DRAFT, TEXT};
use std::collections::BTreeSet;

impl Examined<'_> {
    /// Both shelves. A message that is `live` on the journal belongs there.
    pub(super) fn archives(&mut self, live: &dyn Fn(MessageId) -> bool) -> Result<(), OpenError> {
        let mut before = BTreeSet::new();
        for shelf in Shelf::ALL {
            let path = self.dir.join(shelf.name());
            let names = ops::names(&**self.fs, &path).map_err(OpenError::io("list", &path))?;
            let of = |kind: &'static str| -> BTreeSet<MessageId> {
                let ids = names.iter().filter_map(|name| layout::archived_id(name, kind));
                ids.collect()
            };
            let (texts, metadata) = (of(TEXT), of(METADATA));
            // Half laid, or half taken away: found by their drafts.
            let drafts = of(METADATA_DRAFT);
            let whole = |id: &&MessageId| metadata.contains(id) || !drafts.contains(id) || live(**id);
            for id in texts.union(&metadata).filter(whole) {
                if live(*id) {
                    self.on_both(shelf, *id, [texts.contains(id), metadata.contains(id)])?;
                } else if !metadata.contains(id) {
                    self.lone_text(shelf, *id)?;
                } else if before.contains(id) {
                    let what = "lies on the other shelf as well".to_owned();
                    self.note(
                        Ailment::Duplicated,
                        layout::archived_file(shelf.name(), *id, METADATA),
                        Some(*id),
                        what,
                    );
                } else {
                    self.pair(shelf, *id);
                }
            }
            before.extend(metadata);
            self.other_names(shelf, &names);
        }
        Ok(())
    }

    /// On the journal and here: the journal counts.
    fn on_both(&mut self, shelf: Shelf, id: MessageId, there: [bool; 2]) -> Result<(), OpenError> {
        for (kind, _) in [TEXT, METADATA]
            .into_iter()
            .zip(there)
            .filter(|(_, there)| *there)
        {
            let file = layout::archived_file(shelf.name(), id, kind);
            let copy = whole(&**self.fs, self.dir, &file)?;
            let what = "is on the spool as well, which counts".to_owned();
            self.note_mendable(
                Ailment::Duplicated,
                file,
                Some(id),
                what,
                Act::Archive(Some(copy)),
            );
        }
        Ok(())
    }

    fn lone_text(&mut self, shelf: Shelf, id: MessageId) -> Result<(), OpenError> {
        let file = layout::archived_file(shelf.name(), id, TEXT);
        let act = Act::Unlink {
            path: self.dir.join(&file),
            copy: Some(whole(&**self.fs, self.dir, &file)?),
        };
        let what = format!("a text without its .{}", METADATA);
        self.note_mendable(Ailment::Orphaned, file, Some(id), what, act);
        Ok(())
    }

    fn pair(&mut self, shelf: Shelf, id: MessageId) {
        let (ailment, what) = match ArchiveDir::new(&**self.fs, self.dir, shelf).look_at(id) {
            Ok(_) => {
                self.found.shelved += 1;
                return;
            }
            Err(PairError::Unreadable(what)) => (Ailment::Unreadable, what),
            Err(PairError::Mismatched(what)) => (Ailment::Mismatched, what),
        };
        self.note(
            ailment,
            layout::archived_file(shelf.name(), id, METADATA),
            Some(id),
            what,
        );
    }

    fn other_names(&mut self, shelf: Shelf, names: &[String]) {
        for name in names {
            let file = format!("{}/{name}", shelf.name());
            let of = |kind| layout::archived_id(name, kind).is_some();
            if layout::is_archived_draft(name) {
                let what = "half laid, or half deleted".to_owned();
                self.note_mendable(Ailment::Orphaned, file, None, what, Act::Archive(None));
            } else if !of(TEXT) && !of(METADATA) {
                let what = "its name is no message's".to_owned();
                self.note(Ailment::Orphaned, file, None, what);
            }
        }
    }
}
