//! Every way that is known to make a relay pass on what it should not, from a client that it does not know.

use crate::logins::{NAME, Relay};
use spool_tests::tls_client::Session;
use std::net::{IpAddr, Ipv4Addr};

const OUTSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// Of the relay's own name, of its address, of a domain that it serves, and of nobody.
const SENDERS: [&str; 7] = [
    "spam@else.example",
    "",
    "spam@mx.example",
    "spam@[127.0.0.1]",
    "postmaster@ours.example",
    "victim@else.example",
    "\"spam@ours.example\"@else.example",
];

/// Ways to a mailbox at else.example.
const RECIPIENTS: [&str; 38] = [
    "<victim@else.example>",
    "<victim@ELSE.example>",
    "<victim@else.example.>",
    "victim@else.example",
    "<\"victim\"@else.example>",
    "<victim@[192.0.2.1]>",
    "<victim@[IPv6:2001:db8::1]>",
    "<victim@127.0.0.1>",
    "<victim%else.example>",
    "<victim%else.example@mx.example>",
    "<victim%else.example@ours.example>",
    "<victim%else.example@[127.0.0.1]>",
    "<victim%else.example%ours.example@ours.example>",
    "<\"victim%else.example\"@ours.example>",
    "<victim@else.example@mx.example>",
    "<victim@else.example@ours.example>",
    "<\"victim@else.example\">",
    "<\"victim@else.example\"@mx.example>",
    "<\"victim@else.example\"@ours.example>",
    "<\"victim@else.example\"@[127.0.0.1]>",
    "<@mx.example:victim@else.example>",
    "<@ours.example:victim@else.example>",
    "<@ours.example,@mx.example:victim@else.example>",
    "<@[127.0.0.1]:victim@else.example>",
    "<@else.example:victim@else.example>",
    "<else.example!victim>",
    "<else.example!victim@mx.example>",
    "<else.example!victim@ours.example>",
    "<ours.example!else.example!victim@ours.example>",
    "<else.example!victim@[127.0.0.1]>",
    "<victim@else.example,user@ours.example>",
    "<victim@else.example> <user@ours.example>",
    "<user@ours.example> <victim@else.example>",
    "<victim@else.example%00@ours.example>",
    "<victim@ours.example.else.example>",
    "<victim@else.example.ours.example>",
    "<victim@oursXexample>",
    "<victim@else.example\\@ours.example>",
];

/// Tries to send; gives whether a recipient was accepted, or a message.
fn gets_through(session: &mut Session, sender: &str, recipient: &str) -> bool {
    let mail = session.say(&format!("MAIL FROM:<{sender}>"));
    assert!(mail.starts_with("250"), "{sender}: {mail}");
    let accepted = session.say(&format!("RCPT TO:{recipient}")).starts_with('2');
    let data = session.say("DATA");
    if data.starts_with("354") {
        session.send(b"probe\r\n.\r\n");
        session.reply();
    }
    session.say("RSET");
    accepted || data.starts_with("354")
}

#[test]
fn nothing_of_a_strangers_goes_where_he_wants() {
    let relay = Relay::start(
        "[relay]\nallow_networks = [\"127.0.0.1/32\"]\nallow_domains = [\"ours.example\"]\nusers_file = \"USERS\"",
    );
    let trust = relay.trust();
    let mut probes = 0;
    let mut through: Vec<(&str, &str)> = Vec::new();
    for tls in [false, true] {
        let session = || match tls {
            false => Session::plain(OUTSIDE, relay.server.smtp()),
            true => Session::tls(OUTSIDE, relay.smtps(), &trust, NAME),
        };
        // Each probe is two errors of the twenty that a session may make.
        let all: Vec<_> = SENDERS
            .iter()
            .flat_map(|sender| RECIPIENTS.map(|recipient| (*sender, recipient)))
            .collect();
        for few in all.chunks(9) {
            let mut session = session();
            if tls {
                // A login that fails, and one that is given up, are none.
                session.say("AUTH LOGIN");
                assert!(session.say("*").starts_with("501"));
            }
            for (sender, recipient) in few {
                probes += 1;
                if gets_through(&mut session, sender, recipient) {
                    through.push((*sender, *recipient));
                }
            }
        }
    }
    println!("{probes} probes, {} got through", through.len());
    assert!(probes > 500 && through.is_empty(), "{through:?}");
    // What may pass does, and is all that arrives.
    let mut session = Session::plain(OUTSIDE, relay.server.smtp());
    assert!(gets_through(&mut session, "", "<user@ours.example>"));
    assert!(relay.capture.message().rcpt[0].contains("user@ours.example"));
    assert!(relay.capture.try_message().is_none());
}
