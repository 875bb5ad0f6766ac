//! One connection of the load generator: raw SMTP, in the [`Transfer`] of the plan, in plaintext or under TLS.

use super::Transfer;
use super::template::Template;
use super::tls::Connector;
use crate::client::reply_filter::{RawReply, ReplyFilter};
use crate::client::tls::TlsFacts;
use crate::deadline::Deadline;
use crate::sink::TlsMode;
use crate::stream::Stream;
use bytes::{Buf, BytesMut};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A connection without a reply for this time, or that takes no more for as long, counts as broken.
const TIMEOUT: Duration = Duration::from_secs(120);
/// Bytes of a message that must be taken within [`TIMEOUT`].
const PART: usize = 64 << 10;

/// How a message ended.
#[derive(Debug)]
pub(super) enum SendOutcome {
    /// With this reply to the message: to its final dot, or to BDAT.
    Answered(u16),
    /// With this reply to MAIL, RCPT or DATA.
    Refused(u16),
    /// Without a reply. `begun`: the server may have the message.
    Broken { error: String, begun: bool },
}

impl SendOutcome {
    fn broken(error: &io::Error, begun: bool) -> Self {
        let error = error.to_string();
        Self::Broken { error, begun }
    }
}

#[derive(Debug)]
pub(super) struct Connection {
    stream: Stream<TcpStream>,
    deadline: Deadline,
    input: BytesMut,
    replies: ReplyFilter,
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
        let tcp = timeout(TIMEOUT, TcpStream::connect(to)).await??;
        tcp.set_nodelay(true)?;
        let mut open = Self {
            stream: Stream::Plain(tcp),
            deadline: Deadline::after(TIMEOUT),
            input: BytesMut::with_capacity(4096),
            replies: ReplyFilter::default(),
            out: Vec::with_capacity(4096),
            transfer,
            tls: None,
        };
        let mode = connector.map(|connector| connector.tls.mode);
        if let (Some(connector), Some(TlsMode::Implicit)) = (connector, mode) {
            open.upgrade(connector).await?;
        }
        open.expect(220, "the greeting").await?;
        let mut offered = open.hello().await?;
        if let (Some(connector), Some(TlsMode::StartTls)) = (connector, mode) {
            if !offers(&offered, "STARTTLS") {
                return Err(never("the server does not offer STARTTLS"));
            }
            open.start_tls(connector).await?;
            offered = open.hello().await?;
        }
        let pipelining = offers(&offered, "PIPELINING");
        match transfer {
            Transfer::Chunked if !(pipelining && offers(&offered, "CHUNKING")) => {
                return Err(never("the server does not offer CHUNKING and PIPELINING"));
            }
            Transfer::Pipelined if !pipelining => open.transfer = Transfer::InTurn,
            Transfer::Pipelined | Transfer::InTurn | Transfer::Chunked => {}
        }
        Ok(open)
    }

    async fn hello(&mut self) -> io::Result<RawReply> {
        self.write(b"EHLO load.sender.example\r\n").await?;
        self.expect(250, "EHLO").await
    }

    async fn start_tls(&mut self, connector: &Connector) -> io::Result<()> {
        self.write(b"STARTTLS\r\n").await?;
        self.expect(220, "STARTTLS").await?;
        if !self.input.is_empty() {
            return Err(never("the server spoke in plaintext after its reply to STARTTLS"));
        }
        self.upgrade(connector).await
    }

    async fn upgrade(&mut self, connector: &Connector) -> io::Result<()> {
        let handshake = self.stream.upgrade(|tcp| connector.handshake(tcp));
        self.tls = Some(self.deadline.limit(TIMEOUT, handshake).await?);
        Ok(())
    }

    /// Protocol version and cipher suite.
    pub(super) fn suite(&self) -> Option<String> {
        self.tls.as_ref().map(|facts| facts.suite.clone())
    }

    async fn expect(&mut self, code: u16, what: &str) -> io::Result<RawReply> {
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
            return self.chunk(template, number).await;
        }
        match self.envelope(template, number).await {
            Ok(None) => {}
            Ok(Some(code)) => return SendOutcome::Refused(code),
            Err(error) => return SendOutcome::broken(&error, false),
        }
        match self.data(template, number).await {
            Ok(reply) => SendOutcome::Answered(reply.code),
            Err(error) => SendOutcome::broken(&error, true),
        }
    }

    /// The message, and the reply to it.
    async fn data(&mut self, template: &Template, number: u64) -> io::Result<RawReply> {
        self.out.clear();
        template.data(number, &mut self.out);
        self.write_message().await?;
        self.reply().await
    }

    /// Writes the message. A message that fits into one part goes out in one write.
    async fn write_message(&mut self) -> io::Result<()> {
        for part in self.out.chunks(PART) {
            self.deadline.limit(TIMEOUT, self.stream.write_all(part)).await?;
        }
        self.deadline.limit(TIMEOUT, self.stream.flush()).await
    }

    /// MAIL, RCPT and BDAT with the message in one write (RFC 3030). A message that BDAT accepts is accepted, whatever the replies to
    /// single recipients were.
    async fn chunk(&mut self, template: &Template, number: u64) -> SendOutcome {
        self.out.clear();
        template.chunk(number, &mut self.out);
        let mut refusals = Vec::new();
        let ended = self.replies_to_chunk(template.replies, &mut refusals).await;
        match (ended, refusals.first()) {
            (Ok(250), _) => SendOutcome::Answered(250),
            (Ok(_), Some(code)) => SendOutcome::Refused(*code),
            (Ok(code), None) => SendOutcome::Answered(code),
            (Err(error), _) => SendOutcome::broken(&error, true),
        }
    }

    /// Writes what [`Connection::chunk`] has prepared; collects the refusals of MAIL and RCPT, and returns the reply to BDAT, or a 421
    /// before it, after which there is none.
    async fn replies_to_chunk(&mut self, replies: usize, refusals: &mut Vec<u16>) -> io::Result<u16> {
        self.write_message().await?;
        for _ in 1..replies {
            let code = self.reply().await?.code;
            if code >= 400 {
                refusals.push(code);
            }
            if code == 421 {
                return Ok(code);
            }
        }
        Ok(self.reply().await?.code)
    }

    /// MAIL, RCPT, DATA; the first reply that is a refusal.
    async fn envelope(&mut self, template: &Template, number: u64) -> io::Result<Option<u16>> {
        let commands = template.envelope(number);
        let mut rest = commands;
        let pipelined = self.transfer == Transfer::Pipelined;
        if pipelined {
            self.write(commands).await?;
        }
        let mut refusal = None;
        for _ in 0..template.replies {
            if !pipelined {
                let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
                let (line, after) = rest.split_at(end);
                self.write(line).await?;
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

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.deadline.limit(TIMEOUT, self.stream.send(bytes)).await
    }

    /// Reads one reply.
    async fn reply(&mut self) -> io::Result<RawReply> {
        loop {
            let fed = self.replies.feed(&self.input);
            let (taken, reply) = fed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            self.input.advance(taken);
            if let Some(reply) = reply {
                return Ok(reply);
            }
            self.input.reserve(1024);
            let read = self.stream.read_buf(&mut self.input);
            if self.deadline.limit(TIMEOUT, read).await? == 0 {
                let why = "the peer closed the connection";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
            }
        }
    }

    /// Ends the session with QUIT.
    pub(super) async fn quit(mut self) {
        if self.write(b"QUIT\r\n").await.is_ok() {
            let _ = timeout(Duration::from_secs(2), self.reply()).await;
        }
    }
}

/// An error that another connection meets as well.
fn never(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Whether a reply to EHLO offers this extension without parameters.
fn offers(reply: &RawReply, extension: &str) -> bool {
    let mut lines = reply.lines().skip(1);
    lines.any(|line| line.trim_end().eq_ignore_ascii_case(extension))
}
