//! A raw SMTP client under TLS, from any address of loopback, by rustls alone.

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// A connection from `from`.
#[must_use]
pub fn connect_from(from: IpAddr, to: SocketAddr) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .unwrap();
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(from, 0)).unwrap();
        socket.connect(to).await.unwrap().into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

/// Either kind of stream.
trait Both: Read + Write + Send {}
impl<T: Read + Write + Send> Both for T {}

/// One session.
pub struct Session(BufReader<Box<dyn Both>>);

impl Session {
    /// In plaintext; the greeting and EHLO are over.
    #[must_use]
    pub fn plain(from: IpAddr, to: SocketAddr) -> Self {
        Self::greeted(Box::new(connect_from(from, to)))
    }

    /// Under TLS from the start; the greeting and EHLO are over.
    #[must_use]
    pub fn tls(from: IpAddr, to: SocketAddr, trust: &Arc<ClientConfig>, name: &str) -> Self {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let connection = ClientConnection::new(Arc::clone(trust), name).unwrap();
        Self::greeted(Box::new(StreamOwned::new(connection, connect_from(from, to))))
    }

    fn greeted(stream: Box<dyn Both>) -> Self {
        let mut session = Self(BufReader::new(stream));
        assert_eq!(&session.reply()[..3], "220");
        assert_eq!(&session.say("EHLO client.example")[..3], "250");
        session
    }

    /// Sends a line and reads the reply to it: its last line.
    pub fn say(&mut self, line: &str) -> String {
        self.send(format!("{line}\r\n").as_bytes());
        self.reply()
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) {
        let stream = self.0.get_mut();
        stream.write_all(bytes).unwrap();
        stream.flush().unwrap();
    }

    /// The last line of the next reply.
    pub fn reply(&mut self) -> String {
        self.try_reply().unwrap()
    }

    /// The same with a server that may end meanwhile.
    ///
    /// # Errors
    /// When the connection has ended.
    pub fn try_reply(&mut self) -> io::Result<String> {
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if line.as_bytes()[3] == b' ' {
                return Ok(line.trim_end().to_owned());
            }
        }
    }
}
