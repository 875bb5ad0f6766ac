//! The intake's answers: whether it would accept a message, and whether it did.

use super::{Machine, Phase};
use crate::server::reply::{self, ServerReply};
use spool_core::{AddError, MessageId};
use std::fmt::Write as _;
use tracing::info;

impl Machine {
    /// The intake's answer to [`Next::Admit`].
    pub fn admitted(&mut self, answer: Result<(), AddError>) {
        let asked = std::mem::replace(&mut self.phase, Phase::Command);
        match (answer, asked) {
            (Ok(()), Phase::AdmitMail) => self.say(reply::SENDER_OK),
            (Ok(()), Phase::AdmitData) => self.begin_data(),
            (Ok(()), Phase::AdmitChunk(chunk)) => self.begin_chunks(chunk),
            (Err(error), Phase::AdmitChunk(chunk)) => {
                self.give_message_back();
                self.transaction = None;
                let refusal = self.not_taken(&error);
                self.skip(chunk, refusal);
            }
            (Err(error), asked @ (Phase::AdmitMail | Phase::AdmitData)) => {
                if matches!(asked, Phase::AdmitData) {
                    self.give_message_back();
                }
                self.transaction = None;
                self.refused_by_intake(&error);
            }
            // Not waiting for this answer.
            (
                _,
                phase @ (Phase::Command
                | Phase::Data(_)
                | Phase::Chunk(..)
                | Phase::Skip(..)
                | Phase::Accepting(_)
                | Phase::StartTls { .. }
                | Phase::Login(_)
                | Phase::Checking(_)
                | Phase::Readdress(_)
                | Phase::Closed),
            ) => self.phase = phase,
        }
    }

    /// The intake's answer to [`Next::Accept`], with ids of durable messages only.
    pub fn accepted(&mut self, answer: Result<Vec<MessageId>, AddError>) {
        // The memory of the recipients and the body, until here.
        let _held = match std::mem::replace(&mut self.phase, Phase::Command) {
            Phase::Accepting(held) => held,
            // Not waiting for this answer.
            phase @ (Phase::Command
            | Phase::AdmitMail
            | Phase::AdmitData
            | Phase::AdmitChunk(_)
            | Phase::Data(_)
            | Phase::Chunk(..)
            | Phase::Skip(..)
            | Phase::StartTls { .. }
            | Phase::Login(_)
            | Phase::Checking(_)
            | Phase::Readdress(_)
            | Phase::Closed) => {
                self.phase = phase;
                return;
            }
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
                self.refused_by_intake(&error);
            }
        }
    }

    fn refused_by_intake(&mut self, error: &AddError) {
        let refusal = self.not_taken(error);
        self.say(refusal);
    }

    fn not_taken(&self, error: &AddError) -> ServerReply {
        info!(session = %self.session, %error, "the spool takes no mail");
        ServerReply::from_intake(error)
    }
}
