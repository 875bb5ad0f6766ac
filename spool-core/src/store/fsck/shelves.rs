//! The shelves' part of a checkup: every pair with its text, and files that are none.

use super::repair::{Act, whole};
use super::{Ailment, Examined};
use crate::id::MessageId;
use crate::store::OpenError;
use crate::store::replay::io_error;
use crate::store::shelf::{self, Flaw, Shelf};
use std::collections::BTreeSet;
use std::io;

fn file(shelf: Shelf, id: MessageId, kind: &str) -> String {
    format!("{}/{id}.{kind}", shelf.name())
}

impl Examined<'_> {
    /// Both shelves. A message that is `live` on the journal belongs there.
    pub(super) fn shelves(&mut self, live: &dyn Fn(MessageId) -> bool) -> Result<(), OpenError> {
        let mut before = BTreeSet::new();
        for shelf in Shelf::ALL {
            let path = self.dir.join(shelf.name());
            let names = match self.fs.list(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                listed => listed.map_err(io_error("list", &path))?,
            };
            let of = |kind: &'static str| -> BTreeSet<MessageId> {
                let ids = names.iter().filter_map(|name| shelf::id_of(name, kind));
                ids.collect()
            };
            let (texts, slips) = (of(shelf::TEXT), of(shelf::SLIP));
            // Half laid, or half taken away: found by their drafts.
            let drafts = of(shelf::SLIP_DRAFT);
            let whole = |id: &&MessageId| slips.contains(id) || !drafts.contains(id) || live(**id);
            for id in texts.union(&slips).filter(whole) {
                if live(*id) {
                    self.on_both(shelf, *id, [texts.contains(id), slips.contains(id)])?;
                } else if !slips.contains(id) {
                    self.lone_text(shelf, *id)?;
                } else if before.contains(id) {
                    let what = "lies on the other shelf as well".to_owned();
                    self.note(
                        Ailment::Duplicated,
                        file(shelf, *id, shelf::SLIP),
                        Some(*id),
                        what,
                    );
                } else {
                    self.pair(shelf, *id);
                }
            }
            before.extend(slips);
            self.other_names(shelf, &names);
        }
        Ok(())
    }

    /// On the journal and here: the journal counts.
    fn on_both(&mut self, shelf: Shelf, id: MessageId, there: [bool; 2]) -> Result<(), OpenError> {
        for (kind, _) in [shelf::TEXT, shelf::SLIP]
            .into_iter()
            .zip(there)
            .filter(|(_, there)| *there)
        {
            let file = file(shelf, id, kind);
            let copy = whole(&**self.fs, self.dir, &file)?;
            let what = "is on the spool as well, which counts".to_owned();
            self.note_mendable(Ailment::Duplicated, file, Some(id), what, Act::Shelf(Some(copy)));
        }
        Ok(())
    }

    fn lone_text(&mut self, shelf: Shelf, id: MessageId) -> Result<(), OpenError> {
        let file = file(shelf, id, shelf::TEXT);
        let act = Act::Unlink {
            path: self.dir.join(&file),
            copy: Some(whole(&**self.fs, self.dir, &file)?),
        };
        let what = format!("a text without its .{}", shelf::SLIP);
        self.note_mendable(Ailment::Orphaned, file, Some(id), what, act);
        Ok(())
    }

    fn pair(&mut self, shelf: Shelf, id: MessageId) {
        let (ailment, what) = match shelf::look_at(&**self.fs, self.dir, shelf, id) {
            Ok(_) => {
                self.found.shelved += 1;
                return;
            }
            Err(Flaw::Unreadable(what)) => (Ailment::Unreadable, what),
            Err(Flaw::Mismatched(what)) => (Ailment::Mismatched, what),
        };
        self.note(ailment, file(shelf, id, shelf::SLIP), Some(id), what);
    }

    fn other_names(&mut self, shelf: Shelf, names: &[String]) {
        for name in names {
            let file = format!("{}/{name}", shelf.name());
            let of = |kind| shelf::id_of(name, kind).is_some();
            if shelf::is_draft(name) {
                let what = "half laid, or half deleted".to_owned();
                self.note_mendable(Ailment::Orphaned, file, None, what, Act::Shelf(None));
            } else if !of(shelf::TEXT) && !of(shelf::SLIP) {
                let what = "its name is no message's".to_owned();
                self.note(Ailment::Orphaned, file, None, what);
            }
        }
    }
}
