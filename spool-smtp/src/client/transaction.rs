//! One mail transaction on an open session: MAIL, RCPT each, DATA, the body, and every reply kept.
//!
//! It checks the kind of each reply, not only its class: 2xx to MAIL and RCPT, 354 to DATA, 250 to the dot. A reply of
//! the wrong kind ends the session, for then nobody knows which reply belongs to what.

use super::commands::{mail, rcpt, recipient};
use super::config::SmtpConfig;
use super::reply_filter::RawReply;
use super::session::Session;
use spool_core::{AttemptResult, EnhancedCode, Job, RecipientIndex, RefusedRecipient, Reply, Stage};

/// The most RCPTs sent before their replies are read: both sides' buffers hold as much.
const GROUP: usize = 100;

/// How a transaction ended.
#[derive(Debug)]
pub(super) enum Outcome {
    Ended(Ended),
    /// The session had ended before the transaction began: nothing was sent that the peer acted on.
    Stale(String),
}

/// What became of the recipients of one transaction.
#[derive(Debug)]
pub(super) struct Ended {
    /// For those that are in neither list below.
    pub(super) result: AttemptResult,
    pub(super) refused: Vec<RefusedRecipient>,
    /// Too many for one transaction: they go in the next one.
    pub(super) postponed: Vec<RecipientIndex>,
    /// Whether the session may be used again.
    pub(super) reusable: bool,
}

/// A command whose reply is waited for.
#[derive(Debug, Clone, Copy)]
enum Command {
    Reset,
    Mail,
    Rcpt(RecipientIndex),
    Data,
}

impl Command {
    const fn stage(self) -> Stage {
        match self {
            Self::Reset | Self::Mail => Stage::Mail,
            Self::Rcpt(_) => Stage::Rcpt,
            Self::Data => Stage::Data,
        }
    }
}

/// What was learned so far.
#[derive(Debug, Default)]
struct Replies {
    seen: usize,
    mail: Option<Reply>,
    accepted: usize,
    refused: Vec<RefusedRecipient>,
    postponed: Vec<RecipientIndex>,
    data: Option<RawReply>,
}

/// Why it cannot go on.
enum Stop {
    Broken { stage: Stage, error: String },
    Closing { stage: Stage, reply: Reply },
}

/// Sends `job` to these of its recipients on `session`.
pub(super) async fn transact(
    session: &mut Session,
    job: &Job,
    recipients: &[RecipientIndex],
    config: &SmtpConfig,
) -> Outcome {
    let reused = session.messages > 0;
    session.messages += 1;
    // Replies of which nothing of this message depends: that to RSET.
    let before = usize::from(session.needs_reset);
    let mut replies = Replies::default();
    let stopped = match envelope(session, job, recipients, config, &mut replies).await {
        Ok(()) => None,
        Err(Stop::Broken { error, .. }) if reused && replies.seen <= before => return Outcome::Stale(error),
        Err(Stop::Closing { reply, .. }) if reused && replies.seen <= before + 1 => {
            return Outcome::Stale(reply.to_string());
        }
        Err(Stop::Broken { stage, error }) => Some(broken(stage, error, false)),
        Err(Stop::Closing { stage, reply }) => Some(AttemptResult::Refused { stage, reply }),
    };
    if let Some(result) = stopped {
        return ended(result, Vec::new(), false);
    }
    // With 354 the peer waits for a body: to send none, the session must end.
    let waiting = replies.data.as_ref().is_some_and(|reply| reply.code == 354);
    session.needs_reset = true;
    if let Some(reply) = replies.mail {
        let stage = Stage::Mail;
        return ended(AttemptResult::Refused { stage, reply }, Vec::new(), !waiting);
    }
    if replies.accepted == 0 {
        return ended(AttemptResult::AllRefused, replies.refused, !waiting);
    }
    let (result, reusable) = match replies.data {
        Some(_) if waiting => body(session, job, config).await,
        Some(reply) => {
            let (stage, reply) = (Stage::Data, reply.to_reply());
            (AttemptResult::Refused { stage, reply }, true)
        }
        None => (broken(Stage::Data, "no reply to DATA".to_owned(), false), false),
    };
    Outcome::Ended(Ended {
        result,
        refused: replies.refused,
        postponed: replies.postponed,
        reusable,
    })
}

const fn broken(stage: Stage, error: String, in_doubt: bool) -> AttemptResult {
    AttemptResult::Broken {
        stage,
        error,
        in_doubt,
    }
}

const fn ended(result: AttemptResult, refused: Vec<RefusedRecipient>, reusable: bool) -> Outcome {
    Outcome::Ended(Ended {
        result,
        refused,
        postponed: Vec::new(),
        reusable,
    })
}

/// Sends the commands, in groups when the peer offers PIPELINING, one by one when not.
async fn envelope(
    session: &mut Session,
    job: &Job,
    recipients: &[RecipientIndex],
    config: &SmtpConfig,
    replies: &mut Replies,
) -> Result<(), Stop> {
    let commands = commands(session, job, recipients);
    let group = if session.capabilities.pipelining { GROUP } else { 1 };
    for group in commands.chunks(group) {
        let hopeless = replies.mail.is_some() || (replies.accepted == 0 && !replies.refused.is_empty());
        let only_data = matches!(group, [(Command::Data, _)]);
        if replies.mail.is_some() || (only_data && hopeless) {
            return Ok(());
        }
        let first = group.first().map_or(Command::Mail, |(command, _)| *command);
        if session.wire.has_spoken_or_gone() {
            let error = "the peer spoke out of turn or closed the connection".to_owned();
            return Err(Stop::Broken {
                stage: first.stage(),
                error,
            });
        }
        let text: String = group.iter().map(|(_, line)| line.as_str()).collect();
        let mut reply = None;
        for (command, _) in group {
            let data = matches!(command, Command::Data);
            session.wire.within(if data {
                config.data_timeout
            } else {
                config.command_timeout
            });
            let next = match reply.replace(()) {
                None => session.say(&text).await,
                Some(()) => session.listen().await,
            };
            let stage = command.stage();
            let next = next.map_err(|error| Stop::Broken { stage, error })?;
            replies.seen += 1;
            replies.note(*command, next)?;
        }
    }
    Ok(())
}

impl Replies {
    fn note(&mut self, command: Command, reply: RawReply) -> Result<(), Stop> {
        let stage = command.stage();
        if reply.code == 421 {
            return Err(Stop::Closing {
                stage,
                reply: reply.to_reply(),
            });
        }
        let wrong = reply.is(3) || (matches!(command, Command::Data) && reply.is(2));
        if wrong && !(matches!(command, Command::Data) && reply.code == 354) {
            let error = format!("a reply of the wrong kind: {}", reply.to_reply());
            return Err(Stop::Broken { stage, error });
        }
        match command {
            Command::Reset if !reply.is(2) => {
                return Err(Stop::Broken {
                    stage,
                    error: format!("RSET was refused: {}", reply.to_reply()),
                });
            }
            Command::Reset => {}
            Command::Mail if reply.is(2) => {}
            Command::Mail => self.mail = Some(reply.to_reply()),
            Command::Rcpt(_) if reply.is(2) => self.accepted += 1,
            Command::Rcpt(recipient) => {
                let reply = reply.to_reply();
                // Of too many, the first at least was taken: the next transaction is a step further.
                if self.accepted > 0 && is_too_many(&reply) {
                    self.postponed.push(recipient);
                } else {
                    self.refused.push(RefusedRecipient { recipient, reply });
                }
            }
            Command::Data => self.data = Some(reply),
        }
        Ok(())
    }
}

/// Whether a reply to RCPT says that the transaction has recipients enough (RFC 5321 section 4.5.3.1.10): by its
/// enhanced code, or where it has none, by its words. 452 alone is also said of a full mailbox or disk.
fn is_too_many(reply: &Reply) -> bool {
    match reply.enhanced {
        Some(EnhancedCode(_, subject, detail)) => (subject, detail) == (5, 3),
        None => {
            let text = reply.text.to_ascii_lowercase();
            matches!(reply.code, 452 | 552) && text.contains("too many") && !text.contains("message")
        }
    }
}

/// The body and the reply to it; and whether the session may be used again.
async fn body(session: &mut Session, job: &Job, config: &SmtpConfig) -> (AttemptResult, bool) {
    if session.wire.has_spoken_or_gone() {
        let error = "the peer spoke before the body or closed the connection".to_owned();
        return (broken(Stage::Body, error, false), false);
    }
    session.wire.begin_body();
    // One deadline for both: the body's allowance, and the wait for the reply after it.
    session.wire.within(
        config
            .body_timeout(job.body.len())
            .saturating_add(config.final_reply_timeout),
    );
    let stage = Stage::FinalReply;
    match session.body(&job.body).await {
        Err(error) => {
            let in_doubt = session.wire.body_may_have_arrived();
            let stage = if in_doubt { stage } else { Stage::Body };
            (broken(stage, error, in_doubt), false)
        }
        Ok(reply) if reply.code == 250 => {
            session.needs_reset = false;
            (AttemptResult::Accepted(reply.to_reply()), true)
        }
        Ok(reply) if reply.is(4) || reply.is(5) => {
            session.needs_reset = false;
            let (reusable, reply) = (reply.code != 421, reply.to_reply());
            (AttemptResult::Refused { stage, reply }, reusable)
        }
        Ok(reply) => {
            let error = format!("a reply of the wrong kind to the final dot: {}", reply.to_reply());
            (broken(stage, error, session.wire.body_may_have_arrived()), false)
        }
    }
}

fn commands(session: &Session, job: &Job, recipients: &[RecipientIndex]) -> Vec<(Command, String)> {
    let offers = &session.capabilities;
    let mut commands = Vec::with_capacity(recipients.len() + 3);
    if session.needs_reset {
        commands.push((Command::Reset, "RSET\r\n".to_owned()));
    }
    commands.push((Command::Mail, mail(offers, job)));
    for index in recipients {
        if let Some(recipient) = recipient(&job.envelope, *index) {
            commands.push((Command::Rcpt(*index), rcpt(offers, recipient)));
        }
    }
    commands.push((Command::Data, "DATA\r\n".to_owned()));
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_recipients_are_told_from_full_mailboxes() {
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
