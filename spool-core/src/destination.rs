//! The policy of a destination: the security of its sessions, its connection limit and its rate; and what was learned
//! of it.
//!
//! A destination is a list of next hops. Its policy is looked up by that list, so that mail that is already queued
//! follows the current configuration.

use crate::clock::{Timestamp, millis};
use crate::next_hop::NextHop;
use crate::span::span;
use derive_more::{Debug, Display};
use serde::de::IntoDeserializer as _;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// The security that a session needs before mail is sent over it.
#[derive(
    Debug, Display, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[display(rename_all = "snake_case")]
pub enum TlsPolicy {
    /// Plaintext, even where TLS is offered.
    None,
    /// TLS where it is offered, without verification; plaintext where it is not, or where the handshake fails.
    #[default]
    Opportunistic,
    /// TLS without verification; no mail without it.
    Required,
    /// TLS with a certificate that is valid for the next hop's name (RFC 7817); no mail without it.
    Verify,
}

impl FromStr for TlsPolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = Self::deserialize(text.into_deserializer());
        named.map_err(|_: serde::de::value::Error| {
            format!("{text:?}: must be \"none\", \"opportunistic\", \"required\" or \"verify\"")
        })
    }
}

/// At most this many messages in this much time; displayed as in the configuration, `100/1m`.
#[derive(Debug, Display, Clone, Copy, PartialEq, Eq, Hash)]
#[display("{messages}/{}", span(millis(*per)))]
pub struct Rate {
    /// Messages.
    pub messages: NonZeroU32,
    /// The time; never zero.
    pub per: Duration,
}

/// A rate of zero, or in no time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a rate is at least one message in some time")]
pub struct RateError;

impl Rate {
    /// `messages` in every `per`.
    ///
    /// # Errors
    /// [`RateError`] when either is zero.
    pub fn new(messages: u32, per: Duration) -> Result<Self, RateError> {
        match NonZeroU32::new(messages) {
            Some(messages) if !per.is_zero() => Ok(Self { messages, per }),
            Some(_) | None => Err(RateError),
        }
    }

    /// The time between two messages at this rate.
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.per / self.messages.get()
    }
}

/// The policy of one destination.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DestinationPolicy {
    /// Security of its sessions; `None`: the client's own setting.
    pub tls: Option<TlsPolicy>,
    /// Sessions at once; `None`: the limit for every destination.
    pub max_connections: Option<NonZeroU32>,
    /// Messages in a time; `None`: no limit.
    pub rate: Option<Rate>,
}

/// Looks up the policy of a list of next hops; by default there is none. Clones share it.
#[derive(Debug, Clone, Default)]
#[debug("Policies({})", self.0.is_some())]
pub struct Policies(Option<Arc<Find>>);

type Find = dyn Fn(&[NextHop]) -> DestinationPolicy + Send + Sync;

impl Policies {
    /// Policies given by `find`. It is called on the spool's own thread, and should return at once.
    pub fn new(find: impl Fn(&[NextHop]) -> DestinationPolicy + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(find)))
    }

    /// The policy of the destination `next_hops`.
    #[must_use]
    pub fn of(&self, next_hops: &[NextHop]) -> DestinationPolicy {
        self.0
            .as_ref()
            .map_or_else(DestinationPolicy::default, |find| find(next_hops))
    }
}

/// What was learned of one destination, kept across restarts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LearnedDestination {
    /// The destination.
    pub next_hops: Arc<[NextHop]>,
    /// When something was last learned.
    pub at: Timestamp,
    /// Sessions at once, if it accepts fewer than are allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions: Option<LearnedSessions>,
    /// Messages in a time, if it has refused more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<LearnedRate>,
    /// The circuit, if it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit: Option<LearnedCircuit>,
    /// When the configured rate allows the next message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_message: Option<Timestamp>,
}

/// How many sessions at once a destination has accepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LearnedSessions {
    /// Sessions at once.
    pub limit: f64,
    /// The reason, in the words of the peer.
    pub reason: String,
}

/// How many messages in a time a destination has accepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LearnedRate {
    /// Messages a second.
    pub per_second: f64,
    /// The reason, in the words of the peer.
    pub reason: String,
}

/// A destination that gets no attempts for a while, because consecutive attempts failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LearnedCircuit {
    /// Until when.
    pub until: Timestamp,
    /// Failures in a row.
    pub failures: u32,
    /// How often the circuit was opened since the destination last answered.
    pub pauses: u32,
    /// The last failure.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_asked_for_each_list() {
        let hop: NextHop = "a.example:25".parse().unwrap();
        assert_eq!(
            Policies::default().of(std::slice::from_ref(&hop)),
            DestinationPolicy::default()
        );
        let policies = Policies::new(|hops| DestinationPolicy {
            max_connections: NonZeroU32::new(u32::try_from(hops.len()).unwrap()),
            ..DestinationPolicy::default()
        });
        assert_eq!(policies.of(&[hop]).max_connections, NonZeroU32::new(1));
    }

    #[test]
    fn a_rate_is_never_nothing() {
        assert_eq!(Rate::new(0, Duration::from_secs(1)), Err(RateError));
        assert_eq!(Rate::new(1, Duration::ZERO), Err(RateError));
        let rate = Rate::new(100, Duration::from_secs(60)).unwrap();
        assert_eq!(rate.interval(), Duration::from_millis(600));
    }

    #[test]
    fn rates_are_written_as_in_the_configuration() {
        for (messages, millis, text) in [
            (100, 60_000, "100/1m"),
            (1, 1500, "1/1500ms"),
            (7, 7_200_000, "7/2h"),
        ] {
            let rate = Rate::new(messages, Duration::from_millis(millis)).unwrap();
            assert_eq!(rate.to_string(), text);
        }
    }

    #[test]
    fn policies_are_read_as_they_are_written() {
        for policy in [
            TlsPolicy::None,
            TlsPolicy::Opportunistic,
            TlsPolicy::Required,
            TlsPolicy::Verify,
        ] {
            assert_eq!(policy.to_string().parse(), Ok(policy));
        }
        assert!("Verify".parse::<TlsPolicy>().is_err());
    }
}
