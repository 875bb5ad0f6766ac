//! What finding the way needs to know about this host and its surroundings.

use super::anchors::TrustAnchors;
use crate::server::Network;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::PathBuf;

/// Name servers, and what is never a mail exchanger of somebody else.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RouteConfig {
    /// Name servers to ask, in this order; empty: those in `resolv_conf`.
    pub dns_servers: Vec<SocketAddr>,
    /// Where the name servers stand, in the form of resolv.conf(5), when there are no `dns_servers`. Changes of it are noticed.
    pub resolv_conf: PathBuf,
    /// Names of this relay, whatever the port.
    pub own_names: Vec<String>,
    /// Addresses of this relay, whatever the port: behind a translator, those of the world outside.
    pub own_addresses: Vec<IpAddr>,
    /// Where this relay takes mail. Its name and its addresses are its own at these ports; on another one, another server
    /// of the same host may be the mail exchanger.
    pub listeners: Vec<SocketAddr>,
    /// Addresses of mail exchangers that are passed over: what somebody's DNS says must not lead mail to servers that
    /// trust this host. By default loopback and the unspecified addresses.
    pub ignored_networks: Vec<Network>,
    /// Whether domains are asked for their MTA-STS policies (RFC 8461).
    pub mta_sts: bool,
    /// Whether hosts are held to the TLSA records that DNSSEC proves for them (RFC 7672). It has [`DnsResolver`] validate
    /// every answer: name servers that do not hand out signatures then answer nothing for signed domains.
    ///
    /// [`DnsResolver`]: super::DnsResolver
    pub dane: bool,
    /// The keys at which that begins.
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
    /// Whether a session with `host` at `port` would be one with this relay, which calls itself `hostname`.
    pub(super) fn is_own_name(&self, host: &str, port: u16, hostname: &str) -> bool {
        self.own_names.iter().any(|own| own.eq_ignore_ascii_case(host))
            || hostname.eq_ignore_ascii_case(host)
                && self.listeners.iter().any(|listener| listener.port() == port)
    }

    /// Whether a session with `address` would be one with this relay.
    pub(super) fn is_own_address(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        let listens = |listener: &SocketAddr| {
            let on = listener.ip().to_canonical();
            listener.port() == address.port() && (on == ip || on.is_unspecified() && is_local(ip))
        };
        self.own_addresses.iter().any(|own| own.to_canonical() == ip) || self.listeners.iter().any(listens)
    }

    /// Whether a mail exchanger's `address` is passed over.
    pub(in crate::client) fn is_ignored(&self, address: IpAddr) -> bool {
        self.ignored_networks
            .iter()
            .any(|network| network.contains(address))
    }
}

/// Whether `address` belongs to this host: the system would talk to it from itself. Nothing is sent.
fn is_local(address: IpAddr) -> bool {
    if address.is_loopback() || address.is_unspecified() {
        return true;
    }
    let any: IpAddr = match address {
        IpAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let from = UdpSocket::bind((any, 0)).and_then(|socket| {
        // Connecting a datagram socket chooses the source address, and does no more.
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
        // TEST-NET-1 belongs to nobody.
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
