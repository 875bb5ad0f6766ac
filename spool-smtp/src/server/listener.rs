//! Accepts connections and reserves a place for each. Above the limits a client gets 421 and is closed. When the system has no
//! descriptors left, the loop pauses instead of spinning.

use super::clients::{ClientKey, Clients};
use super::config::{CurrentConfig, ServerConfig};
use super::connections::Opened;
use super::peer::{Peer, canonical};
use super::proxy::{self, Origin, ProxyError};
use super::reply::ServerReply;
use super::session::Opening;
use super::{reply, session};
use spool_core::{BoxFuture, Intake};
use std::io::{self, Write as _};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tracing::{debug, info, warn};

/// The first and the longest pause after the system refused to accept a connection.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));

/// Time for a PROXY header. The proxy sends it at once, and a segment that was lost once is sent again within three seconds.
const PROXY_TIMEOUT: Duration = Duration::from_secs(5);

/// A session about to start. Call it on the thread whose tokio runtime is to serve the session, and spawn the returned future
/// there: the socket is registered with the runtime of the calling thread.
pub type SessionStart = Box<dyn FnOnce() -> BoxFuture<()> + Send>;

/// A socket that listens for SMTP clients.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    opening: Opening,
    proxied: bool,
}

impl Listener {
    /// Listens on `address`; port 0 is chosen by the system. Call it within a tokio runtime.
    ///
    /// # Errors
    /// When the address is in use, not ours, or not allowed.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpListener::bind(address).await?;
        Ok(Self {
            socket,
            opening: Opening::Plain,
            proxied: false,
        })
    }

    /// Each connection comes from one of [`ServerConfig::proxies`] and begins with a PROXY header; others are closed.
    #[must_use]
    pub const fn proxied(mut self, proxied: bool) -> Self {
        self.proxied = proxied;
        self
    }

    /// How its sessions begin.
    #[must_use]
    pub const fn opening(mut self, opening: Opening) -> Self {
        self.opening = opening;
        self
    }

    /// Uses a socket that already listens. Call it within a tokio runtime.
    ///
    /// # Errors
    /// When the system cannot wait for it.
    pub fn from_std(socket: std::net::TcpListener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket: TcpListener::from_std(socket)?,
            opening: Opening::Plain,
            proxied: false,
        })
    }

    /// The address on which it listens.
    ///
    /// # Errors
    /// When the system does not know.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Accepts connections and gives each session to `place`, until `shutdown` becomes true or its sender is gone.
    /// Then it stops listening; the sessions observe the same `shutdown` and end after their current transaction.
    /// It returns when the last one has ended.
    pub async fn run(
        self,
        config: impl Into<CurrentConfig>,
        intake: Arc<dyn Intake>,
        place: impl Fn(SessionStart),
        mut shutdown: watch::Receiver<bool>,
    ) {
        let current = config.into();
        let opened = Opened::new();
        let (for_sessions, opening, proxied) = (shutdown.clone(), self.opening, self.proxied);
        let take = |(stream, address): (TcpStream, SocketAddr)| {
            let (config, address) = (current.now(), canonical(address));
            let listed = config.proxies.iter().any(|proxy| proxy.contains(address.ip()));
            if proxied && !listed {
                info!(client = %address, "closed: no listed proxy");
                return;
            }
            let peer = match admit(address, listed, &opened, &config) {
                Ok(peer) => peer,
                Err(refusal) => return turn_away(stream, address, opening, &refusal.text()),
            };
            let client = Client {
                stream,
                peer,
                opening,
                proxied,
            };
            match start(client, config, Arc::clone(&intake), for_sessions.clone()) {
                Ok(session) => place(session),
                Err(error) => debug!(client = %address, %error, "connection lost at its start"),
            }
        };
        let accept = accept_all(|| self.socket.accept(), take);
        tokio::select! {
            biased;
            _ = shutdown.wait_for(|stop| *stop) => {}
            () = accept => {}
        }
        drop(self.socket);
        opened.drained().await;
    }
}

/// Passes each connection to `take`, without end. It pauses when the system cannot accept one, for example for lack of descriptors.
pub(super) async fn accept_all<C, A: Future<Output = io::Result<C>>>(
    accept: impl Fn() -> A,
    take: impl Fn(C),
) {
    let mut pause = PAUSE.0;
    loop {
        match accept().await {
            Ok(connection) => {
                pause = PAUSE.0;
                take(connection);
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                warn!(%error, pause_ms = pause.as_millis(), "cannot accept connections");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE.1);
            }
        }
    }
}

/// A connection's client with its place, or the reply to a client without one. A listed proxy has no limits of its own.
fn admit(
    address: SocketAddr,
    listed: bool,
    opened: &Opened,
    config: &ServerConfig,
) -> Result<Peer, ServerReply> {
    let most = config.connections_per_client;
    let per_client = if listed { usize::MAX } else { most };
    let connections = config.clients.connections();
    let place = connections
        .admit(opened, address.ip().into(), config.connections, per_client)
        .ok_or(reply::TOO_MANY_CONNECTIONS)?;
    let mut peer = Peer::from(address);
    peer.place = Some((place, most));
    if !listed {
        peer.counts_as(ClientKey::address(address.ip()), &config.clients)?;
    }
    Ok(peer)
}

/// A client that has a place.
struct Client {
    stream: TcpStream,
    peer: Peer,
    opening: Opening,
    proxied: bool,
}

fn start(
    client: Client,
    config: Arc<ServerConfig>,
    intake: Arc<dyn Intake>,
    shutdown: watch::Receiver<bool>,
) -> io::Result<SessionStart> {
    let Client {
        stream,
        peer,
        opening,
        proxied,
    } = client;
    stream.set_nodelay(true)?;
    // The tokio socket belongs to this thread's reactor; the session may run on another.
    let stream = stream.into_std()?;
    Ok(Box::new(move || {
        let stream = TcpStream::from_std(stream);
        Box::pin(async move {
            match stream {
                Ok(mut stream) => {
                    let peer = match proxied {
                        true => named(&mut stream, peer, opening, &config.clients, shutdown.clone()).await,
                        false => Some(peer),
                    };
                    if let Some(peer) = peer {
                        session::serve_peer(stream, peer, opening, config, intake, shutdown).await;
                    }
                }
                Err(error) => warn!(client = %peer.address, %error, "cannot register a connection"),
            }
        })
    }))
}

/// The client that the proxy names; `None` closes the connection.
async fn named(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    mut peer: Peer,
    opening: Opening,
    clients: &Clients,
    mut shutdown: watch::Receiver<bool>,
) -> Option<Peer> {
    let header = tokio::time::timeout(PROXY_TIMEOUT, proxy::receive(stream));
    let header = tokio::select! {
        biased;
        _ = shutdown.wait_for(|stop| *stop) => return None,
        header = header => header,
    };
    let proxy = peer.address;
    match header {
        Err(_) => info!(%proxy, "closed: no PROXY header came in time"),
        // A health check that only connects ends like this.
        Ok(Err(ProxyError::Broken(error))) => debug!(%proxy, %error, "closed: no PROXY header"),
        Ok(Err(error)) => info!(%proxy, %error, "closed: no PROXY header"),
        Ok(Ok(Origin::Unnamed)) => {
            peer.unnamed = true;
            return Some(peer);
        }
        Ok(Ok(Origin::Client(client))) => {
            debug!(%proxy, %client, "connection through a proxy");
            let refusal = match peer.becomes(client.ip(), clients) {
                Ok(()) => {
                    peer.address = client;
                    return Some(peer);
                }
                Err(refusal) => refusal.text(),
            };
            info!(%client, reply = &*refusal, "refused");
            if opening == Opening::Plain {
                let text = format!("{refusal}\r\n");
                let told = async {
                    stream.write_all(text.as_bytes()).await?;
                    stream.shutdown().await
                };
                let _ = tokio::time::timeout(PROXY_TIMEOUT, told).await;
            }
        }
    }
    None
}

/// Sends 421 without waiting: the send buffer of a new connection is empty and has room for one line. Nothing is sent to a client
/// that expects a TLS handshake: it could not read the reply, and a handshake is too expensive for a client without a place.
fn turn_away(stream: TcpStream, client: SocketAddr, opening: Opening, refusal: &str) {
    info!(%client, reply = refusal, "refused");
    if opening == Opening::ImplicitTls {
        return;
    }
    let told = stream.into_std().and_then(|mut stream| {
        stream.write_all(format!("{refusal}\r\n").as_bytes())?;
        stream.shutdown(Shutdown::Write)
    });
    if let Err(error) = told {
        debug!(%client, %error, "connection lost while it was refused");
    }
}

/// Errors of a connection that failed before it was accepted, as opposed to those of the system (EMFILE, ENFILE, ENOMEM).
fn is_of_one_connection(error: &io::Error) -> bool {
    [
        io::ErrorKind::ConnectionAborted,
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::Interrupted,
    ]
    .contains(&error.kind())
}

#[cfg(test)]
#[path = "listener_tests.rs"]
mod tests;
