//! Which changes are written: the id must be live (or, for an add, free), and there must be room.
//!
//! It decides before a byte is written. Only adds are ever refused for lack of room, and the limits are for new mail: an add
//! that also ends or changes a live message (a notice, a division) records the end of an attempt, which must be on disk so
//! that the message is not sent again. It counts towards no limit of messages, and may use half of the space that is kept
//! free.

use super::ids::Ids;
use super::index::Index;
use crate::id::MessageId;
use crate::store::change::{Addition, Change, Conclusion, Outcome};
use crate::store::error::StoreError;
use crate::store::mutex::locked;
use crate::store::space::leaves_free;
use crate::store::types::StoreOptions;
use std::sync::Mutex;

/// The changes of a batch so far, as far as later ones of the batch depend on them.
#[derive(Debug, Default)]
pub(in crate::store) struct Staged {
    /// Ids that the batch adds (`true`) and ends (`false`).
    ids: Ids<bool>,
    /// Whether the index holds the messages of earlier runs.
    pub(in crate::store) loaded: bool,
}

impl Staged {
    /// Begins a new batch.
    pub(super) fn clear(&mut self) {
        self.ids.clear();
    }

    /// Notes what `change`, now written, means for the rest of the batch.
    pub(super) fn stage(&mut self, change: &Change) {
        if let Change::Add(addition) = change {
            let ids = addition.messages.iter().map(|message| (message.id, true));
            self.ids.extend(ids);
            if let Some(Conclusion {
                id,
                outcome: Outcome::Finish(_),
            }) = addition.conclusion
            {
                self.ids.insert(id, false);
            }
        } else if let Change::Finish { id, .. } = change {
            self.ids.insert(*id, false);
        }
    }

    /// Whether `change` can be written, as far as this is known before it is encoded. `free_space` is asked at most once.
    pub(super) fn check(
        &self,
        change: &Change,
        index: &Mutex<Index>,
        options: &StoreOptions,
        free_space: &mut dyn FnMut() -> u64,
    ) -> Result<(), StoreError> {
        let live = |id: &MessageId| match self.ids.get(id) {
            Some(live) => *live,
            None => locked(index).get(*id).is_some(),
        };
        match change {
            Change::Route { next_hops, .. } if next_hops.is_empty() => {
                Err(StoreError::Invalid("a route needs a next hop".to_owned()))
            }
            Change::Mark { id, .. }
            | Change::State { id, .. }
            | Change::Route { id, .. }
            | Change::Finish { id, .. } => match live(id) {
                true => Ok(()),
                false => Err(self.unknown(*id)),
            },
            Change::Note { .. } => Ok(()),
            Change::Move(addition) => {
                let gone = addition.messages.iter().find(|message| !live(&message.id));
                gone.map_or(Ok(()), |message| Err(StoreError::NoSuchMessage(message.id)))
            }
            Change::Add(addition) => {
                if let Some(reason) = unfit(addition) {
                    return Err(StoreError::Invalid(reason.to_owned()));
                }
                if let Some(taken) = addition.messages.iter().find(|message| live(&message.id)) {
                    return Err(StoreError::Invalid(format!("{}: the id is taken", taken.id)));
                }
                if let Some(concluded) = &addition.conclusion
                    && !live(&concluded.id)
                {
                    return Err(self.unknown(concluded.id));
                }
                self.check_room(addition, index, options, free_space)
            }
        }
    }

    /// The error for a message that the index does not have.
    fn unknown(&self, id: MessageId) -> StoreError {
        match self.loaded {
            true => StoreError::NoSuchMessage(id),
            false => StoreError::Loading,
        }
    }

    fn check_room(
        &self,
        addition: &Addition,
        index: &Mutex<Index>,
        options: &StoreOptions,
        free_space: &mut dyn FnMut() -> u64,
    ) -> Result<(), StoreError> {
        let is_new = addition.conclusion.is_none();
        let limit = if is_new { options.max_messages } else { 0 };
        if limit > 0 && !self.loaded {
            // How many there are is not known yet.
            return Err(StoreError::Loading);
        }
        if limit > 0 {
            let live = locked(index).len() as u64;
            // Messages that end in this batch make no room yet: their end is not durable.
            let staged = self.ids.values().filter(|live| **live).count() as u64;
            if live + staged + addition.messages.len() as u64 > limit {
                return Err(StoreError::Full(format!(
                    "{limit} messages are on the spool, no more are allowed"
                )));
            }
        }
        let floor = match is_new {
            true => options.min_free_space,
            false => options.min_free_space / 2,
        };
        match floor {
            0 => Ok(()),
            floor => leaves_free(free_space(), addition.body.len() as u64, floor),
        }
    }
}

/// Why `addition` cannot be stored, if it cannot.
pub(in crate::store) fn unfit(addition: &Addition) -> Option<&'static str> {
    if addition.messages.is_empty() {
        return Some("an add needs a message");
    }
    if addition
        .key
        .as_ref()
        .is_some_and(|key| key.key.is_empty() || key.key.len() > 255)
    {
        return Some("the name of an add has 1 to 255 bytes");
    }
    let concludes = |conclusion: &Conclusion| {
        let itself = addition.messages.iter().any(|new| new.id == conclusion.id);
        itself || (!addition.events.is_empty() && addition.events.len() < addition.messages.len())
    };
    if addition.conclusion.as_ref().is_some_and(concludes) {
        return Some("an add cannot conclude one of its own messages");
    }
    // Offsets have 32 bits, and the payload needs some of them.
    (addition.body.len() > 0xf000_0000).then_some("a body is less than 3.75 GiB")
}
