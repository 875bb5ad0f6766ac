//! The intake's answers: whether it would accept a message, and whether it did.

use super::{Admitting, Machine, Phase};
use crate::server::reply::{self, ServerReply};
use spool_core::{AddError, MessageId};
use std::fmt::Write as _;
use tracing::info;

impl Machine {
    /// The intake's answer to [`Next::Admit`].
    pub(in crate::server) fn admitted(&mut self, answer: Result<(), AddError>) {
        // Otherwise not waiting for this answer.
        let Phase::Admit(asked) = self.phase else { return };
        self.phase = Phase::Command;
        let Err(error) = answer else {
            return match asked {
                Admitting::Mail => self.say(reply::SENDER_OK),
                Admitting::Data => self.begin_data(),
                Admitting::Chunk(chunk) => self.begin_chunks(chunk),
            };
        };
        self.transaction = None;
        let refusal = self.not_taken(&error);
        match asked {
            Admitting::Mail => self.say(refusal),
            Admitting::Data => {
                self.give_message_back();
                self.say(refusal);
            }
            Admitting::Chunk(chunk) => {
                self.give_message_back();
                self.skip(chunk, refusal);
            }
        }
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
