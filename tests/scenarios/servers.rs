//! Servers from other hands take what the relay delivers: over STARTTLS with a certificate that is checked, after a login,
//! and byte for byte.

use mailin_embedded::response::{AUTH_OK, INVALID_CREDENTIALS, OK};
use mailin_embedded::{AuthMechanism, Handler, Response, Server, SslConfig};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use spool_tests::authority::Authority;
use spool_tests::mails::{Named, own};
use spool_tests::process::{PATIENCE, Running, serve, until};
use spool_tests::raw::RawClient;
use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};

const USER: &str = "ada";
const PASSWORD: &str = "a pass\\word \u{e4}";

/// What a server took.
struct Arrived {
    to: Vec<String>,
    body: Vec<u8>,
}

/// A running server, which lives as long as the process does.
struct Taker {
    next_hop: String,
    told: Receiver<Arrived>,
}

impl Taker {
    fn next(&self, what: &str, relay: &Running) -> Arrived {
        let arrived = self.told.recv_timeout(PATIENCE);
        arrived.unwrap_or_else(|_| panic!("{what} did not arrive\n{}", relay.log()))
    }
}

/// A relay that delivers to `taker` over verified TLS, or else not at all, and logs in there.
fn relay(dir: &Path, taker: &Taker, authority: &Authority) -> Running {
    let (config, password) = (dir.join("spool.toml"), dir.join("password"));
    std::fs::write(&password, PASSWORD).unwrap();
    let text = format!(
        "[client]\ntls = \"verify\"\ntls_roots = {:?}\n[[client.login]]\nnext_hop = {:?}\nuser = {USER:?}\npassword_file = {password:?}\n",
        authority.roots, taker.next_hop,
    );
    std::fs::write(&config, text).unwrap();
    let config = ["--config", config.to_str().unwrap()];
    serve(&dir.join("spool"), &[&taker.next_hop], &config)
}

/// Sends `mails` one by one, and one to many recipients; each arrives once, as it was sent.
fn each_arrives_as_it_was_sent(relay: &Running, taker: &Taker, mails: &[Named]) {
    let mut client = RawClient::hello(relay.smtp());
    for (name, mail) in mails {
        let (code, text) = client
            .transaction("ada@example.org", &["bob@example.net"], mail)
            .unwrap();
        assert_eq!(code, 250, "{name}: {text}");
        let arrived = taker.next(name, relay);
        let ended = mail.is_empty() || mail.ends_with(b"\r\n");
        let end: &[u8] = if ended { b"" } else { b"\r\n" };
        let expected = [mail, end].concat();
        assert!(
            arrived.body.starts_with(b"Received: "),
            "{name}: the trace header"
        );
        assert!(arrived.body.ends_with(&expected), "{name} was altered");
        // Nothing but the trace is before it.
        let head = &arrived.body[..arrived.body.len() - expected.len()];
        let is_folded = |line: &[u8]| line.is_empty() || matches!(line[0], b' ' | b'\t');
        let mut lines = head.split(|byte| *byte == b'\n').skip(1);
        assert!(lines.all(is_folded), "{name}: {}", String::from_utf8_lossy(head));
        assert_eq!(arrived.to, ["bob@example.net"], "{name}");
    }
    let to: Vec<String> = (0..60).map(|n| format!("r{n}@example.net")).collect();
    let all: Vec<&str> = to.iter().map(String::as_str).collect();
    let (code, text) = client.transaction("ada@example.org", &all, b"x\r\n").unwrap();
    assert_eq!(code, 250, "{text}");
    assert_eq!(taker.next("many recipients", relay).to, to);
    // Whatever came twice would be here by now: all are done with.
    let admin = format!("http://{}", relay.field("admin"));
    until("an empty spool", || {
        let count = spool_tests::process::run(&["count", "--admin", &admin]).stdout;
        (String::from_utf8_lossy(&count).trim() == "0").then_some(())
    });
    assert!(taker.told.try_recv().is_err());
}

/// The address in `<..>`, as servers hand it on, or not.
fn bare(address: &str) -> String {
    address.trim_matches(['<', '>']).to_owned()
}

#[derive(Clone)]
struct Mailin {
    to: Vec<String>,
    body: Vec<u8>,
    tell: Sender<Arrived>,
}

impl Handler for Mailin {
    fn auth_plain(&mut self, _: &str, user: &str, password: &str) -> Response {
        if (user, password) == (USER, PASSWORD) {
            AUTH_OK
        } else {
            INVALID_CREDENTIALS
        }
    }

    fn mail(&mut self, _: std::net::IpAddr, _: &str, _: &str) -> Response {
        self.to.clear();
        OK
    }

    fn rcpt(&mut self, to: &str) -> Response {
        self.to.push(bare(to));
        OK
    }

    fn data(&mut self, buf: &[u8]) -> std::io::Result<()> {
        self.body.extend_from_slice(buf);
        Ok(())
    }

    fn data_end(&mut self) -> Response {
        let (to, body) = (std::mem::take(&mut self.to), std::mem::take(&mut self.body));
        self.tell.send(Arrived { to, body }).unwrap();
        OK
    }
}

fn mailin(authority: &Authority) -> Taker {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let next_hop = listener.local_addr().unwrap().to_string();
    let (tell, told) = mpsc::channel();
    let mut server = Server::new(Mailin {
        to: Vec::new(),
        body: Vec::new(),
        tell,
    });
    server
        .with_name("mailin.example")
        .with_tcp_listener(listener)
        .with_auth(AuthMechanism::Plain);
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let certificate = SslConfig::SelfSigned {
        cert_path: path(&authority.certificate),
        key_path: path(&authority.key),
    };
    server.with_ssl(certificate).unwrap();
    std::thread::spawn(move || server.serve().unwrap());
    Taker { next_hop, told }
}

#[test]
fn mailin_takes_what_the_relay_delivers() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path(), &["127.0.0.1"]);
    let taker = mailin(&authority);
    let relay = relay(dir.path(), &taker, &authority);
    let mails = own();
    each_arrives_as_it_was_sent(&relay, &taker, &mails);
}

struct Smtpd(Sender<Arrived>);

#[expect(
    elided_lifetimes_in_paths,
    reason = "as the trait has them: the attribute makes them differ otherwise"
)]
#[smtpd::async_trait]
impl smtpd::SmtpHandler for Smtpd {
    async fn handle_auth(&mut self, _: &smtpd::Session, data: smtpd::AuthData) -> smtpd::Result {
        let (user, password, _) = data.data();
        if (user, password) == (USER, PASSWORD) {
            Ok(smtpd::Response::Default)
        } else {
            Err(smtpd::Error::Abort)
        }
    }

    async fn handle_email(&mut self, session: &smtpd::Session, body: Vec<u8>) -> smtpd::Result {
        let to = session.to.iter().map(|to| bare(to)).collect();
        self.0.send(Arrived { to, body }).unwrap();
        Ok(smtpd::Response::Default)
    }
}

struct Smtpds(Sender<Arrived>);

impl smtpd::SmtpHandlerFactory for Smtpds {
    type Handler = Smtpd;

    fn new_handler(&self, _: &smtpd::Session<'_>) -> Smtpd {
        Smtpd(self.0.clone())
    }
}

/// An address of loopback where no other test looks for a port: this server binds by itself.
const SMTPD: &str = "127.0.0.77";

fn smtpd(authority: &Authority) -> Taker {
    let free = TcpListener::bind((SMTPD, 0)).unwrap().local_addr().unwrap();
    let certificates = CertificateDer::pem_file_iter(&authority.certificate).unwrap();
    let certificates = certificates.map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(&authority.key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .unwrap();
    let config = smtpd::SmtpConfig {
        bind_addr: free.to_string(),
        max_message_size: None,
        auth_machs: vec![smtpd::AuthMach::Plain, smtpd::AuthMach::Login],
        require_auth: true,
        disable_reverse_dns: true,
        // Its `Required` refuses recipients under TLS as well. The relay insists by itself.
        tls_mode: smtpd::TlsMode::Explicit(smtpd::TlsConfig::Rustls(tls)),
        ..smtpd::SmtpConfig::default()
    };
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let served = runtime
            .unwrap()
            .block_on(smtpd::start_server(config, Smtpds(tell)));
        panic!("smtpd ended: {served:?}");
    });
    until("smtpd", || TcpStream::connect(free).ok());
    Taker {
        next_hop: free.to_string(),
        told,
    }
}

#[test]
fn smtpd_takes_what_the_relay_delivers() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path(), &[SMTPD]);
    let taker = smtpd(&authority);
    let relay = relay(dir.path(), &taker, &authority);
    // It offers no 8BITMIME.
    let mails: Vec<_> = own().into_iter().filter(|(_, mail)| mail.is_ascii()).collect();
    assert!(mails.len() > 30);
    each_arrives_as_it_was_sent(&relay, &taker, &mails);
}

/// Prints its port, then each message: recipients on a line, the length of the body on another, the body.
const AIOSMTPD: &str = r#"
import asyncio, ssl, sys
from aiosmtpd.smtp import SMTP, AuthResult
certificate, key, user, password = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
class Handler:
    async def handle_DATA(self, server, session, envelope):
        body = envelope.original_content
        out = sys.stdout.buffer
        out.write((" ".join(envelope.rcpt_tos) + "\n%d\n" % len(body)).encode() + body)
        out.flush()
        return "250 taken"
def authenticate(server, session, envelope, mechanism, data):
    right = (data.login.decode(), data.password.decode()) == (user, password)
    return AuthResult(success=right)
def session():
    return SMTP(Handler(), tls_context=context, require_starttls=True, auth_required=True,
                authenticator=authenticate, data_size_limit=0, enable_SMTPUTF8=True)
async def main():
    server = await asyncio.get_running_loop().create_server(session, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
SMTP.line_length_limit = 1 << 20
asyncio.run(main())
"#;

/// A child that ends with the test.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn line(out: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    let length = out.read_line(&mut line).ok()?;
    (length > 0).then(|| line.trim_end().to_owned())
}

/// `None` where it is not installed.
fn aiosmtpd(authority: &Authority) -> Option<(Taker, Ends)> {
    let mut python = Command::new("python3");
    python.args(["-c", AIOSMTPD]);
    python
        .args([&authority.certificate, &authority.key])
        .args([USER, PASSWORD]);
    python
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = Ends(python.spawn().ok()?);
    let mut out = BufReader::new(child.0.stdout.take()?);
    let next_hop = format!("127.0.0.1:{}", line(&mut out)?);
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        while let (Some(to), Some(length)) = (line(&mut out), line(&mut out)) {
            let mut body = vec![0; length.parse().unwrap()];
            out.read_exact(&mut body).unwrap();
            let to = to.split(' ').map(str::to_owned).collect();
            let _ = tell.send(Arrived { to, body });
        }
    });
    Some((Taker { next_hop, told }, child))
}

#[test]
fn aiosmtpd_takes_what_the_relay_delivers() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path(), &["127.0.0.1"]);
    let Some((taker, _child)) = aiosmtpd(&authority) else {
        println!("skipped: python3 has no aiosmtpd");
        return;
    };
    let relay = relay(dir.path(), &taker, &authority);
    each_arrives_as_it_was_sent(&relay, &taker, &own());
}
