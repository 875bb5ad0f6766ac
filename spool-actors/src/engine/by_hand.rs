//! Ending messages by hand: the sender is notified as of any other end.

use super::bulk::BulkId;
use super::round::Round;
use super::taken::Taken;
use super::{Engine, Tag, World};
use bytes::Bytes;
use spool_core::disposition::{Fate, given_up};
use spool_core::{Held, Message, SpoolError};
use std::sync::Arc;

impl<W: World> Engine<W> {
    /// Ends a message that an operation has taken; `bounce`: the reason of a bounce, otherwise it expires.
    pub(super) fn end_taken(
        &mut self,
        bulk: BulkId,
        bounce: Option<&Arc<str>>,
        taken: &Taken,
        (mut message, body): (Message, Bytes),
        held: &Arc<Held>,
    ) {
        let (id, before) = (taken.id, taken.before);
        if bounce.is_some() && message.envelope.reverse_path.is_null() {
            self.give_back(id, before);
            return self.bulk_done(bulk, Err(SpoolError::NullReversePath(id)));
        }
        let reason = bounce.map_or("expired: the mail system's operator ended it", |reason| reason);
        message.state = given_up(message.state, reason);
        let fate = Fate::Failed {
            expired: bounce.is_none(),
        };
        let round = Round {
            by_hand: bounce.is_some(),
            ..Round::new(message, body, fate)
        };
        let decision = self.decide_notice(&round);
        let concluded = self.end_of_round(round, decision);
        let tag = Tag::Changed {
            bulk,
            id,
            before,
            after: concluded.after,
            notice: concluded.notice,
            _held: Arc::clone(held),
        };
        self.commit_signed(concluded.change, tag, true);
    }
}
