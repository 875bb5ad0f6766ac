//! Conflicts between addresses that one process listens on. It opens no socket.

use super::settings::Config;
use std::net::{IpAddr, SocketAddr};

/// Whether two addresses conflict. The wildcards of IPv4 and IPv6 do not, because [`v6_only`] restricts the latter to IPv6; port 0
/// is another port each time.
pub(crate) fn clash(one: &SocketAddr, other: &SocketAddr) -> bool {
    let same = match (one.ip().to_canonical(), other.ip().to_canonical()) {
        // Alone the IPv6 wildcard accepts IPv4 as well.
        (v6 @ IpAddr::V6(_), v4 @ IpAddr::V4(_)) | (v4 @ IpAddr::V4(_), v6 @ IpAddr::V6(_)) => {
            v6.is_unspecified() && !v4.is_unspecified()
        }
        (one, other) => one == other || one.is_unspecified() || other.is_unspecified(),
    };
    same && one.port() == other.port() && one.port() != 0
}

/// Whether the IPv6 wildcard `address` takes IPv6 only: the IPv4 wildcard of the same port is configured beside it.
pub(crate) fn v6_only(config: &Config, address: SocketAddr) -> bool {
    let everywhere = |other: &SocketAddr| {
        let ip = other.ip().to_canonical();
        ip.is_ipv4() && ip.is_unspecified() && other.port() == address.port()
    };
    let mut all = config.smtp.iter().chain(&config.smtps).chain(&config.admin);
    address.is_ipv6() && address.ip().is_unspecified() && all.any(everywhere)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_clash_where_the_system_would_refuse_the_second() {
        for (one, other, expected) in [
            ("127.0.0.1:25", "127.0.0.1:25", true),
            ("127.0.0.1:25", "127.0.0.1:26", false),
            ("127.0.0.1:0", "127.0.0.1:0", false),
            ("127.0.0.1:25", "0.0.0.0:25", true),
            ("[::1]:25", "[::]:25", true),
            ("[::]:25", "[::]:25", true),
            ("[::]:25", "127.0.0.1:25", true),
            ("[::]:25", "0.0.0.0:25", false),
            ("[::1]:25", "0.0.0.0:25", false),
            ("[::1]:25", "127.0.0.1:25", false),
            ("[::ffff:127.0.0.1]:25", "127.0.0.1:25", true),
        ] {
            let [a, b] = [one, other].map(|text| text.parse().unwrap());
            assert_eq!(clash(&a, &b), expected, "{one} {other}");
            assert_eq!(clash(&b, &a), expected, "{other} {one}");
        }
    }

    #[test]
    fn the_ipv6_wildcard_is_kept_to_ipv6_beside_that_of_ipv4() {
        let both =
            Config::parse("[listen]\nsmtp = [\"0.0.0.0:25\", \"[::]:25\", \"[::]:26\", \"[::1]:25\"]\n")
                .unwrap();
        for (address, expected) in [
            ("[::]:25", true),
            ("[::]:26", false),
            ("[::1]:25", false),
            ("0.0.0.0:25", false),
        ] {
            assert_eq!(v6_only(&both, address.parse().unwrap()), expected, "{address}");
        }
    }
}
