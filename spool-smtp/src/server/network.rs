//! A network in CIDR notation. IPv4 and IPv6 addresses never match each other, but an IPv4 address mapped into IPv6
//! is the IPv4 address it stands for.

use ipnet::IpNet;
use std::net::IpAddr;
use std::str::FromStr;
use thiserror::Error;

/// Why a text is not a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// The text before the slash is not an address.
    #[error("a network is an IP address, or ADDRESS/BITS")]
    Address,
    /// The number after the slash is missing or too large.
    #[error("the number of bits after the slash is at most 32 for IPv4 and 128 for IPv6")]
    Bits,
    /// The address has bits set beyond the prefix. This is probably a mistake, and a wrong guess would open the relay.
    #[error("the address has bits set beyond its prefix")]
    HostBits,
}

/// `192.0.2.0/24`, `2001:db8::/32`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, derive_more::Display)]
pub struct Network(IpNet);

impl Network {
    /// Whether it contains `address`.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }

    /// Whether it has more than one address.
    #[must_use]
    pub fn is_many(&self) -> bool {
        self.0.prefix_len() < self.0.max_prefix_len()
    }

    /// Whether it has half of all addresses of its family, or all of them.
    #[must_use]
    pub fn is_most(&self) -> bool {
        self.0.prefix_len() <= 1
    }

    /// Whether the two have an address in common.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.0.addr()) || other.contains(self.0.addr())
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NetworkError::Address)?;
        let bits: u8 = match bits {
            Some(bits) => bits.parse().map_err(|_| NetworkError::Bits)?,
            None => IpNet::from(address).max_prefix_len(),
        };
        let network = match address.to_canonical() {
            // Fewer bits than the prefix of the mapped range leave IPv4 behind.
            v4 @ IpAddr::V4(_) if address.is_ipv6() && (96..=128).contains(&bits) => {
                IpNet::new(v4, bits - 96)
            }
            IpAddr::V4(_) | IpAddr::V6(_) => IpNet::new(address, bits),
        };
        let network = network.map_err(|_| NetworkError::Bits)?;
        match network.addr() == network.network() {
            true => Ok(Self(network)),
            false => Err(NetworkError::HostBits),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_in_or_out() {
        for (network, inside, outside) in [
            ("127.0.0.0/8", "127.255.0.1", "128.0.0.1"),
            ("127.0.0.0/8", "::ffff:127.0.0.1", "::ffff:128.0.0.1"),
            ("::ffff:10.0.0.0/104", "10.1.2.3", "11.0.0.0"),
            ("::1/128", "::1", "::2"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("0.0.0.0/0", "255.1.2.3", "::"),
            ("::/0", "2001::", "1.2.3.4"),
        ] {
            let parsed: Network = network.parse().unwrap();
            assert!(parsed.contains(inside.parse().unwrap()), "{network} {inside}");
            assert!(!parsed.contains(outside.parse().unwrap()), "{network} {outside}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for (text, error) in [
            ("", NetworkError::Address),
            ("10.0.0/8", NetworkError::Address),
            ("10.0.0.0/33", NetworkError::Bits),
            ("10.0.0.0/", NetworkError::Bits),
            ("10.0.0.0/-1", NetworkError::Bits),
            ("::/129", NetworkError::Bits),
            ("10.0.0.1/8", NetworkError::HostBits),
            ("::ffff:10.0.0.1/104", NetworkError::HostBits),
        ] {
            assert_eq!(text.parse::<Network>(), Err(error), "{text}");
        }
    }

    #[test]
    fn networks_overlap_where_one_holds_the_other() {
        let net = |text: &str| text.parse::<Network>().unwrap();
        for (one, other, expected) in [
            ("10.0.0.0/8", "10.1.0.0/16", true),
            ("0.0.0.0/0", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("::/0", "10.0.0.0/8", false),
            ("2001:db8::/32", "2001:db8:1::/48", true),
        ] {
            assert_eq!(net(one).overlaps(&net(other)), expected, "{one} {other}");
            assert_eq!(net(other).overlaps(&net(one)), expected, "{other} {one}");
        }
        assert!(net("10.0.0.0/31").is_many() && !net("10.0.0.1").is_many() && !net("::1").is_many());
        assert!(net("128.0.0.0/1").is_most() && net("::/0").is_most() && !net("10.0.0.0/8").is_most());
    }
}
