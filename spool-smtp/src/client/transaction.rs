//! One mail transaction on an open session: MAIL, RCPT each, DATA, the body, and every reply kept.
//!
//! It checks the kind of each reply, not only its class: 2xx to MAIL and RCPT, 354 to DATA, 250 to the dot. A reply of
//! the wrong kind ends the session, for then nobody knows which reply belongs to what.

use super::config::SmtpConfig;
use super::reply_filter::RawReply;
use super::session::Session;
use spool_core::{
    AttemptReport, AttemptResult, BodyKind, Envelope, Job, Recipient, RecipientIndex, RefusedRecipient,
    Reply, Ret, Stage,
};
use std::fmt::Write;

/// The most RCPTs sent before their replies are read: both sides' buffers hold as much.
const GROUP: usize = 100;

/// How a transaction ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// With this report; the session may be used again, or not.
    Done { report: AttemptReport, reusable: bool },
    /// The session had ended before the transaction began: nothing was sent that the peer acted on.
    Stale(String),
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
    data: Option<RawReply>,
}

/// Why it cannot go on.
enum Stop {
    Broken { stage: Stage, error: String },
    Closing { stage: Stage, reply: Reply },
}

/// Makes one attempt at `job` on `session`.
pub(super) async fn transact(session: &mut Session, job: &Job, config: &SmtpConfig) -> Outcome {
    let reused = session.messages > 0;
    session.messages += 1;
    if let Some(reply) = impossible(session, job) {
        let result = AttemptResult::Refused {
            stage: Stage::Mail,
            reply,
        };
        return done(session, result, Vec::new(), true);
    }
    let mut replies = Replies::default();
    match envelope(session, job, config, &mut replies).await {
        Ok(()) => {}
        Err(Stop::Broken { error, .. }) if reused && replies.seen == 0 => return Outcome::Stale(error),
        Err(Stop::Closing { reply, .. }) if reused && replies.seen <= 1 => {
            return Outcome::Stale(reply.to_string());
        }
        Err(Stop::Broken { stage, error }) => {
            let result = AttemptResult::Broken {
                stage,
                error,
                in_doubt: false,
            };
            return done(session, result, Vec::new(), false);
        }
        Err(Stop::Closing { stage, reply }) => {
            return done(
                session,
                AttemptResult::Refused { stage, reply },
                Vec::new(),
                false,
            );
        }
    }
    let Replies {
        mail,
        accepted,
        refused,
        data,
        ..
    } = replies;
    // With 354 the peer waits for a body: to send none, the session must end.
    let waiting = data.as_ref().is_some_and(|reply| reply.code == 354);
    session.needs_reset = true;
    if let Some(reply) = mail {
        return done(
            session,
            AttemptResult::Refused {
                stage: Stage::Mail,
                reply,
            },
            Vec::new(),
            !waiting,
        );
    }
    if accepted == 0 {
        return done(session, AttemptResult::AllRefused, refused, !waiting);
    }
    match data {
        Some(_) if waiting => body(session, job, config, refused).await,
        Some(reply) => {
            let reply = reply.to_reply();
            done(
                session,
                AttemptResult::Refused {
                    stage: Stage::Data,
                    reply,
                },
                refused,
                true,
            )
        }
        None => {
            let result = AttemptResult::Broken {
                stage: Stage::Data,
                error: "no reply to DATA".into(),
                in_doubt: false,
            };
            done(session, result, refused, false)
        }
    }
}

fn done(session: &Session, result: AttemptResult, refused: Vec<RefusedRecipient>, reusable: bool) -> Outcome {
    let mut report = AttemptReport::new(result);
    report.peer = Some(session.hop.clone());
    report.session = Some(session.flow);
    report.refused = refused;
    Outcome::Done { report, reusable }
}

/// What this peer cannot take, known before anything is sent. The replies are ours, with the codes the RFCs have for it.
fn impossible(session: &Session, job: &Job) -> Option<Reply> {
    let offers = &session.capabilities;
    let mailboxes = job
        .recipients
        .iter()
        .filter_map(|index| recipient(&job.envelope, *index));
    let ascii = mailboxes
        .into_iter()
        .all(|recipient| recipient.address.is_ascii())
        && job.envelope.reverse_path.as_str().is_ascii();
    if (job.envelope.parameters.smtputf8 || !ascii) && !offers.smtputf8 {
        return Some(Reply::new(
            553,
            "5.6.7 the next hop does not offer SMTPUTF8, which this message needs",
        ));
    }
    if !offers.eight_bit_mime && !job.body.is_ascii() {
        return Some(Reply::new(
            554,
            "5.6.3 the next hop does not offer 8BITMIME, which this message needs",
        ));
    }
    let too_large = offers.too_large(job.body.len());
    too_large.then(|| Reply::new(552, "5.3.4 the message is larger than the next hop says it takes"))
}

fn recipient(envelope: &Envelope, index: RecipientIndex) -> Option<&Recipient> {
    envelope.recipients.get(usize::try_from(index).ok()?)
}

/// Sends the commands, in groups when the peer offers PIPELINING, one by one when not.
async fn envelope(
    session: &mut Session,
    job: &Job,
    config: &SmtpConfig,
    replies: &mut Replies,
) -> Result<(), Stop> {
    let commands = commands(session, job);
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
            Command::Rcpt(recipient) => self.refused.push(RefusedRecipient {
                recipient,
                reply: reply.to_reply(),
            }),
            Command::Data => self.data = Some(reply),
        }
        Ok(())
    }
}

async fn body(
    session: &mut Session,
    job: &Job,
    config: &SmtpConfig,
    refused: Vec<RefusedRecipient>,
) -> Outcome {
    if session.wire.has_spoken_or_gone() {
        let error = "the peer spoke before the body or closed the connection".to_owned();
        return done(
            session,
            AttemptResult::Broken {
                stage: Stage::Body,
                error,
                in_doubt: false,
            },
            refused,
            false,
        );
    }
    session.wire.begin_body();
    // One deadline for both: the body's allowance, and the wait for the reply after it.
    session.wire.within(
        config
            .body_timeout(job.body.len())
            .saturating_add(config.final_reply_timeout),
    );
    match session.body(&job.body).await {
        Err(error) => {
            let in_doubt = session.wire.body_may_have_arrived();
            let stage = if in_doubt { Stage::FinalReply } else { Stage::Body };
            done(
                session,
                AttemptResult::Broken {
                    stage,
                    error,
                    in_doubt,
                },
                refused,
                false,
            )
        }
        Ok(reply) if reply.code == 250 => {
            session.needs_reset = false;
            done(session, AttemptResult::Accepted(reply.to_reply()), refused, true)
        }
        Ok(reply) if reply.is(4) || reply.is(5) => {
            session.needs_reset = false;
            let (reusable, reply) = (reply.code != 421, reply.to_reply());
            done(
                session,
                AttemptResult::Refused {
                    stage: Stage::FinalReply,
                    reply,
                },
                refused,
                reusable,
            )
        }
        Ok(reply) => {
            let error = format!("a reply of the wrong kind to the final dot: {}", reply.to_reply());
            let in_doubt = session.wire.body_may_have_arrived();
            done(
                session,
                AttemptResult::Broken {
                    stage: Stage::FinalReply,
                    error,
                    in_doubt,
                },
                refused,
                false,
            )
        }
    }
}

fn commands(session: &Session, job: &Job) -> Vec<(Command, String)> {
    let mut commands = Vec::with_capacity(job.recipients.len() + 3);
    if session.needs_reset {
        commands.push((Command::Reset, "RSET\r\n".to_owned()));
    }
    commands.push((Command::Mail, mail(session, job)));
    for index in &job.recipients {
        if let Some(recipient) = recipient(&job.envelope, *index) {
            commands.push((Command::Rcpt(*index), rcpt(session, recipient)));
        }
    }
    commands.push((Command::Data, "DATA\r\n".to_owned()));
    commands
}

fn mail(session: &Session, job: &Job) -> String {
    let (offers, asked) = (&session.capabilities, &job.envelope.parameters);
    let mut line = format!("MAIL FROM:{}", job.envelope.reverse_path);
    let mut add = |text: std::fmt::Arguments<'_>| {
        let _ = line.write_fmt(text);
    };
    if offers.size.is_some() {
        add(format_args!(" SIZE={}", job.body.len()));
    }
    if offers.eight_bit_mime && (asked.body == BodyKind::EightBitMime || !job.body.is_ascii()) {
        add(format_args!(" BODY=8BITMIME"));
    }
    if offers.smtputf8 && (asked.smtputf8 || job.envelope.needs_smtputf8()) {
        add(format_args!(" SMTPUTF8"));
    }
    if offers.dsn {
        match asked.ret {
            Some(Ret::Full) => add(format_args!(" RET=FULL")),
            Some(Ret::Headers) => add(format_args!(" RET=HDRS")),
            None => {}
        }
        if let Some(envid) = &asked.envid {
            add(format_args!(" ENVID={}", xtext(envid)));
        }
    }
    line.push_str("\r\n");
    line
}

fn rcpt(session: &Session, recipient: &Recipient) -> String {
    let mut line = format!("RCPT TO:<{}>", recipient.address);
    if session.capabilities.dsn {
        if let Some(notify) = recipient.notify {
            let words = [
                (notify.success, "SUCCESS"),
                (notify.failure, "FAILURE"),
                (notify.delay, "DELAY"),
            ];
            let words: Vec<_> = words
                .into_iter()
                .filter_map(|(on, word)| on.then_some(word))
                .collect();
            let words = if words.is_empty() {
                "NEVER".to_owned()
            } else {
                words.join(",")
            };
            let _ = write!(line, " NOTIFY={words}");
        }
        if let Some(orcpt) = &recipient.orcpt {
            // The type before the semicolon stays as it is (RFC 3461 section 4.2).
            let (kind, address) = orcpt.split_once(';').unwrap_or(("rfc822", orcpt));
            let _ = write!(line, " ORCPT={};{}", xtext(kind), xtext(address));
        }
    }
    line.push_str("\r\n");
    line
}

/// RFC 3461 section 4: everything but printable ASCII, `+` and `=` as `+` and two hexadecimal digits.
fn xtext(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if (b'!'..=b'~').contains(&byte) && !matches!(byte, b'+' | b'=') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "+{byte:02X}");
        }
    }
    out
}
