//! A next hop: a host and a port to hand a message to. It never resolves a name.

use crate::address::valid_domain;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use thiserror::Error;

/// A text that is no next hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a next hop has the form host:port or [ipv6]:port")]
pub struct NextHopError;

/// `host:port`; an IPv6 address stands in brackets.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NextHop {
    host: Arc<str>,
    port: u16,
}

impl NextHop {
    /// The host name or address, without brackets.
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
        let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(v6) => v6
                .parse::<std::net::Ipv6Addr>()
                .map_err(|_| NextHopError)?
                .to_string(),
            None if valid_domain(host) => host.to_ascii_lowercase(),
            None => return Err(NextHopError),
        };
        Ok(Self {
            host: host.into(),
            port,
        })
    }
}

impl From<std::net::SocketAddr> for NextHop {
    fn from(address: std::net::SocketAddr) -> Self {
        Self {
            host: address.ip().to_string().into(),
            port: address.port(),
        }
    }
}

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.parse::<IpAddr>() {
            Ok(IpAddr::V6(v6)) => write!(f, "[{v6}]:{}", self.port),
            Ok(IpAddr::V4(_)) | Err(_) => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Debug for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for NextHop {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
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
        for text in ["mx.example.net:25", "127.0.0.1:2526", "[::1]:25"] {
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
        ] {
            assert!(bad.parse::<NextHop>().is_err(), "{bad}");
        }
    }
}
