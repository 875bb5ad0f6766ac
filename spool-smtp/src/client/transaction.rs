//! One mail transaction on an open session: MAIL, a RCPT for each recipient, then DATA and the body, or BDAT.

use super::config::SmtpConfig;
use super::connect_error::broken;
use super::envelope_commands::{EnvelopeCommand, EnvelopeCommands, GROUP};
use super::envelope_replies::{EnvelopeReplies, Stop, TransactionEnd};
use super::reply_filter::RawReply;
use super::session::Session;
use super::wire::TIMED_OUT;
use spool_core::{AttemptResult, Job, RecipientIndex, Reply, Stage, names_a_rate};
use tokio::time::Instant;

/// The session cannot be used any more, and what the peer answered is not about this message: another session may start over.
#[derive(Debug)]
pub(super) struct StaleSession {
    pub(super) error: String,
    /// Whether the session is in step with the peer and may end with QUIT.
    pub(super) in_step: bool,
}

/// Sends `job` to these of its recipients on `session`.
pub(super) async fn transact(
    session: &mut Session,
    job: &Job,
    recipients: &[RecipientIndex],
    config: &SmtpConfig,
) -> Result<TransactionEnd, StaleSession> {
    let commands = EnvelopeCommands::new(session, job, recipients);
    let is_reused = session.messages > 0;
    session.messages += 1;
    session.wire.forget_body();
    let mut transaction = ClientTransaction {
        session,
        job,
        config,
        sends_body_at_once: commands.include_body(),
        is_reused,
        replies: EnvelopeReplies::default(),
    };
    match transaction.send_envelope(&commands).await {
        Ok(()) => transaction.finish().await,
        Err(stop) => transaction.stopped(stop, recipients.len()),
    }
}

struct ClientTransaction<'t> {
    session: &'t mut Session,
    job: &'t Job,
    config: &'t SmtpConfig,
    /// Whether the body is sent with the envelope, by BDAT.
    sends_body_at_once: bool,
    /// Whether the session had transactions before.
    is_reused: bool,
    replies: EnvelopeReplies,
}

impl ClientTransaction<'_> {
    /// Sends the commands: in groups if the peer offers PIPELINING, otherwise one by one.
    async fn send_envelope(&mut self, commands: &EnvelopeCommands) -> Result<(), Stop> {
        let Self { session, replies, .. } = self;
        let group = if session.capabilities.pipelining { GROUP } else { 1 };
        let mut written = 0;
        for group in commands.each.chunks(group) {
            let only_data = matches!(group, [(EnvelopeCommand::Data, _)]);
            let no_recipient = replies.accepted == 0 && !replies.refused.is_empty();
            if replies.mail.is_some() || only_data && no_recipient {
                return Ok(());
            }
            let first = group.first();
            if session.wire.has_sent_or_closed() {
                return Err(Stop::Broken {
                    stage: first.map_or(Stage::Mail, |(command, _)| command.stage()),
                    error: "the peer spoke out of turn or closed the connection".to_owned(),
                    closed: true,
                });
            }
            let end = group.last().map_or(written, |(_, end)| *end);
            let text = commands.text.get(written..end).unwrap_or_default();
            written = end;
            if matches!(group.last(), Some((EnvelopeCommand::Bdat, _))) {
                session.wire.follow_with(self.job.body.clone(), b"");
            }
            let mut unsent = Some(text);
            for (command, _) in group {
                session.wire.within(command.timeout(self.config));
                let reply = match unsent.take() {
                    Some(text) => session.say(text).await,
                    None => session.wire.reply().await,
                };
                let stage = command.stage();
                let reply = reply.map_err(|error| Stop::Broken {
                    stage,
                    closed: error != TIMED_OUT,
                    error,
                })?;
                replies.note(*command, reply)?;
            }
        }
        Ok(())
    }

    /// The outcome of a transaction that was cut off in the envelope.
    fn stopped(self, stop: Stop, recipients: usize) -> Result<TransactionEnd, StaleSession> {
        let in_doubt = self.sends_body_at_once && self.session.wire.body_may_have_arrived();
        if in_doubt && let Stop::Broken { error, .. } = &stop {
            self.session.chunking_failed = Some(error.clone());
        }
        // The peer may only have ended the session, which was used before: another one is tried.
        let is_stale = self.is_reused && self.replies.no_recipient_was_answered();
        let error = match &stop {
            Stop::Broken { error, .. } if is_stale && !in_doubt => error.clone(),
            Stop::Closing { reply, .. } if is_stale => reply.to_string(),
            Stop::Broken { .. } | Stop::Closing { .. } => {
                return Ok(self.replies.stopped(stop, recipients, in_doubt));
            }
        };
        let in_step = false;
        Err(StaleSession { error, in_step })
    }

    /// Sends the body if the peer asks for it. Every command of the envelope was answered, or MAIL or all recipients were refused.
    async fn finish(mut self) -> Result<TransactionEnd, StaleSession> {
        let mut replies = std::mem::take(&mut self.replies);
        let last = replies.last.take();
        let code = last.as_ref().map(|reply| reply.code);
        // After 354 the peer waits for a body: without one, the session must end.
        let waits_for_body = code == Some(354);
        // Some servers read the body of a refused BDAT as commands. Their replies would be taken for those to later commands.
        let read_as_commands = self.sends_body_at_once && matches!(code, Some(500..=504));
        let in_step = !waits_for_body && !read_as_commands;
        self.session.needs_reset = true;
        let (result, reusable) = match (replies.mail.take(), last) {
            (Some(reply), _) if self.is_reused && is_about_the_session(&reply) => {
                let error = reply.to_string();
                return Err(StaleSession { error, in_step });
            }
            (Some(reply), _) => {
                let stage = Stage::Mail;
                (AttemptResult::Refused { stage, reply }, in_step)
            }
            (None, _) if replies.accepted == 0 => (AttemptResult::AllRefused, in_step),
            (None, Some(reply)) if read_as_commands => {
                // The reply may not be about the message.
                let error = format!("BDAT, which the peer offers, was answered {}", reply.to_reply());
                self.session.chunking_failed = Some(error.clone());
                return Err(StaleSession { error, in_step });
            }
            (None, Some(reply)) if self.sends_body_at_once => self.final_result(&reply),
            (None, Some(_)) if waits_for_body => self.send_body().await,
            (None, Some(reply)) => {
                let (stage, reply) = (Stage::Data, reply.to_reply());
                (AttemptResult::Refused { stage, reply }, true)
            }
            (None, None) => (broken(Stage::Data, "no reply to DATA", false), false),
        };
        Ok(replies.end(result, reusable))
    }

    /// Sends the body and reads the final reply. Returns the result, and whether the session may be used again.
    async fn send_body(&mut self) -> (AttemptResult, bool) {
        let session = &mut *self.session;
        if session.wire.has_sent_or_closed() {
            let error = "the peer spoke before the body or closed the connection";
            return (broken(Stage::Body, error, false), false);
        }
        // The limits hold for each part of the body, however large it is; the whole has the limit of the attempt.
        session
            .wire
            .begin_body(self.config.data_timeout, self.config.final_reply_timeout);
        match session.body(&self.job.body).await {
            Err(error) => {
                let in_doubt = session.wire.body_may_have_arrived();
                let stage = if in_doubt { Stage::FinalReply } else { Stage::Body };
                (broken(stage, &error, in_doubt), false)
            }
            Ok(reply) => {
                // The final dot ends the transaction, whatever the reply; after BDAT, RSET does (RFC 3030 section 2).
                session.needs_reset = false;
                self.final_result(&reply)
            }
        }
    }

    /// The result for the reply to a complete body, and whether the session may be used again.
    fn final_result(&mut self, reply: &RawReply) -> (AttemptResult, bool) {
        let stage = Stage::FinalReply;
        if reply.is(2) {
            self.session.needs_reset = false;
            self.session.took_at = Some(Instant::now());
            return (AttemptResult::Accepted(reply.to_reply()), true);
        }
        if reply.is(4) || reply.is(5) {
            let (reusable, reply) = (reply.code != 421, reply.to_reply());
            return (AttemptResult::Refused { stage, reply }, reusable);
        }
        let error = format!("a reply of the wrong kind to the body: {}", reply.to_reply());
        let in_doubt = self.session.wire.body_may_have_arrived();
        (broken(stage, &error, in_doubt), false)
    }
}

/// Whether a refusal of MAIL may be about a session that was used before, so that another one is tried: out of sequence (503), or a
/// temporary refusal, such as for too many messages in one session. One that names a rate would only be repeated.
fn is_about_the_session(reply: &Reply) -> bool {
    reply.code == 503 || (matches!(reply.code, 400..=499) && !names_a_rate(reply))
}
