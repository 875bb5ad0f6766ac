//! One connection to the sink: lines in, replies out, gathered until all that was pipelined is answered.

use super::Shared;
use super::data::DataScanner;
use super::script::{Action, Moment, Stage};
use bytes::BytesMut;
use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The longest command line.
const MAX_LINE: usize = 64 * 1024;
/// The most recipients of one message.
const MAX_RECIPIENTS: usize = 100_000;
/// How much of a message is kept to find its tag in.
const HEAD: usize = 4096;
const EXTENSIONS: [&str; 5] = ["PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "DSN"];

/// How a session goes on after a line.
enum Flow {
    On,
    Data,
    End,
}

struct Session<'s> {
    stream: TcpStream,
    shared: &'s Shared,
    open: usize,
    out: Vec<u8>,
    from: String,
    to: Vec<String>,
}

/// Serves one connection to its end.
pub(super) async fn serve(stream: TcpStream, shared: &Shared, open: usize) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut session = Session {
        stream,
        shared,
        open,
        out: Vec::new(),
        from: String::new(),
        to: Vec::new(),
    };
    if !session
        .step(Stage::Connect, "", b"220 sink.localhost ESMTP\r\n")
        .await?
    {
        return session.flush().await;
    }
    let mut input = BytesMut::with_capacity(16 * 1024);
    loop {
        while let Some(end) = memchr::memchr(b'\n', &input) {
            let line = input.split_to(end + 1);
            match session.line(line.trim_ascii_end()).await? {
                Flow::On => {}
                Flow::Data if session.data(&mut input).await? => {}
                Flow::Data | Flow::End => return session.flush().await,
            }
        }
        session.flush().await?;
        if input.len() > MAX_LINE || !session.read(&mut input).await? {
            return Ok(());
        }
    }
}

impl Session<'_> {
    async fn flush(&mut self) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        let written = self.stream.write_all(&self.out).await;
        self.out.clear();
        written
    }

    /// Reads more; false at the end of the connection, and after too long a silence.
    async fn read(&mut self, input: &mut BytesMut) -> io::Result<bool> {
        input.reserve(4096);
        // A timer for every read would cost more than the read.
        if let Ok(n) = self.stream.try_read_buf(input) {
            return Ok(n > 0);
        }
        match tokio::time::timeout(self.shared.config.idle_timeout, self.stream.read_buf(input)).await {
            Ok(read) => Ok(read? > 0),
            Err(_) => Ok(false),
        }
    }

    /// Does what the script says for this stage, or says `reply`. False: the connection ends.
    async fn step(&mut self, stage: Stage, to: &str, reply: &[u8]) -> io::Result<bool> {
        let moment = Moment {
            stage,
            from: &self.from,
            to,
            open: self.open,
        };
        let Some(action) = self.shared.config.script.action(moment, &self.shared.memory) else {
            self.out.extend_from_slice(reply);
            return Ok(true);
        };
        match action.clone() {
            Action::Say(bytes) => self.out.extend_from_slice(&bytes),
            Action::Delay(span) => {
                self.flush().await?;
                tokio::time::sleep(span).await;
                self.out.extend_from_slice(reply);
            }
            Action::Hide(words) => self.out.extend_from_slice(&hello(&words)),
            Action::Drip(bytes, every) => self.drip(&bytes, every).await?,
            Action::Endless(bytes) => loop {
                self.out.extend_from_slice(&bytes);
                self.flush().await?;
            },
            Action::SayAndClose(bytes) => {
                self.out.extend_from_slice(&bytes);
                return Ok(false);
            }
            Action::Hang => {
                self.flush().await?;
                std::future::pending::<()>().await;
            }
            Action::Close => return Ok(false),
            Action::Reset => {
                self.flush().await?;
                self.stream.set_zero_linger()?;
                return Ok(false);
            }
        }
        // A refused message is not to be followed by its text.
        Ok(true)
    }

    async fn drip(&mut self, bytes: &[u8], every: Duration) -> io::Result<()> {
        self.flush().await?;
        for byte in bytes {
            tokio::time::sleep(every).await;
            self.stream.write_all(&[*byte]).await?;
        }
        Ok(())
    }

    async fn line(&mut self, line: &[u8]) -> io::Result<Flow> {
        let text = String::from_utf8_lossy(line);
        let (verb, rest) = text.split_at_checked(4).unwrap_or((&text, ""));
        let (stage, reply): (Stage, &[u8]) = match verb.to_ascii_uppercase().as_str() {
            "EHLO" => {
                self.clear();
                let goes_on = self.step(Stage::Ehlo, "", &hello(&[])).await?;
                return Ok(if goes_on { Flow::On } else { Flow::End });
            }
            "HELO" => (Stage::Helo, b"250 sink.localhost\r\n"),
            "MAIL" => {
                self.clear();
                self.from = path(rest);
                (Stage::Mail, b"250 2.1.0 OK\r\n")
            }
            "RCPT" => return self.recipient(path(rest)).await,
            "DATA" => return self.begin_data().await,
            "RSET" => {
                self.clear();
                (Stage::Rset, b"250 2.0.0 OK\r\n")
            }
            "QUIT" => {
                self.step(Stage::Quit, "", b"221 2.0.0 bye\r\n").await?;
                return Ok(Flow::End);
            }
            "NOOP" => {
                self.out.extend_from_slice(b"250 2.0.0 OK\r\n");
                return Ok(Flow::On);
            }
            _ => {
                self.out.extend_from_slice(b"500 5.5.2 unknown command\r\n");
                return Ok(Flow::On);
            }
        };
        Ok(if self.step(stage, "", reply).await? {
            Flow::On
        } else {
            Flow::End
        })
    }

    fn clear(&mut self) {
        self.from.clear();
        self.to.clear();
    }

    async fn recipient(&mut self, to: String) -> io::Result<Flow> {
        if self.to.len() >= MAX_RECIPIENTS {
            self.out.extend_from_slice(b"452 4.5.3 too many recipients\r\n");
            return Ok(Flow::On);
        }
        let before = self.out.len();
        let goes_on = self.step(Stage::Rcpt, &to, b"250 2.1.5 OK\r\n").await?;
        if self.out.get(before) == Some(&b'2') {
            self.to.push(to);
        }
        Ok(if goes_on { Flow::On } else { Flow::End })
    }

    async fn begin_data(&mut self) -> io::Result<Flow> {
        if self.to.is_empty() {
            self.out.extend_from_slice(b"554 5.5.1 no valid recipients\r\n");
            return Ok(Flow::On);
        }
        let before = self.out.len();
        if !self.step(Stage::Data, "", b"354 go ahead\r\n").await? {
            return Ok(Flow::End);
        }
        // A script may answer DATA with something else, and mean it.
        Ok(if self.out.get(before) == Some(&b'3') {
            Flow::Data
        } else {
            Flow::On
        })
    }

    /// Takes a message's data. False: the connection ends.
    async fn data(&mut self, input: &mut BytesMut) -> io::Result<bool> {
        let (mut scanner, mut size, mut hash) = (DataScanner::new(), 0_u64, 0_u32);
        let ledger = self.shared.ledger.as_ref();
        let mut head = Vec::new();
        self.flush().await?;
        loop {
            let end = scanner.scan(input, |content| {
                size += u64::try_from(content.len()).unwrap_or(u64::MAX);
                if ledger.is_some() {
                    hash = crc32c::crc32c_append(hash, content);
                    let room = HEAD.saturating_sub(head.len()).min(content.len());
                    head.extend_from_slice(content.get(..room).unwrap_or_default());
                }
            });
            match end {
                Some(end) => {
                    drop(input.split_to(end));
                    break;
                }
                None => input.clear(),
            }
            if !self.read(input).await? {
                return Ok(false);
            }
        }
        if size > self.shared.config.message_size {
            self.out.extend_from_slice(b"552 5.3.4 too large\r\n");
            return Ok(true);
        }
        let before = self.out.len();
        let goes_on = self.step(Stage::Dot, "", b"250 2.0.0 taken\r\n").await?;
        if goes_on && self.out.get(before) == Some(&b'2') {
            if let Some(ledger) = ledger {
                ledger.write(&self.from, &self.to, size, hash, &head)?;
            }
            self.shared.counts.messages.fetch_add(1, Ordering::Relaxed);
            self.shared.counts.bytes.fetch_add(size, Ordering::Relaxed);
        }
        Ok(goes_on)
    }
}

fn hello(hidden: &[String]) -> Vec<u8> {
    let mut out = b"250-sink.localhost\r\n".to_vec();
    let offered = EXTENSIONS
        .iter()
        .filter(|word| !hidden.iter().any(|hidden| hidden == *word));
    for word in offered {
        out.extend_from_slice(format!("250-{word}\r\n").as_bytes());
    }
    let size = !hidden.iter().any(|hidden| hidden == "SIZE");
    out.extend_from_slice(if size {
        b"250 SIZE 1073741824\r\n"
    } else {
        b"250 HELP\r\n"
    });
    out
}

/// What stands between the angle brackets, or the first word.
fn path(rest: &str) -> String {
    let rest = rest.split_once(':').map_or(rest, |(_, rest)| rest).trim_start();
    let path = match rest.strip_prefix('<') {
        Some(inner) => inner.rsplit_once('>').map_or(inner, |(path, _)| path),
        None => rest.split_whitespace().next().unwrap_or_default(),
    };
    path.to_owned()
}
