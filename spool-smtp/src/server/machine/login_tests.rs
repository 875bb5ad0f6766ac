//! Logins and limits in the machine; the tests decide the results of logins.

#[path = "login_property_tests.rs"]
mod properties;

#[path = "login_limit_tests.rs"]
mod limits;

use super::super::xclient::XclientPermission;
use super::super::{MAX_DEFERRALS, Next};
use super::*;
use crate::server::{Clients, Limits, Logins, RelayPolicy, ServerConfig, Users};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use spool_core::{
    AddError, DomainPattern, FlowId, Mail, ManualClock, MessageId, Rate, Timestamp, TlsSession,
};
use std::time::Duration;

const HASH: &str = "$2b$05$s8MmEkBYZgFrAnrfgpdL/O50I8ElHRi9v.i9df1j0X3fR4J3OeOJi";
const TLS: TlsSession = TlsSession {
    version: "TLSv1.3",
    cipher: "TLS_AES_128_GCM_SHA256",
};

/// A service with one session, and its output.
struct Bench {
    clock: ManualClock,
    config: Arc<ServerConfig>,
    machine: Machine,
    replies: String,
    mails: Vec<Mail>,
    attempts: usize,
    /// The result of the pool for `ada` with the password `right`.
    says: fn(&Logins) -> LoginResult,
    /// The answer of the intake.
    refuses: Option<AddError>,
    closed: bool,
}

fn users(text: &str) -> Users {
    Users::parse(text).unwrap()
}

fn ada(logins: &Logins) -> LoginResult {
    let table = logins.users_of_test().unwrap();
    LoginResult::Accepted(Arc::clone(table.get("ada").unwrap()))
}

fn encode(text: &str) -> String {
    STANDARD.encode(text)
}

impl Bench {
    fn new(limits: Limits) -> Self {
        let clock = ManualClock::new(Timestamp(1_795_491_552_042));
        let clients = Clients::new(limits, Arc::new(clock.clone()));
        let logins = Logins::new(clients.clone());
        logins.set_users(Some(users(&format!(
            "ada:{HASH}\nbob:{HASH}:allow_from=*@b.org\n"
        ))));
        let relay = RelayPolicy {
            allow_networks: Vec::new(),
            allow_domains: vec![DomainPattern::parse("ours.example").unwrap()],
        };
        let config = Arc::new(ServerConfig {
            hostname: "mx.example".into(),
            clock: Arc::new(clock.clone()),
            clients,
            logins,
            relay,
            ..ServerConfig::default()
        });
        let mut bench = Self {
            clock,
            machine: Machine::new(
                Arc::clone(&config),
                "192.0.2.1".parse().unwrap(),
                FlowId::from_u128(1),
            ),
            config,
            replies: String::new(),
            mails: Vec::new(),
            attempts: 0,
            says: ada,
            refuses: None,
            closed: false,
        };
        bench.machine.under_tls(TLS);
        bench.say("");
        bench
    }

    /// A bench with a session of ada.
    fn logged_in(limits: Limits) -> Self {
        let mut bench = Self::new(limits);
        let login = format!("EHLO c.example\r\nAUTH PLAIN {}\r\n", encode("\0ada\0right"));
        assert!(bench.say(&login).starts_with("235 2.7.0"));
        bench
    }

    /// Returns the last line of the replies.
    fn say(&mut self, text: &str) -> &str {
        let mut input = text.as_bytes();
        loop {
            match self.machine.advance(&mut input, &|_| Ok(())) {
                Next::Read => break,
                Next::Flush => {}
                Next::Authenticate(attempt) => {
                    self.attempts += 1;
                    assert!(
                        matches!(self.machine.advance(&mut input, &|_| Ok(())), Next::Flush),
                        "it waits"
                    );
                    let right = attempt.is_of_test("ada", "right");
                    let verdict = if right {
                        (self.says)(&self.config.logins)
                    } else {
                        LoginResult::Refused
                    };
                    self.machine.authenticated(verdict);
                }
                Next::Accept(mail) => {
                    let answer = self
                        .refuses
                        .clone()
                        .map_or(Ok(vec![MessageId::from_u128(7)]), Err);
                    self.mails.push(*mail);
                    self.machine.accepted(answer);
                }
                Next::Readdress(_) => self.machine.readdressed(true),
                Next::StartTls => panic!("asked for by nobody"),
                Next::Close => {
                    self.closed = true;
                    break;
                }
            }
            self.collect();
        }
        self.collect();
        self.replies.lines().last().unwrap_or_default()
    }

    fn collect(&mut self) {
        self.replies
            .push_str(std::str::from_utf8(self.machine.replies()).unwrap());
        self.machine.replies_sent();
    }
}

fn rate(messages: u32) -> Option<Rate> {
    Rate::new(messages, Duration::from_secs(60)).ok()
}

#[test]
fn auth_is_offered_under_tls_and_while_there_are_users() {
    let mut bench = Bench::new(Limits::default());
    bench.say("EHLO c\r\n");
    assert!(
        bench.replies.contains("250-AUTH PLAIN LOGIN\r\n"),
        "{}",
        bench.replies
    );
    bench.config.logins.set_users(None);
    bench.replies.clear();
    bench.say("EHLO c\r\n");
    assert!(!bench.replies.contains("AUTH"), "{}", bench.replies);
    assert!(bench.say("AUTH PLAIN\r\n").starts_with("502"));
    assert!(bench.say("MAIL FROM:<a@b.org> AUTH=<>\r\n").starts_with("555"));

    let mut plain = Bench::new(Limits::default());
    plain.machine = Machine::new(
        Arc::clone(&plain.config),
        "127.0.0.1".parse().unwrap(),
        FlowId::from_u128(2),
    );
    plain.machine.offer_tls();
    plain.replies.clear();
    plain.say("EHLO c\r\n");
    assert!(!plain.replies.contains("AUTH"), "{}", plain.replies);
    let login = format!("AUTH PLAIN {}\r\n", encode("\0ada\0right"));
    assert!(plain.say(&login).starts_with("538 5.7.11"));
    assert_eq!(
        plain.attempts, 0,
        "what was sent in plaintext is not even looked at"
    );
}

#[test]
fn an_accepted_user_is_logged_in_once_and_may_relay() {
    let mut bench = Bench::new(Limits::default());
    assert!(bench.say("AUTH PLAIN\r\n").starts_with("503 5.5.1 Say EHLO"));
    assert!(
        bench
            .say("HELO c\r\nAUTH PLAIN\r\n")
            .starts_with("503 5.5.1 Say EHLO")
    );
    assert!(
        bench
            .say("EHLO c.example\r\nAUTH NTLM\r\n")
            .starts_with("504 5.5.4")
    );
    assert_eq!(bench.say("AUTH LOGIN\r\n"), "334 VXNlcm5hbWU6");
    assert_eq!(bench.say(&format!("{}\r\n", encode("ada"))), "334 UGFzc3dvcmQ6");
    assert!(
        bench
            .say(&format!("{}\r\n", encode("wrong")))
            .starts_with("535 5.7.8")
    );
    assert!(
        bench
            .say("MAIL FROM:<a@b.org>\r\nRCPT TO:<x@else.example>\r\n")
            .starts_with("550 5.7.1")
    );
    assert!(bench.say("AUTH PLAIN\r\n").starts_with("503 5.5.1 AUTH cannot"));
    bench.say("RSET\r\n");
    assert_eq!(bench.say("auth plain\r\n"), "334 ");
    assert!(bench.say("*\r\n").starts_with("501 5.7.0"));
    assert!(
        bench
            .say(&format!("AUTH PLAIN {}\r\n", encode("\0ada\0right")))
            .starts_with("235 2.7.0")
    );
    assert!(
        bench
            .say("AUTH PLAIN\r\n")
            .starts_with("503 5.5.1 Authenticated already")
    );
    // A new EHLO does not log out (RFC 4954 section 4).
    let mail = "EHLO c.example\r\nMAIL FROM:<> AUTH=<>\r\nRCPT TO:<x@else.example>\r\nDATA\r\nx\r\n.\r\n";
    assert!(
        bench.say(mail).starts_with("250 2.0.0 Queued"),
        "{}",
        bench.replies
    );
    let mail = &bench.mails[0];
    assert_eq!(mail.source.admission, Admission::User("ada".into()));
    let body = std::str::from_utf8(&mail.body).unwrap();
    assert!(body.contains("with ESMTPSA") && !body.contains("ada"), "{body}");
    assert_eq!(bench.attempts, 2);
    let states = bench.config.clients.states();
    assert!(
        states
            .iter()
            .any(|state| state.client == "ada" && state.messages.count == 1 && state.connections == 1)
    );
    drop(bench.machine);
    assert!(
        bench
            .config
            .clients
            .states()
            .iter()
            .all(|state| state.connections == 0)
    );
}

#[test]
fn lines_that_are_too_long_or_split_do_no_harm() {
    let mut bench = Bench::new(Limits::default());
    bench.say("EHLO c\r\nAUTH PLAIN\r\n");
    let long = format!("{}\r\nNOOP\r\n", "A".repeat(9000));
    bench.say(&long);
    assert!(
        bench
            .replies
            .ends_with("500 5.5.6 Authentication response too long\r\n250 2.0.0 Ok\r\n")
    );
    bench.say("AUTH PLAIN\r\n");
    let response = format!("{}\r\n", encode("\0ada\0right"));
    for byte in response.chars() {
        bench.say(&byte.to_string());
    }
    assert!(bench.replies.ends_with("235 2.7.0 Authentication successful\r\n"));
    let mut bench = Bench::new(Limits::default());
    assert!(
        bench
            .say("EHLO c\r\nAUTH LOGIN\r\nYWRh\n")
            .starts_with("500 5.5.2 Lines end")
    );
    assert!(bench.closed);
    let mut bench = Bench::new(Limits::default());
    bench.say("EHLO c\r\nAUTH LOGIN\r\n");
    bench.machine.stopping = true;
    assert!(bench.say("YWRh\r\n").starts_with("421 4.3.2") && bench.closed);
}

#[test]
fn a_login_without_a_place_is_deferred() {
    let mut bench = Bench::new(Limits::default());
    bench.says = |_| LoginResult::Busy;
    let login = format!("EHLO c\r\nAUTH PLAIN {}\r\n", encode("\0ada\0right"));
    assert!(bench.say(&login).starts_with("454 4.7.0"));
    bench.says = |_| LoginResult::Limited(Duration::from_millis(59_001));
    assert_eq!(
        bench.say(&login),
        "450 4.7.1 Too many failed logins, try again in 60 s"
    );
    assert!(
        bench
            .say("MAIL FROM:<>\r\nRCPT TO:<x@else.example>\r\n")
            .starts_with("550")
    );
    // An unexpected answer.
    let verdict = ada(&bench.config.logins);
    bench.machine.authenticated(verdict);
    assert!(bench.say("RCPT TO:<x@else.example>\r\n").starts_with("550"));
}

#[test]
fn allow_from_restricts_the_reverse_paths_of_its_user() {
    let mut bench = Bench::new(Limits::default());
    bench.says =
        |logins| LoginResult::Accepted(Arc::clone(logins.users_of_test().unwrap().get("bob").unwrap()));
    bench.say(&format!("EHLO c\r\nAUTH PLAIN {}\r\n", encode("\0ada\0right")));
    for refused in ["<a@c.org>", "<>", "<a@b.org.evil.net>", "<\"a@b.org\"@c.org>"] {
        assert_eq!(
            bench.say(&format!("MAIL FROM:{refused}\r\n")),
            "553 5.7.1 This user may not send from this address",
            "{refused}"
        );
    }
    assert!(bench.say("MAIL FROM:<a@B.org>\r\n").starts_with("250"));
    bench.say("RSET\r\n");
    // Changed in the meantime.
    bench
        .config
        .logins
        .set_users(Some(users(&format!("bob:{HASH}:allow_from=<>\n"))));
    assert!(bench.say("MAIL FROM:<a@b.org>\r\n").starts_with("553"));
    assert!(bench.say("MAIL FROM:<>\r\n").starts_with("250"));
}

#[test]
fn a_removed_user_submits_nothing_more() {
    let other = HASH.replace("s8Mm", "s9Mm");
    for table in [String::new(), format!("ada:{other}\n")] {
        let mut bench = Bench::logged_in(Limits::default());
        assert!(bench.say("MAIL FROM:<a@b.org>\r\nRSET\r\n").starts_with("250"));
        bench.config.logins.set_users(Some(users(&table)));
        assert!(
            bench
                .say("MAIL FROM:<a@b.org>\r\n")
                .starts_with("421 4.7.0 Login is no longer valid")
        );
        assert!(bench.closed);
    }
    let mut bench = Bench::logged_in(Limits::default());
    bench
        .config
        .logins
        .set_users(Some(users(&format!("x:{HASH}\nada:{HASH}\n"))));
    assert!(
        bench.say("MAIL FROM:<a@b.org>\r\n").starts_with("250"),
        "nothing has changed for her"
    );
}

#[test]
fn a_login_ends_where_the_proxy_names_its_client() {
    let mut bench = Bench::logged_in(Limits::default());
    bench.machine.may_xclient = XclientPermission::Yes;
    assert!(bench.machine.may_relay());
    assert!(bench.say("XCLIENT ADDR=198.51.100.7\r\n").starts_with("220"));
    assert!(!bench.machine.may_relay());
    let refused = bench.say("EHLO c\r\nMAIL FROM:<a@b.org>\r\nRCPT TO:<c@d.org>\r\n");
    assert!(refused.starts_with("550 5.7.1"), "{refused}");
    let states = bench.config.clients.states();
    let ada = states.iter().find(|state| state.client == "ada").unwrap();
    assert_eq!(ada.connections, 0);
    // The client has logged in itself.
    bench.say(&format!("RSET\r\nAUTH PLAIN {}\r\n", encode("\0ada\0right")));
    assert!(
        bench
            .say("MAIL FROM:<a@b.org>\r\nRCPT TO:<c@d.org>\r\n")
            .starts_with("250")
    );
}
