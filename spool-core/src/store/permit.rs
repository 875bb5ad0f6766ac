//! Which changes the writer takes: the id must be live (or, for an add, free), and there must be room.
//!
//! It decides before a byte is written. Only adds are ever refused for lack of room, and the limits are for new mail: an add that also
//! ends or changes a message that is there (a notice, a division) is the end of an attempt, which must be written so that the message does
//! not go out again. It counts towards no limit of messages, and may use half of the space that is kept free.

use super::change::{Addition, Change, Conclusion, Outcome};
use super::error::StoreError;
use super::index::Index;
use super::record;
use super::writer::{Batch, Trouble, Writer};
use crate::id::MessageId;
use std::sync::{Mutex, PoisonError};

impl Writer {
    /// Notes what `change`, now written, means for the rest of the batch.
    pub(super) fn stage(&mut self, change: &Change) {
        match change {
            Change::Add(addition) => {
                let ids = addition.messages.iter().map(|message| (message.id, true));
                self.staged.extend(ids);
                if let Some(Conclusion {
                    id,
                    outcome: Outcome::Finish(_),
                }) = addition.conclusion
                {
                    self.staged.insert(id, false);
                }
            }
            Change::Finish { id, .. } => {
                self.staged.insert(*id, false);
            }
            Change::Mark { .. }
            | Change::State { .. }
            | Change::Route { .. }
            | Change::Note { .. }
            | Change::Move(_) => {}
        }
    }

    /// Whether `change` can be taken, as far as can be told before it is encoded.
    pub(super) fn permit(
        &mut self,
        change: &Change,
        index: &Mutex<Index>,
        batch: &mut Batch,
    ) -> Result<(), Trouble> {
        let live = |id: &MessageId| match self.staged.get(id) {
            Some(there) => *there,
            None => index
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get(*id)
                .is_some(),
        };
        match change {
            Change::Route { next_hops, .. } if next_hops.is_empty() => {
                let text = "a route needs a next hop".to_owned();
                Err(Trouble::Refused(StoreError::Invalid(text)))
            }
            Change::Mark { id, .. }
            | Change::State { id, .. }
            | Change::Route { id, .. }
            | Change::Finish { id, .. } => {
                if live(id) {
                    Ok(())
                } else {
                    Err(Trouble::Refused(self.unknown(*id)))
                }
            }
            Change::Note { .. } => Ok(()),
            Change::Move(addition) => {
                let gone = addition.messages.iter().find(|message| !live(&message.id));
                gone.map_or(Ok(()), |message| {
                    Err(Trouble::Refused(StoreError::NoSuchMessage(message.id)))
                })
            }
            Change::Add(addition) => {
                if let Some(reason) = record::unfit(addition) {
                    return Err(Trouble::Refused(StoreError::Invalid(reason.to_owned())));
                }
                if let Some(taken) = addition.messages.iter().find(|message| live(&message.id)) {
                    let text = format!("{}: the id is taken", taken.id);
                    return Err(Trouble::Refused(StoreError::Invalid(text)));
                }
                if let Some(concluded) = &addition.conclusion
                    && !live(&concluded.id)
                {
                    return Err(Trouble::Refused(self.unknown(concluded.id)));
                }
                self.permit_add(addition, index, batch)
            }
        }
    }

    /// What is wrong with a message that the index does not have.
    fn unknown(&self, id: MessageId) -> StoreError {
        match self.loaded {
            true => StoreError::NoSuchMessage(id),
            false => StoreError::Loading,
        }
    }

    fn permit_add(
        &mut self,
        addition: &Addition,
        index: &Mutex<Index>,
        batch: &mut Batch,
    ) -> Result<(), Trouble> {
        let is_new = addition.conclusion.is_none();
        let limit = if is_new { self.options.max_messages } else { 0 };
        if limit > 0 && !self.loaded {
            // How many there are is not known yet.
            return Err(Trouble::Refused(StoreError::Loading));
        }
        if limit > 0 {
            let live = index.lock().unwrap_or_else(PoisonError::into_inner).len() as u64;
            // Ends in this batch make no room yet: they are not durable.
            let staged = self.staged.values().filter(|there| **there).count() as u64;
            if live + staged + addition.messages.len() as u64 > limit {
                return Err(Trouble::full(format!(
                    "{limit} messages are on the spool, no more are allowed"
                )));
            }
        }
        let floor = match is_new {
            true => self.options.min_free_space,
            false => self.options.min_free_space / 2,
        };
        if floor > 0 {
            let read = || self.fs.available_space(&self.journal).unwrap_or(u64::MAX);
            let available = *batch.available.get_or_insert_with(read);
            if available < floor.saturating_add(addition.body.len() as u64) {
                return Err(Trouble::full(format!(
                    "{available} bytes are free, {floor} are to stay so"
                )));
            }
        }
        self.make_spare().map(drop)
    }
}
