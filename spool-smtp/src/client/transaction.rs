//! One mail transaction on an open session: MAIL, RCPT each, DATA and the body or BDAT, and every reply kept.
//!
//! A reply is read by its first digit (RFC 5321 section 4.2.1): any 2yz to MAIL, to RCPT and to the body is success. Only 354 to
//! DATA asks for the body. A reply of the wrong kind ends the session, for then nobody knows which reply belongs to what.

use super::chunking::{bdat, goes_at_once};
use super::commands::{mail, needs_smtputf8, rcpt, recipient};
use super::config::SmtpConfig;
use super::reply_filter::RawReply;
use super::session::Session;
use super::wire::TIMED_OUT;
use spool_core::{
    AttemptResult, EnhancedCode, Job, RecipientIndex, RefusedRecipient, Reply, Stage, names_a_rate,
};
use std::time::Duration;
use tokio::time::Instant;

/// The most RCPTs sent before their replies are read: both sides' buffers hold as much.
const GROUP: usize = 100;
/// The room that is made for a command; where it needs more, more is made.
const LINE: usize = 64;

/// How a transaction ended.
#[derive(Debug)]
pub(super) enum Outcome {
    Ended(Ended),
    /// The session is of no use any more, and the peer has acted on nothing of this message. It may end with QUIT where it is in
    /// step.
    Stale {
        error: String,
        in_step: bool,
    },
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
    /// After how many answers to recipients the peer broke off or said 421, where that was among the recipients or right after them.
    pub(super) cut_after: Option<usize>,
}

/// A command whose reply is waited for.
#[derive(Debug, Clone, Copy)]
enum Command {
    Reset,
    Mail,
    Rcpt(RecipientIndex),
    Data,
    /// With the body behind it.
    Bdat,
}

impl Command {
    const fn stage(self) -> Stage {
        match self {
            Self::Reset | Self::Mail => Stage::Mail,
            Self::Rcpt(_) => Stage::Rcpt,
            Self::Data => Stage::Data,
            Self::Bdat => Stage::FinalReply,
        }
    }

    const fn timeout(self, config: &SmtpConfig) -> Duration {
        match self {
            Self::Reset | Self::Mail | Self::Rcpt(_) => config.command_timeout,
            Self::Data => config.data_timeout,
            // The octets were written before the reply to MAIL was read.
            Self::Bdat => config.final_reply_timeout,
        }
    }
}

/// What was learned so far.
#[derive(Debug, Default)]
struct Replies {
    mail: Option<Reply>,
    accepted: usize,
    refused: Vec<RefusedRecipient>,
    postponed: Vec<RecipientIndex>,
    /// To DATA or BDAT.
    last: Option<RawReply>,
}

/// Why it cannot go on.
enum Stop {
    Broken {
        stage: Stage,
        error: String,
        /// Whether the connection ended: not by a deadline, and not because of what the peer said.
        closed: bool,
    },
    Closing {
        stage: Stage,
        reply: Reply,
    },
}

/// Sends `job` to these of its recipients on `session`.
pub(super) async fn transact(
    session: &mut Session,
    job: &Job,
    recipients: &[RecipientIndex],
    config: &SmtpConfig,
) -> Outcome {
    let commands = commands(session, job, recipients);
    let at_once = matches!(commands.each.last(), Some((Command::Bdat, _)));
    let reused = session.messages > 0;
    session.messages += 1;
    session.wire.forget_body();
    let mut replies = Replies::default();
    if let Err(stop) = envelope(session, job, &commands, config, &mut replies).await {
        let may_have_it = at_once && session.wire.body_may_have_arrived();
        if may_have_it && let Stop::Broken { error, .. } = &stop {
            session.chunking_failed = Some(error.clone());
        }
        // Of a session that was used before, the peer may have had enough: nothing of this message was acted on.
        let had_enough = reused && replies.no_recipient_was_answered();
        return match stop {
            Stop::Broken { error, .. } if had_enough && !may_have_it => stale(error, false),
            Stop::Closing { reply, .. } if had_enough => stale(reply.to_string(), false),
            Stop::Broken { .. } | Stop::Closing { .. } => {
                replies.stopped(stop, recipients.len(), may_have_it)
            }
        };
    }
    let last = replies.last.as_ref().map(|reply| reply.code);
    // With 354 the peer waits for a body: to send none, the session must end.
    let waiting = last == Some(354);
    // Some do not skip the octets of a BDAT that is out of order: what they answer to them is not to be taken for other replies.
    let astray = at_once && matches!(last, Some(500..=504));
    let in_step = !waiting && !astray;
    session.needs_reset = true;
    if let Some(reply) = replies.mail {
        if reused && is_about_the_session(&reply) {
            return stale(reply.to_string(), in_step);
        }
        let stage = Stage::Mail;
        return ended(AttemptResult::Refused { stage, reply }, Vec::new(), in_step);
    }
    if replies.accepted == 0 {
        return ended(AttemptResult::AllRefused, replies.refused, in_step);
    }
    let (result, reusable) = match replies.last {
        Some(reply) if astray => {
            // It took the octets for commands, or may have. What it thinks of the message is not known.
            let error = format!("BDAT, which the peer offers, was answered {}", reply.to_reply());
            session.chunking_failed = Some(error.clone());
            return stale(error, false);
        }
        Some(reply) if at_once => answered(session, &reply),
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
        cut_after: None,
    })
}

const fn stale(error: String, in_step: bool) -> Outcome {
    Outcome::Stale { error, in_step }
}

/// Whether a refusal of MAIL on a session that was used before may be about that session, so that another one is asked: out of
/// sequence (503), or a refusal for now, such as for too many messages in one session. One that names a rate would only be repeated.
fn is_about_the_session(reply: &Reply) -> bool {
    reply.code == 503 || (matches!(reply.code, 400..=499) && !names_a_rate(reply))
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
        cut_after: None,
    })
}

/// Sends the commands, in groups when the peer offers PIPELINING, one by one when not.
async fn envelope(
    session: &mut Session,
    job: &Job,
    commands: &Commands,
    config: &SmtpConfig,
    replies: &mut Replies,
) -> Result<(), Stop> {
    let group = if session.capabilities.pipelining { GROUP } else { 1 };
    let mut written = 0;
    for group in commands.each.chunks(group) {
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
                closed: true,
            });
        }
        let end = group.last().map_or(written, |(_, end)| *end);
        let text = commands.text.get(written..end).unwrap_or_default();
        written = end;
        if matches!(group.last(), Some((Command::Bdat, _))) {
            session.wire.follow_with(job.body.clone(), b"");
        }
        let mut reply = None;
        for (command, _) in group {
            session.wire.within(command.timeout(config));
            let next = match reply.replace(()) {
                None => session.say(text).await,
                Some(()) => session.listen().await,
            };
            let stage = command.stage();
            let next = next.map_err(|error| Stop::Broken {
                stage,
                closed: error != TIMED_OUT,
                error,
            })?;
            replies.note(*command, next)?;
        }
    }
    Ok(())
}

impl Replies {
    /// The end of a transaction that was cut off; `in_doubt` when the peer may have the message. What it had said by then
    /// counts: a refusal is one, whatever the peer does after it.
    fn stopped(self, stop: Stop, recipients: usize, in_doubt: bool) -> Outcome {
        if let Some(reply) = self.mail {
            let stage = Stage::Mail;
            return ended(AttemptResult::Refused { stage, reply }, Vec::new(), false);
        }
        if self.refused.len() == recipients {
            return ended(AttemptResult::AllRefused, self.refused, false);
        }
        let answered = self.accepted + self.refused.len() + self.postponed.len();
        // A peer that said 421 to MAIL said it of no recipient; a reset there may have overtaken the replies to many. One that ends
        // the session after the last recipient is noticed only when the body is offered.
        let among_recipients = match &stop {
            Stop::Broken { stage, closed, .. } => *closed || matches!(stage, Stage::Mail | Stage::Rcpt),
            Stop::Closing { stage, reply } => {
                *stage == Stage::Rcpt || *stage == Stage::Data && !names_a_rate(reply)
            }
        };
        let broken_in_doubt = in_doubt && matches!(stop, Stop::Broken { .. });
        let cut_after = (among_recipients && !broken_in_doubt).then_some(answered);
        let result = match stop {
            Stop::Broken { error, .. } if in_doubt => broken(Stage::FinalReply, error, true),
            Stop::Broken { stage, error, .. } => broken(stage, error, false),
            Stop::Closing { stage, reply } => AttemptResult::Refused { stage, reply },
        };
        Outcome::Ended(Ended {
            result,
            refused: Vec::new(),
            postponed: Vec::new(),
            reusable: false,
            cut_after,
        })
    }

    /// Whether no answer to RCPT has come, and MAIL was not refused.
    const fn no_recipient_was_answered(&self) -> bool {
        self.mail.is_none() && self.accepted == 0 && self.refused.is_empty()
    }

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
            let closed = false;
            return Err(Stop::Broken { stage, error, closed });
        }
        match command {
            Command::Reset if !reply.is(2) => {
                return Err(Stop::Broken {
                    stage,
                    error: format!("RSET was refused: {}", reply.to_reply()),
                    closed: false,
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
            Command::Data | Command::Bdat => self.last = Some(reply),
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
    // Each part within its own limit, however large the body is; the whole within that of the attempt.
    session
        .wire
        .begin_body(config.data_timeout, config.final_reply_timeout);
    match session.body(&job.body).await {
        Err(error) => {
            let in_doubt = session.wire.body_may_have_arrived();
            let stage = if in_doubt { Stage::FinalReply } else { Stage::Body };
            (broken(stage, error, in_doubt), false)
        }
        Ok(reply) => {
            // Whatever it says, a dot ends the transaction; after BDAT, RSET does (RFC 3030 section 2).
            session.needs_reset = false;
            answered(session, &reply)
        }
    }
}

/// What the reply to a whole body says; and whether the session may be used again.
fn answered(session: &mut Session, reply: &RawReply) -> (AttemptResult, bool) {
    let stage = Stage::FinalReply;
    if reply.is(2) {
        session.needs_reset = false;
        session.took_at = Some(Instant::now());
        return (AttemptResult::Accepted(reply.to_reply()), true);
    }
    if reply.is(4) || reply.is(5) {
        let (reusable, reply) = (reply.code != 421, reply.to_reply());
        return (AttemptResult::Refused { stage, reply }, reusable);
    }
    let error = format!("a reply of the wrong kind to the body: {}", reply.to_reply());
    (broken(stage, error, session.wire.body_may_have_arrived()), false)
}

/// The commands of a transaction, in their order.
struct Commands {
    /// All of them, as they are written.
    text: String,
    /// Each, and where it ends in the text.
    each: Vec<(Command, usize)>,
}

fn commands(session: &Session, job: &Job, recipients: &[RecipientIndex]) -> Commands {
    let offers = &session.capabilities;
    let mut text = String::with_capacity(LINE * (recipients.len() + 2));
    let mut each = Vec::with_capacity(recipients.len() + 3);
    if session.needs_reset {
        text.push_str("RSET\r\n");
        each.push((Command::Reset, text.len()));
    }
    let utf8 = needs_smtputf8(job, recipients);
    mail(&mut text, offers, job, utf8);
    each.push((Command::Mail, text.len()));
    for index in recipients {
        if let Some(recipient) = recipient(&job.envelope, *index) {
            rcpt(&mut text, offers, recipient, utf8);
            each.push((Command::Rcpt(*index), text.len()));
        }
    }
    if each.len() < GROUP && goes_at_once(session, job) {
        bdat(&mut text, job);
        each.push((Command::Bdat, text.len()));
    } else {
        text.push_str("DATA\r\n");
        each.push((Command::Data, text.len()));
    }
    Commands { text, each }
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
