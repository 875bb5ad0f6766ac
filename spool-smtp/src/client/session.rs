//! One open SMTP session, from its greeting to its QUIT.

use super::capabilities::Capabilities;
use super::config::SmtpConfig;
use super::reply_filter::RawReply;
use super::stream::WireStream;
use super::wire::Wire;
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::extension::ClientId;
use spool_core::{FlowId, NextHop, Reply, Stage};
use std::thread::ThreadId;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

/// How long a polite end may take.
const QUIT_TIMEOUT: Duration = Duration::from_secs(2);

/// Why there is no session.
#[derive(Debug)]
pub(super) enum ConnectError {
    /// No connection, or it broke.
    Failed(String),
    /// The peer said no.
    Refused { stage: Stage, reply: Reply },
}

/// An open session. Dropping it closes the connection.
pub(super) struct Session {
    connection: AsyncSmtpConnection,
    pub(super) wire: Wire,
    pub(super) capabilities: Capabilities,
    pub(super) hop: NextHop,
    pub(super) flow: FlowId,
    /// Messages sent so far.
    pub(super) messages: u32,
    /// Whether a transaction was left open: RSET comes first.
    pub(super) needs_reset: bool,
    pub(super) parked_at: Instant,
    /// Whose reactor its socket belongs to.
    pub(super) thread: ThreadId,
    pub(super) _permits: [OwnedSemaphorePermit; 2],
}

impl Session {
    /// Greeting and EHLO, or HELO when that is refused.
    pub(super) async fn open(
        tcp: TcpStream,
        hop: NextHop,
        config: &SmtpConfig,
        permits: [OwnedSemaphorePermit; 2],
    ) -> Result<Self, ConnectError> {
        let wire = Wire::new(tcp, config.greeting_timeout, config.command_timeout);
        let stream = Box::new(WireStream::new(wire.clone()));
        let hello = ClientId::Domain(config.hostname.clone());
        let connected = AsyncSmtpConnection::connect_with_transport(stream, &hello).await;
        let greeting = wire
            .take_reply()
            .ok_or_else(|| ConnectError::Failed(format!("no greeting: {}", wire.failure())))?;
        if greeting.code != 220 {
            return Err(ConnectError::Refused {
                stage: Stage::Connect,
                reply: greeting.to_reply(),
            });
        }
        let (Ok(connection), Some(ehlo)) = (connected, wire.take_reply()) else {
            return Err(ConnectError::Failed(format!(
                "no reply to EHLO: {}",
                wire.failure()
            )));
        };
        let mut session = Self {
            connection,
            capabilities: Capabilities::parse(&ehlo.lines),
            wire,
            hop,
            flow: FlowId::random(),
            messages: 0,
            needs_reset: false,
            parked_at: Instant::now(),
            thread: std::thread::current().id(),
            _permits: permits,
        };
        let refused = |reply: &RawReply| ConnectError::Refused {
            stage: Stage::Hello,
            reply: reply.to_reply(),
        };
        match ehlo.code {
            250 => {}
            500..=599 => {
                session.capabilities = Capabilities::default();
                session.wire.within(config.command_timeout);
                let helo = session
                    .say(&format!("HELO {}\r\n", config.hostname))
                    .await
                    .map_err(ConnectError::Failed)?;
                if helo.code != 250 {
                    return Err(refused(&helo));
                }
            }
            _ => return Err(refused(&ehlo)),
        }
        Ok(session)
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
    pub(super) async fn body(&mut self, body: &[u8]) -> Result<RawReply, String> {
        // lettre appends CRLF.CRLF to whatever it is given, so the body's own last line end is left to it.
        let Some(body) = body.strip_suffix(b"\r\n") else {
            return self.say(".\r\n").await;
        };
        let _ = self.connection.message(body).await;
        self.wire.take_reply().ok_or_else(|| self.wire.failure())
    }

    /// Says QUIT and waits a moment for the answer.
    pub(super) async fn quit(mut self) {
        self.wire.within(QUIT_TIMEOUT);
        let _ = self.say("QUIT\r\n").await;
    }
}
