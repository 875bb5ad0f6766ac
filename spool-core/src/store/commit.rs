//! Committing changes, and asking whether there is room for more.

use super::change::{Change, Conclusion, Outcome};
use super::error::{Failure, StoreError};
use super::handle::Store;
use super::journal::batch::Placed;
use super::journal::index::{Index, weight};
use super::journal::writer::Writer;
use super::mutex::locked;
use std::sync::atomic::Ordering::Relaxed;

/// Commits without [`Store::maintain`] after which a commit calls it.
const MAX_UNATTENDED: u64 = 1000;

impl Store {
    /// Writes `changes` in order with one sync, and returns a result for each. An add that is refused as `Full` leaves
    /// nothing behind and does not affect the others; a failed write or sync fails all of them, and every later commit.
    /// Call [`Store::maintain`] afterwards, once the results have been passed on.
    pub fn commit(&self, changes: &mut [Change]) -> Vec<Result<(), StoreError>> {
        if self.counters.unattended.fetch_add(1, Relaxed) >= MAX_UNATTENDED {
            self.maintain();
        }
        self.commit_with(&mut locked(&self.writer), changes)
    }

    pub(super) fn commit_with(
        &self,
        writer: &mut Writer,
        changes: &mut [Change],
    ) -> Vec<Result<(), StoreError>> {
        if let Some(failure) = self.failures.get() {
            return all_failed(changes, failure);
        }
        let written = writer.write(changes, &self.index);
        self.note_work(writer);
        match written {
            Ok(batch) => {
                if let Some(available) = batch.available {
                    locked(&self.space).read(available);
                }
                let mut index = locked(&self.index);
                for placed in &batch.placed {
                    if let Some(change) = changes.get(placed.number) {
                        apply(&mut index, change, *placed);
                        self.events.push(change.events());
                        if let Change::Add(addition) = change {
                            self.keys.push_of(addition);
                        }
                    }
                }
                if !batch.placed.is_empty() {
                    self.counters.commits.fetch_add(1, Relaxed);
                    self.counters
                        .changes
                        .fetch_add(batch.placed.len() as u64, Relaxed);
                }
                batch.results
            }
            Err(failure) => all_failed(changes, self.fail(failure)),
        }
    }

    /// Whether an add of `size` bytes would find room now, as far as the last look at the disk tells: by [`Store::commit`],
    /// [`Store::maintain`] or [`Store::look_for_room`]. Cheap enough to call for every MAIL command: it makes no system call, so a disk
    /// that does not answer does not block it.
    ///
    /// # Errors
    /// [`StoreError::Full`] or [`StoreError::Failed`], or why the next segment could not be prepared.
    pub fn admit(&self, size: u64) -> Result<(), StoreError> {
        if let Some(failure) = self.failures.get() {
            return Err(StoreError::Failed(failure.to_string()));
        }
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

fn apply(index: &mut Index, change: &Change, placed: Placed) {
    let Placed { place, length, .. } = placed;
    let small = matches!(
        change,
        Change::Mark { .. } | Change::State { .. } | Change::Route { .. }
    );
    index.wrote(place.seq, length, small);
    match change {
        Change::Add(addition) => {
            let weight = weight(length, addition.messages.len());
            for (section, message) in (0..).zip(&addition.messages) {
                index.add(message.id, place, section, weight);
            }
            match &addition.conclusion {
                Some(Conclusion {
                    id,
                    outcome: Outcome::State(_),
                }) => {
                    index.state(*id, place);
                }
                Some(Conclusion {
                    id,
                    outcome: Outcome::Finish(_),
                }) => {
                    index.finish(*id, place.seq);
                }
                None => {}
            }
        }
        Change::Move(addition) => {
            let weight = weight(length, addition.messages.len());
            for (section, message) in (0..).zip(&addition.messages) {
                index.relocate(message.id, place, section, weight);
            }
        }
        Change::Mark { id, .. } => {
            index.mark(*id, place);
        }
        Change::State { id, .. } => {
            index.state(*id, place);
        }
        Change::Route { id, .. } => {
            index.route(*id, place);
        }
        Change::Finish { id, .. } => {
            index.finish(*id, place.seq);
        }
        Change::Note { .. } => {}
    }
}

fn all_failed(changes: &[Change], failure: &Failure) -> Vec<Result<(), StoreError>> {
    let failed = || Err(StoreError::Failed(failure.to_string()));
    changes.iter().map(|_| failed()).collect()
}
