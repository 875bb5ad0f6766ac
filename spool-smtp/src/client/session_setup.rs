//! Opens a session on a TCP connection: greeting, EHLO or HELO, STARTTLS or implicit TLS, AUTH.
//!
//! It fails rather than send anything in plaintext that the policy does not allow. The pool decides whether to try again in plaintext,
//! on a new connection.

use super::auth::authenticate;
use super::capabilities::Capabilities;
use super::config::SmtpConfig;
use super::connect_error::{ConnectError, STARTTLS_NOT_OFFERED, broken};
use super::reply_filter::RawReply;
use super::session::{Protection, Session};
use super::session_key::{SessionKey, SessionRequest};
use super::stream::WireStream;
use super::tls::{TlsClient, TlsFacts};
use super::wire::{PeerState, Wire};
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::extension::ClientId;
use spool_core::{AttemptResult, FlowId, Reply, Stage, TlsPolicy};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// What a session is opened with.
pub(super) struct SessionSetup<'a> {
    pub(super) request: &'a SessionRequest<'a>,
    pub(super) config: &'a SmtpConfig,
    pub(super) tls: &'a TlsClient,
    /// Why the session is in plaintext, if TLS has failed before; then TLS is not tried.
    pub(super) plaintext: Option<String>,
}

impl SessionSetup<'_> {
    /// Opens a session that is ready for MAIL.
    pub(super) async fn open(self, tcp: TcpStream) -> Result<Session, ConnectError> {
        let (key, config) = (&self.request.key, self.config);
        let no_greeting = |why: String| ConnectError::Failed(format!("no greeting: {why}"));
        let peer = tcp.peer_addr().map_err(|error| no_greeting(error.to_string()))?;
        let wire = Wire::new(tcp, self.request.end);
        let mut protection = Protection::Plaintext(self.plaintext.clone());
        if config.is_implicit_tls(&key.hop) {
            protection = Protection::Tls(self.handshake(&wire).await?);
        }
        wire.within(config.greeting_timeout);
        let greeting = wire.reply().await.map_err(no_greeting)?;
        if !greeting.is(2) {
            return Err(ConnectError::refused(Stage::Connect, greeting.to_reply()));
        }
        if wire.peer_state() == PeerState::Sent {
            let error = "the peer said more than its greeting before EHLO was sent";
            return Err(ConnectError::broken(Stage::Hello, error));
        }
        wire.within(config.command_timeout);
        let hello = ClientId::Domain(config.hello_name());
        let stream = Box::new(WireStream {
            wire: wire.clone(),
            peer,
            is_greeted: false,
        });
        let connected = AsyncSmtpConnection::connect_with_transport(stream, &hello).await;
        let no_reply = |why: String| ConnectError::Failed(format!("no reply to EHLO: {why}"));
        let ehlo = wire.take_reply().map_err(no_reply)?;
        let connection = connected.map_err(|error| no_reply(error.to_string()))?;
        let mut session = Session {
            connection,
            wire,
            capabilities: Capabilities::default(),
            protection,
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
        self.hello(&mut session, ehlo).await?;
        self.start_tls(&mut session).await?;
        if let Some(credentials) = &key.credentials {
            authenticate(&mut session, credentials, config).await?;
        }
        Ok(session)
    }

    /// Reads the capabilities from the reply to EHLO; sends HELO if EHLO was refused.
    async fn hello(&self, session: &mut Session, ehlo: RawReply) -> Result<(), ConnectError> {
        session.capabilities = Capabilities::default();
        let refused = |reply: &RawReply| ConnectError::refused(Stage::Hello, reply.to_reply());
        match ehlo.code {
            200..=299 => session.capabilities = Capabilities::parse(ehlo.lines()),
            500..=599 => {
                let helo = format!("HELO {}\r\n", self.config.hello_name());
                let helo = session.ask(&helo, self.config.command_timeout).await;
                let helo = helo.map_err(|error| ConnectError::broken(Stage::Hello, &error))?;
                if !helo.is(2) {
                    return Err(refused(&helo));
                }
            }
            _ => return Err(refused(&ehlo)),
        }
        Ok(())
    }

    /// STARTTLS, if the policy asks for it and the peer offers it.
    async fn start_tls(&self, session: &mut Session) -> Result<(), ConnectError> {
        if matches!(session.protection, Protection::Tls(_))
            || self.plaintext.is_some()
            || self.request.key.tls == TlsPolicy::None
        {
            return Ok(());
        }
        if !session.capabilities.starttls {
            return self.without_starttls();
        }
        let tls_failed = |stage, error: &str| ConnectError::TlsFailed(broken(stage, error, false));
        let reply = session.ask("STARTTLS\r\n", self.config.tls_timeout).await;
        let reply = reply.map_err(|error| tls_failed(Stage::Tls, &error))?;
        match reply.code {
            // No other 2yz: from a peer that is out of step it may be the reply to an earlier command.
            220 => {}
            421 => return Err(ConnectError::refused(Stage::Tls, reply.to_reply())),
            400..=599 => {
                let (stage, reply) = (Stage::Tls, reply.to_reply());
                return Err(ConnectError::TlsFailed(AttemptResult::Refused { stage, reply }));
            }
            code => {
                let error = format!("the peer answered STARTTLS with {code}");
                return Err(ConnectError::broken(Stage::Tls, &error));
            }
        }
        session.protection = Protection::Tls(self.handshake(&session.wire).await?);
        // The capabilities from plaintext no longer hold (RFC 3207 section 4.2).
        let ehlo = format!("EHLO {}\r\n", self.config.hello_name());
        // With TLS 1.3 a peer that refuses the handshake says so in place of its first reply.
        let ehlo = session.ask(&ehlo, self.config.command_timeout).await;
        let ehlo = ehlo.map_err(|error| tls_failed(Stage::Hello, &error))?;
        self.hello(session, ehlo).await
    }

    /// Whether a session with a peer that does not offer STARTTLS continues in plaintext.
    fn without_starttls(&self) -> Result<(), ConnectError> {
        let SessionKey {
            tls: policy, dane, ..
        } = &self.request.key;
        if *policy <= TlsPolicy::Opportunistic {
            return Ok(());
        }
        let why = match dane {
            None => format!("the policy is \"{policy}\""),
            Some(dane) => format!("{} has TLSA records", dane.base),
        };
        let text = format!("{STARTTLS_NOT_OFFERED} the next hop does not offer STARTTLS, and {why}");
        Err(ConnectError::refused(Stage::Tls, Reply::new(554, &text)))
    }

    async fn handshake(&self, wire: &Wire) -> Result<TlsFacts, ConnectError> {
        wire.within(self.config.tls_timeout);
        let SessionKey { hop, tls, dane, .. } = &self.request.key;
        // The certificate must be for the name of the TLSA records (RFC 7672 section 8.1).
        let host = dane.as_ref().map_or(hop.host(), |dane| &dane.base);
        let verify = *tls == TlsPolicy::Verify;
        wire.upgrade(|tcp| self.tls.handshake(tcp, host, verify, dane.clone()))
            .await
    }
}
