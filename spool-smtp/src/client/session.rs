//! One open SMTP session: it sends commands and bodies through lettre, and reads replies from its [`Wire`].

use super::capabilities::Capabilities;
use super::config::SmtpConfig;
use super::reply_filter::RawReply;
use super::session_key::SessionKey;
use super::session_ledger::ConnectionPermit;
use super::tls::TlsFacts;
use super::wire::Wire;
use bytes::Bytes;
use lettre::transport::smtp::client::AsyncSmtpConnection;
use memchr::memmem;
use spool_core::{FlowId, harmless};
use std::net::IpAddr;
use std::thread::ThreadId;
use std::time::Duration;
use tokio::time::Instant;

/// How long QUIT and the end of the connection may take.
const QUIT_TIMEOUT: Duration = Duration::from_secs(2);

/// The most bytes of a body that lettre copies at once.
const PIECE: usize = 64 * 1024;

/// What protects a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Protection {
    /// No TLS; with the reason if TLS was tried and failed.
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

/// An open session. Dropping it closes the connection.
pub(super) struct Session {
    pub(super) connection: AsyncSmtpConnection,
    pub(super) wire: Wire,
    pub(super) capabilities: Capabilities,
    pub(super) protection: Protection,
    pub(super) key: SessionKey,
    /// The peer's address.
    pub(super) address: IpAddr,
    pub(super) flow: FlowId,
    /// The number of transactions that were started.
    pub(super) messages: u32,
    /// Whether a transaction was left open: the next one begins with RSET.
    pub(super) needs_reset: bool,
    /// Whether BDAT may be used.
    pub(super) may_chunk: bool,
    /// Why BDAT failed, if it did.
    pub(super) chunking_failed: Option<String>,
    /// When the peer last accepted a message.
    pub(super) took_at: Option<Instant>,
    pub(super) parked_at: Instant,
    /// The thread whose runtime drives the socket.
    pub(super) thread: ThreadId,
    pub(super) permit: Option<ConnectionPermit<Self>>,
}

impl Session {
    /// Whether it has carried as many messages as it may.
    pub(super) fn is_spent(&self, config: &SmtpConfig) -> bool {
        let most = self.capabilities.mail_max.unwrap_or(u32::MAX);
        self.messages >= config.messages_per_connection.min(most)
    }

    /// Sends one command and reads its reply within `span`. Fails if the peer has sent something unasked.
    pub(super) async fn ask(&mut self, command: &str, span: Duration) -> Result<RawReply, String> {
        if self.wire.has_sent_or_closed() {
            return Err("the peer spoke out of turn or closed the connection".to_owned());
        }
        self.wire.within(span);
        self.say(command).await
    }

    /// Sends one or several commands in one write and reads the first reply.
    pub(super) async fn say(&mut self, commands: &str) -> Result<RawReply, String> {
        // lettre learns only that there is a reply; the reply itself is taken from the wire.
        let _ = self.connection.command(commands).await;
        self.wire.take_reply()
    }

    /// Sends a body and its final dot, and reads the reply.
    pub(super) async fn body(&mut self, body: &Bytes) -> Result<RawReply, String> {
        if needs_no_stuffing(body) {
            self.wire.follow_with(body.clone(), b".\r\n");
            return self.wire.reply().await;
        }
        // lettre appends CRLF.CRLF, which includes the body's last line end.
        let body = body.strip_suffix(b"\r\n").unwrap_or(body);
        // In pieces, because lettre keeps a dot-stuffed copy of each until it is written.
        let _ = self.connection.message_iter(body.chunks(PIECE)).await;
        self.wire.take_reply()
    }

    /// Sends QUIT and waits for the reply, at most [`QUIT_TIMEOUT`].
    pub(super) async fn quit(mut self) {
        self.wire.until(Instant::now() + QUIT_TIMEOUT);
        self.wire.within(QUIT_TIMEOUT);
        let _ = self.say("QUIT\r\n").await;
        self.wire.shut_down().await;
    }
}

/// Whether `body` needs no dot-stuffing and ends with a line end (RFC 5321 section 4.5.2).
fn needs_no_stuffing(body: &[u8]) -> bool {
    let is_whole = body.is_empty() || body.ends_with(b"\r\n");
    is_whole && !body.starts_with(b".") && memmem::find(body, b"\r\n.").is_none()
}
