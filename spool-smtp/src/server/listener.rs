//! Accepts connections and finds each a place. Above the limits a client hears 421 and is let go; never silence, and
//! never a loop that spins when the system is out of descriptors.

use super::config::{CurrentConfig, ServerConfig};
use super::connections::{Connections, Place};
use super::{reply, session};
use spool_core::{BoxFuture, Intake};
use std::io::{self, Write as _};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tracing::{debug, info, warn};

/// The first and the longest pause after the system refused to accept a connection.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));

/// A session about to start. Call it on the thread whose tokio runtime shall serve the session, and spawn what it
/// gives there: the socket is registered with the runtime that the call is made in.
pub type SessionStart = Box<dyn FnOnce() -> BoxFuture<()> + Send>;

/// A socket that listens for SMTP clients.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
}

impl Listener {
    /// Listens on `address`; port 0 is chosen by the system. Call it within a tokio runtime.
    ///
    /// # Errors
    /// When the address is in use, not ours, or not allowed.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpListener::bind(address).await?;
        Ok(Self { socket })
    }

    /// A socket that listens already. Call it within a tokio runtime.
    ///
    /// # Errors
    /// When the system cannot wait for it.
    pub fn from_std(socket: std::net::TcpListener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let socket = TcpListener::from_std(socket)?;
        Ok(Self { socket })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not know.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Accepts connections and gives each session to `place`, until `shutdown` becomes true or its sender is gone.
    /// Then it stops listening; the sessions see the same `shutdown` and end by themselves, each after the transaction it is
    /// in. It returns when the last one has ended.
    pub async fn run(
        self,
        config: impl Into<CurrentConfig>,
        intake: Arc<dyn Intake>,
        place: impl Fn(SessionStart),
        mut shutdown: watch::Receiver<bool>,
    ) {
        let current = config.into();
        let connections = Arc::new(Connections::default());
        let for_sessions = shutdown.clone();
        let accept = async {
            let mut pause = PAUSE.0;
            loop {
                match self.socket.accept().await {
                    Ok((stream, client)) => {
                        pause = PAUSE.0;
                        let config = current.now();
                        let limits = (config.connections, config.connections_per_client);
                        match connections.admit(client.ip(), limits.0, limits.1) {
                            Some(held) => {
                                let intake = Arc::clone(&intake);
                                match start(stream, client, held, config, intake, for_sessions.clone()) {
                                    Ok(session) => place(session),
                                    Err(error) => debug!(%client, %error, "connection lost at its start"),
                                }
                            }
                            None => turn_away(stream, client),
                        }
                    }
                    Err(error) if is_of_one_connection(&error) => {}
                    Err(error) => {
                        warn!(%error, pause_ms = pause.as_millis(), "cannot accept connections");
                        tokio::time::sleep(pause).await;
                        pause = (pause * 2).min(PAUSE.1);
                    }
                }
            }
        };
        tokio::select! {
            biased;
            _ = shutdown.wait_for(|stop| *stop) => {}
            () = accept => {}
        }
        drop(self.socket);
        connections.drained().await;
    }
}

fn start(
    stream: TcpStream,
    client: SocketAddr,
    held: Place,
    config: Arc<ServerConfig>,
    intake: Arc<dyn Intake>,
    shutdown: watch::Receiver<bool>,
) -> io::Result<SessionStart> {
    stream.set_nodelay(true)?;
    // The tokio socket belongs to this thread's reactor; the session may run on another.
    let stream = stream.into_std()?;
    Ok(Box::new(move || {
        let stream = TcpStream::from_std(stream);
        Box::pin(async move {
            match stream {
                Ok(stream) => session::serve(stream, client, config, intake, shutdown).await,
                Err(error) => warn!(%client, %error, "cannot register a connection"),
            }
            drop(held);
        })
    }))
}

/// Says 421 without waiting: the send buffer of a new connection is empty and takes one line.
fn turn_away(stream: TcpStream, client: SocketAddr) {
    let refusal = reply::TOO_MANY_CONNECTIONS.line;
    info!(%client, reply = refusal, "refused");
    let told = stream.into_std().and_then(|mut stream| {
        stream.write_all(format!("{refusal}\r\n").as_bytes())?;
        stream.shutdown(Shutdown::Write)
    });
    if let Err(error) = told {
        debug!(%client, %error, "connection lost while it was refused");
    }
}

/// Errors of a connection that broke before it was accepted, as against those of the system (EMFILE, ENFILE, ENOMEM).
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
