//! Logins and rate limits of a session.

use super::{Machine, Phase};
use crate::server::auth::{Exchange, InitialResponse, LoginResult, SaslStep, User};
use crate::server::clients::{ClientKey, Kind, OpenConnection};
use crate::server::framing::Frame;
use crate::server::reply::{self, ServerReply};
use spool_core::{Admission, ReversePath};
use std::sync::Arc;
use tracing::info;

/// Who has logged in.
#[derive(Debug)]
pub(super) struct LoggedIn {
    user: Arc<User>,
    _open: Option<OpenConnection>,
}

impl Machine {
    /// Whether AUTH is offered: someone may log in, and the session is under TLS.
    pub(super) fn offers_auth(&self) -> bool {
        self.tls.session().is_some() && self.config.logins.are_offered()
    }

    /// AUTH (RFC 4954).
    pub(super) fn auth(
        &mut self,
        mechanism: &str,
        initial: Option<&InitialResponse>,
    ) -> Result<(), ServerReply> {
        if !self.config.logins.are_offered() {
            return Err(reply::NOT_IMPLEMENTED);
        }
        if !self.hello.as_ref().is_some_and(|hello| hello.extended) {
            return Err(reply::EHLO_FIRST);
        }
        if self.tls.session().is_none() {
            return Err(reply::AUTH_NEEDS_TLS);
        }
        if self.user.is_some() {
            return Err(reply::LOGGED_IN);
        }
        if self.transaction.is_some() {
            return Err(reply::AUTH_IN_TRANSACTION);
        }
        let mut exchange = Exchange::begin(mechanism)?;
        let step = exchange.first(initial)?;
        self.proceed(exchange, step);
        Ok(())
    }

    fn proceed(&mut self, exchange: Exchange, step: SaslStep) {
        self.phase = match step {
            SaslStep::Check(attempt) => Phase::Checking(Some(attempt)),
            SaslStep::Challenge(line) => {
                self.replies.push_str(line);
                self.replies.push_str("\r\n");
                Phase::Login(exchange)
            }
        };
    }

    /// Reads a line as the response to a challenge; returns `false` if the line is not complete.
    pub(super) fn read_response(&mut self, input: &mut &[u8]) -> bool {
        let Phase::Login(exchange) = &mut self.phase else {
            return true;
        };
        let step = match self.framer.next(input) {
            None => return false,
            Some(Frame::Line(line)) => exchange.respond(line.strip_suffix(b"\r\n").unwrap_or(line)),
            Some(Frame::TooLong) => Err(reply::RESPONSE_TOO_LONG),
            Some(Frame::Unclean) => Err(reply::UNCLEAN),
        };
        self.progress = true;
        let Phase::Login(exchange) = std::mem::replace(&mut self.phase, Phase::Command) else {
            return true;
        };
        match step {
            Ok(step) => self.proceed(exchange, step),
            Err(refusal) => self.say(refusal),
        }
        true
    }

    /// The answer to [`Next::Authenticate`](super::Next::Authenticate). Only this makes the session that of a user.
    pub(in crate::server) fn authenticated(&mut self, verdict: LoginResult) {
        if !matches!(self.phase, Phase::Checking(_)) {
            // Not waiting for this answer.
            return;
        }
        self.phase = Phase::Command;
        self.progress = true;
        match verdict {
            LoginResult::Accepted(user) => {
                info!(session = %self.session, client = %self.client, user = &**user.name(), "logged in");
                let key = ClientKey::User(Arc::clone(user.name()));
                // No limit on the connections of a user.
                let _open = self.config.clients.open(key, usize::MAX).ok();
                self.user = Some(LoggedIn { user, _open });
                self.say(reply::AUTHENTICATED);
            }
            LoginResult::Refused => self.say(reply::BAD_CREDENTIALS),
            LoginResult::Busy => self.say(reply::AUTH_BUSY),
            LoginResult::Limited(wait) => self.say(Kind::FailedLogins.refusal(wait)),
        }
    }

    /// The authority under which the session submits mail: that of the user who has logged in, here or at a proxy, or of the client.
    pub(super) fn admission(&self) -> Admission {
        match self.user_name() {
            Some(user) => Admission::User(Arc::clone(user)),
            None if self.trusted => Admission::Network,
            None => Admission::Domain,
        }
    }

    /// The user who has logged in, here or at a proxy.
    fn user_name(&self) -> Option<&Arc<str>> {
        let here = self.user.as_ref().map(|login| login.user.name());
        here.or(self.proxy_login.as_ref())
    }

    /// Whether recipients anywhere are accepted from this session.
    pub(super) fn may_relay(&self) -> bool {
        self.trusted || self.user_name().is_some()
    }

    /// Whether the session may send from `sender` now. For a removed user the session ends with a reply.
    pub(super) fn check_sender(&self, sender: &ReversePath) -> Result<(), ServerReply> {
        let logins = &self.config.logins;
        let user = match (&self.user, &self.proxy_login) {
            (Some(login), _) => Some(logins.current(&login.user).ok_or(reply::LOGIN_GONE)?),
            // A proxy may have its own users.
            (None, Some(name)) => logins.named(name),
            (None, None) => None,
        };
        match user {
            Some(user) if !user.may_send_from(sender) => Err(reply::SENDER_NOT_ALLOWED),
            Some(_) | None => Ok(()),
        }
    }

    fn key(&self) -> ClientKey {
        match (self.user_name(), self.local) {
            (Some(name), _) => ClientKey::User(Arc::clone(name)),
            (None, Some(user)) => ClientKey::Local(user),
            (None, None) => ClientKey::address(self.client),
        }
    }

    /// Whether one more of `kind` would be allowed.
    pub(super) fn has_left(&self, kind: Kind) -> Result<(), ServerReply> {
        self.config.clients.check(&self.key(), kind)
    }

    /// Counts one more of `kind`, unless the limit is reached.
    pub(super) fn takes(&self, kind: Kind) -> Result<(), ServerReply> {
        self.config.clients.take(&self.key(), kind)
    }

    /// Refuses a message that was received. A message refused with 4xx will be sent again and counts then.
    pub(super) fn refuse_message(&mut self, refusal: ServerReply) {
        if !refusal.is_error() {
            self.give_message_back();
        }
        self.say(refusal);
    }

    /// The message counted last was not accepted, for a reason on this side.
    pub(super) fn give_message_back(&self) {
        self.give_back(Kind::Messages);
    }

    /// The last one of `kind` was not accepted, for a reason on this side.
    pub(super) fn give_back(&self, kind: Kind) {
        let clients = &self.config.clients;
        clients.with(|ledger, _| ledger.give_back(&self.key(), kind));
    }
}

#[cfg(test)]
#[path = "login_tests.rs"]
mod tests;
