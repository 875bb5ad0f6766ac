//! Accepts connections and reserves a place for each. Above the limits a client gets 421 and is closed. When the system has no
//! descriptors left, the loop pauses instead of spinning.

use super::clients::ClientKey;
use super::config::ServerConfig;
use super::connections::Opened;
use super::local::LocalSocket;
use super::peer::Peer;
use super::proxy::{self, Origin, ProxyError};
use super::reply::{self, ServerReply};
use super::session::{self, Opening};
use socket2::{SockRef, Socket};
use spool_core::{BoxFuture, Intake};
use std::io::{self, Write as _};
use std::net::{Shutdown, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
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
    socket: ListenerSocket,
    /// How its sessions begin.
    pub opening: Opening,
    /// Each connection comes from one of [`ServerConfig::proxies`] and begins with a PROXY header; others are closed.
    pub proxied: bool,
}

#[derive(Debug)]
enum ListenerSocket {
    Network(TcpListener),
    Local(LocalSocket),
}

/// A connection that was accepted.
enum Incoming {
    Network(TcpStream, SocketAddr),
    Local(UnixStream),
}

impl Incoming {
    fn peer(&self) -> io::Result<Peer> {
        Ok(match self {
            Self::Network(_, address) => Peer::from(*address),
            Self::Local(stream) => Peer::local(stream.peer_cred()?.uid()),
        })
    }
}

impl ListenerSocket {
    async fn accept(&self) -> io::Result<Incoming> {
        Ok(match self {
            Self::Network(socket) => {
                let (stream, address) = socket.accept().await?;
                Incoming::Network(stream, address)
            }
            Self::Local(socket) => Incoming::Local(socket.accept().await?),
        })
    }
}

impl Listener {
    /// Uses a network socket that already listens. Call it within a tokio runtime.
    ///
    /// # Errors
    /// When the system cannot wait for it.
    pub fn from_std(socket: std::net::TcpListener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self::new(ListenerSocket::Network(TcpListener::from_std(socket)?)))
    }

    /// Listens on the socket file `path` for programs of this machine. A file on which no process listens is replaced, and removed with
    /// the listener. The limits of a client hold for each user. Call it within a tokio runtime.
    ///
    /// # Errors
    /// [`AddrInUse`](io::ErrorKind::AddrInUse) when a process listens there; [`AlreadyExists`](io::ErrorKind::AlreadyExists) when the
    /// file is not a socket; and errors of the system.
    pub async fn local(path: &Path) -> io::Result<Self> {
        Ok(Self::new(ListenerSocket::Local(LocalSocket::bind(path).await?)))
    }

    const fn new(socket: ListenerSocket) -> Self {
        Self {
            socket,
            opening: Opening::Plain,
            proxied: false,
        }
    }

    /// Accepts connections and gives each session to `place`, until `shutdown` becomes true or its sender is gone. Then it stops
    /// listening; the sessions observe the same `shutdown` and end after their current transaction. It returns when the last one has
    /// ended. A connection keeps the configuration that is the newest when it is accepted.
    pub async fn run(
        self,
        config: watch::Receiver<Arc<ServerConfig>>,
        intake: Arc<dyn Intake>,
        place: impl Fn(SessionStart),
        mut shutdown: watch::Receiver<bool>,
    ) {
        let opened = Opened::default();
        let for_sessions = shutdown.clone();
        let take = |incoming: Incoming| {
            let client = incoming.peer().map(|peer| Client {
                peer,
                opening: self.opening,
                proxied: self.proxied,
                config: Arc::clone(&config.borrow()),
                intake: Arc::clone(&intake),
                shutdown: for_sessions.clone(),
            });
            match client.and_then(|client| client.begin(incoming, &opened)) {
                Ok(Some(session)) => place(session),
                Ok(None) => {}
                Err(error) => debug!(%error, "connection lost at its start"),
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
async fn accept_all<C, A: Future<Output = io::Result<C>>>(accept: impl Fn() -> A, take: impl Fn(C)) {
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

/// A client that has connected, and all that its session needs beside the connection.
struct Client {
    peer: Peer,
    opening: Opening,
    proxied: bool,
    config: Arc<ServerConfig>,
    intake: Arc<dyn Intake>,
    shutdown: watch::Receiver<bool>,
}

impl Client {
    /// The session; `None`: there is no place for it.
    fn begin(mut self, incoming: Incoming, opened: &Opened) -> io::Result<Option<SessionStart>> {
        let ip = self.peer.address.ip();
        let proxies = &self.config.proxies;
        let listed = self.peer.user.is_none() && proxies.iter().any(|proxy| proxy.contains(ip));
        if self.proxied && !listed {
            info!(client = %self.peer, "closed: no listed proxy");
            return Ok(None);
        }
        if let Err(refusal) = self.admit(listed, opened) {
            let refusal = refusal.text();
            info!(client = %self.peer, reply = &*refusal, "refused");
            let told = match &incoming {
                // The client could not read the reply, and a handshake is too expensive for a client without a place.
                _ if self.opening == Opening::ImplicitTls => Ok(()),
                Incoming::Network(stream, _) => turn_away(&SockRef::from(stream), &refusal),
                Incoming::Local(stream) => turn_away(&SockRef::from(stream), &refusal),
            };
            return told.map(|()| None);
        }
        Ok(Some(match incoming {
            Incoming::Network(stream, _) => {
                stream.set_nodelay(true)?;
                let stream = stream.into_std()?;
                self.start(|| TcpStream::from_std(stream))
            }
            Incoming::Local(stream) => {
                let stream = stream.into_std()?;
                self.start(|| UnixStream::from_std(stream))
            }
        }))
    }

    /// Gives the client its place, or returns the reply to a client without one. A listed proxy has no limits of its own.
    fn admit(&mut self, listed: bool, opened: &Opened) -> Result<(), ServerReply> {
        let (open, most) = (&self.config.clients.connections, self.config.connections);
        let place = opened.admit(open, most).ok_or(reply::TOO_MANY_CONNECTIONS)?;
        self.peer.place = Some(place);
        match (self.peer.user, listed) {
            (Some(user), _) => self.peer.counts_as(ClientKey::Local(user), &self.config),
            (None, false) => {
                let client = ClientKey::address(self.peer.address.ip());
                self.peer.counts_as(client, &self.config)
            }
            (None, true) => Ok(()),
        }
    }

    /// The start of the session. A tokio socket belongs to the reactor of its thread, and the session may run on another than this one,
    /// so it is registered there.
    fn start<S>(self, register: impl FnOnce() -> io::Result<S> + Send + 'static) -> SessionStart
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        Box::new(move || {
            let stream = register();
            Box::pin(async move {
                match stream {
                    Ok(stream) => self.serve(stream).await,
                    Err(error) => warn!(client = %self.peer, %error, "cannot register a connection"),
                }
            })
        })
    }

    async fn serve(self, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        let (opening, config, shutdown) = (self.opening, self.config, self.shutdown);
        let peer = match self.proxied {
            true => named(&mut stream, self.peer, opening, &config, shutdown.clone()).await,
            false => Some(self.peer),
        };
        if let Some(peer) = peer {
            session::serve(stream, peer, opening, config, self.intake, shutdown).await;
        }
    }
}

/// The client that the proxy names; `None` closes the connection.
async fn named(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    mut peer: Peer,
    opening: Opening,
    config: &ServerConfig,
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
            let refusal = match peer.counts_as(ClientKey::address(client.ip()), config) {
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

/// Sends 421 without waiting: the send buffer of a new connection is empty and has room for one line.
fn turn_away(mut socket: &Socket, refusal: &str) -> io::Result<()> {
    socket.write_all(format!("{refusal}\r\n").as_bytes())?;
    socket.shutdown(Shutdown::Write)
}

/// Errors of a connection that failed before it was accepted, as opposed to those of the system (EMFILE, ENFILE, ENOMEM).
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

#[cfg(test)]
#[path = "listener_tests.rs"]
mod tests;
