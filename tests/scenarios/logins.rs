//! Logins: `spool passwd`, clients from other hands that log in, reloads, and a hundred who guess.

use crate::passwd::passwd;
use crate::queue_commands::text;
use lettre::Transport;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use rustls::ClientConfig;
use spool_tests::authority::Authority;
use spool_tests::capture::Capture;
use spool_tests::process::{Running, signal, spool_binary, until};
use spool_tests::raw::RawClient;
use spool_tests::tls::trusting;
use spool_tests::tls_client::Session;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

pub(crate) const NAME: &str = "mx.example";

/// A relay with a certificate and users, in front of a capture.
pub(crate) struct Relay {
    pub(crate) server: Running,
    pub(crate) capture: Capture,
    pub(crate) authority: Authority,
    pub(crate) config: PathBuf,
    users: PathBuf,
    dir: tempfile::TempDir,
}

impl Relay {
    /// With `more` in its configuration.
    pub(crate) fn start(more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let users = dir.path().join("users");
        assert!(
            passwd(&["ada", "--file", users.to_str().unwrap()], "s3cret-ada\n")
                .status
                .success()
        );
        let (capture, authority) = (Capture::start(), Authority::new(dir.path(), &[NAME]));
        let config = dir.path().join("spool.toml");
        let text = format!(
            "hostname = \"{NAME}\"\nspool_dir = \"{}\"\n\
             [listen]\nsmtp = [\"127.0.0.1:0\"]\nsmtps = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\n\
             [listen.tls]\ncertificate = \"{}\"\nkey = \"{}\"\n\
             [route]\nnext_hops = [\"{}\"]\n{more}\n",
            dir.path().join("spool").display(),
            authority.certificate.display(),
            authority.key.display(),
            capture.next_hop(),
        );
        std::fs::write(&config, text.replace("USERS", users.to_str().unwrap())).unwrap();
        let mut command = Command::new(spool_binary());
        command.env("SPOOL_LOG", "trace");
        let server = Running::spawn(command.args(["serve", "--config", config.to_str().unwrap()]));
        Self {
            server,
            capture,
            authority,
            config,
            users,
            dir,
        }
    }

    fn with_users() -> Self {
        Self::start("[relay]\nallow_networks = []\nusers_file = \"USERS\"")
    }

    pub(crate) fn smtps(&self) -> SocketAddr {
        self.server.field("smtps").parse().unwrap()
    }

    pub(crate) fn trust(&self) -> Arc<ClientConfig> {
        trusting(&self.authority)
    }

    fn session(&self, from: IpAddr) -> Session {
        Session::tls(from, self.smtps(), &self.trust(), NAME)
    }

    /// SIGHUP, and the end of the reload.
    pub(crate) fn reload(&self) {
        let count = || self.server.log().matches("configuration").count();
        let before = count();
        signal(self.server.pid(), "HUP");
        until("a reload", || (count() > before).then_some(()));
    }

    fn lettre(
        &self,
        port: u16,
        tls: fn(TlsParameters) -> Tls,
        password: &str,
        mechanism: Mechanism,
    ) -> Result<(), String> {
        let root = Certificate::from_pem(&std::fs::read(&self.authority.roots).unwrap()).unwrap();
        let parameters = TlsParameters::builder(NAME.to_owned())
            .add_root_certificate(root)
            .build();
        let transport = lettre::SmtpTransport::builder_dangerous("127.0.0.1")
            .port(port)
            .tls(tls(parameters.unwrap()))
            .credentials(Credentials::new("ada".to_owned(), password.to_owned()))
            .authentication(vec![mechanism])
            .build();
        let message = lettre::Message::builder()
            .from("Ada <ada@example.org>".parse().unwrap())
            .to("Bob <bob@else.example>".parse().unwrap())
            .body("hello\r\n".to_owned())
            .unwrap();
        transport
            .send(&message)
            .map(drop)
            .map_err(|error| error.to_string())
    }
}

fn plain(name: &str, password: &str) -> String {
    let response = base64(format!("\0{name}\0{password}").as_bytes());
    format!("AUTH PLAIN {response}")
}

/// RFC 4648 section 4.
fn base64(bytes: &[u8]) -> String {
    const SIGNS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let number =
            three.iter().fold(0_u32, |all, byte| all << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for place in 0..4 {
            let sign = SIGNS[(number >> (18 - 6 * place) & 63) as usize];
            out.push(if place > three.len() {
                '='
            } else {
                char::from(sign)
            });
        }
    }
    out
}

fn address(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 9, last))
}

#[test]
fn clients_from_other_hands_log_in_and_relay_and_no_password_is_in_the_log() {
    let relay = Relay::with_users();
    let (smtp, smtps) = (relay.server.smtp().port(), relay.smtps().port());
    for (port, tls, mechanism) in [
        (smtp, Tls::Required as fn(TlsParameters) -> Tls, Mechanism::Plain),
        (smtps, Tls::Wrapper, Mechanism::Login),
    ] {
        relay.lettre(port, tls, "s3cret-ada", mechanism).unwrap();
        let arrived = relay.capture.message();
        let trace = String::from_utf8_lossy(&arrived.body).into_owned();
        assert!(
            trace.contains("with ESMTPSA") && !trace.contains("ada)"),
            "{trace}"
        );
    }
    let refused = relay
        .lettre(smtps, Tls::Wrapper, "s3cret-bob", Mechanism::Plain)
        .unwrap_err();
    assert!(refused.contains("535"), "{refused}");
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let builder = mail_send::SmtpClientBuilder::new("127.0.0.1", smtps).unwrap();
        let builder = builder
            .implicit_tls(true)
            .allow_invalid_certs()
            .credentials(("ada", "s3cret-ada"));
        let mut client = builder.connect().await.unwrap();
        let message =
            mail_send::smtp::message::Message::new("ada@example.org", ["b@else.example"], &b"x\r\n"[..]);
        client.send(message).await.unwrap();
    });
    let _ = relay.capture.message();
    assert!(relay.capture.try_message().is_none());
    let log = relay.server.log();
    assert!(
        log.contains("logged in") && log.contains("login refused"),
        "{log}"
    );
    for secret in ["s3cret-ada", "s3cret-bob"] {
        for hidden in [
            secret.to_owned(),
            base64(secret.as_bytes()),
            base64(format!("\0ada\0{secret}").as_bytes()),
        ] {
            assert!(!log.contains(&hidden), "{hidden} is in the log");
        }
    }
}

#[test]
fn a_reload_takes_users_in_and_out_and_a_bad_file_changes_nothing() {
    let relay = Relay::with_users();
    let mut ada = relay.session(address(1));
    assert!(ada.say(&plain("ada", "s3cret-ada")).starts_with("235"));
    std::fs::write(&relay.users, "ada:plaintext\n").unwrap();
    relay.reload();
    let log = relay.server.log();
    assert!(
        log.contains("the configuration was not changed: ")
            && log.contains("users:1: unknown password scheme"),
        "{log}"
    );
    // In the middle of a rewrite.
    std::fs::write(&relay.users, "").unwrap();
    relay.reload();
    let log = relay.server.log();
    assert!(log.contains("users: has no users"), "{log}");
    assert!(ada.say("MAIL FROM:<a@example.org>").starts_with("250"));
    ada.say("RSET");
    let restricted = passwd(&["bob"], "s3cret-bob\n").stdout;
    std::fs::write(
        &relay.users,
        format!("{}:allow_from=*@example.org\n", text(&restricted).trim_end()),
    )
    .unwrap();
    relay.reload();
    assert!(
        ada.say("MAIL FROM:<a@example.org>")
            .starts_with("421 4.7.0 Login")
    );
    assert!(
        relay
            .session(address(2))
            .say(&plain("ada", "s3cret-ada"))
            .starts_with("535")
    );
    let mut bob = relay.session(address(3));
    assert!(bob.say(&plain("bob", "s3cret-bob")).starts_with("235"));
    assert!(bob.say("MAIL FROM:<bob@example.net>").starts_with("553 5.7.1"));
    assert!(bob.say("MAIL FROM:<>").starts_with("553 5.7.1"));
    assert!(bob.say("MAIL FROM:<bob@example.org>").starts_with("250"));
    assert!(bob.say("RCPT TO:<x@else.example>").starts_with("250"));
}

#[test]
fn a_shutdown_waits_for_no_delayed_login() {
    let relay = Relay::with_users();
    let mut sessions: Vec<Session> = (0..4).map(|_| relay.session(address(1))).collect();
    for (nth, session) in sessions.iter_mut().enumerate() {
        session.send(format!("{}\r\n", plain("ada", &format!("guess {nth}"))).as_bytes());
    }
    // One is answered, the others wait 1, 3 and 7 s.
    until("the first answer", || {
        relay.server.log().contains("login refused").then_some(())
    });
    let start = Instant::now();
    let Relay { server, .. } = relay;
    assert!(server.terminate().success());
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    let mut replies: Vec<String> = Vec::new();
    for mut session in sessions {
        replies.extend(std::iter::from_fn(|| session.try_reply().ok()));
    }
    let count = |code: &str| replies.iter().filter(|reply| reply.starts_with(code)).count();
    assert_eq!(
        (count("535"), count("454"), count("421 4.3.2")),
        (1, 3, 4),
        "{replies:?}"
    );
}

/// Sends a hundred wrong logins at once, each from its address, while `good` is measured; prints what happened.
fn while_a_hundred_guess(relay: &Relay, from: fn(u8) -> IpAddr, good: impl FnOnce()) {
    let before = relay.server.resident_kib();
    let barrier = Arc::new(Barrier::new(101));
    let threads: Vec<_> = (0..100)
        .map(|nth: u8| {
            let (barrier, mut session) = (Arc::clone(&barrier), relay.session(from(nth)));
            std::thread::spawn(move || {
                let login = plain("ada", &format!("guess {nth}"));
                barrier.wait();
                let start = Instant::now();
                session.send(format!("{login}\r\n").as_bytes());
                session.try_reply().map(|reply| (reply, start.elapsed()))
            })
        })
        .collect();
    barrier.wait();
    // All of them wait, or are answered.
    std::thread::sleep(Duration::from_millis(100));
    let start = Instant::now();
    good();
    let took = start.elapsed();
    // Those that wait out the delays, or their turn, are not waited for.
    until("some answers", || {
        (threads.iter().filter(|thread| thread.is_finished()).count() >= 20).then_some(())
    });
    let grown = relay.server.peak_kib().saturating_sub(before) / 1024;
    println!(
        "a good client took {took:?} while a hundred guessed; the peak of memory is {grown} MiB above the start"
    );
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert!(grown < 200, "{grown} MiB");
    let answered = threads.into_iter().filter(|thread| thread.is_finished());
    for (reply, took) in answered.map(|thread| thread.join().unwrap().unwrap()) {
        assert!(
            reply.starts_with("535") || reply.starts_with("454"),
            "{reply} after {took:?}"
        );
    }
}

#[test]
fn a_hundred_wrong_logins_at_once_hold_no_good_client_up() {
    let more = "[relay]\nallow_networks = [\"127.0.0.1/32\"]\nusers_file = \"USERS\"";
    let relay = Relay::start(more);
    // Who has logged in before: known to the pool, but not with this password.
    let other = passwd(&["eve", "--file", relay.users.to_str().unwrap()], "s3cret-eve\n");
    assert!(other.status.success());
    relay.reload();
    assert!(
        relay
            .session(address(200))
            .say(&plain("ada", "s3cret-ada"))
            .starts_with("235")
    );
    let good_at = |address: IpAddr, password: &'static str, name: &'static str| {
        let mut session = relay.session(address);
        move || assert!(session.say(&plain(name, password)).starts_with("235"))
    };
    // From one address, and from a hundred: a login that is remembered, then one that must be hashed.
    let good_login = good_at(address(200), "s3cret-ada", "ada");
    while_a_hundred_guess(&relay, |_| address(1), good_login);
    let good_login = good_at(address(200), "s3cret-eve", "eve");
    while_a_hundred_guess(&relay, |nth| address(20 + nth), good_login);
    // A client that was never seen before.
    let good_login = good_at(address(201), "s3cret-eve", "eve");
    while_a_hundred_guess(
        &relay,
        |nth| IpAddr::V4(Ipv4Addr::new(127, 0, 7, nth)),
        good_login,
    );
    // One that does not log in.
    let mut trusted = RawClient::hello(relay.server.smtp());
    while_a_hundred_guess(
        &relay,
        |nth| IpAddr::V4(Ipv4Addr::new(127, 0, 8, nth)),
        || {
            let reply = trusted
                .transaction("a@example.org", &["b@example.net"], b"x\r\n")
                .unwrap();
            assert_eq!(reply.0, 250, "{}", reply.1);
        },
    );
    let _ = relay.capture.message();
    assert!(relay.dir.path().exists());
}
