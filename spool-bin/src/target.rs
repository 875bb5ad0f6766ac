//! The HTTP client with which commands ask a running service.
//!
//! It is small because its peer is known: HTTP/1.1, with answers that end with the connection, by their length or in chunks, read
//! as a stream.

use crate::admin::Token;
use crate::failure::Failure;
use crate::loading::LOADING;
use crate::owner;
use crate::print::print_error;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

/// Time between two requests to a service that is loading.
const LOADING_PAUSE: Duration = Duration::from_millis(250);
const TIMEOUT: Duration = Duration::from_secs(60);
/// The longest line of an answer: one message with millions of recipients.
const MAX_LINE: u64 = 4 << 30;

/// A running service.
#[derive(Debug)]
pub(crate) struct Service {
    authority: String,
    token: Option<Token>,
    /// The token's file, when only a program whose user may read it gets the token.
    readers_of: Option<PathBuf>,
    /// What the user can do without a service.
    instead: Option<&'static str>,
}

/// The body of an answer, line by line.
pub(crate) struct HttpAnswer {
    pub(crate) status: u16,
    /// How much of the mail of earlier runs is loaded, in percent, while loading is not complete.
    loading: Option<u8>,
    body: Box<dyn BufRead>,
}

impl Service {
    /// `http://host:port`.
    pub(crate) fn new(url: &str, token: Option<Token>) -> Result<Self, Failure> {
        let authority = url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
        match authority
            .filter(|authority| !authority.is_empty() && !authority.contains(['/', ' ', '\r', '\n']))
        {
            Some(authority) => Ok(Self {
                authority: authority.to_owned(),
                token,
                readers_of: None,
                instead: None,
            }),
            None => Err(Failure::Usage(format!(
                "--admin {url}: expected http://HOST:PORT"
            ))),
        }
    }

    /// Sends the token only to a program of this machine whose user may read `file`.
    pub(crate) fn of_readers(self, file: PathBuf) -> Self {
        Self {
            readers_of: Some(file),
            ..self
        }
    }

    /// When no service answers, the error also says what can be done without one.
    pub(crate) fn or(self, instead: &'static str) -> Self {
        Self {
            instead: Some(instead),
            ..self
        }
    }

    /// Makes a request; an answer of 400 or more is a failure with its text. While the service loads the mail of earlier runs, the
    /// request is repeated and the progress printed on standard error.
    pub(crate) fn request(
        &self,
        method: &str,
        path: &str,
        body: Option<&str>,
    ) -> Result<HttpAnswer, Failure> {
        let mut told = None;
        loop {
            let answer = self.ask(method, path, body)?;
            let Some(percent) = answer.loading.filter(|_| answer.status == 503) else {
                return answer.good();
            };
            if told.replace(percent) != Some(percent) {
                print_error(&format!("the service is loading its spool: {percent} % read"));
            }
            std::thread::sleep(LOADING_PAUSE);
        }
    }

    /// Makes a request; returns the answer whatever its status.
    pub(crate) fn ask(&self, method: &str, path: &str, body: Option<&str>) -> Result<HttpAnswer, Failure> {
        self.exchange(method, path, body)
            .map_err(|error| self.unreachable(&error))
    }

    fn unreachable(&self, error: &io::Error) -> Failure {
        let what = match self.instead {
            None => "Start one with `spool serve`, or name another with --admin URL.".to_owned(),
            Some(instead) => {
                format!("Start one with `spool serve`, name another with --admin URL, or {instead}.")
            }
        };
        Failure::Failed(format!(
            "no spool service answers at http://{}: {error}\n{what}",
            self.authority
        ))
    }

    fn exchange(&self, method: &str, path: &str, body: Option<&str>) -> io::Result<HttpAnswer> {
        let addresses = self.authority.to_socket_addrs()?;
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        let mut stream = None;
        for address in addresses {
            match TcpStream::connect_timeout(&address, Duration::from_secs(5)) {
                Ok(connected) => {
                    stream = Some(connected);
                    break;
                }
                Err(error) => last = error,
            }
        }
        let mut stream = stream.ok_or(last)?;
        if let Some(file) = &self.readers_of {
            owner::check(&stream, file)?;
        }
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n",
            self.authority
        );
        if let Some(token) = &self.token {
            head += &format!("Authorization: {}\r\n", token.header());
        }
        if let Some(body) = body {
            head += &format!(
                "Content-Type: application/json\r\nContent-Length: {}\r\n",
                body.len()
            );
        }
        stream.write_all(format!("{head}\r\n{}", body.unwrap_or_default()).as_bytes())?;
        read_answer(BufReader::new(stream))
    }
}

fn read_answer(mut stream: BufReader<TcpStream>) -> io::Result<HttpAnswer> {
    let bad = || io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP");
    let mut line = String::new();
    stream.by_ref().take(4096).read_line(&mut line)?;
    let status = line
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .ok_or_else(bad)?;
    let (mut length, mut chunked, mut loading) = (None, false, None);
    for _ in 0..100 {
        line.clear();
        stream.by_ref().take(16 * 1024).read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            let body: Box<dyn BufRead> = match (chunked, length) {
                (true, _) => Box::new(BufReader::new(Chunks {
                    stream,
                    left: 0,
                    ended: false,
                })),
                (false, Some(left)) => Box::new(BufReader::new(Sized { stream, left })),
                (false, None) => Box::new(stream),
            };
            return Ok(HttpAnswer {
                status,
                loading,
                body,
            });
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = Some(value.trim().parse().map_err(|_| bad())?),
            LOADING => loading = value.trim().parse().ok(),
            "transfer-encoding" => chunked = value.trim().eq_ignore_ascii_case("chunked"),
            _ => {}
        }
    }
    Err(bad())
}

fn cut_short() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the answer was cut short")
}

/// A body of a known length.
struct Sized {
    stream: BufReader<TcpStream>,
    left: u64,
}

impl Read for Sized {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.stream.by_ref().take(self.left).read(buf)?;
        if read == 0 && self.left > 0 && !buf.is_empty() {
            return Err(cut_short());
        }
        self.left -= u64::try_from(read).unwrap_or(0);
        Ok(read)
    }
}

/// RFC 9112 section 7.1, without extensions and trailers.
struct Chunks {
    stream: BufReader<TcpStream>,
    left: u64,
    ended: bool,
}

impl Read for Chunks {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && !self.ended {
            let mut line = String::new();
            self.stream.by_ref().take(64).read_line(&mut line)?;
            if line == "\r\n" {
                line.clear();
                self.stream.by_ref().take(64).read_line(&mut line)?;
            }
            let size = u64::from_str_radix(line.trim_end(), 16);
            self.left = size.map_err(|_| cut_short())?;
            self.ended = self.left == 0;
        }
        let read = self.stream.by_ref().take(self.left).read(buf)?;
        if read == 0 && self.left > 0 && !buf.is_empty() {
            return Err(cut_short());
        }
        self.left -= u64::try_from(read).unwrap_or(0);
        Ok(read)
    }
}

impl HttpAnswer {
    /// The answer; a failure with its text when its status is 400 or more.
    pub(crate) fn good(self) -> Result<Self, Failure> {
        if self.status < 400 {
            return Ok(self);
        }
        let status = self.status;
        let text = self.lines().take(4).collect::<Result<Vec<_>, _>>()?.join(" ");
        Err(refusal(status, text))
    }

    /// Its JSON when the status is below 400, or when it is 404 or 409 and the JSON has the field `field`; every other answer is a
    /// failure with its text.
    pub(crate) fn json_with(self, field: &str) -> Result<serde_json::Value, Failure> {
        let status = self.status;
        if !matches!(status, 404 | 409) {
            return self.good()?.json();
        }
        let text = self.lines().collect::<Result<Vec<_>, _>>()?.join("\n");
        match serde_json::from_str::<serde_json::Value>(&text) {
            Ok(json) if json.get(field).is_some() => Ok(json),
            Ok(_) | Err(_) => Err(refusal(status, text)),
        }
    }

    /// Copies the body byte for byte.
    pub(crate) fn copy_to(mut self, out: &mut dyn Write) -> io::Result<u64> {
        io::copy(&mut self.body, out)
    }

    /// The lines of the body; an incomplete body is an error.
    pub(crate) fn lines(mut self) -> impl Iterator<Item = Result<String, Failure>> {
        std::iter::from_fn(move || {
            let mut line = String::new();
            match self.body.by_ref().take(MAX_LINE).read_line(&mut line) {
                Ok(0) => None,
                Ok(read) if read as u64 == MAX_LINE => Some(Err(Failure::Failed(format!(
                    "reading the answer: a line of more than {MAX_LINE} bytes"
                )))),
                Ok(_) => Some(Ok(line.trim_end().to_owned())),
                Err(error) => Some(Err(Failure::Failed(format!("reading the answer: {error}")))),
            }
        })
    }

    /// The body as one JSON value.
    pub(crate) fn json(self) -> Result<serde_json::Value, Failure> {
        let text = self.lines().collect::<Result<Vec<_>, _>>()?.join("\n");
        serde_json::from_str(&text)
            .map_err(|error| Failure::Failed(format!("the answer is not JSON: {error}")))
    }
}

/// The failure of an answer with a status of 400 or more.
fn refusal(status: u16, text: String) -> Failure {
    let said = serde_json::from_str::<serde_json::Value>(&text).ok();
    let said = said
        .and_then(|json| json.get("error")?.as_str().map(str::to_owned))
        .unwrap_or(text);
    match status {
        400 => Failure::Usage(said),
        404 => Failure::NoSuchMessage(said),
        409 => Failure::Failed(said),
        _ => Failure::Failed(format!("{said} (HTTP {status})")),
    }
}

/// Encodes a query parameter.
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            other => out += &format!("%{other:02X}"),
        }
    }
    out
}
