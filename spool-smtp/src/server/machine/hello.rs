//! The start of a session: the greeting, EHLO with its extensions, and STARTTLS.

use super::xclient::{self, XclientPermission};
use super::{Machine, Phase};
use crate::server::command::Hello;
use crate::server::framing::Framer;
use crate::server::reply::{self, ServerReply};
use crate::server::tls::HANDSHAKE_MEMORY;
use spool_core::TlsSession;
use std::fmt::Write as _;

/// The largest number that LIMITS has room for (RFC 9422 section 3): six digits.
const MAX_LIMIT: usize = 999_999;

/// The TLS state of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TlsState {
    /// TLS is not offered.
    No,
    /// STARTTLS is offered.
    Offered,
    /// The session is under TLS.
    Active(TlsSession),
}

impl TlsState {
    /// The TLS session of the commands; `None` in plaintext.
    pub(super) const fn session(&self) -> Option<&TlsSession> {
        match self {
            Self::Active(session) => Some(session),
            Self::No | Self::Offered => None,
        }
    }
}

impl Machine {
    pub(super) fn greet(&mut self) {
        // Writing to a String cannot fail.
        let _ = write!(self.replies, "220 {} ESMTP\r\n", self.config.hostname);
    }

    /// The machine offers STARTTLS from now on.
    pub(in crate::server) fn offer_tls(&mut self) {
        self.tls = TlsState::Offered;
    }

    /// The connection was under TLS before the greeting (RFC 8314).
    pub(in crate::server) fn under_tls(&mut self, session: TlsSession) {
        self.tls = TlsState::Active(session);
    }

    /// The handshake of [`Next::StartTls`] is complete. The state from plaintext is forgotten
    /// (RFC 3207 section 4.2); its errors still count.
    pub(in crate::server) fn tls_started(&mut self, session: TlsSession) {
        self.tls = TlsState::Active(session);
        self.hello = None;
        self.proxy_login = None;
        self.transaction = None;
        self.framer = Framer::new(self.config.line_length.max(512));
        self.phase = Phase::Command;
        self.progress = true;
    }

    pub(super) fn start_tls(&mut self) -> Result<(), ServerReply> {
        match self.tls {
            TlsState::No => return Err(reply::NOT_IMPLEMENTED),
            TlsState::Active(_) => return Err(reply::ALREADY_UNDER_TLS),
            TlsState::Offered if self.stopping => self.say(reply::SHUTTING_DOWN),
            TlsState::Offered => {
                let memory = self.config.memory.hold_first(HANDSHAKE_MEMORY);
                self.phase = Phase::StartTls {
                    answered: false,
                    _memory: memory.ok_or(reply::NO_MEMORY_FOR_TLS)?,
                };
            }
        }
        Ok(())
    }

    pub(super) fn hello(&mut self, hello: Hello) {
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

    /// The lines of EHLO after the first: the implemented extensions.
    fn extensions(&mut self) {
        let auth = self.offers_auth();
        let mut offer = |text: std::fmt::Arguments<'_>| {
            // Writing to a String cannot fail.
            let _ = write!(self.replies, "250-{text}\r\n");
        };
        offer(format_args!("PIPELINING"));
        offer(format_args!("SIZE {}", self.config.message_size));
        match self.tls {
            // Input from a local program passes no network.
            TlsState::No if self.local.is_some() => offer(format_args!("REQUIRETLS")),
            TlsState::No => {}
            TlsState::Offered => offer(format_args!("STARTTLS")),
            TlsState::Active(_) => offer(format_args!("REQUIRETLS")),
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
        if self.may_xclient != XclientPermission::No {
            offer(format_args!("{}", xclient::OFFER));
        }
        self.replies.push_str("250 ENHANCEDSTATUSCODES\r\n");
    }
}
