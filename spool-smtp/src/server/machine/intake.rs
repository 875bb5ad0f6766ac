//! The intake's answers: whether it would accept a message, and whether it did.

use super::{Admit, Machine, Phase};
use crate::server::clients::Kind;
use crate::server::data::{Decoder, Ending};
use crate::server::reply::ServerReply;
use spool_core::{AddError, MessageId};
use std::fmt::Write as _;
use tracing::info;

impl Machine {
    /// Asks whether the message of the open transaction would be accepted; otherwise the transaction ends.
    pub(super) fn admit(&mut self, admit: Admit<'_>) -> Result<(), ServerReply> {
        let size = self.transaction.as_ref().map_or(0, |open| open.size);
        admit(size).map_err(|error| {
            self.transaction = None;
            self.not_taken(&error)
        })
    }

    /// The decoder of the open transaction's message, which is counted, and would be accepted.
    pub(super) fn begin_message(&mut self, ending: Ending, admit: Admit<'_>) -> Result<Decoder, ServerReply> {
        self.takes(Kind::Messages)?;
        self.admit(admit).inspect_err(|_| self.give_message_back())?;
        self.decoder(ending)
    }

    /// The intake's answer to [`Next::Accept`], with ids of durable messages only.
    pub(in crate::server) fn accepted(&mut self, answer: Result<Vec<MessageId>, AddError>) {
        let phase = std::mem::replace(&mut self.phase, Phase::Command);
        // The memory of the recipients and the body, until here.
        let Phase::Accepting(_held) = phase else {
            // Not waiting for this answer.
            self.phase = phase;
            return;
        };
        self.progress = true;
        match answer {
            Ok(ids) => {
                self.replies.push_str("250 2.0.0 Queued");
                if let Some(first) = ids.first() {
                    // Writing to a String cannot fail.
                    let _ = write!(self.replies, " as {first}");
                }
                self.replies.push_str("\r\n");
            }
            Err(error) => {
                self.give_message_back();
                let refusal = self.not_taken(&error);
                self.say(refusal);
            }
        }
    }

    fn not_taken(&self, error: &AddError) -> ServerReply {
        info!(session = %self.session, %error, "the spool takes no mail");
        ServerReply::from_intake(error)
    }
}
