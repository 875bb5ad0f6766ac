//! One open SMTP session, from its greeting to its QUIT: EHLO or HELO, STARTTLS or implicit TLS, AUTH.
//!
//! It gives up rather than send in the clear what must not be: whether plaintext will do instead is for the pool to say,
//! on a new connection.

use super::auth::authenticate;
use super::capabilities::Capabilities;
use super::config::SmtpConfig;
use super::key::Key;
use super::pool::Permit;
use super::reply_filter::RawReply;
use super::stream::WireStream;
use super::tls::{Tls, TlsFacts};
use super::wire::{SPOKE_EARLY, UpgradeError, Wire};
use bytes::Bytes;
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::extension::ClientId;
use memchr::memmem;
use spool_core::{AttemptResult, EnhancedCode, FlowId, Reply, Stage, TlsPolicy, harmless};
use std::fmt;
use std::net::IpAddr;
use std::thread::ThreadId;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// How long a polite end may take.
const QUIT_TIMEOUT: Duration = Duration::from_secs(2);

/// The most of a body that is copied at once.
const PIECE: usize = 64 * 1024;

/// "Encryption needed" (RFC 8689 section 4.2.1): our own word for a peer that has no STARTTLS.
const NOT_OFFERED: EnhancedCode = EnhancedCode(5, 7, 10);

/// Why there is no session.
#[derive(Debug)]
pub(super) enum ConnectError {
    /// The peer was not reached, or said nothing.
    Failed(String),
    /// Nothing may be sent any more: the spool has ended, or has refused the start of the attempt.
    Withdrawn,
    /// The peer was reached, and it ended so: `Refused` or `Broken`.
    Ended(AttemptResult),
    /// The peer was reached, and cannot take such a message. The reply is ours.
    Unable(Reply),
}

impl ConnectError {
    pub(super) const fn refused(stage: Stage, reply: Reply) -> Self {
        Self::Ended(AttemptResult::Refused { stage, reply })
    }

    pub(super) fn broken(stage: Stage, error: impl Into<String>) -> Self {
        Self::Ended(AttemptResult::Broken {
            stage,
            error: harmless(&error.into()),
            in_doubt: false,
        })
    }

    /// The same for a message that asks for REQUIRETLS: a peer without STARTTLS cannot take it, now or later.
    pub(super) fn for_requiretls(self) -> Self {
        match self {
            Self::Ended(AttemptResult::Refused {
                stage: Stage::Tls,
                reply,
            }) if reply.enhanced == Some(NOT_OFFERED) => Self::Unable(reply),
            other @ (Self::Failed(_) | Self::Withdrawn | Self::Ended(_) | Self::Unable(_)) => other,
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => f.write_str(error),
            Self::Withdrawn => f.write_str("not tried: the spool has withdrawn the attempt"),
            Self::Ended(result) => result.fmt(f),
            Self::Unable(reply) => reply.fmt(f),
        }
    }
}

/// Why a session was not opened, and whether TLS was to blame: then plaintext may help.
#[derive(Debug)]
pub(super) struct OpenError {
    pub(super) error: ConnectError,
    pub(super) tls_failed: bool,
}

impl From<ConnectError> for OpenError {
    fn from(error: ConnectError) -> Self {
        Self {
            error,
            tls_failed: false,
        }
    }
}

impl OpenError {
    /// Whether another address of the host may have a session: not where TLS failed, for which there is a rule of its own, nor where
    /// credentials were refused, for they are the same everywhere.
    pub(super) const fn is_of_the_address(&self) -> bool {
        !self.tls_failed
            && match &self.error {
                ConnectError::Failed(_) => true,
                ConnectError::Withdrawn | ConnectError::Unable(_) => false,
                ConnectError::Ended(result) => matches!(
                    result,
                    AttemptResult::Refused {
                        stage: Stage::Connect | Stage::Hello,
                        ..
                    } | AttemptResult::Broken {
                        stage: Stage::Connect | Stage::Hello,
                        ..
                    }
                ),
            }
    }

    const fn tls(error: ConnectError) -> Self {
        Self {
            error,
            tls_failed: true,
        }
    }
}

/// What protects a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Protection {
    /// Nothing; with the reason when TLS was wanted and failed.
    Plaintext(Option<String>),
    Tls(TlsFacts),
}

impl Protection {
    /// For the attempt's record.
    pub(super) fn record(&self) -> Option<String> {
        match self {
            Self::Plaintext(None) => None,
            Self::Plaintext(Some(why)) => Some(harmless(&format!("plaintext, because TLS failed: {why}"))),
            Self::Tls(facts) => Some(harmless(&facts.to_string())),
        }
    }
}

/// What a session is opened with.
pub(super) struct Opening<'a> {
    pub(super) key: &'a Key,
    pub(super) config: &'a SmtpConfig,
    pub(super) tls: &'a Tls,
    /// Why it is to be in plaintext although the policy would have TLS tried.
    pub(super) plaintext: Option<String>,
    /// The end of the attempt.
    pub(super) end: Instant,
}

/// An open session. Dropping it closes the connection.
pub(super) struct Session {
    connection: AsyncSmtpConnection,
    pub(super) wire: Wire,
    pub(super) capabilities: Capabilities,
    pub(super) protection: Protection,
    pub(super) key: Key,
    /// Of the peer.
    pub(super) address: IpAddr,
    pub(super) flow: FlowId,
    /// Transactions begun so far.
    pub(super) messages: u32,
    /// Whether a transaction was left open: RSET comes first.
    pub(super) needs_reset: bool,
    /// Whether BDAT may be said, if it is of use.
    pub(super) may_chunk: bool,
    /// What went wrong over BDAT.
    pub(super) chunking_failed: Option<String>,
    /// When it last took a message.
    pub(super) took_at: Option<Instant>,
    pub(super) parked_at: Instant,
    /// Whose reactor its socket belongs to.
    pub(super) thread: ThreadId,
    pub(super) permit: Option<Permit>,
}

impl Session {
    /// Everything up to the point where MAIL may be said.
    pub(super) async fn open(tcp: TcpStream, opening: Opening<'_>) -> Result<Self, OpenError> {
        let Opening { key, config, .. } = opening;
        let no_greeting = |why: String| ConnectError::Failed(format!("no greeting: {why}"));
        let peer = tcp.peer_addr().map_err(|error| no_greeting(error.to_string()))?;
        let wire = Wire::new(tcp, opening.end);
        let mut protection = Protection::Plaintext(opening.plaintext.clone());
        if config.is_implicit_tls(&key.hop) {
            protection = Protection::Tls(handshake(&wire, &opening).await?);
        }
        wire.expect_greeting(config.greeting_timeout, config.command_timeout);
        let hello = ClientId::Domain(config.hello_name());
        let stream = Box::new(WireStream::new(wire.clone(), peer));
        let connected = AsyncSmtpConnection::connect_with_transport(stream, &hello).await;
        let greeting = wire.take_reply().ok_or_else(|| no_greeting(wire.failure()))?;
        if !greeting.is(2) {
            return Err(ConnectError::refused(Stage::Connect, greeting.to_reply()).into());
        }
        let (Ok(connection), Some(ehlo)) = (connected, wire.take_reply()) else {
            let why = wire.failure();
            let error = match why == SPOKE_EARLY {
                true => ConnectError::broken(Stage::Hello, why),
                false => ConnectError::Failed(format!("no reply to EHLO: {why}")),
            };
            return Err(error.into());
        };
        let mut session = Self {
            connection,
            capabilities: Capabilities::default(),
            protection,
            wire,
            key: key.clone(),
            address: peer.ip(),
            flow: FlowId::random(),
            messages: 0,
            needs_reset: false,
            may_chunk: false,
            chunking_failed: None,
            took_at: None,
            parked_at: Instant::now(),
            thread: std::thread::current().id(),
            permit: None,
        };
        session.hello(ehlo, config).await?;
        session.secure(&opening).await?;
        if let Some(credentials) = &key.credentials {
            authenticate(&mut session, credentials, config).await?;
        }
        Ok(session)
    }

    /// Takes the capabilities from the reply to EHLO, or says HELO when that was refused.
    async fn hello(&mut self, ehlo: RawReply, config: &SmtpConfig) -> Result<(), ConnectError> {
        self.capabilities = Capabilities::default();
        let refused = |reply: &RawReply| ConnectError::refused(Stage::Hello, reply.to_reply());
        match ehlo.code {
            200..=299 => self.capabilities = Capabilities::parse(ehlo.lines()),
            500..=599 => {
                let helo = self
                    .ask(
                        &format!("HELO {}\r\n", config.hello_name()),
                        config.command_timeout,
                    )
                    .await
                    .map_err(|error| ConnectError::broken(Stage::Hello, error))?;
                if !helo.is(2) {
                    return Err(refused(&helo));
                }
            }
            _ => return Err(refused(&ehlo)),
        }
        Ok(())
    }

    /// STARTTLS, as far as the policy asks for it and the peer offers it.
    async fn secure(&mut self, opening: &Opening<'_>) -> Result<(), OpenError> {
        let (policy, config) = (opening.key.tls, opening.config);
        if matches!(self.protection, Protection::Tls(_))
            || opening.plaintext.is_some()
            || policy == TlsPolicy::None
        {
            return Ok(());
        }
        if !self.capabilities.starttls {
            return match policy {
                TlsPolicy::None | TlsPolicy::Opportunistic => Ok(()),
                TlsPolicy::Required | TlsPolicy::Verify => {
                    let why = match &opening.key.dane {
                        None => format!("the policy is \"{policy}\""),
                        Some(dane) => format!("{} has TLSA records", dane.base),
                    };
                    let text = format!("{NOT_OFFERED} the next hop does not offer STARTTLS, and {why}");
                    Err(ConnectError::refused(Stage::Tls, Reply::new(554, &text)).into())
                }
            };
        }
        let reply = self.ask("STARTTLS\r\n", config.tls_timeout).await;
        let reply = reply.map_err(|error| OpenError::tls(ConnectError::broken(Stage::Tls, error)))?;
        match reply.code {
            // No other 2yz: from a peer that is out of step it would be the reply to something else.
            220 => {}
            421 => return Err(ConnectError::refused(Stage::Tls, reply.to_reply()).into()),
            400..=599 => {
                return Err(OpenError::tls(ConnectError::refused(
                    Stage::Tls,
                    reply.to_reply(),
                )));
            }
            code => {
                let error = format!("the peer answered STARTTLS with {code}");
                return Err(ConnectError::broken(Stage::Tls, error).into());
            }
        }
        self.protection = Protection::Tls(handshake(&self.wire, opening).await?);
        // What was said in the clear is void (RFC 3207 section 4.2).
        let ehlo = format!("EHLO {}\r\n", config.hello_name());
        // With TLS 1.3 the peer's refusal of the handshake comes in place of its first reply.
        let ehlo = self.ask(&ehlo, config.command_timeout).await;
        let ehlo = ehlo.map_err(|error| OpenError::tls(ConnectError::broken(Stage::Hello, error)))?;
        Ok(self.hello(ehlo, config).await?)
    }

    /// Whether it is to be used no more.
    pub(super) fn is_spent(&self, config: &SmtpConfig) -> bool {
        let most = self.capabilities.mail_max.unwrap_or(u32::MAX);
        self.messages >= config.messages_per_connection.min(most)
    }

    /// Sends one command and reads its reply, all within `span`. Nothing may be unread before it.
    pub(super) async fn ask(&mut self, command: &str, span: Duration) -> Result<RawReply, String> {
        if self.wire.has_spoken_or_gone() {
            return Err("the peer spoke out of turn or closed the connection".to_owned());
        }
        self.wire.within(span);
        self.say(command).await
    }

    /// Sends one or several commands in one write and reads the first reply.
    pub(super) async fn say(&mut self, commands: &str) -> Result<RawReply, String> {
        // lettre's result is the class that the stream told it; the reply itself is on the wire.
        let _ = self.connection.command(commands).await;
        self.wire.take_reply().ok_or_else(|| self.wire.failure())
    }

    /// Reads the next reply.
    pub(super) async fn listen(&mut self) -> Result<RawReply, String> {
        let _ = self.connection.read_response().await;
        self.wire.take_reply().ok_or_else(|| self.wire.failure())
    }

    /// Sends a body and its final dot, and reads the reply.
    pub(super) async fn body(&mut self, body: &Bytes) -> Result<RawReply, String> {
        if goes_as_it_is(body) {
            self.wire.follow_with(body.clone(), b".\r\n");
            return self.listen().await;
        }
        // lettre appends CRLF.CRLF to whatever it is given, so the body's own last line end is left to it.
        let body = body.strip_suffix(b"\r\n").unwrap_or(body);
        // In pieces: lettre keeps a stuffed copy of each until the peer has taken it.
        let _ = self.connection.message_iter(body.chunks(PIECE)).await;
        self.wire.take_reply().ok_or_else(|| self.wire.failure())
    }

    /// Says QUIT and waits a moment for the answer.
    pub(super) async fn quit(mut self) {
        self.wire.until(Instant::now() + QUIT_TIMEOUT);
        self.wire.within(QUIT_TIMEOUT);
        let _ = self.say("QUIT\r\n").await;
        self.wire.shut_down().await;
    }
}

/// Whether a lone dot behind `body` ends it, and there is no dot to be stuffed (RFC 5321 section 4.5.2).
fn goes_as_it_is(body: &[u8]) -> bool {
    let is_whole = body.is_empty() || body.ends_with(b"\r\n");
    is_whole && !body.starts_with(b".") && memmem::find(body, b"\r\n.").is_none()
}

async fn handshake(wire: &Wire, opening: &Opening<'_>) -> Result<TlsFacts, OpenError> {
    let Opening { key, config, tls, .. } = opening;
    wire.within(config.tls_timeout);
    let upgraded = wire.upgrade(|tcp| tls.handshake(tcp, key)).await;
    upgraded.map_err(|error| match error {
        // Replies smuggled in behind the 220 would be read as if they had come through TLS. Whoever does that is not
        // spoken to in plaintext instead.
        UpgradeError::Spoke => ConnectError::broken(
            Stage::Tls,
            "the peer sent more than was asked before the handshake",
        )
        .into(),
        UpgradeError::Failed(error) => OpenError::tls(ConnectError::broken(
            Stage::Tls,
            format!("the handshake failed: {error}"),
        )),
    })
}
