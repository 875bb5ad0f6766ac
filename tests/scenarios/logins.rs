//! Logins: `spool passwd`, clients from other hands that log in, reloads, and a hundred who guess.

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
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
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

/// `spool passwd` with `input` on standard input.
fn passwd(args: &[&str], input: &str) -> Output {
    let mut child = Command::new(spool_binary())
        .arg("passwd")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Where it is refused before it reads.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
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

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn passwd_writes_one_line_and_keeps_the_rest_of_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("users");
    let at = file.to_str().unwrap();
    let output = passwd(&["ada"], "first\n");
    let line = text(&output.stdout);
    assert!(
        output.status.success() && line.starts_with("ada:$argon2id$v=19$m=19456,t=2,p=1$"),
        "{line}"
    );
    let output = passwd(&["ada", "--file", at], "first\nignored\n");
    assert_eq!(text(&output.stdout), "ada was added\n");
    assert_eq!(mode(&file), 0o600);
    let first = std::fs::read_to_string(&file).unwrap();
    let edited = format!(
        "# people\n{}:allow_from=*@example.org\nbob:{}",
        first.trim_end(),
        first.split_once(':').unwrap().1
    );
    std::fs::write(&file, &edited).unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o640)).unwrap();
    // By a symbolic link, which stays one.
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let output = passwd(&["ada", "--file", link.to_str().unwrap()], "second");
    assert_eq!(text(&output.stdout), "ada has a new password\n");
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(mode(&file), 0o640);
    let now = std::fs::read_to_string(&file).unwrap();
    let (old, new): (Vec<_>, Vec<_>) = (edited.lines().collect(), now.lines().collect());
    assert_eq!((new.len(), new[0], new[2]), (3, old[0], old[2]));
    assert!(
        new[1] != old[1]
            && new[1].starts_with("ada:$argon2id$")
            && new[1].ends_with(":allow_from=*@example.org")
    );
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().count(),
        2,
        "nothing is left behind"
    );
    for (args, input, code) in [
        (vec!["a b"], "x\n", 2),
        (vec!["ada"], "\n", 2),
        (vec!["ada"], &*"x".repeat(1025), 2),
        (vec!["ada", "--file", "/no/such/dir/users"], "x\n", 1),
    ] {
        assert_eq!(passwd(&args, input).status.code(), Some(code), "{args:?}");
    }
    std::fs::write(&file, "nonsense\n").unwrap();
    let output = passwd(&["ada", "--file", at], "x\n");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("users:1: expected name:hash"),
        "{}",
        text(&output.stderr)
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "nonsense\n");
}

/// Runs its first argument at a terminal, presses Ctrl-C at the prompt after the lines of the others, and prints what is shown.
const TERMINAL: &str = r#"
import os, pty, sys, termios, time
pid, fd = pty.fork()
if pid == 0:
    os.execvp("sh", ["sh", "-c", '"$0" passwd ada; echo "status $?"; stty -a', sys.argv[1]])
def at_prompt(nth):
    global out
    while out.count(b"ada: ") + out.count(b"more: ") < nth:
        out += os.read(fd, 4096)
    while termios.tcgetattr(fd)[3] & termios.ECHO:
        time.sleep(0.01)
out = b""
for nth, line in enumerate(sys.argv[2:]):
    at_prompt(nth + 1)
    os.write(fd, line.encode() + b"\n")
at_prompt(len(sys.argv) - 1)
os.write(fd, b"\x03")
try:
    while more := os.read(fd, 4096):
        out += more
except OSError:
    pass
os.waitpid(pid, 0)
sys.stdout.buffer.write(out)
"#;

#[test]
fn an_interrupt_at_the_prompt_leaves_a_terminal_that_echoes() {
    for lines in [&[][..], &["s3cret-ada"]] {
        let python = Command::new("python3")
            .args(["-c", TERMINAL])
            .arg(spool_binary())
            .args(lines)
            .output();
        let Ok(output) = python else {
            println!("skipped: python3 is not installed, so there is no terminal");
            return;
        };
        let shown = text(&output.stdout);
        assert!(shown.contains("status 130"), "{shown} {}", text(&output.stderr));
        assert!(shown.split_whitespace().any(|word| word == "echo"), "{shown}");
        assert!(!shown.contains("s3cret"), "{shown}");
    }
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

/// Starts a program on a terminal of its own, sends it a signal, or Ctrl-C where it is 0, and prints by which signal it ended and whether the
/// terminal echoes afterwards.
const ON_A_TERMINAL: &str = r#"
import os, pty, signal, sys, termios
number, words = int(sys.argv[1]), sys.argv[2:]
pid, terminal = pty.fork()
if pid == 0:
    os.execv(words[0], words)
echoes = lambda: bool(termios.tcgetattr(terminal)[3] & termios.ECHO)
said = b""
while b"Password" not in said or echoes():
    said += os.read(terminal, 1000) if b"Password" not in said else b""
if number:
    os.kill(pid, number)
else:
    os.write(terminal, b"secr\x03")
signal.alarm(30)
_, status = os.waitpid(pid, 0)
print(os.WTERMSIG(status) if os.WIFSIGNALED(status) else -1, echoes())
"#;

#[test]
fn a_signal_ends_the_question_for_a_password_and_the_terminal_echoes_again() {
    for (sent, ended) in [(0, 2), (2, 2), (15, 15), (1, 1)] {
        let mut python = Command::new("python3");
        python.args(["-c", ON_A_TERMINAL, &sent.to_string()]);
        let Ok(output) = python.arg(spool_binary()).args(["passwd", "ada"]).output() else {
            println!("skipped: no python3 here");
            return;
        };
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(said.trim(), format!("{ended} True"), "{sent}: {output:?}");
    }
}
