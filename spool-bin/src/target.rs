//! The HTTP client with which commands ask a running service. Answers are read as a stream.

use crate::admin::Token;
use crate::failure::Failure;
use crate::loading::LOADING;
use crate::owner;
use crate::print::print_error;
use bytes::{Buf, Bytes};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::handshake;
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

/// Time for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Time for the head of an answer once the request is sent, and for each part of its body.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of a request for which it is given one more second to be sent. The service gives as much (`admin/write_timing.rs`).
const SLOWEST: u64 = 32 << 10;
/// Time between two requests to a service that is loading.
const LOADING_PAUSE: Duration = Duration::from_millis(250);
/// The longest line of an answer: one message with millions of recipients.
const MAX_LINE: u64 = 4 << 30;

/// A running service.
#[derive(Debug)]
pub(crate) struct Service {
    authority: String,
    token: Option<Token>,
    /// The token's file, when only a program whose user may read it gets the token.
    pub(crate) readers_of: Option<PathBuf>,
    /// What the user can do without a service, for the error when none answers.
    pub(crate) instead: Option<&'static str>,
}

/// An answer, whose body is read line by line.
pub(crate) struct HttpAnswer {
    pub(crate) status: u16,
    /// How much of the mail of earlier runs is loaded, in percent, while loading is not complete.
    loading: Option<u8>,
    body: BufReader<AnswerBody>,
}

/// The body of an answer. Its connection is a task of `runtime`, which goes on only during a read.
struct AnswerBody {
    runtime: Runtime,
    incoming: Incoming,
    piece: Bytes,
}

impl Service {
    /// `http://host:port`.
    pub(crate) fn new(url: &str, token: Option<Token>) -> Result<Self, Failure> {
        let authority = url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
        let authority = authority
            .filter(|authority| !authority.is_empty() && !authority.contains(['/', ' ', '\r', '\n']));
        let wrong = || Failure::Usage(format!("--admin {url}: expected http://HOST:PORT"));
        Ok(Self {
            authority: authority.ok_or_else(wrong)?.to_owned(),
            token,
            readers_of: None,
            instead: None,
        })
    }

    /// The answer to GET, as by [`request`](Self::request).
    pub(crate) fn get(&self, path: &str) -> Result<HttpAnswer, Failure> {
        self.request("GET", path, None)
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
        self.exchange(method, path, body).map_err(|error| {
            let what = match self.instead {
                None => "or name another with --admin URL.".to_owned(),
                Some(instead) => format!("name another with --admin URL, or {instead}."),
            };
            Failure::Failed(format!(
                "no spool service answers at http://{}: {error}\nStart one with `spool serve`, {what}",
                self.authority
            ))
        })
    }

    fn exchange(&self, method: &str, path: &str, body: Option<&str>) -> io::Result<HttpAnswer> {
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        let connect = |address| {
            let connected = TcpStream::connect_timeout(&address, CONNECT);
            connected.map_err(|error| last = error).ok()
        };
        let stream = self.authority.to_socket_addrs()?.find_map(connect);
        let stream = stream.ok_or(last)?;
        if let Some(file) = &self.readers_of {
            owner::check(&stream, file)?;
        }
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.authority)
            .header(header::CONNECTION, "close");
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, token.header());
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = body.unwrap_or_default();
        let limit = time_for(body.len());
        let request = request.body(Full::from(body.to_owned()));
        let request = request.map_err(io::Error::other)?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let answer = runtime.block_on(async { timeout(limit, sent(stream, request)).await })??;
        let loading = answer.headers().get(LOADING);
        Ok(HttpAnswer {
            status: answer.status().as_u16(),
            loading: loading.and_then(|percent| percent.to_str().ok()?.parse().ok()),
            body: BufReader::new(AnswerBody {
                runtime,
                incoming: answer.into_body(),
                piece: Bytes::new(),
            }),
        })
    }
}

/// Time for sending a request with a body of `length` bytes, and for the head of its answer.
fn time_for(length: usize) -> Duration {
    TIMEOUT + Duration::from_secs(u64::try_from(length).unwrap_or(u64::MAX) / SLOWEST)
}

/// Sends `request`; returns the head of the answer. The rest of the exchange is a task of the runtime.
async fn sent(stream: TcpStream, request: Request<Full<Bytes>>) -> io::Result<Response<Incoming>> {
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    let stream = TokioIo::new(tokio::net::TcpStream::from_std(stream)?);
    let (mut sender, connection) = handshake(stream).await.map_err(with_cause)?;
    // Its error is that of the answer.
    tokio::spawn(connection);
    sender.send_request(request).await.map_err(with_cause)
}

/// The error with its cause, which hyper's own text leaves out.
fn with_cause(error: hyper::Error) -> io::Error {
    match std::error::Error::source(&error) {
        Some(cause) => io::Error::other(format!("{error}: {cause}")),
        None => io::Error::other(error),
    }
}

impl Read for AnswerBody {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            // `timeout` must be called within the runtime.
            let next = async { timeout(TIMEOUT, self.incoming.frame()).await };
            let Some(frame) = self.runtime.block_on(next)? else {
                return Ok(0);
            };
            let data = frame.map_err(with_cause)?.into_data();
            self.piece = data.unwrap_or_default();
        }
        (&mut self.piece).reader().read(buffer)
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
                Ok(read) if read as u64 == MAX_LINE => {
                    Some(Err(unread(&format!("a line of more than {MAX_LINE} bytes"))))
                }
                Ok(_) => Some(Ok(line.trim_end().to_owned())),
                Err(error) => Some(Err(unread(&error))),
            }
        })
    }

    /// The lines of the body, each of which is a JSON value.
    pub(crate) fn items<T: DeserializeOwned>(self) -> impl Iterator<Item = Result<T, Failure>> {
        self.lines()
            .map(|line| serde_json::from_str(&line?).map_err(|error| not_json(&error)))
    }

    /// The whole body.
    pub(crate) fn text(self) -> Result<String, Failure> {
        Ok(self.lines().collect::<Result<Vec<_>, _>>()?.join("\n"))
    }

    /// The body as one JSON value.
    pub(crate) fn json<T: DeserializeOwned>(self) -> Result<T, Failure> {
        serde_json::from_str(&self.text()?).map_err(|error| not_json(&error))
    }

    /// The same, also when the status is 404 or 409 and the body is such a value. Every other answer of 400 or more is a failure with its
    /// text.
    pub(crate) fn report<T: DeserializeOwned>(self) -> Result<T, Failure> {
        let status = self.status;
        if !matches!(status, 404 | 409) {
            return self.good()?.json();
        }
        let text = self.text()?;
        serde_json::from_str(&text).map_err(|_| refusal(status, text))
    }
}

fn unread(why: &dyn std::fmt::Display) -> Failure {
    Failure::Failed(format!("reading the answer: {why}"))
}

/// Another program may have answered.
fn not_json(why: &serde_json::Error) -> Failure {
    unread(&format!("it is not the JSON that was expected: {why}"))
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

/// Encodes a query parameter, or a part of a path.
pub(crate) fn encode(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_cut_or_no_json_is_reported_with_its_cause() {
        for (answer, expected) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", "end of file"),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>",
                "it is not the JSON that was expected",
            ),
        ] {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            let server = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut head = [0; 4096];
                assert!(stream.read(&mut head).unwrap() > 0);
                stream.write_all(answer.as_bytes()).unwrap();
            });
            let service = Service::new(&url, None).unwrap();
            let answer = service.ask("GET", "/", None).unwrap().json::<serde_json::Value>();
            let Err(Failure::Failed(why)) = answer else {
                panic!("{answer:?}");
            };
            assert!(
                why.starts_with("reading the answer: ") && why.contains(expected),
                "{why}"
            );
            server.join().unwrap();
        }
    }

    #[test]
    fn a_large_request_has_time_for_a_slow_link() {
        assert_eq!(time_for(0), TIMEOUT);
        assert_eq!(time_for(47 << 20), TIMEOUT + Duration::from_secs(47 * 32));
    }
}
