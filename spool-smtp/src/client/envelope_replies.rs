//! The replies to the commands of a transaction, before its body.
//!
//! A reply is read by its first digit (RFC 5321 section 4.2.1): any 2yz to MAIL and to RCPT is success. Only 354 to DATA asks for the
//! body. An unexpected reply ends the session, because later replies could no longer be assigned to their commands.

use super::connect_error::broken;
use super::envelope_commands::EnvelopeCommand;
use super::reply_filter::RawReply;
use spool_core::{AttemptResult, EnhancedCode, RecipientIndex, RefusedRecipient, Reply, Stage, names_a_rate};

/// The replies so far.
#[derive(Debug, Default)]
pub(super) struct EnvelopeReplies {
    /// The refusal of MAIL. Replies to RCPT do not count then.
    pub(super) mail: Option<Reply>,
    /// The number of recipients that were accepted.
    pub(super) accepted: usize,
    pub(super) refused: Vec<RefusedRecipient>,
    pub(super) postponed: Vec<RecipientIndex>,
    /// The reply to DATA or BDAT.
    pub(super) last: Option<RawReply>,
}

/// The result for the recipients of one transaction.
#[derive(Debug)]
pub(super) struct TransactionEnd {
    /// For the recipients that are in neither list below.
    pub(super) result: AttemptResult,
    pub(super) refused: Vec<RefusedRecipient>,
    /// Too many for one transaction: they go in the next one.
    pub(super) postponed: Vec<RecipientIndex>,
    /// Whether the session may be used again.
    pub(super) reusable: bool,
    /// After how many replies to RCPT the peer broke off or sent 421, if that was among the recipients or right after them.
    pub(super) cut_after: Option<usize>,
}

/// Why a transaction cannot continue.
pub(super) enum Stop {
    Broken {
        stage: Stage,
        error: String,
        /// Whether the connection ended, rather than a deadline passed or the peer sent an invalid reply.
        closed: bool,
    },
    /// 421.
    Closing { stage: Stage, reply: Reply },
}

impl EnvelopeReplies {
    /// The end of the transaction with this result for the recipients without a reply of their own.
    pub(super) fn end(self, result: AttemptResult, reusable: bool) -> TransactionEnd {
        TransactionEnd {
            result,
            refused: self.refused,
            postponed: self.postponed,
            reusable,
            cut_after: None,
        }
    }

    /// The end of a transaction that was cut off; `in_doubt` if the peer may have the message. Refusals before that count.
    pub(super) fn stopped(mut self, stop: Stop, recipients: usize, in_doubt: bool) -> TransactionEnd {
        if let Some(reply) = self.mail.take() {
            let stage = Stage::Mail;
            return self.end(AttemptResult::Refused { stage, reply }, false);
        }
        if self.refused.len() == recipients {
            return self.end(AttemptResult::AllRefused, false);
        }
        let answered = self.accepted + self.refused.len() + self.postponed.len();
        // A 421 to MAIL is not about the number of recipients, but a connection that breaks there may have lost the replies to many. An
        // end of the session after the last recipient is noticed only at DATA.
        let among_recipients = match &stop {
            Stop::Broken { stage, closed, .. } => *closed || matches!(stage, Stage::Mail | Stage::Rcpt),
            Stop::Closing { stage, reply } => {
                *stage == Stage::Rcpt || *stage == Stage::Data && !names_a_rate(reply)
            }
        };
        let broken_in_doubt = in_doubt && matches!(stop, Stop::Broken { .. });
        let result = match stop {
            Stop::Broken { error, .. } if in_doubt => broken(Stage::FinalReply, &error, true),
            Stop::Broken { stage, error, .. } => broken(stage, &error, false),
            Stop::Closing { stage, reply } => AttemptResult::Refused { stage, reply },
        };
        let mut end = Self::default().end(result, false);
        end.cut_after = (among_recipients && !broken_in_doubt).then_some(answered);
        end
    }

    /// Whether there was no reply to RCPT, and MAIL was not refused.
    pub(super) const fn no_recipient_was_answered(&self) -> bool {
        self.mail.is_none() && self.accepted == 0 && self.refused.is_empty()
    }

    /// Adds the reply to `command`.
    pub(super) fn note(&mut self, command: EnvelopeCommand, reply: RawReply) -> Result<(), Stop> {
        let stage = command.stage();
        if reply.code == 421 {
            return Err(Stop::Closing {
                stage,
                reply: reply.to_reply(),
            });
        }
        let is_data = matches!(command, EnvelopeCommand::Data);
        let wrong = match is_data {
            true => reply.is(2) || reply.is(3) && reply.code != 354,
            false => reply.is(3),
        };
        if wrong || matches!(command, EnvelopeCommand::Reset) && !reply.is(2) {
            let why = if wrong {
                "a reply of the wrong kind"
            } else {
                "RSET was refused"
            };
            let error = format!("{why}: {}", reply.to_reply());
            let closed = false;
            return Err(Stop::Broken { stage, error, closed });
        }
        match command {
            EnvelopeCommand::Reset => {}
            EnvelopeCommand::Rcpt(_) if self.mail.is_some() => {}
            EnvelopeCommand::Mail if reply.is(2) => {}
            EnvelopeCommand::Mail => self.mail = Some(reply.to_reply()),
            EnvelopeCommand::Rcpt(_) if reply.is(2) => self.accepted += 1,
            EnvelopeCommand::Rcpt(recipient) => {
                let reply = reply.to_reply();
                // At least one recipient was accepted, so the next transaction makes progress.
                if self.accepted > 0 && is_too_many(&reply) {
                    self.postponed.push(recipient);
                } else {
                    self.refused.push(RefusedRecipient { recipient, reply });
                }
            }
            EnvelopeCommand::Data | EnvelopeCommand::Bdat => self.last = Some(reply),
        }
        Ok(())
    }
}

/// Whether a reply to RCPT says that the transaction has too many recipients (RFC 5321 section 4.5.3.1.10): by its enhanced code, or
/// by its text if it has none. 452 alone may also be about a full mailbox or disk.
fn is_too_many(reply: &Reply) -> bool {
    match reply.enhanced {
        Some(EnhancedCode(_, subject, detail)) => (subject, detail) == (5, 3),
        None => {
            let text = reply.text.to_ascii_lowercase();
            matches!(reply.code, 452 | 552) && text.contains("too many") && !text.contains("message")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_recipients_are_distinguished_from_full_mailboxes() {
        for (code, text, expected) in [
            (452, "4.5.3 Too many recipients", true),
            (552, "5.5.3 enough", true),
            (550, "5.5.3 too many", true),
            (452, "Too many recipients", true),
            (452, "4.2.2 mailbox full", false),
            (452, "4.3.1 Insufficient system storage", false),
            (452, "Insufficient system storage", false),
            (452, "too many messages from you", false),
            (450, "too many recipients", false),
            (552, "5.2.2 over quota", false),
        ] {
            assert_eq!(is_too_many(&Reply::new(code, text)), expected, "{code} {text}");
        }
    }
}
