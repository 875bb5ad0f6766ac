//! The commands of a transaction in their order, as text and one by one.

use super::chunking::goes_at_once;
use super::commands::{mail, needs_smtputf8, rcpt};
use super::config::SmtpConfig;
use super::session::Session;
use spool_core::{Job, RecipientIndex, Stage};
use std::fmt::Write;
use std::time::Duration;

/// The most RCPTs that are sent before their replies are read; the buffers of both sides hold that many.
pub(super) const GROUP: usize = 100;
/// The initial capacity for each command.
const LINE: usize = 64;

/// A command that is answered with a reply.
#[derive(Debug, Clone, Copy)]
pub(super) enum EnvelopeCommand {
    Reset,
    Mail,
    Rcpt(RecipientIndex),
    Data,
    /// BDAT, followed by the body.
    Bdat,
}

impl EnvelopeCommand {
    pub(super) const fn stage(self) -> Stage {
        match self {
            Self::Reset | Self::Mail => Stage::Mail,
            Self::Rcpt(_) => Stage::Rcpt,
            Self::Data => Stage::Data,
            Self::Bdat => Stage::FinalReply,
        }
    }

    pub(super) const fn timeout(self, config: &SmtpConfig) -> Duration {
        match self {
            Self::Reset | Self::Mail | Self::Rcpt(_) => config.command_timeout,
            Self::Data => config.data_timeout,
            // The body was written before the reply to MAIL was read.
            Self::Bdat => config.final_reply_timeout,
        }
    }
}

/// The commands of a transaction.
pub(super) struct EnvelopeCommands {
    /// All commands as they are sent.
    pub(super) text: String,
    /// Each command, and where it ends in the text.
    pub(super) each: Vec<(EnvelopeCommand, usize)>,
}

impl EnvelopeCommands {
    /// The commands for these recipients of `job`.
    pub(super) fn new(session: &Session, job: &Job, recipients: &[RecipientIndex]) -> Self {
        let offers = &session.capabilities;
        let mut commands = Self {
            text: String::with_capacity(LINE * (recipients.len() + 2)),
            each: Vec::with_capacity(recipients.len() + 3),
        };
        if session.needs_reset {
            commands.push(EnvelopeCommand::Reset, |text| text.push_str("RSET\r\n"));
        }
        let utf8 = needs_smtputf8(job, recipients);
        commands.push(EnvelopeCommand::Mail, |text| {
            mail(text, offers, &job.envelope, &job.body, utf8)
        });
        for index in recipients {
            if let Some(recipient) = job.envelope.recipient(*index) {
                let rcpt = |text: &mut String| rcpt(text, offers, recipient, utf8);
                commands.push(EnvelopeCommand::Rcpt(*index), rcpt);
            }
        }
        if commands.each.len() < GROUP && goes_at_once(session, job) {
            commands.push(EnvelopeCommand::Bdat, |text| {
                // Writing to a String cannot fail.
                let _ = write!(text, "BDAT {} LAST\r\n", job.body.len());
            });
        } else {
            commands.push(EnvelopeCommand::Data, |text| text.push_str("DATA\r\n"));
        }
        commands
    }

    fn push(&mut self, command: EnvelopeCommand, write: impl FnOnce(&mut String)) {
        write(&mut self.text);
        self.each.push((command, self.text.len()));
    }

    /// Whether the body follows in the same write, by BDAT.
    pub(super) fn include_body(&self) -> bool {
        matches!(self.each.last(), Some((EnvelopeCommand::Bdat, _)))
    }
}
