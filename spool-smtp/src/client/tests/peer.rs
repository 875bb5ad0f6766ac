//! A peer on a real socket that does exactly what its script says, line by line.

use spool_core::NextHop;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What the peer does after the n-th line that it reads (0: at once).
#[derive(Clone)]
pub(super) enum Act {
    Say(&'static [u8]),
    /// Reads a body to its final dot first.
    Body(&'static [u8]),
    Close,
    Hang,
    Drip(&'static [u8]),
    Flood,
}
use Act::{Body, Close, Drip, Flood, Hang, Say};

pub(super) const EHLO: Act = Say(b"250-peer\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 20000000\r\n");
pub(super) const SLOW_EHLO: Act = Say(b"250 peer\r\n");
pub(super) const OK: Act = Say(b"250 ok\r\n");
pub(super) const GO: Act = Say(b"354 go\r\n");
pub(super) const HELLO: Act = Say(b"220 peer\r\n");

/// What peers have seen, over all of their connections.
#[derive(Clone, Default)]
pub(super) struct Seen {
    pub(super) lines: Arc<Mutex<Vec<String>>>,
    pub(super) bodies: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Seen {
    pub(super) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }
}

/// One script for each connection; the last one repeats.
pub(super) async fn peer(scripts: &[&[Act]]) -> (NextHop, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hop = listener.local_addr().unwrap().into();
    (hop, serve(listener, scripts))
}

/// The same at this address and port.
pub(super) async fn peer_at(at: (&str, u16), scripts: &[&[Act]]) -> Seen {
    serve(TcpListener::bind(at).await.unwrap(), scripts)
}

fn serve(listener: TcpListener, scripts: &[&[Act]]) -> Seen {
    let scripts: Vec<Vec<Act>> = scripts.iter().map(|script| script.to_vec()).collect();
    let seen = Seen::default();
    let notes = seen.clone();
    tokio::spawn(async move {
        for n in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            let script = scripts.get(n).or(scripts.last()).unwrap().clone();
            tokio::spawn(play(stream, script, notes.clone()));
        }
    });
    seen
}

pub(super) async fn play(stream: TcpStream, script: Vec<Act>, seen: Seen) -> Option<()> {
    let mut stream = BufReader::new(stream);
    for (n, act) in script.into_iter().enumerate() {
        if let Act::Body(_) = act {
            let body = body(&mut stream).await?;
            seen.bodies.lock().unwrap().push(body);
        } else if n > 0 {
            let mut line = String::new();
            if stream.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            seen.lines.lock().unwrap().push(line.trim_end().to_owned());
        }
        match act {
            Say(bytes) | Body(bytes) => stream.write_all(bytes).await.ok()?,
            Close => return None,
            Hang => std::future::pending().await,
            Drip(bytes) => {
                for byte in bytes {
                    stream.write_all(&[*byte]).await.ok()?;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            Flood => loop {
                stream.write_all(&[b'2'; 65_536]).await.ok()?;
            },
        }
    }
    // Whatever comes after the script is noted, and not answered.
    let mut rest = String::new();
    let _ = stream.read_to_string(&mut rest).await;
    seen.lines.lock().unwrap().extend(rest.lines().map(str::to_owned));
    None
}

async fn body(stream: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
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
