//! A next hop: a host and a port, or the mail exchangers of a domain. Names are not resolved here.

use crate::address::valid_domain;
use crate::domain::a_labels;
use derive_more::Debug;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use thiserror::Error;

/// A text is not a next hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "a next hop has the form host:port, [ipv6]:port, or mx:domain:port for the mail exchangers of a domain"
)]
pub struct NextHopError;

/// The prefix for the mail exchangers of a domain. No host name contains a colon.
const MX: &str = "mx:";
/// Characters around a host, at most: `mx:[`, `]:65535`.
const ROOM: usize = 12;

/// `host:port`, with IPv6 addresses in brackets; or `mx:domain:port`, the hosts in the domain's MX records at the time
/// of the attempt (RFC 5321 section 5.1).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[debug("{self}")]
pub struct NextHop {
    host: Arc<str>,
    port: u16,
    mx: bool,
}

impl NextHop {
    /// The mail exchangers of `domain`, which are looked up at each attempt. An address literal (RFC 5321 section
    /// 4.1.3) is the host itself.
    ///
    /// # Errors
    /// [`NextHopError`] when `domain` is no domain or address literal, or `port` is 0.
    pub fn mx(domain: &str, port: u16) -> Result<Self, NextHopError> {
        if port == 0 || !valid_domain(domain) {
            return Err(NextHopError);
        }
        if let Some(literal) = domain.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let address = match literal.split_once(':') {
                Some((_ipv6, address)) => address,
                None => literal,
            };
            let address: IpAddr = address.parse().map_err(|_| NextHopError)?;
            return Ok(std::net::SocketAddr::new(address, port).into());
        }
        let host = a_labels(domain).into();
        Ok(Self { host, port, mx: true })
    }

    /// Whether [`NextHop::host`] is a domain whose mail exchangers are meant, not a host.
    #[must_use]
    pub const fn is_mx(&self) -> bool {
        self.mx
    }

    /// The host name in A-labels, or the address without brackets; for mail exchangers, the domain.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, never 0.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for NextHop {
    type Err = NextHopError;
    fn from_str(text: &str) -> Result<Self, NextHopError> {
        let (host, port) = text.rsplit_once(':').ok_or(NextHopError)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or(NextHopError)?;
        if let Some(domain) = host.strip_prefix(MX) {
            return match domain.starts_with('[') {
                true => Err(NextHopError),
                false => Self::mx(domain, port),
            };
        }
        let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(v6) => v6
                .parse::<std::net::Ipv6Addr>()
                .map_err(|_| NextHopError)?
                .to_string(),
            None if valid_domain(host) => a_labels(host).into_owned(),
            None => return Err(NextHopError),
        };
        Ok(Self {
            host: host.into(),
            port,
            mx: false,
        })
    }
}

impl From<std::net::SocketAddr> for NextHop {
    fn from(address: std::net::SocketAddr) -> Self {
        Self {
            host: address.ip().to_string().into(),
            port: address.port(),
            mx: false,
        }
    }
}

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.mx {
            return write!(f, "{MX}{}:{}", self.host, self.port);
        }
        // Only IPv6 addresses contain a colon, and few hosts are one: checking is cheaper than parsing.
        match self.host.contains(':').then(|| self.host.parse::<IpAddr>()) {
            Some(Ok(IpAddr::V6(v6))) => write!(f, "[{v6}]:{}", self.port),
            Some(Ok(IpAddr::V4(_)) | Err(_)) | None => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl Serialize for NextHop {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Not `collect_str`: the journal's format writes lengths first and would have it formatted twice.
        let mut text = String::with_capacity(self.host.len() + ROOM);
        write!(text, "{self}").map_err(serde::ser::Error::custom)?;
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for NextHop {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_hops_are_read_and_written_alike() {
        for text in [
            "mx.example.net:25",
            "127.0.0.1:2526",
            "[::1]:25",
            "mx:example.net:25",
        ] {
            assert_eq!(text.parse::<NextHop>().unwrap().to_string(), text);
        }
        for bad in [
            "",
            "host",
            "host:",
            "host:0",
            "host:70000",
            ":25",
            "a b:25",
            "::1:25",
            "a\r\n:25",
            "mx::25",
            "mx:a b:25",
            "mx:[::1]:25",
            "mx:a:b:25",
        ] {
            assert!(bad.parse::<NextHop>().is_err(), "{bad}");
        }
    }
    #[test]
    fn an_address_literal_names_its_host_itself() {
        let text = |domain| NextHop::mx(domain, 25).map(|hop| (hop.to_string(), hop.is_mx()));
        assert_eq!(text("Example.NET"), Ok(("mx:example.net:25".to_owned(), true)));
        assert_eq!(text("[192.0.2.1]"), Ok(("192.0.2.1:25".to_owned(), false)));
        assert_eq!(
            text("[ipv6:2001:DB8::1]"),
            Ok(("[2001:db8::1]:25".to_owned(), false))
        );
        for bad in ["", "[x]", "[]", "[::1]", "a:b", "a b"] {
            assert!(text(bad).is_err(), "{bad}");
        }
        assert!(NextHop::mx("example.net", 0).is_err());
    }

    proptest::proptest! {
        // The spool's files hold next hops as texts: one that cannot be read again is a message that is lost.
        #[test]
        fn the_next_hop_of_every_domain_is_read_again(domain in "[\\PC]{1,30}|[A-Za-z0-9_-]{1,9}(\\.[\\PC]{1,9}){1,3}|[İıſßΣ：［］．]{1,63}") {
            if let Ok(hop) = NextHop::mx(&domain, 25) {
                proptest::prop_assert_eq!(hop.to_string().parse(), Ok(hop));
            }
        }
    }
}
