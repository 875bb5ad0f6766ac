//! XCLIENT from listed proxies and from other clients.

use super::super::tests::{Answers, Played, config, feed, machine};
use super::*;
use crate::server::ServerConfig;
use proptest::prelude::*;
use spool_core::Admission;

const PROXY: &str = "192.0.2.1";

fn proxied() -> ServerConfig {
    let mut config = config();
    config.proxies = vec![PROXY.parse().unwrap()];
    config.relay.allow_networks = vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
    config
}

fn play(client: &str, input: &str) -> Played {
    let mut machine = machine(proxied(), client);
    let mut played = Played::default();
    feed(&mut machine, input.as_bytes(), &Answers::default(), &mut played);
    played
}

const MAIL: &str = "MAIL FROM:<a@b.org>\r\nRCPT TO:<c@d.org>\r\n";

#[test]
fn the_client_is_the_one_that_the_proxy_names() {
    for (attributes, expected, client) in [
        ("ADDR=10.1.2.3", "250 2.1.5", "[10.1.2.3]"),
        (
            "addr=10.1.2.3 NAME=[UNAVAILABLE] PORT=[UNAVAILABLE]",
            "250 2.1.5",
            "[10.1.2.3]",
        ),
        (
            "ADDR=IPV6:2001:db8::1 PORT=4711 DESTADDR=IPV6:::1 DESTPORT=25",
            "250 2.1.5",
            "[IPv6:2001:db8::1]",
        ),
        ("ADDR=IPV6:::ffff:10.1.2.3", "250 2.1.5", "[10.1.2.3]"),
        ("ADDR=198.51.100.7", "550 5.7.1", ""),
        ("ADDR=[UNAVAILABLE]", "550 5.7.1", ""),
        ("ADDR=[TEMPUNAVAIL] NAME=[TEMPUNAVAIL]", "550 5.7.1", ""),
        ("NAME=x.example", "550 5.7.1", ""),
        (
            "ADDR=198.51.100.7 LOGIN=ada+40example.org",
            "250 2.1.5",
            "[198.51.100.7]",
        ),
        ("LOGIN=[UNAVAILABLE]", "550 5.7.1", ""),
    ] {
        let played = play(
            PROXY,
            &format!("EHLO proxy\r\nXCLIENT {attributes}\r\nEHLO c\r\n{MAIL}"),
        );
        assert_eq!(
            played.replies.matches("220 mx.example ESMTP\r\n").count(),
            2,
            "{}",
            played.replies
        );
        assert!(
            played.last().starts_with(expected),
            "{attributes}: {}",
            played.last()
        );
        if !client.is_empty() {
            let input = format!("EHLO proxy\r\nXCLIENT {attributes}\r\nEHLO c\r\n{MAIL}DATA\r\nx\r\n.\r\n");
            let played = play(PROXY, &input);
            let body = String::from_utf8(played.mails[0].body.to_vec()).unwrap();
            assert!(body.contains(client), "{body}");
            let user = attributes
                .contains("LOGIN")
                .then(|| Admission::User("ada@example.org".into()));
            assert_eq!(
                played.mails[0].source.admission,
                user.unwrap_or(Admission::Network)
            );
        }
    }
}

#[test]
fn xclient_is_offered_to_listed_proxies_only() {
    assert!(
        play(PROXY, "EHLO c\r\n")
            .replies
            .contains("250-XCLIENT NAME ADDR ")
    );
    for client in ["192.0.2.2", "10.1.2.3", "127.0.0.1"] {
        let played = play(client, "EHLO c\r\nXCLIENT ADDR=10.1.2.3\r\nXCLIENT LOGIN=ada\r\n");
        assert!(!played.replies.contains("XCLIENT NAME"));
        assert_eq!(played.codes(), ["220", "250", "550", "550"]);
        let played = play(client, &format!("XCLIENT ADDR=10.1.2.3\r\nEHLO c\r\n{MAIL}"));
        let relays = client == "10.1.2.3";
        assert_eq!(played.last().starts_with("250"), relays, "{client}");
    }
}

#[test]
fn a_client_that_is_relayed_cannot_name_itself() {
    let evil = "XCLIENT ADDR=10.1.2.3\r\n";
    for between in [
        "EHLO c\r\n",
        "HELO c\r\n",
        "NOOP\r\n",
        "RSET\r\n",
        "FROB\r\n",
        "\r\n",
        "XCLIENTS\r\n",
    ] {
        let played = play(
            PROXY,
            &format!("EHLO proxy\r\nXCLIENT ADDR=198.51.100.7\r\n{between}{evil}EHLO c\r\n{MAIL}"),
        );
        assert!(
            played.replies.contains("550 5.7.0"),
            "{between}: {}",
            played.replies
        );
        assert!(
            played.last().starts_with("550 5.7.1"),
            "{between}: {}",
            played.last()
        );
    }
    // The next XCLIENT is still the proxy's.
    let two = play(
        PROXY,
        &format!("XCLIENT ADDR=198.51.100.7\r\n{evil}EHLO c\r\n{MAIL}"),
    );
    assert!(two.last().starts_with("250 2.1.5"));
}

#[test]
fn it_goes_back_to_the_greeting() {
    let played = play(PROXY, "EHLO c\r\nXCLIENT ADDR=10.1.2.3\r\nMAIL FROM:<>\r\n");
    assert!(played.last().starts_with("503 5.5.1 Say EHLO"));
    let played = play(
        PROXY,
        "EHLO c\r\nXCLIENT ADDR=10.1.2.3 HELO=c.example PROTO=SMTP\r\nMAIL FROM:<>\r\n",
    );
    assert!(played.last().starts_with("250"));
}

#[test]
fn it_is_taken_at_the_start_of_a_connection_alone() {
    let xclient = "XCLIENT ADDR=10.1.2.3\r\n";
    for before in ["", "EHLO c\r\n", "HELO c\r\nNOOP\r\nEHLO c\r\n", "STARTTLS\r\n"] {
        let played = play(PROXY, &format!("{before}{xclient}EHLO c\r\n{MAIL}"));
        assert!(played.last().starts_with("250"), "{before}: {}", played.replies);
    }
    for before in [
        "MAIL FROM:<>\r\n",
        "MAIL FROM:<>\r\nRSET\r\n",
        "MAIL FROM:<a@b.org>\r\nRCPT TO:<c@d.org>\r\nRSET\r\n",
        "MAIL FROM:<\r\n",
        "AUTH PLAIN AAAA\r\n",
        "RSET\r\n",
        "VRFY a\r\n",
        "HELP\r\n",
        "BDAT 2 LAST\r\nab",
        "FROB\r\n",
    ] {
        let played = play(PROXY, &format!("EHLO c\r\n{before}{xclient}RSET\r\nEHLO c\r\n"));
        assert!(
            played.replies.contains("\r\n550 5.7.0 "),
            "{before}: {}",
            played.replies
        );
        assert_eq!(played.replies.matches("XCLIENT NAME").count(), 1, "{before}");
    }
}

#[test]
fn malformed_attributes_change_nothing() {
    for attributes in [
        "",
        " ",
        "ADDR",
        "ADDR=",
        "ADDR=x",
        "ADDR=1.2.3",
        "ADDR=::1",
        "ADDR=IPV6:1.2.3.4",
        "ADDR=10.1.2.3 PORT=65536",
        "ADDR=10.1.2.3 PROTO=LMTP",
        "ADDR=10.1.2.3 HELO=a+20b",
        "ADDR=10.1.2.3 HELO=a+0D+0A",
        "ADDR=10.1.2.3 LOGIN=a+4",
        "ADDR=10.1.2.3 LOGIN=a+4g",
        "ADDR=10.1.2.3 LOGIN=a=b",
        "ADDR=10.1.2.3 LOGIN=",
        "ADDR=10.1.2.3 FROB=1",
    ] {
        let played = play(PROXY, &format!("EHLO c\r\nXCLIENT {attributes}\r\n{MAIL}"));
        assert!(
            played.replies.contains("\r\n501 "),
            "{attributes}: {}",
            played.replies
        );
        assert!(
            played.last().starts_with("550"),
            "{attributes}: {}",
            played.last()
        );
    }
}

#[test]
fn a_client_with_too_many_connections_hears_so() {
    let mut machine = machine(proxied(), PROXY);
    let mut input = &b"XCLIENT ADDR=10.1.2.3\r\n"[..];
    let asked = machine.advance(&mut input, &|_| Ok(()));
    assert!(matches!(asked, super::super::Next::Readdress(address) if address.to_string() == "10.1.2.3"));
    machine.readdressed(false);
    assert!(
        machine
            .replies()
            .ends_with(b"421 4.7.0 Too many connections, try again later\r\n")
    );
    assert!(matches!(
        machine.advance(&mut input, &|_| Ok(())),
        super::super::Next::Close
    ));
}

#[test]
fn a_login_named_in_plaintext_is_forgotten_under_tls() {
    let mut machine = machine(proxied(), PROXY);
    machine.offer_tls();
    let mut played = Played::default();
    for input in [
        "XCLIENT ADDR=198.51.100.7 LOGIN=ada\r\nSTARTTLS\r\n".to_owned(),
        format!("XCLIENT ADDR=10.1.2.3\r\nEHLO c\r\n{MAIL}"),
    ] {
        feed(&mut machine, input.as_bytes(), &Answers::default(), &mut played);
    }
    assert!(
        played.replies.contains("550 5.7.0") && played.last().starts_with("550 5.7.1"),
        "{}",
        played.replies
    );
}

#[test]
fn a_proxy_without_a_client_may_not_relay() {
    let mut machine = machine(proxied(), "10.1.2.3");
    machine.unnamed();
    let mut unnamed = super::super::tests::machine(proxied(), PROXY);
    unnamed.unnamed();
    let mut refused = Played::default();
    feed(
        &mut unnamed,
        b"EHLO c\r\nXCLIENT ADDR=10.1.2.3\r\n",
        &Answers::default(),
        &mut refused,
    );
    assert!(!refused.replies.contains("XCLIENT NAME") && refused.last().starts_with("550 5.7.0"));
    let mut played = Played::default();
    feed(
        &mut machine,
        format!("EHLO c\r\n{MAIL}").as_bytes(),
        &Answers::default(),
        &mut played,
    );
    assert!(played.last().starts_with("550 5.7.1"));
}

proptest! {
    #[test]
    fn attributes_never_panic_or_log_control_characters(text in "(ADDR|HELO|LOGIN|PROTO|PORT|NAME)=[ -~]{0,20}( [A-Z]{1,5}=[+0-9A-Fa-f:.]{0,12})?") {
        if let Some(change) = XclientChange::parse(&text) {
            for word in [change.name.flatten(), change.login.flatten().map(|login| login.to_string())].into_iter().flatten() {
                prop_assert!(word.bytes().all(|byte| byte.is_ascii_graphic()), "{word:?}");
            }
        }
    }
}
