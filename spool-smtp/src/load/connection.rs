//! One connection of the load generator: raw SMTP, pipelined when offered.

use super::template::Template;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// No answer for so long is a broken connection.
const TIMEOUT: Duration = Duration::from_secs(120);
/// The longest reply.
const MAX_REPLY: usize = 64 * 1024;

/// How a message ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// With this reply to its final dot.
    Answered(u16),
    /// With this reply to a command before it.
    Refused(u16),
    /// Without a reply. `begun`: its data was on the way.
    Broken { error: String, begun: bool },
}

#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    taken: usize,
    out: Vec<u8>,
    pipelining: bool,
}

impl Connection {
    pub(super) async fn open(to: SocketAddr) -> io::Result<Self> {
        let stream = tokio::time::timeout(TIMEOUT, TcpStream::connect(to)).await??;
        stream.set_nodelay(true)?;
        let mut open = Self {
            stream,
            input: Vec::with_capacity(4096),
            taken: 0,
            out: Vec::with_capacity(4096),
            pipelining: false,
        };
        open.expect(220, "the greeting").await?;
        open.stream.write_all(b"EHLO load.sender.example\r\n").await?;
        open.expect(250, "EHLO").await?;
        Ok(open)
    }

    async fn expect(&mut self, code: u16, what: &str) -> io::Result<()> {
        let (found, pipelining) = self.reply().await?;
        self.pipelining = pipelining;
        if found == code {
            Ok(())
        } else {
            Err(io::Error::other(format!("{what} was answered {found}")))
        }
    }

    /// Sends one message.
    pub(super) async fn send(&mut self, template: &Template, number: u64) -> Ending {
        match self.envelope(template, number).await {
            Ok(None) => {}
            Ok(Some(code)) => return Ending::Refused(code),
            Err(error) => {
                return Ending::Broken {
                    error: error.to_string(),
                    begun: false,
                };
            }
        }
        self.out.clear();
        template.data(number, &mut self.out);
        let sent = self.stream.write_all(&self.out).await;
        let reply = match sent {
            Ok(()) => self.reply().await,
            Err(error) => Err(error),
        };
        match reply {
            Ok((code, _)) => Ending::Answered(code),
            Err(error) => Ending::Broken {
                error: error.to_string(),
                begun: true,
            },
        }
    }

    /// MAIL, RCPT, DATA; the first reply that is a refusal.
    async fn envelope(&mut self, template: &Template, number: u64) -> io::Result<Option<u16>> {
        let commands = template.envelope(number);
        let mut rest = commands;
        if self.pipelining {
            self.stream.write_all(commands).await?;
        }
        let mut refusal = None;
        for _ in 0..template.replies {
            if !self.pipelining {
                let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
                let (line, after) = rest.split_at(end);
                self.stream.write_all(line).await?;
                rest = after;
            }
            let (code, _) = self.reply().await?;
            if code >= 400 {
                refusal.get_or_insert(code);
                break;
            }
        }
        Ok(refusal)
    }

    /// Reads one reply: its code, and whether PIPELINING stands in it.
    async fn reply(&mut self) -> io::Result<(u16, bool)> {
        let mut pipelining = false;
        loop {
            let unread = self.input.get(self.taken..).unwrap_or_default();
            if let Some(end) = memchr::memchr(b'\n', unread) {
                let line = unread.get(..end).unwrap_or_default();
                pipelining |= line
                    .get(4..14)
                    .is_some_and(|word| word.eq_ignore_ascii_case(b"PIPELINING"));
                let last = line.get(3) != Some(&b'-');
                let code = line
                    .get(..3)
                    .and_then(|code| std::str::from_utf8(code).ok())
                    .and_then(|code| code.parse().ok());
                self.taken += end + 1;
                if last {
                    let code = code.ok_or_else(|| {
                        io::Error::new(io::ErrorKind::InvalidData, "a reply without a code")
                    })?;
                    return Ok((code, pipelining));
                }
                continue;
            }
            self.input.drain(..self.taken);
            self.taken = 0;
            if self.input.len() > MAX_REPLY {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "a reply without an end",
                ));
            }
            self.read().await?;
        }
    }

    async fn read(&mut self) -> io::Result<()> {
        // Most of the time the answer is there or comes soon: a timer is made only when it is not there.
        let read = match self.stream.try_read_buf(&mut self.input) {
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                tokio::time::timeout(TIMEOUT, self.stream.read_buf(&mut self.input)).await??
            }
            Err(error) => return Err(error),
        };
        if read == 0 {
            Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the peer closed the connection",
            ))
        } else {
            Ok(())
        }
    }

    /// A polite end.
    pub(super) async fn quit(mut self) {
        if self.stream.write_all(b"QUIT\r\n").await.is_ok() {
            let _ = tokio::time::timeout(Duration::from_secs(2), self.reply()).await;
        }
    }
}
