//! XCLIENT: a proxy says whose session it relays, as Postfix' XCLIENT_README describes it. Only for listed proxies.
//!
//! Several commands may follow each other directly. After any other command the proxy relays its client's input, and
//! XCLIENT is no longer accepted, because a client must not name itself. If a proxy names no client, this begins with the first
//! command that does not belong to the start of a connection.

use super::{Machine, Phase};
use crate::server::command::{Command, Hello};
use crate::server::reply::{self, ServerReply};
use spool_core::xtext;
use std::net::IpAddr;
use std::sync::Arc;

/// Its line in the reply to EHLO.
pub(super) const OFFER: &str = "XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT";

/// Whether XCLIENT is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum XclientPermission {
    /// The client is not a listed proxy, or already relays.
    No,
    /// The client is a listed proxy, and has sent nothing but EHLO, HELO, STARTTLS, NOOP and XCLIENT.
    Yes,
    /// The same, and the last command was XCLIENT.
    Again,
}

impl XclientPermission {
    /// Whether XCLIENT is accepted after `command`, including `command` itself.
    pub(super) const fn with(self, command: &Result<Command, ServerReply>) -> Self {
        match (self, command) {
            (Self::Yes | Self::Again, Ok(Command::Xclient(_)))
            | (Self::Yes, Ok(Command::Hello(_) | Command::StartTls | Command::Noop)) => self,
            (Self::No | Self::Yes | Self::Again, Ok(_) | Err(_)) => Self::No,
        }
    }
}

/// The changes of one command.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct XclientChange {
    address: Option<Option<IpAddr>>,
    /// HELO was sent with this name.
    name: Option<Option<String>>,
    extended: Option<bool>,
    login: Option<Option<Arc<str>>>,
}

impl XclientChange {
    /// Parses the attributes; `None` if one of them is malformed or unknown.
    fn parse(attributes: &str) -> Option<Self> {
        let mut change = Self::default();
        let mut words = attributes.split_ascii_whitespace().peekable();
        words.peek()?;
        for word in words {
            let (name, value) = word.split_once('=')?;
            let unknown = ["[UNAVAILABLE]", "[TEMPUNAVAIL]"]
                .iter()
                .any(|text| value.eq_ignore_ascii_case(text));
            let value = if unknown {
                None
            } else {
                Some(xtext::decode(value)?)
            };
            match name.to_ascii_uppercase().as_str() {
                "ADDR" => change.address = Some(checked(value, address)?),
                "HELO" => change.name = Some(checked(value, one_word)?),
                "PROTO" => {
                    change.extended = match value?.to_ascii_uppercase().as_str() {
                        "ESMTP" => Some(true),
                        "SMTP" => Some(false),
                        _ => return None,
                    }
                }
                "LOGIN" => change.login = Some(checked(value, one_word)?.map(Arc::from)),
                // Checked but not used: no name is looked up, and no port is stored.
                "DESTADDR" => drop(checked(value, address)?),
                "PORT" | "DESTPORT" => drop(checked(value, |port| port.parse::<u16>().ok())?),
                "NAME" => drop(checked(value, one_word)?),
                _ => return None,
            }
        }
        Some(change)
    }
}

/// The parsed value, if it is known; `None` if it is malformed.
fn checked<T>(value: Option<String>, parse: impl Fn(&str) -> Option<T>) -> Option<Option<T>> {
    value.map_or(Some(None), |text| parse(&text).map(Some))
}

/// `192.0.2.1`, or `IPV6:` and the address.
fn address(text: &str) -> Option<IpAddr> {
    let address: IpAddr = match text.split_at_checked(5) {
        Some((prefix, v6)) if prefix.eq_ignore_ascii_case("IPV6:") => IpAddr::V6(v6.parse().ok()?),
        Some(_) | None => IpAddr::V4(text.parse().ok()?),
    };
    Some(address.to_canonical())
}

/// Text that is safe in a header, a log and an envelope.
fn one_word(text: &str) -> Option<String> {
    let sound = !text.is_empty() && text.len() <= 255 && text.bytes().all(|byte| byte.is_ascii_graphic());
    sound.then(|| text.to_owned())
}

impl Machine {
    pub(super) fn xclient(&mut self, attributes: &str) -> Result<(), ServerReply> {
        if self.may_xclient == XclientPermission::No {
            return Err(reply::XCLIENT_DENIED);
        }
        let change = XclientChange::parse(attributes).ok_or(reply::SYNTAX)?;
        self.may_xclient = XclientPermission::Again;
        match change.address {
            Some(Some(address)) => self.phase = Phase::Readdress(address, Box::new(change)),
            Some(None) => {
                self.trusted = false;
                self.apply(change);
            }
            None => self.apply(change),
        }
        Ok(())
    }

    /// Whether the client that [`Next::Readdress`](super::Next::Readdress) names has a place.
    pub(in crate::server) fn readdressed(&mut self, has_place: bool) {
        let phase = std::mem::replace(&mut self.phase, Phase::Command);
        let Phase::Readdress(address, change) = phase else {
            // Not waiting for this answer.
            self.phase = phase;
            return;
        };
        if !has_place {
            return self.say(reply::TOO_MANY_CONNECTIONS);
        }
        self.client = address;
        self.trusted = self.config.relay.trusts(address);
        self.apply(*change);
    }

    fn apply(&mut self, change: XclientChange) {
        // The session belongs to another client from here on, which has not logged in.
        self.user = None;
        if let Some(login) = change.login {
            self.proxy_login = login;
        }
        let before = self.hello.take();
        let extended = change
            .extended
            .or_else(|| before.as_ref().map(|hello| hello.extended));
        self.hello = change.name.flatten().map(|name| Hello {
            name,
            extended: extended.unwrap_or(true),
        });
        tracing::info!(
            session = %self.session, client = %self.client, user = self.proxy_login.as_deref(),
            "the proxy names its client"
        );
        self.greet();
    }
}

#[cfg(test)]
#[path = "xclient_tests.rs"]
mod tests;
