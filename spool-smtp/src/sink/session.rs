//! One connection to the sink.
//!
//! A reply is determined before it is sent: the ledger has a message before its sender gets the reply, whatever action the
//! script uses.

use super::SinkState;
use super::script::{Moment, ScriptAction, ScriptStage};
use super::stage_reply::StageReply;
use super::text::Text;
use super::tls::TlsMode;
use crate::deadline::Deadline;
use crate::stream::Stream;
use bytes::BytesMut;
use std::borrow::Cow;
use std::convert::Infallible;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The longest command line.
const MAX_LINE: usize = 64 * 1024;
/// The most recipients of one message.
const MAX_RECIPIENTS: usize = 100_000;
const EXTENSIONS: [&str; 5] = ["PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "DSN"];

/// Why a session is over.
pub(super) enum Ended {
    /// By the client or the script: pending replies are sent.
    Closed,
    Broken(io::Error),
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

pub(super) struct SinkSession<'s> {
    pub(super) stream: Stream<TcpStream>,
    pub(super) deadline: Deadline,
    pub(super) shared: &'s SinkState,
    open: usize,
    pub(super) input: BytesMut,
    pub(super) out: Vec<u8>,
    pub(super) from: String,
    pub(super) to: Vec<String>,
    /// Whether MAIL was refused: later commands of the transaction are out of order.
    is_refused: bool,
    /// The chunks of BDAT before the last one.
    pub(super) chunks: Option<Text>,
    pub(super) is_known: bool,
}

/// Serves one connection to its end.
pub(super) async fn serve(stream: TcpStream, shared: &SinkState, open: usize) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut session = SinkSession {
        stream: Stream::Plain(stream),
        deadline: Deadline::after(shared.config.idle_timeout),
        shared,
        open,
        input: BytesMut::with_capacity(16 * 1024),
        out: Vec::new(),
        from: String::new(),
        to: Vec::new(),
        is_refused: false,
        chunks: None,
        is_known: false,
    };
    let Err(ended) = session.run().await;
    if let Ended::Broken(error) = ended {
        return Err(error);
    }
    session.flush().await?;
    if session.stream.is_tls() {
        // With the closing alert; TCP ends when the stream is dropped.
        session.deadline.restart(shared.config.idle_timeout);
        let _ = session.deadline.bound(session.stream.shutdown()).await;
    }
    Ok(())
}

impl<'s> SinkSession<'s> {
    async fn run(&mut self) -> Result<Infallible, Ended> {
        if self.has_tls(TlsMode::Implicit) {
            self.handshake().await?;
        }
        self.reply(ScriptStage::Connect, "", &b"220 sink.localhost ESMTP\r\n"[..])
            .await?;
        loop {
            let line = self.next_line().await?;
            self.line(line.trim_ascii_end()).await?;
        }
    }

    /// How long the client may send nothing.
    pub(super) const fn patience(&self) -> Duration {
        self.shared.config.idle_timeout
    }

    pub(super) async fn flush(&mut self) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        let mut out = std::mem::take(&mut self.out);
        let written = self.write(&out).await;
        out.clear();
        self.out = out;
        written
    }

    /// Writes all bytes; fails if that takes longer than the patience.
    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let patience = self.patience();
        self.deadline.limit(patience, self.stream.send(bytes)).await
    }

    /// Reads more; the session is over at the end of the connection, and if nothing arrives within the patience.
    pub(super) async fn read(&mut self) -> Result<(), Ended> {
        self.read_at_most(u64::MAX).await
    }

    /// The same, of at most `most` bytes.
    pub(super) async fn read_at_most(&mut self, most: u64) -> Result<(), Ended> {
        self.input.reserve(4096);
        self.deadline.restart(self.patience());
        let mut stream = (&mut self.stream).take(most);
        let read = self.deadline.bound(stream.read_buf(&mut self.input)).await;
        match read.transpose()? {
            None | Some(0) => Err(Ended::Closed),
            Some(_) => Ok(()),
        }
    }

    /// The next line with its end; pending replies are sent before waiting for it.
    pub(super) async fn next_line(&mut self) -> Result<BytesMut, Ended> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.input) {
                return Ok(self.input.split_to(end + 1));
            }
            self.flush().await?;
            if self.input.len() > MAX_LINE {
                return Err(Ended::Closed);
            }
            self.read().await?;
        }
    }

    /// The script's action for this stage, and the usual reply.
    pub(super) fn answer(
        &self,
        stage: ScriptStage,
        to: &str,
        usual: impl Into<Cow<'static, [u8]>>,
    ) -> StageReply<'s> {
        let moment = Moment {
            stage,
            from: &self.from,
            to,
            open: self.open,
            tls: self.stream.is_tls(),
        };
        let shared = self.shared;
        StageReply {
            action: shared.config.script.action(moment, &shared.memory),
            usual: usual.into(),
        }
    }

    /// Replies as the script says, or as usual; returns the first digit of the reply, 0 when there is none.
    pub(super) async fn reply(
        &mut self,
        stage: ScriptStage,
        to: &str,
        usual: impl Into<Cow<'static, [u8]>>,
    ) -> Result<u8, Ended> {
        let answer = self.answer(stage, to, usual);
        let class = answer.class();
        self.give(answer).await?;
        Ok(class)
    }

    /// Performs the action.
    pub(super) async fn give(&mut self, answer: StageReply<'_>) -> Result<(), Ended> {
        let StageReply { action, usual } = answer;
        match action {
            None | Some(ScriptAction::Slow(_) | ScriptAction::Certificate(_)) => {
                self.out.extend_from_slice(&usual)
            }
            Some(ScriptAction::Say(bytes)) => self.out.extend_from_slice(bytes),
            Some(ScriptAction::Delay(span)) => {
                self.flush().await?;
                tokio::time::sleep(*span).await;
                self.out.extend_from_slice(&usual);
            }
            Some(ScriptAction::Extensions { hidden, more }) => {
                let hello = self.hello(hidden, more);
                self.out.extend_from_slice(&hello);
            }
            Some(ScriptAction::Drip(bytes, every)) => {
                self.flush().await?;
                for byte in bytes {
                    tokio::time::sleep(*every).await;
                    self.write(&[*byte]).await?;
                }
            }
            Some(ScriptAction::Endless(bytes)) => {
                self.flush().await?;
                loop {
                    self.write(bytes).await?;
                }
            }
            Some(ScriptAction::SayAndClose(bytes)) => {
                self.out.extend_from_slice(bytes);
                return Err(Ended::Closed);
            }
            Some(ScriptAction::Hang) => {
                self.flush().await?;
                tokio::time::sleep(self.patience()).await;
                return Err(Ended::Closed);
            }
            Some(ScriptAction::Close) => return Err(Ended::Closed),
            Some(ScriptAction::Reset) => {
                self.flush().await?;
                if let Some(tcp) = self.stream.connection() {
                    tcp.set_zero_linger()?;
                }
                self.stream = Stream::Gone;
                return Err(Ended::Closed);
            }
        }
        Ok(())
    }

    async fn line(&mut self, line: &[u8]) -> Result<(), Ended> {
        let text = String::from_utf8_lossy(line);
        let (verb, rest) = text.split_at_checked(4).unwrap_or((&text, ""));
        let (stage, usual) = match verb.to_ascii_uppercase().as_str() {
            "EHLO" => {
                self.clear();
                (ScriptStage::Ehlo, self.hello(&[], &[]).into())
            }
            "HELO" => (ScriptStage::Helo, Cow::from(&b"250 sink.localhost\r\n"[..])),
            "STAR" if text.trim().eq_ignore_ascii_case("STARTTLS") => return self.start_tls().await,
            "AUTH" => return self.auth(rest).await,
            // BDAT cannot be mixed with DATA, and its transaction takes no further recipients (RFC 3030 section 2).
            "MAIL" | "RCPT" | "DATA" if self.chunks.is_some() => {
                return self.say(b"503 5.5.1 BDAT has begun: BDAT LAST or RSET\r\n");
            }
            "MAIL" => return self.mail(path(rest)).await,
            "RCPT" => return self.recipient(path(rest)).await,
            "DATA" => return self.begin_data().await,
            "BDAT" => return self.chunk(rest).await,
            "RSET" => {
                self.clear();
                (ScriptStage::Rset, Cow::from(&b"250 2.0.0 OK\r\n"[..]))
            }
            "QUIT" => {
                self.reply(ScriptStage::Quit, "", &b"221 2.0.0 bye\r\n"[..])
                    .await?;
                return Err(Ended::Closed);
            }
            "NOOP" => return self.say(b"250 2.0.0 OK\r\n"),
            _ => return self.say(b"500 5.5.2 unknown command\r\n"),
        };
        self.reply(stage, "", usual).await?;
        Ok(())
    }

    /// Sends a reply that no script changes.
    pub(super) fn say(&mut self, reply: &[u8]) -> Result<(), Ended> {
        self.out.extend_from_slice(reply);
        Ok(())
    }

    pub(super) fn clear(&mut self) {
        self.from.clear();
        self.to.clear();
        self.is_refused = false;
        self.chunks = None;
    }

    /// The reply to EHLO without the extensions `hidden`, and with `more`.
    fn hello(&self, hidden: &[String], more: &[String]) -> Vec<u8> {
        let tls = self.has_tls(TlsMode::StartTls).then_some("STARTTLS");
        let auth = self.shared.config.login.is_some().then_some("AUTH PLAIN LOGIN");
        let offered = EXTENSIONS.into_iter().chain(tls).chain(auth);
        let offered = offered.chain(more.iter().map(String::as_str));
        let offered = offered.chain(["SIZE 1073741824"]).filter(|offer| {
            let word = offer.split(' ').next().unwrap_or_default();
            hidden.iter().all(|hidden| hidden != word)
        });
        let mut out = Vec::new();
        let mut last = "sink.localhost";
        for line in offered {
            out.extend_from_slice(format!("250-{last}\r\n").as_bytes());
            last = line;
        }
        out.extend_from_slice(format!("250 {last}\r\n").as_bytes());
        out
    }

    async fn mail(&mut self, from: String) -> Result<(), Ended> {
        self.clear();
        self.from = from;
        let known = self.is_known || self.shared.config.login.is_none();
        let usual: &[u8] = match known {
            true => b"250 2.1.0 OK\r\n",
            false => b"530 5.7.0 authentication required\r\n",
        };
        let class = self.reply(ScriptStage::Mail, "", usual).await?;
        self.is_refused = matches!(class, b'4' | b'5');
        Ok(())
    }

    async fn recipient(&mut self, to: String) -> Result<(), Ended> {
        if self.to.len() >= MAX_RECIPIENTS {
            return self.say(b"452 4.5.3 too many recipients\r\n");
        }
        let usual: &[u8] = match self.is_refused {
            true => b"503 5.5.1 MAIL first\r\n",
            false => b"250 2.1.5 OK\r\n",
        };
        if self.reply(ScriptStage::Rcpt, &to, usual).await? == b'2' {
            self.to.push(to);
        }
        Ok(())
    }
}

/// The text between the angle brackets, or the first word.
fn path(rest: &str) -> String {
    let rest = rest.split_once(':').map_or(rest, |(_, rest)| rest).trim_start();
    let path = match rest.strip_prefix('<') {
        Some(inner) => inner.rsplit_once('>').map_or(inner, |(path, _)| path),
        None => rest.split_whitespace().next().unwrap_or_default(),
    };
    path.to_owned()
}
