//! One SMTP session as a machine: bytes in, replies and requests out. It knows no socket, no timer and no spool.
//!
//! The driver feeds it what arrived and does what [`Next`] says. A 250 for a message is queued by
//! [`Machine::accepted`] alone, with the ids of mail that is durable; no other path leads to it.

use super::command::Command;
use super::config::ServerConfig;
use super::data::{Decoder, Progress};
use super::framing::{Frame, Framer};
use super::reply::{self, Reply};
use super::trace::{Trace, count_received};
use bytes::BytesMut;
use spool_core::{
    AddError, Address, Admission, Budget, Envelope, FlowId, Held, MAX_SECTIONS, Mail, MailParameters,
    MessageId, Recipient, ReversePath, Source,
};
use std::collections::HashSet;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use tracing::info;

/// Replies waiting beyond this are to be sent before more commands are read.
const REPLIES_HELD: usize = 16 << 10;
/// What is kept of the room for replies when they were sent.
const REPLIES_KEPT: usize = 1 << 10;
/// The most that is set aside for a message before its first byte is here, whatever size was announced.
const FIRST_RESERVE: usize = 64 << 10;
/// What is set aside when no size was announced, and for the trace header.
const LEAST_RESERVE: usize = 4 << 10;

/// What the driver is to do.
#[derive(Debug)]
pub enum Next {
    /// Send the replies, then read more input.
    Read,
    /// Send the replies, then call [`Machine::advance`] again.
    Flush,
    /// Ask the intake whether a message of so many bytes would be taken; tell [`Machine::admitted`]. Replies may wait.
    Admit(u64),
    /// Give this to the intake and wait for its answer; tell [`Machine::accepted`]. Replies may wait.
    Accept(Box<Mail>),
    /// Send the replies and close the connection.
    Close,
}

#[derive(Debug)]
enum Phase {
    /// Reads commands.
    Command,
    /// Waits for the intake's word on a MAIL.
    AdmitMail,
    /// Waits for the intake's word on a DATA.
    AdmitData,
    /// Reads a message.
    Data(Box<Decoder>),
    /// Waits for the intake to take a message.
    Accepting(Held),
    /// Is over.
    Closed,
}

#[derive(Debug)]
struct Hello {
    name: String,
    extended: bool,
}

#[derive(Debug)]
struct Transaction {
    flow: FlowId,
    sender: ReversePath,
    recipients: Vec<Recipient>,
    parameters: MailParameters,
    size: u64,
    /// What the recipients take; from DATA on the decoder has it.
    held: Option<Held>,
    /// The domains of the recipients, once there are so many recipients that it matters.
    domains: HashSet<String>,
}

impl Transaction {
    /// Whether there is memory for one recipient more.
    fn charge(&mut self, memory: &Budget, recipient: &Recipient) -> bool {
        let bytes = recipient.footprint();
        match &mut self.held {
            Some(held) => held.grow(bytes),
            none => {
                *none = memory.hold_first(bytes);
                none.is_some()
            }
        }
    }

    /// Whether another recipient fits into one add, wherever its domain leads: each domain may need a section of its own.
    fn has_room_for(&mut self, address: &Address) -> bool {
        if self.recipients.len() < MAX_SECTIONS {
            return true;
        }
        let domain = |address: &Address| address.domain().to_ascii_lowercase();
        if self.domains.is_empty() {
            let all = self.recipients.iter();
            self.domains = all.map(|recipient| domain(&recipient.address)).collect();
        }
        let new = domain(address);
        if self.domains.len() >= MAX_SECTIONS && !self.domains.contains(&new) {
            return false;
        }
        self.domains.insert(new);
        true
    }
}

/// The machine of one session.
#[derive(Debug)]
pub struct Machine {
    config: Arc<ServerConfig>,
    client: IpAddr,
    trusted: bool,
    session: FlowId,
    framer: Framer,
    hello: Option<Hello>,
    transaction: Option<Transaction>,
    phase: Phase,
    errors: usize,
    progress: bool,
    stopping: bool,
    lingers: bool,
    replies: String,
}

impl Machine {
    /// A machine for a session with `client`; the greeting is queued.
    #[must_use]
    pub fn new(config: Arc<ServerConfig>, client: IpAddr, session: FlowId) -> Self {
        Self {
            replies: format!("220 {} ESMTP\r\n", config.hostname),
            trusted: config.relay.trusts(client),
            framer: Framer::new(config.line_length.max(512)),
            config,
            client,
            session,
            hello: None,
            transaction: None,
            phase: Phase::Command,
            errors: 0,
            progress: false,
            stopping: false,
            lingers: false,
        }
    }

    /// Works on `input` until something is to be done outside, and takes what it used off it.
    pub fn advance(&mut self, input: &mut &[u8]) -> Next {
        loop {
            match &mut self.phase {
                Phase::Closed => {
                    *input = &[];
                    return Next::Close;
                }
                Phase::AdmitMail | Phase::AdmitData => {
                    return Next::Admit(self.transaction.as_ref().map_or(0, |open| open.size));
                }
                // An answer is owed; until it is here nothing moves.
                Phase::Accepting(_) => return Next::Flush,
                Phase::Data(decoder) => {
                    let progress = decoder.feed(input);
                    if progress == Progress::More {
                        return Next::Read;
                    }
                    if let Some(mail) = self.end_data(progress) {
                        return Next::Accept(Box::new(mail));
                    }
                }
                Phase::Command if self.stopping && self.transaction.is_none() => {
                    self.say(reply::SHUTTING_DOWN);
                }
                Phase::Command if self.replies.len() > REPLIES_HELD => return Next::Flush,
                Phase::Command => {
                    let command = match self.framer.next(input) {
                        None => return Next::Read,
                        Some(Frame::Line(line)) => Command::parse(line),
                        Some(Frame::TooLong) => Err(reply::TOO_LONG),
                        Some(Frame::Unclean) => Err(reply::UNCLEAN),
                    };
                    self.progress = true;
                    if let Err(refusal) = command.and_then(|command| self.obey(command)) {
                        self.say(refusal);
                    }
                }
            }
        }
    }

    /// The intake's answer to [`Next::Admit`].
    pub fn admitted(&mut self, answer: Result<(), AddError>) {
        let asked = std::mem::replace(&mut self.phase, Phase::Command);
        match (answer, asked) {
            (Ok(()), Phase::AdmitMail) => self.say(reply::SENDER_OK),
            (Ok(()), Phase::AdmitData) => self.begin_data(),
            (Err(error), Phase::AdmitMail | Phase::AdmitData) => {
                self.transaction = None;
                self.refused_by_intake(&error);
            }
            // Nobody asked.
            (_, phase @ (Phase::Command | Phase::Data(_) | Phase::Accepting(_) | Phase::Closed)) => {
                self.phase = phase
            }
        }
    }

    /// The intake's answer to [`Next::Accept`]: ids only of what is durable.
    pub fn accepted(&mut self, answer: Result<Vec<MessageId>, AddError>) {
        // For the recipients and the body, until here.
        let _held = match std::mem::replace(&mut self.phase, Phase::Command) {
            Phase::Accepting(held) => held,
            // Nobody asked.
            phase @ (Phase::Command
            | Phase::AdmitMail
            | Phase::AdmitData
            | Phase::Data(_)
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
            Err(error) => self.refused_by_intake(&error),
        }
    }

    /// The client took too long: the session ends.
    pub fn timed_out(&mut self) {
        self.say(reply::TIMEOUT);
    }

    /// The service stops: the session ends as soon as no transaction is open.
    pub const fn stop(&mut self) {
        self.stopping = true;
    }

    /// Whether a message is being read, which has a time limit of its own.
    #[must_use]
    pub const fn in_data(&self) -> bool {
        matches!(self.phase, Phase::Data(_))
    }

    /// Whether the session was closed on a client that may still be sending, and would miss the reason.
    #[must_use]
    pub const fn lingers(&self) -> bool {
        self.lingers
    }

    /// Whether a command or a message came to its end since the last call.
    pub const fn take_progress(&mut self) -> bool {
        std::mem::replace(&mut self.progress, false)
    }

    /// The replies not yet sent.
    #[must_use]
    pub fn replies(&self) -> &[u8] {
        self.replies.as_bytes()
    }

    /// The replies were sent.
    pub fn replies_sent(&mut self) {
        self.replies.clear();
        self.replies.shrink_to(REPLIES_KEPT);
    }

    fn obey(&mut self, command: Command) -> Result<(), Reply> {
        match command {
            Command::Hello { name, extended } => self.hello(Hello { name, extended }),
            Command::Mail {
                sender,
                parameters,
                size,
            } => self.mail(sender, parameters, size)?,
            Command::Rcpt(recipient) => self.rcpt(recipient)?,
            Command::Data => {
                let open = self.transaction.as_ref().ok_or(reply::MAIL_FIRST)?;
                if open.recipients.is_empty() {
                    return Err(reply::NO_RECIPIENTS);
                }
                self.phase = Phase::AdmitData;
            }
            Command::Rset => {
                self.transaction = None;
                self.say(reply::OK);
            }
            Command::Noop => self.say(reply::OK),
            Command::Vrfy => self.say(reply::CANNOT_VERIFY),
            Command::Help => self.say(reply::HELP),
            Command::Quit => self.say(reply::BYE),
        }
        Ok(())
    }

    fn hello(&mut self, hello: Hello) {
        self.transaction = None;
        let (name, size) = (&self.config.hostname, self.config.message_size);
        // Writing to a String cannot fail.
        let _ = if hello.extended {
            write!(
                self.replies,
                "250-{name}\r\n250-PIPELINING\r\n250-SIZE {size}\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n\
                 250 ENHANCEDSTATUSCODES\r\n"
            )
        } else {
            write!(self.replies, "250 {name}\r\n")
        };
        self.hello = Some(hello);
    }

    fn mail(&mut self, sender: ReversePath, parameters: MailParameters, size: u64) -> Result<(), Reply> {
        if self.hello.is_none() {
            return Err(reply::HELLO_FIRST);
        }
        if self.transaction.is_some() {
            return Err(reply::NESTED_MAIL);
        }
        if usize::try_from(size).map_or(true, |size| size > self.config.message_size) {
            return Err(reply::TOO_BIG);
        }
        self.transaction = Some(Transaction {
            flow: FlowId::random(),
            sender,
            recipients: Vec::new(),
            parameters,
            size,
            held: None,
            domains: HashSet::new(),
        });
        self.phase = Phase::AdmitMail;
        Ok(())
    }

    fn rcpt(&mut self, recipient: Option<Address>) -> Result<(), Reply> {
        let open = self.transaction.as_mut().ok_or(reply::MAIL_FIRST)?;
        if open.recipients.len() >= self.config.recipients {
            return Err(reply::TOO_MANY_RECIPIENTS);
        }
        let address = match recipient {
            Some(address) if !open.parameters.smtputf8 && !address.is_ascii() => {
                return Err(reply::NEEDS_SMTPUTF8);
            }
            Some(address) if self.trusted || self.config.relay.serves(address.domain()) => address,
            Some(_) => return Err(reply::RELAYING_DENIED),
            // RFC 5321 section 4.5.1: the postmaster of this host hears from anyone.
            None => Address::parse(&format!("postmaster@{}", self.config.hostname))
                .map_err(|_| reply::BAD_RECIPIENT)?,
        };
        if !open.has_room_for(&address) {
            return Err(reply::TOO_MANY_RECIPIENTS);
        }
        let recipient = Recipient::new(address);
        if !open.charge(&self.config.memory, &recipient) {
            return Err(reply::NO_MEMORY);
        }
        open.recipients.push(recipient);
        self.say(reply::RECIPIENT_OK);
        Ok(())
    }

    fn begin_data(&mut self) {
        let Some(open) = &mut self.transaction else {
            return;
        };
        let announced = usize::try_from(open.size)
            .unwrap_or(FIRST_RESERVE)
            .min(FIRST_RESERVE);
        let capacity = announced + LEAST_RESERVE;
        let Some(mut held) = open.held.take() else {
            return self.say(reply::NO_RECIPIENTS);
        };
        if !held.grow(u64::try_from(capacity).unwrap_or(u64::MAX)) {
            open.held = Some(held);
            return self.say(reply::BUSY);
        }
        let mut body = BytesMut::with_capacity(capacity);
        let extended = self.hello.as_ref().is_some_and(|hello| hello.extended);
        Trace {
            helo: self.hello.as_ref().map_or("", |hello| hello.name.as_str()),
            client: self.client,
            hostname: &self.config.hostname,
            protocol: match (open.parameters.smtputf8, extended) {
                (true, _) => "UTF8SMTP",
                (false, true) => "ESMTP",
                (false, false) => "SMTP",
            },
            id: &open.flow.to_string(),
            date: &self.config.clock.now().rfc5322(),
        }
        .write(&mut body);
        let decoder = Decoder::new(body, held, self.config.message_size, self.config.bare_newline);
        self.phase = Phase::Data(Box::new(decoder));
        self.say(reply::GO_AHEAD);
    }

    /// The message ended, or will not: it is handed over, or refused.
    fn end_data(&mut self, progress: Progress) -> Option<Mail> {
        self.progress = true;
        let phase = std::mem::replace(&mut self.phase, Phase::Command);
        let (Phase::Data(decoder), Some(open)) = (phase, self.transaction.take()) else {
            return None;
        };
        let body = decoder.finish().and_then(|(body, held)| {
            // The header added here is not counted.
            let looped = count_received(&body) > self.config.received_headers.saturating_add(1);
            if looped {
                Err(reply::MAIL_LOOP)
            } else {
                Ok((body, held))
            }
        });
        let (body, held) = match body {
            Ok(body) => body,
            Err(reply::TOO_BIG) if progress == Progress::Hopeless => {
                self.say(reply::FAR_TOO_BIG);
                return None;
            }
            Err(refusal) => {
                self.say(refusal);
                return None;
            }
        };
        self.phase = Phase::Accepting(held);
        let admission = if self.trusted {
            Admission::Network
        } else {
            Admission::Domain
        };
        Some(Mail {
            source: Source {
                admission,
                client: Some(self.client),
                tls: None,
            },
            envelope: Envelope {
                reverse_path: open.sender,
                recipients: open.recipients,
                parameters: open.parameters,
            },
            body,
            flows: vec![self.session, open.flow],
        })
    }

    fn refused_by_intake(&mut self, error: &AddError) {
        info!(session = %self.session, %error, "the spool takes no mail");
        self.say(Reply::from_intake(error));
    }

    fn say(&mut self, reply: Reply) {
        self.replies.push_str(reply.line);
        self.replies.push_str("\r\n");
        if reply.closes {
            self.lingers = ![reply::BYE, reply::SHUTTING_DOWN].contains(&reply);
            self.phase = Phase::Closed;
            self.transaction = None;
        }
        if reply.is_refusal() {
            info!(session = %self.session, client = %self.client, reply = reply.line, "refused");
        }
        if reply.is_error() {
            self.errors += 1;
            if self.errors >= self.config.errors_per_session && !reply.closes {
                self.say(reply::TOO_MANY_ERRORS);
            }
        }
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
