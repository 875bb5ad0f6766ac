//! The messages related to a message. All messages of an add share one list.

use crate::id::MessageId;
use serde::{Serialize, Serializer};
use std::fmt;
use std::sync::Arc;

/// Ids of related messages, without the message's own.
#[derive(Clone, Default)]
pub struct Related {
    /// May hold the message's own id.
    all: Arc<[MessageId]>,
    own: Option<MessageId>,
}

impl Related {
    /// Those of `all` that are not `own`. Any number of messages can share `all`.
    #[must_use]
    pub const fn shared(all: Arc<[MessageId]>, own: MessageId) -> Self {
        Self { all, own: Some(own) }
    }

    /// Each of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = MessageId> {
        self.all.iter().copied().filter(|id| Some(*id) != self.own)
    }

    /// All of them, in order.
    #[must_use]
    pub fn to_vec(&self) -> Vec<MessageId> {
        self.iter().collect()
    }

    /// How many ids the shared list holds, the message's own included.
    #[must_use]
    pub fn shared_len(&self) -> usize {
        self.all.len()
    }

    /// Whether two messages share one list in memory.
    #[must_use]
    pub fn is_shared_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.all, &other.all)
    }
}

impl From<Vec<MessageId>> for Related {
    fn from(all: Vec<MessageId>) -> Self {
        Self {
            all: all.into(),
            own: None,
        }
    }
}

impl PartialEq for Related {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Related {}

impl fmt::Debug for Related {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Serialize for Related {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_one_add_share_a_list_of_related_ids() {
        let ids: Vec<MessageId> = (0..3).map(MessageId::from_u128).collect();
        let all: Arc<[MessageId]> = ids.as_slice().into();
        let [one, two] = [0, 2].map(|nth| Related::shared(Arc::clone(&all), ids[nth]));
        assert_eq!(one.to_vec(), ids[1..]);
        assert_eq!(two, Related::from(ids[..2].to_vec()));
        assert!(one.is_shared_with(&two) && one != two);
    }
}
