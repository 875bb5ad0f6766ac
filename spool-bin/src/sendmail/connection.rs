//! The connection of `sendmail` to the service.

use super::client::{self, SubmitFailure};
use super::exit::{Exit, SendmailError};
use crate::config::Config;
use socket2::{Domain, SockAddr, Socket, Type};
use spool_core::Envelope;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

/// Time for one reply, and for a part of the message to be read. The final reply waits for the disk.
const REPLY: Duration = Duration::from_secs(300);
/// Time for the greeting and each reply before the message, where the drop directory is there instead.
const EARLY_REPLY: Duration = Duration::from_secs(10);
/// Time for a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// A connection to the service, over a Unix socket or TCP.
pub(super) struct ServiceConnection(Socket);

impl ServiceConnection {
    /// Connects to the service of `config`: its Unix sockets in order. Its network addresses are used only where it has no Unix
    /// socket, because another program could listen there while the service is down.
    pub(super) fn open(config: &Config) -> Result<Self, String> {
        let mut why = "listen.smtp names no address that sendmail can use".to_owned();
        for path in &config.unix {
            match connect(path, CONNECT) {
                Ok(socket) => return Ok(Self(socket)),
                Err(error) => why = format!("{}: {error}", path.display()),
            }
        }
        let proxied = |address: &&SocketAddr| !config.proxy_protocol.contains(address);
        let network = config.smtp.iter().filter(|_| config.unix.is_empty());
        for address in network.filter(proxied).copied().map(reachable) {
            let connected = TcpStream::connect_timeout(&address, CONNECT)
                .and_then(|stream| stream.set_nodelay(true).map(|()| stream));
            match connected {
                Ok(stream) => return Ok(Self(stream.into())),
                Err(error) => why = format!("{address}: {error}"),
            }
        }
        Err(why)
    }

    /// Submits `message`. The service has the time `before` for each reply before the message, and [`REPLY`] afterwards.
    pub(super) fn submit(
        self,
        before: Duration,
        hostname: &str,
        envelope: &Envelope,
        message: &[u8],
    ) -> Result<(), SubmitFailure> {
        let within = |socket: &Socket, time| {
            socket.set_read_timeout(Some(time))?;
            socket.set_write_timeout(Some(time))
        };
        within(&self.0, before)?;
        client::submit(self.0, hostname, envelope, message, |socket| {
            within(socket, REPLY)
        })
    }
}

/// The time for each reply before the message: long where there is no drop directory.
pub(super) const fn before_message(config: &Config) -> Duration {
    match config.drop_dir {
        Some(_) => EARLY_REPLY,
        None => REPLY,
    }
}

/// Connects to the Unix socket `path`, `within` this time: without a limit the system waits forever when the queue of a service
/// that does not accept connections is full. The limit is that of writes.
fn connect(path: &Path, within: Duration) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_write_timeout(Some(within))?;
    let full = io::Error::new(io::ErrorKind::TimedOut, "the service does not accept connections");
    let connected = socket.connect(&SockAddr::unix(path)?);
    connected.map_err(|error| {
        if error.kind() == io::ErrorKind::WouldBlock {
            full
        } else {
            error
        }
    })?;
    socket.set_write_timeout(None)?;
    Ok(socket)
}

/// The address at which a listener is reached: loopback for a wildcard.
pub(crate) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(v4) if v4.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(v6) if v6.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// `-bs`: a session with the service itself, byte for byte.
pub(super) fn session(config: &Config) -> Result<(), SendmailError> {
    let down = |why: String| {
        let _ = io::stdout().write_all(b"421 4.3.2 Service is not available, try again later\r\n");
        SendmailError::new(Exit::TryAgain, why)
    };
    let broken = |error: io::Error| SendmailError::new(Exit::TryAgain, error.to_string());
    let ServiceConnection(socket) = ServiceConnection::open(config).map_err(down)?;
    joined(socket).map_err(broken)
}

/// Copies both directions until the service ends the session. The thread that reads standard input ends with the process.
fn joined(mut from: Socket) -> io::Result<()> {
    let mut to = from.try_clone()?;
    std::thread::spawn(move || {
        let copied = io::copy(&mut io::stdin().lock(), &mut to);
        // The service sends the rest.
        copied.and_then(|_| to.shutdown(Shutdown::Write))
    });
    let mut out = io::stdout().lock();
    // Each line is written as it arrives, because the other side waits for it.
    io::copy(&mut from, &mut out)?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use spool_core::ReversePath;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    #[test]
    fn connecting_to_a_full_socket_times_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        listener.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        listener.listen(0).unwrap();
        let mut queued = Vec::new();
        let error = loop {
            assert!(queued.len() < 100, "the queue is never full");
            match connect(&path, Duration::from_millis(20)) {
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
    fn a_hanging_service_is_waited_for_only_after_the_message() {
        let short = Duration::from_millis(100);
        let to = ["c@d.example".parse().unwrap()];
        let envelope = Envelope::of(ReversePath::Null, to);
        let submit = |line: UnixStream| {
            ServiceConnection(line.into()).submit(short, "here.example", &envelope, b"x\r\n")
        };
        // Connected, and no greeting.
        let (line, _silent) = UnixStream::pair().unwrap();
        let hung = submit(line).unwrap_err();
        assert_eq!(
            hung,
            SubmitFailure::Down("the service does not answer in time".to_owned())
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
        assert_eq!(before_message(&config), REPLY);
        config.drop_dir = Some("/var/spool/spool-drop".into());
        assert_eq!(before_message(&config), EARLY_REPLY);
    }
}
