//! One connection of the load generator: raw SMTP, in the [`Transfer`] of the plan, in plaintext or under TLS.

use super::Transfer;
use super::stream::LoadStream;
use super::template::Template;
use super::tls::Connector;
use crate::client::tls::TlsFacts;
use crate::sink::TlsMode;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;

/// A connection without a reply for this time counts as broken.
const TIMEOUT: Duration = Duration::from_secs(120);
/// The longest reply.
const MAX_REPLY: usize = 64 * 1024;

/// How a message ended.
#[derive(Debug)]
pub(super) enum SendOutcome {
    /// With this reply to its final dot.
    Answered(u16),
    /// With this reply to a command before it.
    Refused(u16),
    /// Without a reply. `begun`: its data was being sent.
    Broken { error: String, begun: bool },
}

/// A reply: its code, and the extensions of a reply to EHLO.
#[derive(Debug, Clone, Copy, Default)]
struct LoadReply {
    code: u16,
    pipelining: bool,
    chunking: bool,
    starttls: bool,
}

#[derive(Debug)]
pub(super) struct Connection {
    stream: LoadStream,
    input: Vec<u8>,
    taken: usize,
    out: Vec<u8>,
    transfer: Transfer,
    tls: Option<TlsFacts>,
}

impl Connection {
    /// Connects, up to the reply to EHLO; under TLS where there is a `connector`.
    ///
    /// # Errors
    /// Of kind `InvalidData` or `InvalidInput` when no attempt can succeed; otherwise another attempt may.
    pub(super) async fn open(
        to: SocketAddr,
        connector: Option<&Connector>,
        transfer: Transfer,
    ) -> io::Result<Self> {
        let tcp = tokio::time::timeout(TIMEOUT, TcpStream::connect(to)).await??;
        tcp.set_nodelay(true)?;
        let mut open = Self {
            stream: LoadStream::Plain(tcp),
            input: Vec::with_capacity(4096),
            taken: 0,
            out: Vec::with_capacity(4096),
            transfer,
            tls: None,
        };
        let mode = connector.map(|connector| connector.mode);
        if let (Some(connector), Some(TlsMode::Implicit)) = (connector, mode) {
            open.tls = Some(open.stream.upgrade(connector, TIMEOUT).await?);
        }
        open.expect(220, "the greeting").await?;
        let mut offered = open.hello().await?;
        if let (Some(connector), Some(TlsMode::StartTls)) = (connector, mode) {
            if !offered.starttls {
                return Err(never("the server does not offer STARTTLS"));
            }
            open.start_tls(connector).await?;
            offered = open.hello().await?;
        }
        match transfer {
            Transfer::Chunked if !(offered.chunking && offered.pipelining) => {
                return Err(never("the server does not offer CHUNKING and PIPELINING"));
            }
            Transfer::Pipelined if !offered.pipelining => open.transfer = Transfer::InTurn,
            Transfer::Pipelined | Transfer::InTurn | Transfer::Chunked => {}
        }
        Ok(open)
    }

    async fn hello(&mut self) -> io::Result<LoadReply> {
        self.stream.write(b"EHLO load.sender.example\r\n").await?;
        self.expect(250, "EHLO").await
    }

    async fn start_tls(&mut self, connector: &Connector) -> io::Result<()> {
        self.stream.write(b"STARTTLS\r\n").await?;
        self.expect(220, "STARTTLS").await?;
        if self.input.len() > self.taken {
            return Err(never("the server spoke in plaintext after its reply to STARTTLS"));
        }
        self.tls = Some(self.stream.upgrade(connector, TIMEOUT).await?);
        Ok(())
    }

    /// Protocol version and cipher suite.
    pub(super) fn suite(&self) -> Option<String> {
        self.tls.as_ref().map(TlsFacts::suite)
    }

    async fn expect(&mut self, code: u16, what: &str) -> io::Result<LoadReply> {
        let reply = self.reply().await?;
        if reply.code == code {
            Ok(reply)
        } else {
            Err(io::Error::other(format!("{what} was answered {}", reply.code)))
        }
    }

    /// Sends one message.
    pub(super) async fn send(&mut self, template: &Template, number: u64) -> SendOutcome {
        if self.transfer == Transfer::Chunked {
            return match self.chunk(template, number).await {
                Ok((refusal, code)) => refusal.map_or(SendOutcome::Answered(code), SendOutcome::Refused),
                Err(error) => SendOutcome::Broken {
                    error: error.to_string(),
                    begun: true,
                },
            };
        }
        match self.envelope(template, number).await {
            Ok(None) => {}
            Ok(Some(code)) => return SendOutcome::Refused(code),
            Err(error) => {
                return SendOutcome::Broken {
                    error: error.to_string(),
                    begun: false,
                };
            }
        }
        self.out.clear();
        template.data(number, &mut self.out);
        let sent = self.stream.write(&self.out).await;
        let reply = match sent {
            Ok(()) => self.reply().await,
            Err(error) => Err(error),
        };
        match reply {
            Ok(reply) => SendOutcome::Answered(reply.code),
            Err(error) => SendOutcome::Broken {
                error: error.to_string(),
                begun: true,
            },
        }
    }

    /// MAIL, RCPT and BDAT with the message in one write (RFC 3030); the first refusal of MAIL or RCPT, and the reply to BDAT.
    async fn chunk(&mut self, template: &Template, number: u64) -> io::Result<(Option<u16>, u16)> {
        self.out.clear();
        template.chunk(number, &mut self.out);
        self.stream.write(&self.out).await?;
        let mut refusal = None;
        for _ in 1..template.replies {
            refusal = refusal.or(Some(self.reply().await?.code).filter(|code| *code >= 400));
        }
        Ok((refusal, self.reply().await?.code))
    }

    /// MAIL, RCPT, DATA; the first reply that is a refusal.
    async fn envelope(&mut self, template: &Template, number: u64) -> io::Result<Option<u16>> {
        let commands = template.envelope(number);
        let mut rest = commands;
        let pipelined = self.transfer == Transfer::Pipelined;
        if pipelined {
            self.stream.write(commands).await?;
        }
        let mut refusal = None;
        for _ in 0..template.replies {
            if !pipelined {
                let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
                let (line, after) = rest.split_at(end);
                self.stream.write(line).await?;
                rest = after;
            }
            let code = self.reply().await?.code;
            if code >= 400 {
                refusal.get_or_insert(code);
                break;
            }
        }
        Ok(refusal)
    }

    /// Reads one reply.
    async fn reply(&mut self) -> io::Result<LoadReply> {
        let mut reply = LoadReply::default();
        loop {
            let unread = self.input.get(self.taken..).unwrap_or_default();
            if let Some(end) = memchr::memchr(b'\n', unread) {
                let line = unread.get(..end).unwrap_or_default();
                let word = line.get(4..).unwrap_or_default().trim_ascii_end();
                reply.pipelining |= word.eq_ignore_ascii_case(b"PIPELINING");
                reply.chunking |= word.eq_ignore_ascii_case(b"CHUNKING");
                reply.starttls |= word.eq_ignore_ascii_case(b"STARTTLS");
                let last = line.get(3) != Some(&b'-');
                let code = line
                    .get(..3)
                    .and_then(|code| std::str::from_utf8(code).ok())
                    .and_then(|code| code.parse().ok());
                self.taken += end + 1;
                if last {
                    reply.code = code.ok_or_else(|| {
                        io::Error::new(io::ErrorKind::InvalidData, "a reply without a code")
                    })?;
                    return Ok(reply);
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
        let read = self.stream.read(&mut self.input, TIMEOUT).await?;
        if read == 0 {
            Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the peer closed the connection",
            ))
        } else {
            Ok(())
        }
    }

    /// Ends the session with QUIT.
    pub(super) async fn quit(mut self) {
        if self.stream.write(b"QUIT\r\n").await.is_ok() {
            let _ = tokio::time::timeout(Duration::from_secs(2), self.reply()).await;
        }
    }
}

/// An error that another connection meets as well.
fn never(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
