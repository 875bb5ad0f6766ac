//! A peer on a real socket that follows a script, line by line.

use super::pki::{Cert, server};
use spool_core::NextHop;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// What the peer does after the n-th line that it reads (0: at once).
#[derive(Clone)]
pub(super) enum Act {
    Say(&'static [u8]),
    /// Reads a body to its final dot first.
    Body(&'static [u8]),
    /// Reads BDAT and its octets first.
    Octets(&'static [u8]),
    /// Sends the first text in plaintext, starts TLS, and sends the second.
    Tls(&'static [u8], Cert, &'static [u8]),
    Close,
    Hang,
    /// Sends this, and nothing more.
    Stall(&'static [u8]),
    Drip(&'static [u8]),
    Flood,
}
use Act::{Body, Close, Drip, Flood, Hang, Octets, Say, Stall, Tls};

pub(super) const EHLO: Act = Say(b"250-peer\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 20000000\r\n");
pub(super) const SLOW_EHLO: Act = Say(b"250 peer\r\n");
/// EHLO of a peer that offers STARTTLS.
pub(super) const TLS_EHLO: Act = Say(b"250-peer\r\n250-PIPELINING\r\n250 STARTTLS\r\n");
pub(super) const OK: Act = Say(b"250 ok\r\n");
pub(super) const GO: Act = Say(b"354 go\r\n");
pub(super) const HELLO: Act = Say(b"220 peer\r\n");
pub(super) const TAKEN: Act = Body(b"250 ok\r\n");
/// The answer to STARTTLS that leads to TLS.
pub(super) const STARTTLS: Act = Tls(b"220 go\r\n", Cert::Good, b"");

/// What peers have received, over all of their connections.
#[derive(Clone, Default)]
pub(super) struct Seen {
    pub(super) lines: Arc<Mutex<Vec<String>>>,
    pub(super) bodies: Arc<Mutex<Vec<Vec<u8>>>>,
    /// The source addresses of the connections.
    pub(super) from: Arc<Mutex<Vec<std::net::IpAddr>>>,
    /// The errors of failed handshakes.
    pub(super) handshakes_failed: Arc<Mutex<Vec<String>>>,
}

impl Seen {
    pub(super) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// The number of lines that begin with `verb`.
    pub(super) fn count(&self, verb: &str) -> usize {
        self.lines().iter().filter(|line| line.starts_with(verb)).count()
    }

    pub(super) fn bodies(&self) -> usize {
        self.bodies.lock().unwrap().len()
    }
}

/// One script for each connection; the last one repeats.
pub(super) async fn peer(scripts: &[&[Act]]) -> (NextHop, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hop = listener.local_addr().unwrap().into();
    (hop, serve(listener, scripts))
}

/// A peer at this address and port.
pub(super) async fn peer_at(at: (&str, u16), scripts: &[&[Act]]) -> Seen {
    serve(TcpListener::bind(at).await.unwrap(), scripts)
}

fn serve(listener: TcpListener, scripts: &[&[Act]]) -> Seen {
    let scripts: Vec<Vec<Act>> = scripts.iter().map(|script| script.to_vec()).collect();
    let seen = Seen::default();
    let notes = seen.clone();
    tokio::spawn(async move {
        for n in 0.. {
            let (stream, from) = listener.accept().await.unwrap();
            notes.from.lock().unwrap().push(from.ip());
            let script = scripts.get(n).or(scripts.last()).unwrap().clone();
            tokio::spawn(play(stream, script, notes.clone()));
        }
    });
    seen
}

trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}
type Stream = BufReader<Box<dyn Duplex>>;

pub(super) async fn play(stream: TcpStream, script: Vec<Act>, seen: Seen) -> Option<()> {
    let mut stream: Stream = BufReader::new(Box::new(stream));
    for (n, act) in script.into_iter().enumerate() {
        if let Act::Body(_) = act {
            let body = body(&mut stream).await?;
            seen.bodies.lock().unwrap().push(body);
        } else if n > 0 {
            let mut line = String::new();
            if stream.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            let line = line.trim_end();
            seen.lines.lock().unwrap().push(line.to_owned());
            if let Octets(_) = act {
                let size = line.strip_prefix("BDAT ")?.strip_suffix(" LAST")?;
                let mut body = vec![0; size.parse().unwrap()];
                stream.read_exact(&mut body).await.ok()?;
                seen.bodies.lock().unwrap().push(body);
            }
        }
        match act {
            Say(bytes) | Body(bytes) | Octets(bytes) => say(&mut stream, bytes).await?,
            Tls(before, cert, after) => {
                say(&mut stream, before).await?;
                stream = upgrade(stream, cert, &seen).await?;
                say(&mut stream, after).await?;
            }
            Close => return None,
            Hang => std::future::pending().await,
            Stall(bytes) => {
                say(&mut stream, bytes).await?;
                std::future::pending().await
            }
            Drip(bytes) => {
                for byte in bytes {
                    say(&mut stream, &[*byte]).await?;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            Flood => loop {
                say(&mut stream, &[b'2'; 65_536]).await?;
            },
        }
    }
    // Input after the script is stored, and not answered.
    let mut rest = String::new();
    let _ = stream.read_to_string(&mut rest).await;
    seen.lines.lock().unwrap().extend(rest.lines().map(str::to_owned));
    None
}

async fn say(stream: &mut Stream, bytes: &[u8]) -> Option<()> {
    stream.write_all(bytes).await.ok()?;
    stream.flush().await.ok()
}

async fn upgrade(stream: Stream, cert: Cert, seen: &Seen) -> Option<Stream> {
    assert!(stream.buffer().is_empty(), "the client sent more after STARTTLS");
    let acceptor = TlsAcceptor::from(server(cert, rustls::ALL_VERSIONS));
    match acceptor.accept(stream.into_inner()).await {
        Ok(tls) => Some(BufReader::new(Box::new(tls))),
        Err(error) => {
            seen.handshakes_failed.lock().unwrap().push(error.to_string());
            None
        }
    }
}

async fn body(stream: &mut Stream) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = Vec::new();
        if stream.read_until(b'\n', &mut line).await.ok()? == 0 {
            return None;
        }
        assert!(line.ends_with(b"\r\n"));
        if line == b".\r\n" {
            return Some(body);
        }
        body.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
    }
}
