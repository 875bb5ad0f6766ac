//! One connection to the sink.
//!
//! A reply is determined before it is sent: the ledger has a message before its sender gets the reply, whatever action the
//! script uses.

use super::SinkState;
use super::data::DataScanner;
use super::script::{Moment, ScriptAction, ScriptStage};
use super::stage_reply::StageReply;
use super::stream::SinkStream;
use super::text::Text;
use super::tls::TlsMode;
use bytes::BytesMut;
use std::borrow::Cow;
use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::TcpStream;

/// The longest command line.
const MAX_LINE: usize = 64 * 1024;
/// The most recipients of one message.
const MAX_RECIPIENTS: usize = 100_000;
const EXTENSIONS: [&str; 5] = ["PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "DSN"];

/// How a session continues after a line.
pub(super) enum Flow {
    On,
    End,
}

impl From<bool> for Flow {
    fn from(goes_on: bool) -> Self {
        if goes_on { Self::On } else { Self::End }
    }
}

pub(super) struct SinkSession<'s> {
    pub(super) stream: SinkStream,
    pub(super) shared: &'s SinkState,
    open: usize,
    pub(super) input: BytesMut,
    pub(super) out: Vec<u8>,
    from: String,
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
        stream: SinkStream::Plain(stream),
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
    session.run().await?;
    session.flush().await?;
    session.stream.shut_down(session.patience()).await;
    Ok(())
}

impl<'s> SinkSession<'s> {
    async fn run(&mut self) -> io::Result<()> {
        if self.has_tls(TlsMode::Implicit) && matches!(self.handshake().await?, Flow::End) {
            return Ok(());
        }
        let greeting = self.answer(ScriptStage::Connect, "", &b"220 sink.localhost ESMTP\r\n"[..]);
        if !self.give(greeting).await? {
            return Ok(());
        }
        while let Some(line) = self.next_line().await? {
            if matches!(self.line(line.trim_ascii_end()).await?, Flow::End) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// How long the client may send nothing.
    pub(super) const fn patience(&self) -> Duration {
        self.shared.config.idle_timeout
    }

    pub(super) async fn flush(&mut self) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        let written = self.stream.write(&self.out, self.patience()).await;
        self.out.clear();
        written
    }

    pub(super) async fn read(&mut self) -> io::Result<bool> {
        let patience = self.patience();
        self.stream.read(&mut self.input, patience).await
    }

    /// The next line with its end; pending replies are sent before waiting for it.
    pub(super) async fn next_line(&mut self) -> io::Result<Option<BytesMut>> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.input) {
                return Ok(Some(self.input.split_to(end + 1)));
            }
            self.flush().await?;
            if self.input.len() > MAX_LINE || !self.read().await? {
                return Ok(None);
            }
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

    /// Performs the action; false: the connection ends.
    pub(super) async fn give(&mut self, answer: StageReply<'_>) -> io::Result<bool> {
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
            Some(ScriptAction::Hide(words)) => {
                let hello = self.hello(words, &[]);
                self.out.extend_from_slice(&hello);
            }
            Some(ScriptAction::Offer(words)) => {
                let hello = self.hello(&[], words);
                self.out.extend_from_slice(&hello);
            }
            Some(ScriptAction::Drip(bytes, every)) => {
                self.flush().await?;
                for byte in bytes {
                    tokio::time::sleep(*every).await;
                    self.stream.write(&[*byte], self.patience()).await?;
                }
            }
            Some(ScriptAction::Endless(bytes)) => {
                self.flush().await?;
                loop {
                    self.stream.write(bytes, self.patience()).await?;
                }
            }
            Some(ScriptAction::SayAndClose(bytes)) => {
                self.out.extend_from_slice(bytes);
                return Ok(false);
            }
            Some(ScriptAction::Hang) => {
                self.flush().await?;
                tokio::time::sleep(self.patience()).await;
                return Ok(false);
            }
            Some(ScriptAction::Close) => return Ok(false),
            Some(ScriptAction::Reset) => {
                self.flush().await?;
                self.stream.reset()?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn line(&mut self, line: &[u8]) -> io::Result<Flow> {
        let text = String::from_utf8_lossy(line);
        let (verb, rest) = text.split_at_checked(4).unwrap_or((&text, ""));
        let answer = match verb.to_ascii_uppercase().as_str() {
            "EHLO" => {
                self.clear();
                self.answer(ScriptStage::Ehlo, "", self.hello(&[], &[]))
            }
            "HELO" => self.answer(ScriptStage::Helo, "", &b"250 sink.localhost\r\n"[..]),
            "STAR" if text.trim().eq_ignore_ascii_case("STARTTLS") => return self.start_tls().await,
            "AUTH" => return self.auth(rest).await,
            // BDAT cannot be mixed with DATA, and its transaction takes no further recipients (RFC 3030 section 2).
            "MAIL" | "RCPT" | "DATA" if self.chunks.is_some() => {
                return Ok(self.say(b"503 5.5.1 BDAT has begun: BDAT LAST or RSET\r\n"));
            }
            "MAIL" => {
                self.clear();
                self.from = path(rest);
                let known = self.is_known || self.shared.config.login.is_none();
                let usual: &[u8] = match known {
                    true => b"250 2.1.0 OK\r\n",
                    false => b"530 5.7.0 authentication required\r\n",
                };
                let answer = self.answer(ScriptStage::Mail, "", usual);
                self.is_refused = matches!(answer.class(), b'4' | b'5');
                answer
            }
            "RCPT" => return self.recipient(path(rest)).await,
            "DATA" => return self.begin_data().await,
            "BDAT" => return self.chunk(rest).await,
            "RSET" => {
                self.clear();
                self.answer(ScriptStage::Rset, "", &b"250 2.0.0 OK\r\n"[..])
            }
            "QUIT" => {
                let bye = self.answer(ScriptStage::Quit, "", &b"221 2.0.0 bye\r\n"[..]);
                self.give(bye).await?;
                return Ok(Flow::End);
            }
            "NOOP" => return Ok(self.say(b"250 2.0.0 OK\r\n")),
            _ => return Ok(self.say(b"500 5.5.2 unknown command\r\n")),
        };
        Ok(self.give(answer).await?.into())
    }

    /// Sends a reply that no script changes.
    pub(super) fn say(&mut self, reply: &[u8]) -> Flow {
        self.out.extend_from_slice(reply);
        Flow::On
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

    async fn recipient(&mut self, to: String) -> io::Result<Flow> {
        if self.to.len() >= MAX_RECIPIENTS {
            return Ok(self.say(b"452 4.5.3 too many recipients\r\n"));
        }
        let usual: &[u8] = match self.is_refused {
            true => b"503 5.5.1 MAIL first\r\n",
            false => b"250 2.1.5 OK\r\n",
        };
        let answer = self.answer(ScriptStage::Rcpt, &to, usual);
        if answer.class() == b'2' {
            self.to.push(to);
        }
        Ok(self.give(answer).await?.into())
    }

    async fn begin_data(&mut self) -> io::Result<Flow> {
        if self.to.is_empty() {
            return Ok(self.say(b"554 5.5.1 no valid recipients\r\n"));
        }
        let answer = self.answer(ScriptStage::Data, "", &b"354 go ahead\r\n"[..]);
        // A script may give DATA another reply.
        let text_follows = answer.class() == b'3';
        if !self.give(answer).await? {
            return Ok(Flow::End);
        }
        if text_follows {
            self.data().await
        } else {
            Ok(Flow::On)
        }
    }

    /// Reads a message, and answers it.
    async fn data(&mut self) -> io::Result<Flow> {
        let (mut scanner, mut text) = (DataScanner::new(), Text::default());
        let noted = self.shared.ledger.is_some();
        let Some(pace) = self.begin_text().await? else {
            return Ok(Flow::End);
        };
        loop {
            let end = scanner.scan(&self.input, |content| text.take(content, noted));
            if let Some(end) = end {
                drop(self.input.split_to(end));
                break;
            }
            self.input.clear();
            if !self.read_text(pace).await? {
                return Ok(Flow::End);
            }
        }
        self.end_of_text(&text).await
    }

    /// Waits for the first bytes of a message, and performs the script's action for `body`. Returns how slowly the rest is read;
    /// `None` when the connection ends.
    pub(super) async fn begin_text(&mut self) -> io::Result<Option<Option<Duration>>> {
        self.flush().await?;
        if self.input.is_empty() && !self.read().await? {
            return Ok(None);
        }
        let body = self.answer(ScriptStage::Body, "", &b""[..]);
        let pace = if let Some(ScriptAction::Slow(span)) = body.action {
            self.stream.narrow()?;
            Some(*span)
        } else {
            None
        };
        let goes_on = self.give(body).await?;
        self.flush().await?;
        Ok(goes_on.then_some(pace))
    }

    /// Answers a complete message.
    pub(super) async fn end_of_text(&mut self, text: &Text) -> io::Result<Flow> {
        let shared = self.shared;
        if text.size > shared.config.message_size {
            return Ok(self.say(b"552 5.3.4 too large\r\n"));
        }
        let answer = self.answer(ScriptStage::Dot, "", &b"250 2.0.0 taken\r\n"[..]);
        if answer.class() == b'2' {
            if let Some(ledger) = &shared.ledger {
                ledger.write(&self.from, &self.to, text.size, text.hash, &text.head)?;
            }
            shared.counts.messages.fetch_add(1, Ordering::Relaxed);
            shared.counts.bytes.fetch_add(text.size, Ordering::Relaxed);
        }
        self.clear();
        Ok(self.give(answer).await?.into())
    }

    pub(super) async fn read_text(&mut self, pace: Option<Duration>) -> io::Result<bool> {
        let Some(span) = pace else {
            return self.read().await;
        };
        tokio::time::sleep(span).await;
        let patience = self.patience();
        self.stream.sip(&mut self.input, patience).await
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
