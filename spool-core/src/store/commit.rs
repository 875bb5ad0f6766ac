//! Committing changes, and asking whether there is room for more.

use super::change::Change;
use super::error::StoreError;
use super::handle::Store;
use super::journal::writer::Writer;
use super::mutex::locked;
use super::types::RememberedKey;
use std::sync::atomic::Ordering::Relaxed;

/// Commits without [`Store::maintain`] after which a commit calls it.
const MAX_UNATTENDED: u64 = 1000;

impl Store {
    /// Writes `changes` in order with one sync, and returns a result for each. An add that is refused as `Full` leaves
    /// nothing behind and does not affect the others; a failed write or sync fails all of them, and every later commit.
    /// Call [`Store::maintain`] afterwards, once the results have been passed on.
    pub fn commit(&self, changes: &mut [Change]) -> Vec<Result<(), StoreError>> {
        if self.unattended.fetch_add(1, Relaxed) >= MAX_UNATTENDED {
            self.maintain();
        }
        self.commit_with(&mut locked(&self.writer), changes)
    }

    pub(super) fn commit_with(
        &self,
        writer: &mut Writer,
        changes: &mut [Change],
    ) -> Vec<Result<(), StoreError>> {
        let count = changes.len();
        let none = |error| vec![Err(error); count];
        if let Err(error) = self.failures.check() {
            return none(error);
        }
        let written = writer.write(changes, &self.index);
        self.note_work(writer);
        let batch = match written {
            Ok(batch) => batch,
            Err(failure) => return none(self.failures.fail(failure).into()),
        };
        if let Some(available) = batch.available {
            locked(&self.space).read(available);
        }
        let mut index = locked(&self.index);
        let mut written = 0;
        for (change, result) in changes.iter().zip(&batch.results) {
            let Ok((place, length)) = result else { continue };
            written += 1;
            index.apply(change, *place, *length);
            self.events.push(change.events());
            if let Change::Add(addition) = change
                && let Some(key) = RememberedKey::of(addition)
            {
                self.keys.push([key]);
            }
        }
        drop(index);
        if written > 0 {
            let mut stats = locked(&self.stats);
            stats.commits += 1;
            stats.changes += written;
        }
        batch.results.into_iter().map(|result| result.map(drop)).collect()
    }

    /// Whether an add of `size` bytes would find room now, as far as the last look at the disk tells: by [`Store::commit`],
    /// [`Store::maintain`] or [`Store::look_for_room`]. Cheap enough to call for every MAIL command: it makes no system call, so a disk
    /// that does not answer does not block it.
    ///
    /// # Errors
    /// [`StoreError::Full`] or [`StoreError::Failed`], or why the next segment could not be prepared.
    pub fn admit(&self, size: u64) -> Result<(), StoreError> {
        self.failures.check()?;
        let limit = self.options.max_messages;
        if limit > 0 {
            self.all_known()?;
        }
        if limit > 0 && locked(&self.index).len() as u64 >= limit {
            return Err(StoreError::Full(format!("{limit} messages are on the spool")));
        }
        locked(&self.space).has_room_for(size, self.options.min_free_space)
    }
}
