//! Writes the trace header in front of a message, and counts the existing ones.
//!
//! The name that the client gave is written only with the characters of host names and address literals; any other becomes `?`, so
//! that a HELO name cannot forge a header. An empty line separates the header from a message whose first line would continue it
//! (see `data.rs`).

use crate::submission::{Fields, Folded};
use spool_core::TlsSession;
use std::net::IpAddr;

/// The client, the server and the protocol of a message.
#[derive(Debug)]
pub(super) struct Trace<'a> {
    /// The name the client gave.
    pub(super) helo: &'a str,
    /// Its address.
    pub(super) client: IpAddr,
    /// For a local program, the id of its user in place of the address.
    pub(super) local: Option<u32>,
    /// Our name.
    pub(super) hostname: &'a str,
    /// The name that IANA registered for the protocol: ESMTP, SMTP, UTF8SMTP, ESMTPS, UTF8SMTPS.
    pub(super) protocol: &'a str,
    /// The TLS session, if there is one.
    pub(super) tls: Option<&'a TlsSession>,
    /// The id of the inbound envelope.
    pub(super) id: &'a str,
    /// The date as RFC 5322 writes it.
    pub(super) date: &'a str,
}

impl Trace<'_> {
    /// Appends the header to `out`, folded, with its last CRLF.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let client = match (self.local, self.client.to_canonical()) {
            (Some(user), _) => format!("(uid {user})"),
            (None, IpAddr::V4(v4)) => format!("([{v4}])"),
            (None, IpAddr::V6(v6)) => format!("([IPv6:{v6}])"),
        };
        // The clause of RFC 8314 section 4.3 has the cipher suite; the version is a comment.
        let (id, cipher, version) = match self.tls {
            None => (format!("{};", self.id), "", String::new()),
            Some(tls) => (self.id.to_owned(), tls.cipher, format!("({});", tls.version)),
        };
        // The name must not open a comment or start a date.
        let helo: String = self
            .helo
            .chars()
            .map(|c| if is_of_host_name(c) { c } else { '?' })
            .collect();
        let clauses = [
            ("from", helo.as_str()),
            ("", &client),
            ("by", self.hostname),
            ("with", self.protocol),
            ("id", &id),
            ("tls", cipher),
            ("", &version),
            ("", self.date),
        ];
        write_received(out, &clauses);
    }
}

/// Appends the header of a message that a local user left as a file, without a session.
pub(super) fn write_left(out: &mut Vec<u8>, hostname: &str, user: u32, id: &str, date: &str) {
    let (from, id) = (format!("(from uid {user})"), format!("{id};"));
    write_received(out, &[("by", hostname), ("", &from), ("id", &id), ("", date)]);
}

/// Appends a header of clauses, each a word and a text; those without a text are left out.
fn write_received(out: &mut Vec<u8>, clauses: &[(&str, &str)]) {
    let mut field = Folded::new(out, "Received:");
    for (word, text) in clauses.iter().filter(|(_, text)| !text.is_empty()) {
        match word.is_empty() {
            true => field.word(&[text]),
            false => field.word(&[word, " ", text]),
        }
    }
    out.extend_from_slice(b"\r\n");
}

const fn is_of_host_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']')
}

/// The number of `Received` headers at the top of `message`.
pub(super) fn count_received(message: &[u8]) -> usize {
    Fields::of(message).filter(|field| field.is("Received")).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(helo: &str, client: &str, hostname: &str) -> String {
        let mut out = Vec::new();
        Trace {
            helo,
            client: client.parse().unwrap(),
            local: None,
            hostname,
            protocol: "ESMTP",
            tls: None,
            id: "01KATQQ36A0000000000000000",
            date: "Tue, 24 Nov 2026 03:39:12 +0000",
        }
        .write(&mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn says_who_and_when() {
        assert_eq!(
            header("client.example", "192.0.2.1", "mx.example.org"),
            "Received: from client.example ([192.0.2.1]) by mx.example.org with ESMTP\r\n\
             \tid 01KATQQ36A0000000000000000; Tue, 24 Nov 2026 03:39:12 +0000\r\n"
        );
        assert!(header("x", "::ffff:192.0.2.1", "y").contains("([192.0.2.1])"));
        assert!(header("x", "2001:db8::1", "y").contains("([IPv6:2001:db8::1])"));
    }

    #[test]
    fn says_which_user_of_this_machine() {
        let mut out = Vec::new();
        Trace {
            helo: "mx.example.org",
            client: "127.0.0.1".parse().unwrap(),
            local: Some(1000),
            hostname: "mx.example.org",
            protocol: "ESMTP",
            tls: None,
            id: "7",
            date: "Tue, 24 Nov 2026 03:39:12 +0000",
        }
        .write(&mut out);
        assert_eq!(
            std::str::from_utf8(&out).unwrap(),
            "Received: from mx.example.org (uid 1000) by mx.example.org with ESMTP id 7;\r\n\
             \tTue, 24 Nov 2026 03:39:12 +0000\r\n"
        );
        out.clear();
        write_left(
            &mut out,
            "mx.example.org",
            0,
            "7",
            "Tue, 24 Nov 2026 03:39:12 +0000",
        );
        assert_eq!(
            std::str::from_utf8(&out).unwrap(),
            "Received: by mx.example.org (from uid 0) id 7;\r\n\tTue, 24 Nov 2026 03:39:12 +0000\r\n"
        );
    }

    #[test]
    fn says_by_which_tls() {
        let mut out = Vec::new();
        Trace {
            helo: "c",
            client: "192.0.2.1".parse().unwrap(),
            local: None,
            hostname: "mx.example.org",
            protocol: "ESMTPS",
            tls: Some(&TlsSession {
                version: "TLSv1.3",
                cipher: "TLS_AES_256_GCM_SHA384",
            }),
            id: "7",
            date: "Tue, 24 Nov 2026 03:39:12 +0000",
        }
        .write(&mut out);
        assert_eq!(
            std::str::from_utf8(&out).unwrap(),
            "Received: from c ([192.0.2.1]) by mx.example.org with ESMTPS id 7\r\n\
             \ttls TLS_AES_256_GCM_SHA384 (TLSv1.3);\r\n\tTue, 24 Nov 2026 03:39:12 +0000\r\n"
        );
    }

    #[test]
    fn counts_headers_and_nothing_below_them() {
        let message = b"Received: a\r\n\tReceived: folded\r\nRECEIVED : b\r\nReceived-SPF: c\r\nX: y\r\n\r\nReceived: d\r\n";
        assert_eq!(count_received(message), 2);
        assert_eq!(count_received(b""), 0);
        assert_eq!(count_received(b"Received:\r\n"), 1);
    }

    proptest! {
        #[test]
        fn no_name_breaks_the_header(helo in "\\PC{1,100}|[!-~]{1,255}|[\\x00-\\x20]{1,9}", v6 in any::<u128>()) {
            let client = std::net::Ipv6Addr::from_bits(v6).to_string();
            let text = header(&helo, &client, "mx.example.org");
            prop_assert!(text.is_ascii() && text.ends_with("\r\n"));
            for line in text.trim_end().split("\r\n") {
                prop_assert!(!line.contains(['\r', '\n', '\0']));
                prop_assert!(line.starts_with("Received: ") || line.starts_with('\t'));
                prop_assert!(line.len() < 78 || helo.len() > 50);
            }
        }
    }
}
