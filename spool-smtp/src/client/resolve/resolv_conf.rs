//! Parses /etc/resolv.conf as resolv.conf(5) describes it: the name servers, their order and the time limits. Pure.
//!
//! An invalid entry is skipped and reported; the rest of the file is used. `search` and `domain` are ignored: names with a dot are looked
//! up unchanged, and names without one are resolved by the system.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

/// The number of name servers that are used, the first ones of the file (MAXNS).
const MAX_SERVERS: usize = 3;
const PORT: u16 = 53;

/// The name servers, and how they are queried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    /// The servers in the order in which they are queried.
    pub(super) servers: Vec<SocketAddr>,
    /// The time limit of a query to one server.
    pub(super) timeout: Duration,
    /// How many times a server that does not answer is queried.
    pub(super) attempts: usize,
    /// Whether each lookup begins at the next server.
    pub(super) rotate: bool,
}

impl Settings {
    /// Parses the text of a file. Returns the entries that were skipped too. Without a server in the file, the one on this host is used.
    pub(super) fn parse(text: &str) -> (Self, Vec<String>) {
        let mut settings = Self {
            servers: Vec::new(),
            timeout: Duration::from_secs(5),
            attempts: 2,
            rotate: false,
        };
        let mut ignored = Vec::new();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            // The keyword is at the start of the line.
            match words.next().filter(|word| line.starts_with(*word)) {
                Some("nameserver") => match words.next().and_then(server) {
                    Some(_) if settings.servers.len() == MAX_SERVERS => ignored.push(line.to_owned()),
                    Some(server) => settings.servers.push(server),
                    None => ignored.push(line.to_owned()),
                },
                Some("options") => words.for_each(|option| settings.set(option)),
                Some(_) | None => {}
            }
        }
        if settings.servers.is_empty() {
            settings.servers.push(([127, 0, 0, 1], PORT).into());
        }
        (settings, ignored)
    }

    /// Unknown options are ignored.
    fn set(&mut self, option: &str) {
        let (name, value) = option.split_once(':').unwrap_or((option, ""));
        let number: Option<u8> = value.parse().ok();
        match (name, number) {
            ("timeout", Some(seconds)) => self.timeout = Duration::from_secs(seconds.clamp(1, 30).into()),
            ("attempts", Some(number)) => self.attempts = number.clamp(1, 5).into(),
            ("rotate", _) => self.rotate = true,
            _ => {}
        }
    }
}

/// `192.0.2.53`, `2001:db8::53`, `fe80::53%eth0`, and with a port `[2001:db8::53]:5353`, as OpenBSD writes it, or `192.0.2.53:5353`.
fn server(text: &str) -> Option<SocketAddr> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some((address, PORT).into());
    }
    if let Some((address, zone)) = text.split_once('%') {
        let address: Ipv6Addr = address.parse().ok()?;
        return Some(SocketAddrV6::new(address, PORT, 0, interface(zone)?).into());
    }
    // OpenBSD writes brackets around IPv4 addresses too.
    let v4 = text.strip_prefix('[').and_then(|rest| rest.split_once("]:"));
    let v4 = v4.and_then(|(address, port)| Some((address.parse::<IpAddr>().ok()?, port.parse().ok()?)));
    text.parse().ok().or(v4.map(SocketAddr::from))
}

/// The number of a network interface, from its number or name.
fn interface(zone: &str) -> Option<u32> {
    let known = || {
        let name = zone.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/') && !zone.starts_with('.');
        let path = name.then(|| format!("/sys/class/net/{zone}/ifindex"))?;
        std::fs::read_to_string(path).ok()?.trim().parse().ok()
    };
    zone.parse().ok().or_else(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(text: &str) -> Vec<String> {
        let (settings, _) = Settings::parse(text);
        settings.servers.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn name_servers_are_read_in_order_and_the_first_three_count() {
        let text = "# nameserver 192.0.2.9\n; nameserver 192.0.2.9\n nameserver 192.0.2.9\nnameserver 192.0.2.1\r\n\
                    nameserver\t2001:db8::1 # a comment\nnameserver [127.0.0.1]:5353\nnameserver 192.0.2.4\n";
        let three = ["192.0.2.1:53", "[2001:db8::1]:53", "127.0.0.1:5353"];
        assert_eq!(servers(text), three);
        let (_, ignored) = Settings::parse(text);
        assert_eq!(ignored, ["nameserver 192.0.2.4"]);
        assert_eq!(servers("nameserver fe80::1%7"), ["[fe80::1%7]:53"]);
        assert_eq!(servers("nameserver [2001:db8::1]:54"), ["[2001:db8::1]:54"]);
    }

    #[test]
    fn an_invalid_entry_is_skipped() {
        let text = "search a..b\ndomain ..\nnameserver 192.0.2.300\nnameserver\nnameserver fe80::1%no/such\n\
                    options timeout:x attempts:\nsortlist x\nnonsense\nnameserver 192.0.2.1\n";
        let (settings, ignored) = Settings::parse(text);
        let (expected, _) = Settings::parse("nameserver 192.0.2.1\n");
        assert_eq!(settings, expected);
        assert_eq!(ignored.len(), 3, "{ignored:?}");
    }

    #[test]
    fn without_a_name_server_the_one_on_this_host_is_used() {
        for text in ["", "# nothing\n", "search example.org\n", "nameserver x\n"] {
            assert_eq!(servers(text), ["127.0.0.1:53"], "{text}");
        }
    }

    #[test]
    fn options_are_read_and_bounded() {
        let options = |text: &str| {
            let (settings, _) = Settings::parse(&format!("options {text}\n"));
            (settings.timeout.as_secs(), settings.attempts, settings.rotate)
        };
        assert_eq!(options("ndots:1 edns0"), (5, 2, false));
        assert_eq!(options("timeout:1 attempts:3 rotate"), (1, 3, true));
        assert_eq!(options("timeout:0 attempts:0"), (1, 1, false));
        assert_eq!(options("timeout:200 attempts:9"), (30, 5, false));
        assert_eq!(options("timeout:1\noptions attempts:1"), (1, 1, false));
    }
}
