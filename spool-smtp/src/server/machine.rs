//! One SMTP session as a machine: bytes in, replies and requests out. It knows no socket, no timer and no spool.
//!
//! The driver feeds it what arrived and does what [`Next`] says. A 250 for a message is queued by
//! [`Machine::accepted`] alone, with the ids of mail that is durable; no other path leads to it.

mod login;

use self::login::LoggedIn;
use super::auth::{Attempt, Exchange};
use super::clients::Kind;
use super::command::Command;
use super::config::ServerConfig;
use super::data::{Decoder, Ending, Progress};
use super::dsn::RcptDsn;
use super::framing::{Frame, Framer};
use super::reply::{self, Reply};
use super::tls::HANDSHAKE_MEMORY;
use super::trace::{Trace, count_received};
use spool_core::{
    AddError, Address, Budget, Envelope, FlowId, Held, MAX_SECTIONS, Mail, MailParameters, MessageId,
    Recipient, ReversePath, Source, TlsSession,
};
use std::collections::HashSet;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use tracing::info;

mod chunks;
mod xclient;

use chunks::Chunk;
use xclient::{Change, May};

/// Replies waiting beyond this are to be sent before more commands are read.
const REPLIES_HELD: usize = 16 << 10;
/// What is kept of the room for replies when they were sent.
const REPLIES_KEPT: usize = 1 << 10;
/// The most that is set aside for a message before its first byte is here, whatever size was announced.
const FIRST_RESERVE: usize = 64 << 10;
/// What is set aside when no size was announced, and for the trace header.
const LEAST_RESERVE: usize = 4 << 10;

/// How many refusals for the moment (4xx) a session may earn; each one more counts as an error. Above what a client earns that
/// sends a long list of recipients without a look at the replies.
const MAX_DEFERRALS: usize = 10_000;

/// The largest number that LIMITS has room for (RFC 9422 section 3): six digits.
const MAX_LIMIT: usize = 999_999;

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
    /// Send the replies, then do the server's part of a TLS handshake; tell [`Machine::tls_started`]. A handshake that
    /// fails ends the session. Input that is left over must not be interpreted under TLS: there is none unless the driver
    /// read more after this.
    StartTls,
    /// Send the replies, then find out whether the name and the password are those of a user; tell
    /// [`Machine::authenticated`].
    Authenticate(Attempt),
    /// Find out whether there is a place for the client at this address, whose session it is from now on; tell
    /// [`Machine::readdressed`]. Replies may wait.
    Readdress(IpAddr),
    /// Send the replies and close the connection.
    Close,
}

/// How a session stands to TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Tls {
    /// It is not to be had.
    No,
    /// STARTTLS is offered.
    Offered,
    /// The session is under TLS.
    Active(TlsSession),
}

impl Tls {
    const fn session(&self) -> Option<&TlsSession> {
        match self {
            Self::Active(session) => Some(session),
            Self::No | Self::Offered => None,
        }
    }
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
    /// Waits for the intake's word on the first BDAT of a message.
    AdmitChunk(Chunk),
    /// Reads a chunk of a message.
    Chunk(Box<Decoder>, Chunk),
    /// Drops so many octets of a chunk, then says why.
    Skip(u64, Reply),
    /// Waits for the intake to take a message.
    Accepting(Held),
    /// STARTTLS was said; its reply comes with the first [`Next::StartTls`]. With the memory for the handshake.
    StartTls { answered: bool, _memory: Held },
    /// Waits for the response to a challenge of AUTH.
    Login(Exchange),
    /// Waits to hear who the client is; the attempt until it was handed out.
    Checking(Option<Attempt>),
    /// Waits to hear whether there is a place for the client that a proxy has named.
    Readdress(Option<(IpAddr, Box<Change>)>),
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
    /// The message, between two of its chunks.
    chunks: Option<Box<Decoder>>,
    /// The domains of the recipients, once there are so many recipients that it matters.
    domains: HashSet<String>,
}

impl Transaction {
    /// Charges one recipient more; `false`: there is no memory for it, and nothing was charged.
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
        if self.domains.is_empty() {
            let all = self.recipients.iter();
            self.domains = all.map(|recipient| domain(&recipient.address)).collect();
        }
        self.domains.len() < MAX_SECTIONS || self.domains.contains(&domain(address))
    }

    /// Adds a recipient that has room and is charged.
    fn push(&mut self, recipient: Recipient) {
        if !self.domains.is_empty() {
            self.domains.insert(domain(&recipient.address));
        }
        self.recipients.push(recipient);
    }
}

fn domain(address: &Address) -> String {
    address.domain().to_ascii_lowercase()
}

/// The machine of one session.
#[derive(Debug)]
pub struct Machine {
    config: Arc<ServerConfig>,
    client: IpAddr,
    trusted: bool,
    may_xclient: May,
    /// The user of this machine whose program the client is.
    local: Option<u32>,
    /// The user whom a proxy has named.
    vouched: Option<Arc<str>>,
    session: FlowId,
    tls: Tls,
    user: Option<LoggedIn>,
    framer: Framer,
    hello: Option<Hello>,
    transaction: Option<Transaction>,
    phase: Phase,
    errors: usize,
    deferrals: usize,
    progress: bool,
    stopping: bool,
    lingers: bool,
    replies: String,
}

impl Machine {
    /// A machine for a session with `client`; the greeting is queued.
    #[must_use]
    pub fn new(config: Arc<ServerConfig>, client: IpAddr, session: FlowId) -> Self {
        let listed = config.proxies.iter().any(|proxy| proxy.contains(client));
        let mut machine = Self {
            replies: String::new(),
            trusted: config.relay.trusts(client),
            may_xclient: if listed { May::Yes } else { May::No },
            local: None,
            vouched: None,
            framer: Framer::new(config.line_length.max(512)),
            config,
            client,
            session,
            tls: Tls::No,
            user: None,
            hello: None,
            transaction: None,
            phase: Phase::Command,
            errors: 0,
            deferrals: 0,
            progress: false,
            stopping: false,
            lingers: false,
        };
        machine.greet();
        machine
    }

    fn greet(&mut self) {
        // Writing to a String cannot fail.
        let _ = write!(self.replies, "220 {} ESMTP\r\n", self.config.hostname);
    }

    /// The address is that of a proxy, whose client is not known: nothing is allowed by it, and no XCLIENT is taken that may come
    /// from that client.
    pub const fn unnamed(&mut self) {
        self.trusted = false;
        self.may_xclient = May::No;
    }

    /// The client is a program of this machine, run by the user with this number: it may send anywhere, and nothing it says
    /// passes a network.
    pub const fn local(&mut self, user: u32) {
        self.local = Some(user);
        self.trusted = true;
        self.may_xclient = May::No;
    }

    /// The machine offers STARTTLS from now on.
    pub fn offer_tls(&mut self) {
        self.tls = Tls::Offered;
    }

    /// The connection was under TLS before the greeting (RFC 8314).
    pub fn under_tls(&mut self, session: TlsSession) {
        self.tls = Tls::Active(session);
    }

    /// The TLS session that the commands come through; `None` when they come in plaintext.
    #[must_use]
    pub const fn tls(&self) -> Option<&TlsSession> {
        self.tls.session()
    }

    /// The handshake that [`Next::StartTls`] asked for is done. All that the client said in plaintext is forgotten
    /// (RFC 3207 section 4.2); its errors still count.
    pub fn tls_started(&mut self, session: TlsSession) {
        self.tls = Tls::Active(session);
        self.hello = None;
        self.vouched = None;
        self.transaction = None;
        self.framer = Framer::new(self.config.line_length.max(512));
        self.phase = Phase::Command;
        self.progress = true;
    }

    /// Works on `input` until something is to be done outside, and takes what it used off it.
    pub fn advance(&mut self, input: &mut &[u8]) -> Next {
        loop {
            match &mut self.phase {
                Phase::Closed => {
                    *input = &[];
                    return Next::Close;
                }
                Phase::AdmitMail | Phase::AdmitData | Phase::AdmitChunk(_) => {
                    return Next::Admit(self.transaction.as_ref().map_or(0, |open| open.size));
                }
                Phase::Readdress(to) => {
                    return to.as_ref().map_or(Next::Flush, |(to, _)| Next::Readdress(*to));
                }
                // An answer is owed; until it is here nothing moves.
                Phase::Accepting(_) => return Next::Flush,
                // What came in plaintext behind the command may be another's, and must not pass for input under TLS.
                Phase::StartTls { .. } if !input.is_empty() => self.say(reply::STARTTLS_NOT_LAST),
                Phase::StartTls { answered, .. } => {
                    if !std::mem::replace(answered, true) {
                        self.say(reply::START_TLS);
                    }
                    return Next::StartTls;
                }
                Phase::Checking(_) => return self.take_attempt().map_or(Next::Flush, Next::Authenticate),
                Phase::Login(_) if self.stopping => self.say(reply::SHUTTING_DOWN),
                Phase::Login(_) => {
                    if !self.read_response(input) {
                        return Next::Read;
                    }
                }
                Phase::Data(decoder) => {
                    let progress = decoder.feed(input);
                    if progress == Progress::More {
                        return Next::Read;
                    }
                    if let Some(mail) = self.end_data(progress) {
                        return Next::Accept(Box::new(mail));
                    }
                }
                Phase::Skip(..) => {
                    if !self.skip_chunk(input) {
                        return Next::Read;
                    }
                }
                Phase::Chunk(..) => match self.read_chunk(input) {
                    None => return Next::Read,
                    Some(None) => {}
                    Some(Some(mail)) => return Next::Accept(Box::new(mail)),
                },
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
                    self.may_xclient = self.may_xclient.with(&command);
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
            // Nobody asked.
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

    /// The intake's answer to [`Next::Accept`]: ids only of what is durable.
    pub fn accepted(&mut self, answer: Result<Vec<MessageId>, AddError>) {
        // For the recipients and the body, until here.
        let _held = match std::mem::replace(&mut self.phase, Phase::Command) {
            Phase::Accepting(held) => held,
            // Nobody asked.
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
        matches!(self.phase, Phase::Data(_) | Phase::Chunk(..) | Phase::Skip(..))
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
                auth,
            } => {
                if auth && !self.offers_auth() {
                    return Err(reply::UNKNOWN_PARAMETER);
                }
                self.mail(sender, parameters, size)?;
            }
            Command::Rcpt { address, dsn } => self.rcpt(address, dsn)?,
            Command::Data => {
                let open = self.transaction.as_ref().ok_or(reply::MAIL_FIRST)?;
                if open.chunks.is_some() {
                    return Err(reply::IN_CHUNKS);
                }
                if open.recipients.is_empty() {
                    return Err(reply::NO_RECIPIENTS);
                }
                self.takes(Kind::Messages)?;
                self.phase = Phase::AdmitData;
            }
            Command::Auth { mechanism, initial } => self.auth(&mechanism, initial.as_ref())?,
            Command::Bdat { size, last } => self.bdat(Chunk { left: size, last }),
            Command::Rset => {
                self.transaction = None;
                self.say(reply::OK);
            }
            Command::Noop => self.say(reply::OK),
            Command::Vrfy => self.say(reply::CANNOT_VERIFY),
            Command::Help => self.say(reply::HELP),
            Command::Quit => self.say(reply::BYE),
            Command::StartTls => self.start_tls()?,
            Command::Xclient(attributes) => self.xclient(&attributes)?,
        }
        Ok(())
    }

    fn start_tls(&mut self) -> Result<(), Reply> {
        match self.tls {
            Tls::No => return Err(reply::NOT_IMPLEMENTED),
            Tls::Active(_) => return Err(reply::ALREADY_UNDER_TLS),
            Tls::Offered if self.stopping => self.say(reply::SHUTTING_DOWN),
            Tls::Offered => {
                let memory = self.config.memory.hold_first(HANDSHAKE_MEMORY);
                self.phase = Phase::StartTls {
                    answered: false,
                    _memory: memory.ok_or(reply::NO_MEMORY_FOR_TLS)?,
                };
            }
        }
        Ok(())
    }

    fn hello(&mut self, hello: Hello) {
        self.transaction = None;
        let name = &self.config.hostname;
        // Writing to a String cannot fail.
        if hello.extended {
            let _ = write!(self.replies, "250-{name}\r\n");
            self.extensions();
        } else {
            let _ = write!(self.replies, "250 {name}\r\n");
        }
        self.hello = Some(hello);
    }

    /// The lines of EHLO behind the first: what is honoured, and nothing else.
    fn extensions(&mut self) {
        let auth = self.offers_auth();
        let mut offer = |text: std::fmt::Arguments<'_>| {
            // Writing to a String cannot fail.
            let _ = write!(self.replies, "250-{text}\r\n");
        };
        offer(format_args!("PIPELINING"));
        offer(format_args!("SIZE {}", self.config.message_size));
        match self.tls {
            // Nothing can be read or changed on the way from a local program.
            Tls::No if self.local.is_some() => offer(format_args!("REQUIRETLS")),
            Tls::No => {}
            Tls::Offered => offer(format_args!("STARTTLS")),
            Tls::Active(_) => offer(format_args!("REQUIRETLS")),
        }
        if auth {
            offer(format_args!("AUTH PLAIN LOGIN"));
        }
        offer(format_args!("8BITMIME"));
        offer(format_args!("SMTPUTF8"));
        offer(format_args!("CHUNKING"));
        offer(format_args!("DSN"));
        if self.config.recipients <= MAX_LIMIT {
            offer(format_args!("LIMITS RCPTMAX={}", self.config.recipients));
        }
        if self.may_xclient != May::No {
            offer(format_args!("{}", xclient::OFFER));
        }
        self.replies.push_str("250 ENHANCEDSTATUSCODES\r\n");
    }

    fn mail(&mut self, sender: ReversePath, parameters: MailParameters, size: u64) -> Result<(), Reply> {
        let Some(hello) = &self.hello else {
            return Err(reply::HELLO_FIRST);
        };
        // Without EHLO nobody was told of DSN.
        if !hello.extended && (parameters.ret.is_some() || parameters.envid.is_some()) {
            return Err(reply::UNKNOWN_PARAMETER);
        }
        if self.transaction.is_some() {
            return Err(reply::NESTED_MAIL);
        }
        if parameters.requiretls && self.tls.session().is_none() && self.local.is_none() {
            return Err(reply::UNKNOWN_PARAMETER);
        }
        if usize::try_from(size).map_or(true, |size| size > self.config.message_size) {
            return Err(reply::TOO_BIG);
        }
        self.check_sender(&sender)?;
        self.has_left(Kind::Messages)?;
        self.transaction = Some(Transaction {
            flow: FlowId::random(),
            sender,
            recipients: Vec::new(),
            parameters,
            size,
            held: None,
            chunks: None,
            domains: HashSet::new(),
        });
        self.phase = Phase::AdmitMail;
        Ok(())
    }

    fn rcpt(&mut self, recipient: Option<Address>, dsn: RcptDsn) -> Result<(), Reply> {
        let may_relay = self.may_relay();
        let open = self.transaction.as_mut().ok_or(reply::MAIL_FIRST)?;
        if open.chunks.is_some() {
            return Err(reply::IN_CHUNKS);
        }
        if !dsn.is_empty() && !self.hello.as_ref().is_some_and(|hello| hello.extended) {
            return Err(reply::UNKNOWN_PARAMETER);
        }
        if open.recipients.len() >= self.config.recipients {
            return Err(reply::TOO_MANY_RECIPIENTS);
        }
        let address = match recipient {
            Some(address) if !open.parameters.smtputf8 && !address.is_ascii() => {
                return Err(reply::NEEDS_SMTPUTF8);
            }
            Some(address) if may_relay || self.config.relay.serves(&address) => address,
            Some(_) => return Err(reply::RELAYING_DENIED),
            // RFC 5321 section 4.5.1: the postmaster of this host hears from anyone.
            None => Address::parse(&format!("postmaster@{}", self.config.hostname))
                .map_err(|_| reply::BAD_RECIPIENT)?,
        };
        if !open.has_room_for(&address) {
            return Err(reply::TOO_MANY_RECIPIENTS);
        }
        let recipient = Recipient {
            address,
            notify: dsn.notify,
            orcpt: dsn.orcpt,
        };
        // The limit first: memory is charged for accepted recipients alone.
        self.takes(Kind::Recipients)?;
        let open = self.transaction.as_mut().ok_or(reply::MAIL_FIRST)?;
        if !open.charge(&self.config.memory, &recipient) {
            self.give_back(Kind::Recipients);
            return Err(reply::NO_MEMORY);
        }
        open.push(recipient);
        self.say(reply::RECIPIENT_OK);
        Ok(())
    }

    fn begin_data(&mut self) {
        match self.decoder(Ending::Dot) {
            Ok(decoder) => {
                self.phase = Phase::Data(Box::new(decoder));
                self.say(reply::GO_AHEAD);
            }
            Err(refusal) => self.say(refusal),
        }
    }

    /// What decodes the message of the open transaction, its trace header written; or why there is none.
    fn decoder(&mut self, ending: Ending) -> Result<Decoder, Reply> {
        let open = self.transaction.as_mut().ok_or(reply::MAIL_FIRST)?;
        let announced = usize::try_from(open.size)
            .unwrap_or(FIRST_RESERVE)
            .min(FIRST_RESERVE);
        let capacity = announced + LEAST_RESERVE;
        let mut held = open.held.take().ok_or(reply::NO_RECIPIENTS)?;
        if !held.grow(u64::try_from(capacity).unwrap_or(u64::MAX)) {
            open.held = Some(held);
            self.give_message_back();
            return Err(reply::BUSY);
        }
        let mut body = Vec::with_capacity(capacity);
        let extended = self.hello.as_ref().is_some_and(|hello| hello.extended);
        Trace {
            helo: self.hello.as_ref().map_or("", |hello| hello.name.as_str()),
            client: self.client,
            local: self.local,
            hostname: &self.config.hostname,
            // RFC 3848 and RFC 6531 section 4.3; there is no name for SMTP under TLS.
            protocol: protocol(
                open.parameters.smtputf8,
                extended,
                self.tls.session().is_some(),
                self.user.is_some(),
            ),
            tls: self.tls.session(),
            id: &open.flow.to_string(),
            date: &self.config.clock.now().rfc5322(),
        }
        .write(&mut body);
        let (size, bare) = (self.config.message_size, self.config.bare_newline);
        Ok(Decoder::new(body, held, size, bare, ending))
    }

    /// The message ended, or will not: it is handed over, or refused.
    fn end_data(&mut self, progress: Progress) -> Option<Mail> {
        self.progress = true;
        let phase = std::mem::replace(&mut self.phase, Phase::Command);
        let (Phase::Data(decoder), Some(open)) = (phase, self.transaction.take()) else {
            return None;
        };
        let too_big = match progress {
            Progress::Hopeless => reply::FAR_TOO_BIG,
            Progress::More | Progress::End => reply::TOO_BIG,
        };
        self.hand_over(open, *decoder, too_big)
    }

    /// A message that came whole is for the intake, or refused; with `too_big`, when it is that.
    fn hand_over(&mut self, open: Transaction, decoder: Decoder, too_big: Reply) -> Option<Mail> {
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
            Err(reply::TOO_BIG) => {
                self.say(too_big);
                return None;
            }
            Err(refusal) => {
                self.refuse_message(refusal);
                return None;
            }
        };
        self.phase = Phase::Accepting(held);
        Some(Mail {
            source: Source {
                admission: self.admission(),
                client: self.local.is_none().then_some(self.client),
                tls: self.tls().cloned(),
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
        let refusal = self.not_taken(error);
        self.say(refusal);
    }

    fn not_taken(&self, error: &AddError) -> Reply {
        info!(session = %self.session, %error, "the spool takes no mail");
        Reply::from_intake(error)
    }

    fn say(&mut self, reply: Reply) {
        let line = reply.text();
        self.replies.push_str(&line);
        self.replies.push_str("\r\n");
        if reply.closes {
            self.lingers = ![reply::BYE, reply::SHUTTING_DOWN].contains(&reply);
            self.phase = Phase::Closed;
            self.transaction = None;
        }
        if reply.is_refusal() {
            let client = match self.local {
                Some(user) => format!("uid {user}"),
                None => self.client.to_string(),
            };
            info!(session = %self.session, client, reply = &*line, "refused");
        }
        let deferral = reply.is_refusal() && !reply.is_error();
        self.deferrals += usize::from(deferral);
        if reply.is_error() || deferral && self.deferrals > MAX_DEFERRALS {
            self.errors += 1;
            if self.errors >= self.config.errors_per_session && !reply.closes {
                self.say(reply::TOO_MANY_ERRORS);
            }
        }
    }
}

/// The name of the protocol that IANA registered (RFC 3848, RFC 6531 section 4.3). Who has logged in is not said.
const fn protocol(utf8: bool, extended: bool, tls: bool, user: bool) -> &'static str {
    match (utf8, extended, tls, user) {
        (true, _, true, true) => "UTF8SMTPSA",
        (true, _, true, false) => "UTF8SMTPS",
        (true, _, false, true) => "UTF8SMTPA",
        (true, _, false, false) => "UTF8SMTP",
        (false, true, true, true) => "ESMTPSA",
        (false, true, true, false) => "ESMTPS",
        (false, true, false, true) => "ESMTPA",
        (false, true, false, false) => "ESMTP",
        (false, false, _, _) => "SMTP",
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
