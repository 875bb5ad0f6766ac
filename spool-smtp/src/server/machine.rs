//! One SMTP session as a state machine: it takes bytes and returns replies and requests. It uses no socket, no timer and no spool.
//!
//! The driver passes it the input and does what [`Next`] requests. Only [`Machine::accepted`] queues a 250 for a message,
//! with the ids of durable mail.

mod chunks;
mod hello;
mod intake;
mod login;
mod transaction;
mod xclient;

use self::chunks::Chunk;
use self::hello::TlsState;
use self::login::LoggedIn;
use self::transaction::Transaction;
use self::xclient::{XclientChange, XclientPermission};
use super::auth::{Exchange, LoginAttempt};
use super::command::{Command, Hello};
use super::config::ServerConfig;
use super::data::{Decoder, Ending};
use super::framing::{Frame, Framer};
use super::reply::{self, ServerReply};
use spool_core::{AddError, FlowId, Held, Mail};
use std::net::IpAddr;
use std::sync::Arc;
use tracing::info;

/// When more bytes of replies are queued, they are sent before more commands are read.
const REPLIES_HELD: usize = 16 << 10;
/// The capacity for replies that is kept after they were sent.
const REPLIES_KEPT: usize = 1 << 10;
/// How many 4xx replies a session may get; each further one counts as an error. This is more than a client gets that
/// sends a long list of recipients without reading the replies.
const MAX_DEFERRALS: usize = 10_000;

/// The next step of the driver.
#[derive(Debug)]
pub(super) enum Next {
    /// Send the replies, then read more input.
    Read,
    /// Send the replies, then call [`Machine::advance`] again.
    Flush,
    /// Pass this to the intake, wait for its answer, and call [`Machine::accepted`]. Replies may wait.
    Accept(Box<Mail>),
    /// Send the replies, do the server's part of a TLS handshake, and call [`Machine::tls_started`]. A failed handshake
    /// ends the session. Remaining input must not be interpreted under TLS; there is none unless the driver
    /// reads more after this.
    StartTls,
    /// Send the replies, check the name and the password, and call
    /// [`Machine::authenticated`].
    Authenticate(LoginAttempt),
    /// Reserve a place for the client at this address, which has the session from now on, and call
    /// [`Machine::readdressed`]. Replies may wait.
    Readdress(IpAddr),
    /// Send the replies and close the connection.
    Close,
}

#[derive(Debug)]
enum Phase {
    /// Reads commands.
    Command,
    /// Reads a message.
    Data(Box<Decoder>),
    /// Reads a chunk of a message.
    Chunk(Box<Decoder>, Chunk),
    /// Discards this many octets of a chunk, then sends the reply.
    Skip(u64, ServerReply),
    /// Waits for the intake to accept a message.
    Accepting(Held),
    /// STARTTLS was accepted; its reply is sent with the first [`Next::StartTls`]. Holds the memory for the handshake.
    StartTls { answered: bool, _memory: Held },
    /// Waits for the response to a challenge of AUTH.
    Login(Exchange),
    /// Waits for the result of a login; holds the attempt until the driver takes it.
    Checking(Option<LoginAttempt>),
    /// Waits for a place for the client that a proxy has named.
    Readdress(IpAddr, Box<XclientChange>),
    /// The session is over.
    Closed,
}

/// Whether the intake would accept a message of this size.
type Admit<'a> = &'a dyn Fn(u64) -> Result<(), AddError>;

/// The machine of one session.
#[derive(Debug)]
pub(super) struct Machine {
    config: Arc<ServerConfig>,
    /// The client's address, as far as it is known.
    pub(super) client: IpAddr,
    trusted: bool,
    may_xclient: XclientPermission,
    /// The local user whose program the client is.
    local: Option<u32>,
    /// The user whom a proxy has named.
    proxy_login: Option<Arc<str>>,
    session: FlowId,
    tls: TlsState,
    user: Option<LoggedIn>,
    framer: Framer,
    hello: Option<Hello>,
    transaction: Option<Transaction>,
    phase: Phase,
    errors: usize,
    deferrals: usize,
    progress: bool,
    /// The service stops: the session ends as soon as no transaction is open.
    pub(super) stopping: bool,
    /// Whether the session was closed while the client may still be sending, so that it could miss the reason.
    pub(super) lingers: bool,
    replies: String,
}

impl Machine {
    /// A machine for a session with `client`; the greeting is queued.
    pub(super) fn new(config: Arc<ServerConfig>, client: IpAddr, session: FlowId) -> Self {
        let listed = config.proxies.iter().any(|proxy| proxy.contains(client));
        let mut machine = Self {
            replies: String::new(),
            trusted: config.relay.trusts(client),
            may_xclient: if listed {
                XclientPermission::Yes
            } else {
                XclientPermission::No
            },
            local: None,
            proxy_login: None,
            framer: Framer::new(config.line_length.max(512)),
            config,
            client,
            session,
            tls: TlsState::No,
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

    /// The address is that of a proxy whose client is unknown: it gives no permission, and XCLIENT is not accepted, because it could
    /// come from that client.
    pub(super) const fn unnamed(&mut self) {
        self.trusted = false;
        self.may_xclient = XclientPermission::No;
    }

    /// The client is a local program of the user with this id: it may send anywhere, and its input
    /// passes no network.
    pub(super) const fn local(&mut self, user: u32) {
        self.local = Some(user);
        self.trusted = true;
        self.may_xclient = XclientPermission::No;
    }

    /// Processes `input` until the driver has something to do, and removes the processed bytes from it. `admit` is asked before a message is
    /// read.
    pub(super) fn advance(&mut self, input: &mut &[u8], admit: Admit<'_>) -> Next {
        loop {
            match &mut self.phase {
                Phase::Closed => {
                    *input = &[];
                    return Next::Close;
                }
                Phase::Readdress(to, _) => return Next::Readdress(*to),
                // Nothing continues until the answer arrives.
                Phase::Accepting(_) => return Next::Flush,
                // Plaintext after the command may come from an attacker, and must not be read as input under TLS.
                Phase::StartTls { .. } if !input.is_empty() => self.say(reply::STARTTLS_NOT_LAST),
                Phase::StartTls { answered, .. } => {
                    if !std::mem::replace(answered, true) {
                        self.say(reply::START_TLS);
                    }
                    return Next::StartTls;
                }
                Phase::Checking(attempt) => return attempt.take().map_or(Next::Flush, Next::Authenticate),
                Phase::Login(_) if self.stopping => self.say(reply::SHUTTING_DOWN),
                Phase::Login(_) => {
                    if !self.read_response(input) {
                        return Next::Read;
                    }
                }
                Phase::Data(decoder) => {
                    if !decoder.feed(input) {
                        return Next::Read;
                    }
                    if let Some(mail) = self.end_data() {
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
                    if let Err(refusal) = command.and_then(|command| self.obey(command, admit)) {
                        self.say(refusal);
                    }
                }
            }
        }
    }

    /// The client took too long: the session ends.
    pub(super) fn timed_out(&mut self) {
        self.say(reply::TIMEOUT);
    }

    /// Whether a message is being read, which has a time limit of its own.
    pub(super) const fn in_data(&self) -> bool {
        matches!(self.phase, Phase::Data(_) | Phase::Chunk(..) | Phase::Skip(..))
    }

    /// Whether a command or a message was completed since the last call.
    pub(super) const fn take_progress(&mut self) -> bool {
        std::mem::replace(&mut self.progress, false)
    }

    /// The replies not yet sent.
    pub(super) fn replies(&self) -> &[u8] {
        self.replies.as_bytes()
    }

    /// The replies were sent.
    pub(super) fn replies_sent(&mut self) {
        self.replies.clear();
        self.replies.shrink_to(REPLIES_KEPT);
    }

    fn obey(&mut self, command: Command, admit: Admit<'_>) -> Result<(), ServerReply> {
        match command {
            Command::Hello(hello) => self.hello(hello),
            Command::Mail(sender, given) => {
                if given.auth && !self.offers_auth() {
                    return Err(reply::UNKNOWN_PARAMETER);
                }
                self.mail(sender, given)?;
                self.admit(admit)?;
                self.say(reply::SENDER_OK);
            }
            Command::Rcpt {
                address,
                notify,
                orcpt,
            } => self.rcpt(address, notify, orcpt)?,
            Command::Data => {
                let open = self.transaction.as_ref().ok_or(reply::MAIL_FIRST)?;
                if open.chunks.is_some() {
                    return Err(reply::IN_CHUNKS);
                }
                if open.recipients.is_empty() {
                    return Err(reply::NO_RECIPIENTS);
                }
                let decoder = self.begin_message(Ending::Dot, admit)?;
                self.phase = Phase::Data(Box::new(decoder));
                self.say(reply::GO_AHEAD);
            }
            Command::Auth { mechanism, initial } => self.auth(&mechanism, initial.as_ref())?,
            Command::Bdat { size, last } => self.bdat(Chunk { left: size, last }, admit),
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

    fn say(&mut self, reply: ServerReply) {
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

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
