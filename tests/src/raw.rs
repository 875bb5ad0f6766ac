//! A raw SMTP client that sends exactly the bytes it is given, valid or not.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Sequences that some servers take for the end of a message, and others do not (SMTP smuggling).
pub const FALSE_ENDS: [&str; 8] = [
    "\n.\n",
    "\n.\r\n",
    "\r.\r",
    "\r.\r\n",
    "\r\n.\n",
    "\r\n.\r",
    "\n\r.\r\n",
    "\r\r\n.\r\n",
];
/// One of them with a NUL, which no message may contain.
pub const FALSE_END_WITH_NUL: &str = "\r\n\0.\r\n";

/// One connection.
#[derive(Debug)]
pub struct RawClient {
    reader: BufReader<TcpStream>,
}

/// A whole reply: the code, and all lines.
pub type Reply = (u16, String);

impl RawClient {
    /// Connects and reads the greeting.
    #[must_use]
    pub fn connect(to: SocketAddr) -> Self {
        let mut client = Self::connect_silently(to);
        assert_eq!(client.reply().unwrap().0, 220);
        client
    }

    /// Connects only.
    #[must_use]
    pub fn connect_silently(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self {
            reader: BufReader::new(stream),
        }
    }

    /// Connects and says EHLO.
    #[must_use]
    pub fn hello(to: SocketAddr) -> Self {
        let mut client = Self::connect(to);
        assert_eq!(client.command("EHLO client.example").0, 250);
        client
    }

    /// The same with a peer that may be killed meanwhile.
    ///
    /// # Errors
    /// When it is gone, or ends the session.
    pub fn try_hello(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(to)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let reader = BufReader::new(stream);
        let mut client = Self { reader };
        client.expect(220)?;
        client.send(b"EHLO client.example\r\n")?;
        client.expect(250)?;
        Ok(client)
    }

    /// The connection; nothing that was read ahead may be left.
    ///
    /// # Panics
    /// When there is.
    #[must_use]
    pub fn into_stream(self) -> TcpStream {
        assert!(self.reader.buffer().is_empty(), "unread replies");
        self.reader.into_inner()
    }

    fn expect(&mut self, code: u16) -> io::Result<()> {
        match self.reply()? {
            (found, _) if found == code => Ok(()),
            (_, other) => Err(io::Error::other(other)),
        }
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// When the peer has closed.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reader.get_mut().write_all(bytes)
    }

    /// Reads one reply.
    ///
    /// # Errors
    /// When the peer has closed or says nothing for a minute.
    pub fn reply(&mut self) -> io::Result<Reply> {
        let mut all = String::new();
        loop {
            let mut line = String::new();
            if self.reader.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            assert!(
                line.ends_with("\r\n") && line.len() >= 5,
                "a reply line: {line:?}"
            );
            all.push_str(&line);
            if line.as_bytes()[3] == b' ' {
                return Ok((line[..3].parse().unwrap(), all));
            }
        }
    }

    /// Sends a line and reads the reply.
    pub fn command(&mut self, line: &str) -> Reply {
        self.send(format!("{line}\r\n").as_bytes()).unwrap();
        self.reply().unwrap()
    }

    /// One transaction; `body` is sent dot-stuffed as SMTP wants it, but otherwise as it is. Gives the last reply.
    ///
    /// # Errors
    /// When the peer closes in between.
    pub fn transaction(&mut self, from: &str, to: &[&str], body: &[u8]) -> io::Result<Reply> {
        let ascii = body.is_ascii();
        let parameter = if ascii { "" } else { " BODY=8BITMIME" };
        let reply = self.command(&format!("MAIL FROM:<{from}>{parameter}"));
        if reply.0 != 250 {
            return Ok(reply);
        }
        for to in to {
            let reply = self.command(&format!("RCPT TO:<{to}>"));
            if reply.0 != 250 {
                return Ok(reply);
            }
        }
        let reply = self.command("DATA");
        if reply.0 != 354 {
            return Ok(reply);
        }
        // A peer that refuses in the middle of it may close before all is sent; its reply says why.
        let _ = self.send(&stuffed(body));
        self.reply()
    }
}

/// `body` with a dot before each line that begins with one, ended by CRLF, and the final dot.
#[must_use]
pub fn stuffed(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + 64);
    let mut line_start = true;
    for (at, byte) in body.iter().enumerate() {
        if line_start && *byte == b'.' {
            out.push(b'.');
        }
        out.push(*byte);
        line_start = *byte == b'\n' && at > 0 && body[at - 1] == b'\r';
    }
    if !line_start {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b".\r\n");
    out
}
