//! A small SMTP server on threads that keeps every message it takes. Written apart from the rest of the project, so
//! that a mistake made there is not made here again.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};

/// A message as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    /// The line of MAIL.
    pub mail: String,
    /// The lines of RCPT.
    pub rcpt: Vec<String>,
    /// The body without its stuffing.
    pub body: Vec<u8>,
}

impl Captured {
    /// The body without the first header field, which is the spool's trace.
    #[must_use]
    pub fn without_trace(&self) -> &[u8] {
        assert!(self.body.starts_with(b"Received: "), "a trace header in front");
        let mut end = 0;
        loop {
            let line = self.body[end..]
                .windows(2)
                .position(|two| two == b"\r\n")
                .unwrap();
            end += line + 2;
            if !matches!(self.body.get(end), Some(b' ' | b'\t')) {
                return &self.body[end..];
            }
        }
    }
}

/// The server.
#[derive(Debug)]
pub struct Capture {
    address: SocketAddr,
    received: Receiver<Captured>,
}

impl Capture {
    /// Listens on a free port of loopback.
    #[must_use]
    pub fn start() -> Self {
        Self::listen(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    /// Listens on `listener`.
    #[must_use]
    pub fn listen(listener: TcpListener) -> Self {
        Self::run(listener, "250 OK")
    }

    /// Answers every RCPT with `reply`.
    #[must_use]
    pub fn refusing(reply: &'static str) -> Self {
        Self::run(TcpListener::bind("127.0.0.1:0").unwrap(), reply)
    }

    fn run(listener: TcpListener, rcpt: &'static str) -> Self {
        let address = listener.local_addr().unwrap();
        let (tell, received) = mpsc::channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let tell = tell.clone();
                std::thread::spawn(move || session(stream, &tell, rcpt));
            }
        });
        Self { address, received }
    }

    /// `host:port`.
    #[must_use]
    pub fn next_hop(&self) -> String {
        self.address.to_string()
    }

    /// The next message.
    #[must_use]
    pub fn message(&self) -> Captured {
        match self.received.recv_timeout(crate::process::PATIENCE) {
            Ok(message) => message,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => panic!("no message arrived"),
        }
    }

    /// A message, if one is there already.
    #[must_use]
    pub fn try_message(&self) -> Option<Captured> {
        self.received.try_recv().ok()
    }
}

fn session(stream: TcpStream, tell: &Sender<Captured>, rcpt: &str) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut out = stream.try_clone().ok()?;
    let mut lines = BufReader::new(stream);
    say(&mut out, "220 capture ESMTP")?;
    let mut message = Captured {
        mail: String::new(),
        rcpt: Vec::new(),
        body: Vec::new(),
    };
    loop {
        let line = String::from_utf8(line(&mut lines).ok()?).unwrap();
        let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
        match verb.as_str() {
            "EHLO" => say(
                &mut out,
                "250-capture\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SMTPUTF8",
            )?,
            "MAIL" => {
                message = Captured {
                    mail: line,
                    rcpt: Vec::new(),
                    body: Vec::new(),
                };
                say(&mut out, "250 OK")?;
            }
            "RCPT" => {
                message.rcpt.push(line);
                say(&mut out, rcpt)?;
            }
            "DATA" if !rcpt.starts_with('2') => say(&mut out, "554 no recipients")?,
            "DATA" => {
                say(&mut out, "354 go")?;
                message.body = body(&mut lines).ok()?;
                let _ = tell.send(message.clone());
                say(&mut out, "250 2.0.0 taken")?;
            }
            "QUIT" => return say(&mut out, "221 bye"),
            _ => say(&mut out, "250 OK")?,
        }
    }
}

fn say(out: &mut TcpStream, text: &str) -> Option<()> {
    out.write_all(format!("{text}\r\n").as_bytes()).ok()
}

fn line(lines: &mut BufReader<TcpStream>) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        if lines.read_until(b'\n', &mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    line.truncate(line.len() - 2);
    Ok(line)
}

fn body(lines: &mut BufReader<TcpStream>) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = line(lines)?;
        if line == b"." {
            return Ok(body);
        }
        body.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
        body.extend_from_slice(b"\r\n");
    }
}
