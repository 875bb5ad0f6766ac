//! The configuration of routes.

use super::anchors::TrustAnchors;
use crate::server::Network;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::PathBuf;

/// The name servers, and the names and addresses of this relay.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RouteConfig {
    /// Name servers, in order; empty: those in `resolv_conf`.
    pub dns_servers: Vec<SocketAddr>,
    /// The file with the name servers, in the form of resolv.conf(5), if `dns_servers` is empty. It is read again when it changes.
    pub resolv_conf: PathBuf,
    /// Names of this relay, on any port.
    pub own_names: Vec<String>,
    /// Addresses of this relay, on any port; behind NAT, the public ones.
    pub own_addresses: Vec<IpAddr>,
    /// Where this relay accepts mail. Its host name and its addresses belong to it on these ports only; on others, another server of the
    /// host may be the mail exchanger.
    pub listeners: Vec<SocketAddr>,
    /// Addresses of mail exchangers that are ignored, because DNS must not direct mail to servers that trust this host. Default: loopback
    /// and the unspecified addresses.
    pub ignored_networks: Vec<Network>,
    /// Whether MTA-STS policies are used (RFC 8461).
    pub mta_sts: bool,
    /// Whether DANE is used (RFC 7672). [`DnsResolver`] then validates every answer, and lookups of signed domains fail with name servers
    /// that do not return signatures.
    ///
    /// [`DnsResolver`]: super::DnsResolver
    pub dane: bool,
    /// The trust anchors of that validation.
    pub trust_anchors: TrustAnchors,
}

impl Default for RouteConfig {
    fn default() -> Self {
        let ignored = ["0.0.0.0/8", "127.0.0.0/8", "::/128", "::1/128"];
        Self {
            dns_servers: Vec::new(),
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
            own_names: Vec::new(),
            own_addresses: Vec::new(),
            listeners: Vec::new(),
            mta_sts: false,
            dane: false,
            trust_anchors: TrustAnchors::default(),
            ignored_networks: ignored
                .iter()
                .filter_map(|network| network.parse().ok())
                .collect(),
        }
    }
}

impl RouteConfig {
    /// Whether `host` at `port` is this relay, whose host name is `hostname`.
    pub(super) fn is_own_name(&self, host: &str, port: u16, hostname: &str) -> bool {
        self.own_names.iter().any(|own| own.eq_ignore_ascii_case(host))
            || hostname.eq_ignore_ascii_case(host)
                && self.listeners.iter().any(|listener| listener.port() == port)
    }

    /// Whether `address` is this relay.
    pub(super) fn is_own_address(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        let listens = |listener: &SocketAddr| {
            let on = listener.ip().to_canonical();
            listener.port() == address.port() && (on == ip || on.is_unspecified() && is_local(ip))
        };
        self.own_addresses.iter().any(|own| own.to_canonical() == ip) || self.listeners.iter().any(listens)
    }

    /// Whether the `address` of a mail exchanger is ignored.
    pub(in crate::client) fn is_ignored(&self, address: IpAddr) -> bool {
        self.ignored_networks
            .iter()
            .any(|network| network.contains(address))
    }
}

/// Whether `address` belongs to this host: the system would use it as the source of a connection to it. Nothing is sent.
fn is_local(address: IpAddr) -> bool {
    if address.is_loopback() || address.is_unspecified() {
        return true;
    }
    let any: IpAddr = match address {
        IpAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let from = UdpSocket::bind((any, 0)).and_then(|socket| {
        // Connecting a datagram socket only chooses the source address.
        socket.connect((address, 9))?;
        socket.local_addr()
    });
    from.is_ok_and(|from| from.ip() == address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listening_on(address: &str) -> RouteConfig {
        RouteConfig {
            listeners: vec![address.parse().unwrap()],
            ..RouteConfig::default()
        }
    }

    #[test]
    fn a_listener_makes_name_and_addresses_our_own_at_its_port_only() {
        let config = listening_on("192.0.2.1:25");
        let own = |address: &str| config.is_own_address(address.parse().unwrap());
        assert!(own("192.0.2.1:25") && own("[::ffff:192.0.2.1]:25"));
        assert!(!own("192.0.2.1:26") && !own("192.0.2.2:25"));
        assert!(config.is_own_name("Mail.example.org", 25, "mail.example.org"));
        assert!(!config.is_own_name("mail.example.org", 26, "mail.example.org"));
        assert!(!config.is_own_name("other.example.org", 25, "mail.example.org"));
    }

    #[test]
    fn a_listener_on_every_address_owns_those_of_this_host() {
        let config = listening_on("0.0.0.0:25");
        let own = |address: &str| config.is_own_address(address.parse().unwrap());
        assert!(own("127.0.0.1:25") && own("127.0.0.2:25"));
        // TEST-NET-1 is not in use.
        assert!(!own("192.0.2.1:25") && !own("127.0.0.1:2525"));
    }

    #[test]
    fn what_is_named_is_our_own_at_every_port() {
        let config = RouteConfig {
            own_names: vec!["alias.example.org".to_owned()],
            own_addresses: vec!["198.51.100.1".parse().unwrap()],
            ..RouteConfig::default()
        };
        assert!(config.is_own_name("ALIAS.example.org", 2525, "x"));
        assert!(config.is_own_address("198.51.100.1:2525".parse().unwrap()));
    }
}
