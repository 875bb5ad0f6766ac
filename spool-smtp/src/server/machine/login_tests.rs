//! Logins and limits in the machine; who the client is, is said by the test.

use super::super::xclient::May;
use super::super::{MAX_DEFERRALS, Next};
use super::*;
use crate::server::{Clients, Limits, Logins, RelayPolicy, ServerConfig, Users};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use spool_core::{
    AddError, DomainPattern, FlowId, Mail, ManualClock, MessageId, Rate, Timestamp, TlsSession,
};

const HASH: &str = "$2b$05$s8MmEkBYZgFrAnrfgpdL/O50I8ElHRi9v.i9df1j0X3fR4J3OeOJi";
const TLS: TlsSession = TlsSession {
    version: "TLSv1.3",
    cipher: "TLS_AES_128_GCM_SHA256",
};

/// A service, one session with it, and what came out.
struct Bench {
    clock: ManualClock,
    config: Arc<ServerConfig>,
    machine: Machine,
    replies: String,
    mails: Vec<Mail>,
    attempts: usize,
    /// What the pool says of `ada` with the password `right`.
    says: fn(&Logins) -> Verdict,
    /// What the intake says.
    refuses: Option<AddError>,
    closed: bool,
}

fn users(text: &str) -> Users {
    Users::parse(text).unwrap()
}

fn ada(logins: &Logins) -> Verdict {
    let table = logins.users_of_test().unwrap();
    Verdict::Accepted(Arc::clone(table.get("ada").unwrap()))
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

    /// The same, logged in as ada.
    fn logged_in(limits: Limits) -> Self {
        let mut bench = Self::new(limits);
        let login = format!("EHLO c.example\r\nAUTH PLAIN {}\r\n", encode("\0ada\0right"));
        assert!(bench.say(&login).starts_with("235 2.7.0"));
        bench
    }

    /// Gives the last line of the replies.
    fn say(&mut self, text: &str) -> &str {
        let mut input = text.as_bytes();
        loop {
            match self.machine.advance(&mut input) {
                Next::Read => break,
                Next::Flush => {}
                Next::Admit(_) => self.machine.admitted(Ok(())),
                Next::Authenticate(attempt) => {
                    self.attempts += 1;
                    assert!(
                        matches!(self.machine.advance(&mut input), Next::Flush),
                        "it waits"
                    );
                    let right = attempt.is_of_test("ada", "right");
                    let verdict = if right {
                        (self.says)(&self.config.logins)
                    } else {
                        Verdict::Refused
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
fn who_is_known_by_the_pool_is_logged_in_once_and_relays_anywhere() {
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
    bench.machine.stop();
    assert!(bench.say("YWRh\r\n").starts_with("421 4.3.2") && bench.closed);
}

#[test]
fn without_room_or_after_too_many_failures_a_client_is_told_to_come_back() {
    let mut bench = Bench::new(Limits::default());
    bench.says = |_| Verdict::Busy;
    let login = format!("EHLO c\r\nAUTH PLAIN {}\r\n", encode("\0ada\0right"));
    assert!(bench.say(&login).starts_with("454 4.7.0"));
    bench.says = |_| Verdict::Limited(Duration::from_millis(59_001));
    assert_eq!(
        bench.say(&login),
        "450 4.7.1 Too many failed logins, try again in 60 s"
    );
    assert!(
        bench
            .say("MAIL FROM:<>\r\nRCPT TO:<x@else.example>\r\n")
            .starts_with("550")
    );
    // An answer that nobody asked for.
    let verdict = ada(&bench.config.logins);
    bench.machine.authenticated(verdict);
    assert!(bench.say("RCPT TO:<x@else.example>\r\n").starts_with("550"));
}

#[test]
fn allow_from_restricts_the_reverse_paths_of_its_user() {
    let mut bench = Bench::new(Limits::default());
    bench.says = |logins| Verdict::Accepted(Arc::clone(logins.users_of_test().unwrap().get("bob").unwrap()));
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
    // Changed meanwhile.
    bench
        .config
        .logins
        .set_users(Some(users(&format!("bob:{HASH}:allow_from=<>\n"))));
    assert!(bench.say("MAIL FROM:<a@b.org>\r\n").starts_with("553"));
    assert!(bench.say("MAIL FROM:<>\r\n").starts_with("250"));
}

#[test]
fn a_user_who_is_taken_away_or_has_another_password_hands_in_nothing_more() {
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

const MAIL: &str = "MAIL FROM:<a@b.org>\r\nRCPT TO:<x@ours.example>\r\nDATA\r\nx\r\n.\r\n";

#[test]
fn messages_of_a_client_are_limited_over_its_sessions_and_refusals_count_for_nothing() {
    let limits = Limits {
        messages_per_client: rate(2),
        ..Limits::default()
    };
    let mut bench = Bench::new(limits);
    bench.say("EHLO c\r\n");
    // Transactions that come to nothing.
    for _ in 0..9 {
        assert!(bench.say("MAIL FROM:<a@b.org>\r\nRSET\r\n").starts_with("250"));
        assert!(bench.say("MAIL FROM:<a@b.org>\r\nDATA\r\n").starts_with("554"));
        bench.say("RSET\r\n");
    }
    // The spool has no room: it is not the client's message that was taken.
    bench.refuses = Some(AddError::Busy {
        retry_after: Duration::from_secs(1),
    });
    for _ in 0..9 {
        assert!(bench.say(MAIL).starts_with("451"), "{}", bench.replies);
    }
    bench.refuses = None;
    assert!(bench.say(MAIL).starts_with("250") && bench.say(MAIL).starts_with("250"));
    let refused = bench.say("MAIL FROM:<a@b.org>\r\n").to_owned();
    assert!(
        refused.starts_with("450 4.7.1 Too many messages, try again in 6"),
        "{refused}"
    );
    // Sessions that were in a transaction already.
    let mut other = Machine::new(
        Arc::clone(&bench.config),
        "192.0.2.1".parse().unwrap(),
        FlowId::from_u128(3),
    );
    std::mem::swap(&mut other, &mut bench.machine);
    assert!(
        bench
            .say("EHLO c\r\nMAIL FROM:<a@b.org>\r\n")
            .starts_with("450 4.7.1")
    );
    assert!(bench.config.clients.lift("192.0.2.1"));
    assert!(
        bench
            .say("MAIL FROM:<a@b.org>\r\nRCPT TO:<x@ours.example>\r\n")
            .starts_with("250")
    );
    for _ in 0..2 {
        bench
            .config
            .clients
            .take(&ClientKey::address("192.0.2.1".parse().unwrap()), Kind::Messages)
            .unwrap();
    }
    assert!(bench.say("DATA\r\n").starts_with("450 4.7.1"));
    bench.say("RSET\r\nMAIL FROM:<a@b.org>\r\n");
    bench.clock.advance(Duration::from_secs(66));
    bench.say("MAIL FROM:<a@b.org>\r\nRCPT TO:<x@ours.example>\r\n");
    assert!(bench.say("DATA\r\n").starts_with("354"));
    assert!(bench.say("x\r\n.\r\n").starts_with("250"));
}

#[test]
fn messages_in_chunks_are_counted_once_and_their_octets_skipped_when_there_are_too_many() {
    let limits = Limits {
        messages_per_client: rate(1),
        ..Limits::default()
    };
    let mut bench = Bench::new(limits);
    let open = "MAIL FROM:<a@b.org>\r\nRCPT TO:<x@ours.example>\r\n";
    bench.say(&format!("EHLO c\r\n{open}"));
    bench.refuses = Some(AddError::Full(String::new()));
    assert!(
        bench
            .say("BDAT 3\r\na\r\nBDAT 3 LAST\r\nb\r\n")
            .starts_with("452")
    );
    bench.refuses = None;
    assert!(
        bench
            .say(&format!("{open}BDAT 3\r\na\r\nBDAT 3 LAST\r\nb\r\n"))
            .starts_with("250 2.0.0 Queued")
    );
    let mut other = Machine::new(
        Arc::clone(&bench.config),
        "192.0.2.1".parse().unwrap(),
        FlowId::from_u128(3),
    );
    std::mem::swap(&mut other, &mut bench.machine);
    assert!(bench.config.clients.lift("192.0.2.1"));
    bench.say(&format!("EHLO c\r\n{open}"));
    bench
        .config
        .clients
        .take(&ClientKey::address("192.0.2.1".parse().unwrap()), Kind::Messages)
        .unwrap();
    bench.replies.clear();
    assert!(
        bench
            .say("BDAT 6\r\nNOOP\r\nBDAT 0 LAST\r\nNOOP\r\n")
            .starts_with("250 2.0.0 Ok")
    );
    let codes: Vec<&str> = bench.replies.lines().filter_map(|line| line.get(..3)).collect();
    assert_eq!(codes, ["450", "503", "250"], "{}", bench.replies);
    assert_eq!(bench.mails.len(), 2);
}

#[test]
fn a_user_whom_a_proxy_names_has_his_limits_and_patterns() {
    let mut bench = Bench::new(Limits {
        messages_per_user: rate(1),
        ..Limits::default()
    });
    let mut config = (*bench.config).clone();
    config.proxies = vec!["192.0.2.1".parse().unwrap()];
    bench.config = Arc::new(config);
    let session = |bench: &Bench| {
        let mut machine = Machine::new(
            Arc::clone(&bench.config),
            "192.0.2.1".parse().unwrap(),
            FlowId::from_u128(4),
        );
        machine.under_tls(TLS);
        machine
    };
    bench.machine = session(&bench);
    let open = "XCLIENT ADDR=198.51.100.7 LOGIN=bob\r\nEHLO c\r\n";
    assert!(bench.say(open).starts_with("250"), "{}", bench.replies);
    assert_eq!(bench.machine.client().to_string(), "198.51.100.7");
    assert!(bench.say("MAIL FROM:<a@c.org>\r\n").starts_with("553 5.7.1"));
    let mail = "MAIL FROM:<a@b.org>\r\nRCPT TO:<x@else.example>\r\nDATA\r\nx\r\n.\r\n";
    assert!(
        bench.say(mail).starts_with("250 2.0.0 Queued"),
        "{}",
        bench.replies
    );
    assert_eq!(bench.mails[0].source.admission, Admission::User("bob".into()));
    assert!(
        bench
            .say("MAIL FROM:<a@b.org>\r\n")
            .starts_with("450 4.7.1 Too many messages")
    );
    // One whom only the proxy knows.
    bench.machine = session(&bench);
    bench.say("XCLIENT LOGIN=carol\r\nEHLO c\r\n");
    assert!(
        bench
            .say(&mail.replace("a@b.org", "any@where.example"))
            .starts_with("250 2.0.0 Queued")
    );
}

#[test]
fn recipients_are_limited_one_by_one_and_those_of_a_user_apart() {
    let limits = Limits {
        recipients_per_client: rate(2),
        recipients_per_user: rate(3),
        messages_per_user: rate(1),
        ..Limits::default()
    };
    let rcpt = |n: u32| format!("RCPT TO:<x{n}@ours.example>\r\n");
    let mut bench = Bench::new(limits);
    bench.say("EHLO c\r\nMAIL FROM:<a@b.org>\r\n");
    assert!(
        bench.say("RCPT TO:<x@else.example>\r\n").starts_with("550"),
        "not counted"
    );
    assert!(bench.say(&rcpt(1)).starts_with("250") && bench.say(&rcpt(2)).starts_with("250"));
    assert!(
        bench
            .say(&rcpt(3))
            .starts_with("450 4.7.1 Too many recipients, try again in")
    );
    assert!(
        bench.say("DATA\r\nx\r\n.\r\n").starts_with("250"),
        "with those that were taken"
    );
    assert_eq!(bench.mails[0].envelope.recipients.len(), 2);

    let mut bench = Bench::logged_in(limits);
    bench.say("MAIL FROM:<a@b.org>\r\n");
    for n in 0..3 {
        assert!(bench.say(&rcpt(n)).starts_with("250"));
    }
    assert!(bench.say(&rcpt(3)).starts_with("450 4.7.1"));
    assert!(bench.say("DATA\r\nx\r\n.\r\n").starts_with("250"));
    assert!(
        bench
            .say("MAIL FROM:<a@b.org>\r\n")
            .starts_with("450 4.7.1 Too many messages")
    );
}

fn scripts() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        Just("EHLO c".to_owned()),
        Just("AUTH PLAIN".to_owned()),
        Just("AUTH LOGIN".to_owned()),
        Just("AUTH LOGIN =".to_owned()),
        Just("*".to_owned()),
        Just(String::new()),
        Just("MAIL FROM:<a@b.org> AUTH=<>".to_owned()),
        Just("RCPT TO:<x@else.example>".to_owned()),
        Just("DATA".to_owned()),
        Just(".".to_owned()),
        Just("RSET".to_owned()),
        Just(encode("ada")),
        Just(encode("right")),
        Just(encode("\0ada\0right")),
        Just(format!("AUTH PLAIN {}", encode("\0ada\0right"))),
        Just(format!("AUTH LOGIN {}", encode("ada"))),
        "[ -~]{0,30}",
        "AUTH (PLAIN|LOGIN) [A-Za-z0-9+/=]{0,20}",
    ];
    proptest::collection::vec(line, 0..25).prop_map(|lines| lines.join("\r\n") + "\r\n")
}

proptest! {
    #[test]
    fn nobody_is_logged_in_without_the_pools_yes(script in scripts(), verdict in 0_u8..3) {
        let mut bench = Bench::new(Limits::default());
        bench.says = match verdict {
            0 => |_| Verdict::Refused,
            1 => |_| Verdict::Busy,
            _ => |_| Verdict::Limited(Duration::from_secs(1)),
        };
        bench.say(&script);
        prop_assert!(!bench.replies.lines().any(|line| line.starts_with("235")));
        prop_assert!(bench.machine.user.is_none() && bench.mails.is_empty());
    }

    #[test]
    fn the_right_password_and_nothing_else_logs_in(script in scripts()) {
        let mut bench = Bench::new(Limits::default());
        bench.say(&script);
        let accepted = bench.replies.lines().filter(|line| line.starts_with("235")).count();
        prop_assert!(accepted <= 1 && accepted <= bench.attempts);
        prop_assert!(accepted == 0 || script.contains(&encode("right")) || script.contains(&encode("\0ada\0right")));
        for mail in &bench.mails {
            prop_assert_eq!(&mail.source.admission, &Admission::User("ada".into()));
        }
    }
}

#[test]
fn refused_recipients_hold_no_memory() {
    let limits = Limits {
        recipients_per_client: rate(2),
        ..Limits::default()
    };
    let mut bench = Bench::new(limits);
    bench.say("EHLO c\r\nMAIL FROM:<a@b.org>\r\n");
    bench.say("RCPT TO:<1@ours.example>\r\nRCPT TO:<2@ours.example>\r\n");
    let memory = bench.config.memory.clone();
    let before = memory.used();
    assert!(before > 0);
    for number in 0..1000 {
        let refused = bench.say(&format!(
            "RCPT TO:<{number}@ours.example> ORCPT=rfc822;{}\r\n",
            "x".repeat(400)
        ));
        assert!(refused.starts_with("450 4.7.1 Too many recipients"), "{refused}");
    }
    assert_eq!(memory.used(), before);
    assert!(bench.say("DATA\r\n").starts_with("354"));
    assert!(bench.say("x\r\n.\r\n").starts_with("250"));
    assert_eq!(bench.mails[0].envelope.recipients.len(), 2);
}

#[test]
fn a_recipient_that_found_no_memory_does_not_count() {
    let limits = Limits {
        recipients_per_client: rate(2),
        ..Limits::default()
    };
    let mut bench = Bench::new(limits);
    bench.say("EHLO c\r\nMAIL FROM:<a@b.org>\r\nRCPT TO:<1@ours.example>\r\n");
    let memory = bench.config.memory.clone();
    let others = memory.hold_first(memory.limit() - memory.used()).unwrap();
    for _ in 0..5 {
        let refused = bench.say("RCPT TO:<2@ours.example>\r\n");
        assert!(refused.starts_with("452 4.3.1 No memory"), "{refused}");
    }
    drop(others);
    assert!(bench.say("RCPT TO:<2@ours.example>\r\n").starts_with("250"));
    assert!(bench.say("RCPT TO:<3@ours.example>\r\n").starts_with("450"));
}

#[test]
fn a_session_that_is_refused_for_the_moment_again_and_again_is_closed() {
    let limits = Limits {
        recipients_per_client: rate(1),
        ..Limits::default()
    };
    let mut bench = Bench::new(limits);
    bench.say("EHLO c\r\nMAIL FROM:<a@b.org>\r\n");
    bench.say(&"RCPT TO:<1@ours.example>\r\n".repeat(20_000));
    assert!(bench.closed);
    assert_eq!(
        bench.replies.matches("\r\n450 4.7.1").count(),
        MAX_DEFERRALS + bench.config.errors_per_session
    );
    assert!(
        bench
            .replies
            .ends_with("421 4.7.0 Too many errors, closing connection\r\n")
    );
}

#[test]
fn a_login_ends_where_the_proxy_names_its_client() {
    let mut bench = Bench::logged_in(Limits::default());
    bench.machine.may_xclient = May::Yes;
    assert!(bench.machine.may_relay());
    assert!(bench.say("XCLIENT ADDR=198.51.100.7\r\n").starts_with("220"));
    assert!(!bench.machine.may_relay());
    let refused = bench.say("EHLO c\r\nMAIL FROM:<a@b.org>\r\nRCPT TO:<c@d.org>\r\n");
    assert!(refused.starts_with("550 5.7.1"), "{refused}");
    let states = bench.config.clients.states();
    let ada = states.iter().find(|state| state.client == "ada").unwrap();
    assert_eq!(ada.connections, 0);
    // The user who logs in now is the client's.
    bench.say(&format!("RSET\r\nAUTH PLAIN {}\r\n", encode("\0ada\0right")));
    assert!(
        bench
            .say("MAIL FROM:<a@b.org>\r\nRCPT TO:<c@d.org>\r\n")
            .starts_with("250")
    );
}
