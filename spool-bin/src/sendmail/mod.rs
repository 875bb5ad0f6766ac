//! `spool sendmail`, and the names `sendmail`, `mailq` and `newaliases`: what programs of this machine use to send mail.
//!
//! The message goes to the service's Unix socket, or to its address on the network where it has none. When the service is down, it
//! is left in the drop directory, and the service takes it at its next start. Status 0 is given only once the message is
//! durable in either place. It runs with the rights of its caller, and is never to be setuid or setgid.

mod addresses;
mod arguments;
mod client;
mod exit;
mod message;

pub(crate) use arguments::is_envid;

use crate::cli;
use crate::config::Config;
use crate::dropbox;
use crate::failure::Failure;
use crate::print::tell;
use addresses::addresses;
use arguments::{Command, NO_ALIASES, Plan, Sending};
use client::Trouble;
use exit::{Exit, Refusal};
use message::{Letter, Missing, from_value};
use nix::unistd::{Uid, User};
use socket2::{Domain, SockAddr, Socket, Type};
use spool_core::{
    Address, BodyKind, Clock, Envelope, FlowId, MailParameters, Recipient, ReversePath, SystemClock,
};
use std::collections::HashSet;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Where the configuration is looked for, unless `-C` or `SPOOL_CONFIG` says otherwise.
const CONFIG: &str = "/etc/spool/spool.toml";
/// Time for one reply, and for a part of the message to be taken. The final reply waits for the disk.
const PATIENCE: Duration = Duration::from_secs(300);
/// The same for the greeting and each reply before the message, where it can be left in the drop directory instead.
const SHORT: Duration = Duration::from_secs(10);
/// How long to wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Between two tries to connect to a Unix socket whose queue is full.
const RETRY: Duration = Duration::from_millis(50);

/// Runs `sendmail`, `mailq` or `newaliases`, when this process was called by such a name, or by `spool sendmail`.
pub(crate) fn by_name() -> Option<ExitCode> {
    let mut words = std::env::args_os();
    let program = words.next()?;
    let name = Path::new(&program).file_name()?.to_str()?.to_owned();
    let words: Vec<OsString> = words.collect();
    let done = match (name.as_str(), words.split_first()) {
        ("sendmail", _) => sendmail(words),
        ("mailq", _) => configured(None).and_then(|config| list(&config, words)),
        ("newaliases", _) => {
            tell(&format!("newaliases: {NO_ALIASES}"));
            Ok(())
        }
        (_, Some((verb, rest))) if verb == "sendmail" && !is_help(rest) => sendmail(rest.to_vec()),
        _ => return None,
    };
    Some(match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Refusal { exit, text }) => {
            let name = if name == "mailq" { "mailq" } else { "sendmail" };
            tell(&format!("{name}: {text}"));
            ExitCode::from(exit as u8)
        }
    })
}

/// `spool sendmail --help` is answered as for every verb.
fn is_help(words: &[OsString]) -> bool {
    words.len() == 1 && words.iter().all(|word| word == "--help")
}

fn sendmail(words: Vec<OsString>) -> Result<(), Refusal> {
    let Command { plan, config } = arguments::parse(words)?;
    match plan {
        Plan::Nothing(text) => {
            tell(&format!("sendmail: {text}"));
            Ok(())
        }
        Plan::List => {
            let named = config.is_some();
            let config = configured(config)?;
            // Of the machine's configuration, the command reads it by itself.
            let token = config.token_file.as_ref().filter(|_| named);
            let words = token.map(|path| vec!["--token-file".into(), path.into()]);
            list(&config, words.unwrap_or_default())
        }
        Plan::Session => session(&configured(config)?),
        Plan::Send(sending) => send(&sending, &configured(config)?),
    }
}

/// The configuration: of `-C`, of `SPOOL_CONFIG`, or the machine's; the defaults when the machine has none.
fn configured(named: Option<PathBuf>) -> Result<Config, Refusal> {
    let Some(path) = named.or_else(config_of_machine) else {
        return Ok(with_name(Config::defaults()));
    };
    let config = Config::load(&path).map_err(|error| Refusal::new(Exit::Config, error.to_string()))?;
    Ok(with_name(config))
}

/// The file of `SPOOL_CONFIG`, or that of the machine, if it has one.
pub(crate) fn config_of_machine() -> Option<PathBuf> {
    let named = std::env::var_os("SPOOL_CONFIG").map(PathBuf::from);
    named.or_else(|| Path::new(CONFIG).exists().then(|| PathBuf::from(CONFIG)))
}

fn with_name(mut config: Config) -> Config {
    if config.hostname.is_empty() {
        config.hostname = cli::machine_name();
    }
    config
}

/// `mailq` and `-bp`: what `spool status` prints of the service of this configuration.
fn list(config: &Config, mut words: Vec<OsString>) -> Result<(), Refusal> {
    let names = |words: &[OsString], name: &str| {
        let is = |word: &OsString| word.to_string_lossy().split('=').next() == Some(name);
        words.iter().any(is)
    };
    let elsewhere = names(&words, "--admin") || names(&words, "--spool");
    if !elsewhere && std::env::var_os("SPOOL_ADMIN").is_none() {
        let address = config
            .admin
            .ok_or_else(|| Refusal::new(Exit::Unavailable, "listen.admin is off: nobody can be asked"))?;
        words.extend(["--admin".into(), format!("http://{}", reachable(address)).into()]);
    }
    cli::status(words).map_err(|failure| match failure {
        Failure::Usage(text) | Failure::CommandLine(text) => Refusal::usage(text),
        Failure::Failed(text) | Failure::Locked(text) | Failure::NoSuchMessage(text) => {
            Refusal::new(Exit::Unavailable, text)
        }
    })
}

/// An address that listens everywhere is reached on loopback.
pub(crate) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(v4) if v4.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(v6) if v6.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// A connection to the service.
enum Line {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Line {
    /// To the service of `config`: its Unix sockets in order. Its addresses on the network only where it has no Unix socket: there,
    /// another program could have taken the place of a service that is down.
    fn open(config: &Config) -> Result<Self, String> {
        let mut why = "listen.smtp names no address that sendmail can use".to_owned();
        for path in &config.unix {
            match connect(path, CONNECT) {
                Ok(stream) => return Ok(Self::Unix(stream)),
                Err(error) => why = format!("{}: {error}", path.display()),
            }
        }
        let proxied = |address: &&SocketAddr| !config.proxy_protocol.contains(address);
        let network = config.smtp.iter().filter(|_| config.unix.is_empty());
        for address in network.filter(proxied).copied().map(reachable) {
            match TcpStream::connect_timeout(&address, CONNECT) {
                Ok(stream) => return Ok(Self::Tcp(stream)),
                Err(error) => why = format!("{address}: {error}"),
            }
        }
        Err(why)
    }

    /// Hands over `message`. The service has the time `before` for each reply until it waits for the message, and [`PATIENCE`] from there.
    fn submit(
        self,
        before: Duration,
        hostname: &str,
        envelope: &Envelope,
        message: &[u8],
    ) -> Result<(), Trouble> {
        match self {
            Self::Unix(stream) => {
                let within = |stream: &UnixStream, time| {
                    stream.set_read_timeout(Some(time))?;
                    stream.set_write_timeout(Some(time))
                };
                within(&stream, before)?;
                client::submit(stream, hostname, envelope, message, |stream| {
                    within(stream, PATIENCE)
                })
            }
            Self::Tcp(stream) => {
                let within = |stream: &TcpStream, time| {
                    stream.set_read_timeout(Some(time))?;
                    stream.set_write_timeout(Some(time))
                };
                within(&stream, before)?;
                stream.set_nodelay(true)?;
                client::submit(stream, hostname, envelope, message, |stream| {
                    within(stream, PATIENCE)
                })
            }
        }
    }
}

/// The time for each reply before the message: long where there is nothing else than to wait.
const fn before_message(config: &Config) -> Duration {
    if config.drop_dir.is_some() {
        SHORT
    } else {
        PATIENCE
    }
}

/// A connection to the Unix socket `path`. The system has no time limit of its own: where the queue of a service that has stopped accepting
/// is full, it would wait for ever.
fn connect(path: &Path, within: Duration) -> io::Result<UnixStream> {
    let (socket, address) = (
        Socket::new(Domain::UNIX, Type::STREAM, None)?,
        SockAddr::unix(path)?,
    );
    socket.set_nonblocking(true)?;
    let end = Instant::now() + within;
    loop {
        match socket.connect(&address) {
            Ok(()) => break,
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            Err(_) if Instant::now() >= end => {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the service does not accept connections",
                ));
            }
            Err(_) => std::thread::sleep(RETRY),
        }
    }
    socket.set_nonblocking(false)?;
    Ok(OwnedFd::from(socket).into())
}

/// Sends the message of standard input.
fn send(sending: &Sending, config: &Config) -> Result<(), Refusal> {
    let sender = sender(sending, config)?;
    let named = named(sending, config)?;
    let text = message::read(
        &mut io::stdin().lock(),
        sending.dot_is_text,
        config.server.message_size,
    )?;
    let letter = Letter::of(&text);
    let (envelope, message) = compose(sending, sender, named, &letter, config)?;
    drop(text);
    if message.len() > config.server.message_size {
        let most = config.server.message_size;
        return Err(Refusal::data(format!("the message is larger than {most} bytes")));
    }
    let sent = Line::open(config)
        .map_err(Trouble::Down)
        .and_then(|line| line.submit(before_message(config), &config.hostname, &envelope, &message));
    match sent {
        Ok(()) => Ok(()),
        Err(Trouble::Later(why)) => Err(Refusal::new(Exit::TryAgain, why)),
        Err(Trouble::Refused(exit, why)) => Err(Refusal::new(exit, why)),
        Err(Trouble::Down(why)) => {
            let Some(dir) = &config.drop_dir else {
                return Err(Refusal::new(Exit::TryAgain, why));
            };
            dropbox::leave(dir, &envelope, &message).map_err(|error| {
                let dir = dir.display();
                Refusal::new(Exit::TryAgain, format!("{why}; and {dir}: {error}"))
            })
        }
    }
}

/// The reverse-path, and the address for a From that is missing.
fn sender(sending: &Sending, config: &Config) -> Result<(ReversePath, Address), Refusal> {
    let uid = Uid::current();
    let user = User::from_uid(uid).ok().flatten();
    let user = user.map_or_else(|| format!("uid-{uid}"), |user| user.name);
    let own = Address::parse(&format!("{user}@{}", config.hostname))
        .or_else(|_| Address::parse(&format!("uid-{uid}@{}", config.hostname)))
        .map_err(|error| Refusal::new(Exit::Config, format!("{user}@{}: {error}", config.hostname)))?;
    match sending.from.as_deref().map(str::trim) {
        None => Ok((ReversePath::Mailbox(own.clone()), own)),
        Some("" | "<>") => Ok((ReversePath::Null, own)),
        Some(text) => {
            let found = addresses(text, &config.hostname).map_err(Refusal::usage)?;
            match found.as_slice() {
                [one] => Ok((ReversePath::Mailbox(one.clone()), one.clone())),
                _ => Err(Refusal::usage(format!("-f {text}: must be one address"))),
            }
        }
    }
}

/// The recipients of the command line: an address a word, or a list of them.
fn named(sending: &Sending, config: &Config) -> Result<Vec<Address>, Refusal> {
    let mut found = Vec::new();
    for word in &sending.recipients {
        let read = addresses(word, &config.hostname).map_err(Refusal::usage)?;
        if read.is_empty() {
            return Err(Refusal::usage(format!("{word:?}: is no address")));
        }
        found.extend(read);
    }
    Ok(found)
}

/// The envelope, and the message as it is to be sent.
fn compose(
    sending: &Sending,
    (reverse_path, from): (ReversePath, Address),
    mut recipients: Vec<Address>,
    letter: &Letter<'_>,
    config: &Config,
) -> Result<(Envelope, Vec<u8>), Refusal> {
    if sending.extract {
        recipients.extend(letter.recipients(&config.hostname)?);
    }
    let mut seen = HashSet::new();
    recipients.retain(|address| seen.insert(address.clone()));
    let most = config.server.recipients;
    match recipients.len() {
        0 => {
            return Err(Refusal::data(
                "neither the command line nor the header names a recipient",
            ));
        }
        count if count > most => {
            return Err(Refusal::data(format!(
                "{count} recipients are more than the {most} that a message may have"
            )));
        }
        _ => {}
    }
    let id = FlowId::random();
    let message = letter.completed(&Missing {
        from: &from_value(sending.name.as_deref(), &from),
        date: &SystemClock.now().rfc5322(),
        message_id: &format!("<{id}@{}>", config.hostname),
    });
    let recipient = |address| Recipient {
        notify: sending.notify,
        ..Recipient::new(address)
    };
    let body = match sending.body {
        // Said by mistake, it would let a hop cut off the eighth bits.
        Some(BodyKind::SevenBit) | None if message.is_ascii() => BodyKind::SevenBit,
        _ => BodyKind::EightBitMime,
    };
    let mut envelope = Envelope {
        reverse_path,
        recipients: recipients.into_iter().map(recipient).collect(),
        parameters: MailParameters {
            body,
            requiretls: sending.requiretls,
            ret: sending.ret,
            envid: sending.envid.clone(),
            ..MailParameters::default()
        },
    };
    envelope.parameters.smtputf8 = envelope.needs_smtputf8();
    Ok((envelope, message))
}

/// `-bs`: the service's own session, byte for byte.
fn session(config: &Config) -> Result<(), Refusal> {
    let down = |why: String| {
        let _ = io::stdout().write_all(b"421 4.3.2 Service is not available, try again later\r\n");
        Refusal::new(Exit::TryAgain, why)
    };
    let broken = |error: io::Error| Refusal::new(Exit::TryAgain, error.to_string());
    match Line::open(config).map_err(down)? {
        Line::Unix(stream) => {
            let to = stream.try_clone().map_err(broken)?;
            joined(stream, to, |to| to.shutdown(Shutdown::Write)).map_err(broken)
        }
        Line::Tcp(stream) => {
            let to = stream.try_clone().map_err(broken)?;
            joined(stream, to, |to| to.shutdown(Shutdown::Write)).map_err(broken)
        }
    }
}

/// Until the service ends the session. The thread that reads standard input ends with the process.
fn joined<S: Read + Write + Send + 'static>(
    mut from: S,
    mut to: S,
    end: impl FnOnce(&S) -> io::Result<()> + Send + 'static,
) -> io::Result<()> {
    std::thread::spawn(move || {
        let copied = copy(&mut io::stdin().lock(), &mut to);
        // What remains to be said, the service says.
        copied.and_then(|()| end(&to))
    });
    copy(&mut from, &mut io::stdout().lock())
}

/// Each piece as it comes: a reply is waited for.
fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = [0; 16 << 10];
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        to.write_all(buffer.get(..count).unwrap_or_default())?;
        to.flush()?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_accepts_nothing_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        listener.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        listener.listen(0).unwrap();
        let mut queued = Vec::new();
        let error = loop {
            assert!(queued.len() < 100, "the queue is never full");
            match connect(&path, Duration::ZERO) {
                Ok(stream) => queued.push(stream),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(!queued.is_empty(), "one that listens is connected to");
        drop(listener);
        let error = connect(&path, CONNECT).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn a_service_that_hangs_is_waited_for_only_once_it_may_have_the_message() {
        let short = Duration::from_millis(100);
        let to = ["c@d.example".parse().unwrap()];
        let envelope = Envelope::of(ReversePath::Null, to);
        let submit = |line: UnixStream| Line::Unix(line).submit(short, "here.example", &envelope, b"x\r\n");
        // Connected, and no greeting.
        let (line, _silent) = UnixStream::pair().unwrap();
        let hung = submit(line).unwrap_err();
        assert_eq!(
            hung,
            Trouble::Down("the service does not answer in time".to_owned())
        );
        // It takes its time for the message.
        let (line, mut service) = UnixStream::pair().unwrap();
        let serving = std::thread::spawn(move || {
            service
                .write_all(b"220 x\r\n250 x\r\n250 a\r\n250 b\r\n354 go\r\n")
                .unwrap();
            let mut said = Vec::new();
            while !said.ends_with(b"x\r\n.\r\n") {
                let mut bytes = [0; 100];
                let count = service.read(&mut bytes).unwrap();
                said.extend_from_slice(&bytes[..count]);
            }
            std::thread::sleep(3 * short);
            service.write_all(b"250 taken\r\n").unwrap();
            service
        });
        assert_eq!(submit(line), Ok(()));
        drop(serving.join().unwrap());
    }

    #[test]
    fn the_service_is_waited_for_where_there_is_no_drop_directory() {
        let mut config = Config::defaults();
        assert_eq!(before_message(&config), PATIENCE);
        config.drop_dir = Some("/var/spool/spool-drop".into());
        assert_eq!(before_message(&config), SHORT);
    }
}
