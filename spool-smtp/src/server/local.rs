//! Mail from local programs: over a Unix socket, or as a file.
//!
//! The kernel identifies the client (SO_PEERCRED, or the owner of the file). A local program may send anywhere, as with any
//! `sendmail`. The socket file has mode 0666; the permissions of its directory decide who may submit. A socket on which another
//! process listens is never replaced.

use super::clients::ClientKey;
use super::config::{CurrentConfig, ServerConfig};
use super::connections::{Holder, Opened};
use super::listener::{SessionStart, accept_all};
use super::peer::Peer;
use super::reply::{self, ServerReply};
use super::session::{self, Opening};
use super::trace::{count_received, write_left};
use spool_core::Intake;
use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tracing::{debug, info, warn};

/// The mode of the socket: everyone who may enter the directory can connect.
const MODE: u32 = 0o666;

/// A Unix socket that listens for SMTP clients. Its file is removed with the listener.
#[derive(Debug)]
pub struct LocalListener {
    socket: UnixListener,
    _file: SocketFile,
}

/// The file of a socket that this process made.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    /// Device and inode, because another process may have replaced the file since.
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let found = fs::symlink_metadata(&self.path);
        if found.is_ok_and(|found| (found.dev(), found.ino()) == self.identity) {
            // If it remains, the next start replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl LocalListener {
    /// Listens on the socket file `path`. A file on which no process listens is replaced. Call it within a tokio runtime.
    ///
    /// # Errors
    /// [`ErrorKind::AddrInUse`] when a process listens there; [`ErrorKind::AlreadyExists`] when the file is not a socket;
    /// and errors of the system.
    pub async fn bind(path: &Path) -> io::Result<Self> {
        remove_stale(path).await?;
        let socket = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(MODE))?;
        let found = fs::symlink_metadata(path)?;
        let file = SocketFile {
            path: path.to_owned(),
            identity: (found.dev(), found.ino()),
        };
        Ok(Self { socket, _file: file })
    }

    /// As [`Listener::run`](super::Listener::run). The limits of a client hold for each user.
    pub async fn run(
        self,
        config: impl Into<CurrentConfig>,
        intake: Arc<dyn Intake>,
        place: impl Fn(SessionStart),
        mut shutdown: watch::Receiver<bool>,
    ) {
        let current = config.into();
        let opened = Opened::new();
        let for_sessions = shutdown.clone();
        let take = |(stream, _)| match start(stream, &opened, &current.now(), &intake, &for_sessions) {
            Ok(Some(session)) => place(session),
            Ok(None) => {}
            Err(error) => debug!(%error, "local connection lost at its start"),
        };
        let accept = accept_all(|| self.socket.accept(), take);
        tokio::select! {
            biased;
            _ = shutdown.wait_for(|stop| *stop) => {}
            () = accept => {}
        }
        drop(self);
        opened.drained().await;
    }
}

/// The session of a connection; `None`: it was refused.
fn start(
    stream: UnixStream,
    opened: &Opened,
    config: &Arc<ServerConfig>,
    intake: &Arc<dyn Intake>,
    shutdown: &watch::Receiver<bool>,
) -> io::Result<Option<SessionStart>> {
    let user = stream.peer_cred()?.uid();
    let peer = match admit(user, opened, config) {
        Ok(peer) => peer,
        Err(refusal) => {
            turn_away(stream, user, refusal);
            return Ok(None);
        }
    };
    // The tokio socket belongs to this thread's reactor; the session may run on another.
    let stream = stream.into_std()?;
    let (config, intake, shutdown) = (Arc::clone(config), Arc::clone(intake), shutdown.clone());
    Ok(Some(Box::new(move || {
        let stream = UnixStream::from_std(stream);
        Box::pin(async move {
            match stream {
                Ok(stream) => {
                    session::serve_peer(stream, peer, Opening::Plain, config, intake, shutdown).await;
                }
                Err(error) => warn!(client = %peer, %error, "cannot register a connection"),
            }
        })
    })))
}

/// The user's connection with its place, or the reply to a user without one.
fn admit(user: u32, opened: &Opened, config: &ServerConfig) -> Result<Peer, ServerReply> {
    let (total, each) = (config.connections, config.connections_per_client);
    let connections = config.clients.connections();
    let place = connections
        .admit(opened, Holder::Local(user), total, each)
        .ok_or(reply::TOO_MANY_CONNECTIONS)?;
    let mut peer = Peer::from(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    peer.user = Some(user);
    peer.place = Some((place, each));
    peer.counts_as(ClientKey::Local(user), &config.clients)?;
    Ok(peer)
}

/// Sends 421 without waiting: the buffer of a new connection is empty and has room for one line.
fn turn_away(stream: UnixStream, user: u32, refusal: ServerReply) {
    let refusal = refusal.text();
    info!(client = format!("uid {user}"), reply = &*refusal, "refused");
    let told = stream.into_std().and_then(|mut stream| {
        stream.write_all(format!("{refusal}\r\n").as_bytes())?;
        stream.shutdown(Shutdown::Write)
    });
    if let Err(error) = told {
        debug!(uid = user, %error, "connection lost while it was refused");
    }
}

/// Removes the socket file of a process that has ended.
async fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(
                ErrorKind::AlreadyExists,
                "something else than a socket is there",
            ));
        }
        Ok(_) => {}
    }
    let connected = tokio::time::timeout(Duration::from_secs(1), UnixStream::connect(path)).await;
    match connected {
        // No process has it open.
        Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        },
        Ok(Err(error)) if error.kind() == ErrorKind::NotFound => Ok(()),
        // Also when its queue is full, or the connection is not permitted.
        Ok(_) | Err(_) => Err(ErrorKind::AddrInUse.into()),
    }
}

/// A message that `user` left in a file, with its trace header in front. `id` and `date` are part of the
/// header; the same file gives the same bytes each time.
///
/// # Errors
/// The reply for a mail loop, when the message has more than `received_headers`.
pub fn left_by(
    user: u32,
    message: &[u8],
    hostname: &str,
    id: &str,
    date: &str,
    received_headers: usize,
) -> Result<Vec<u8>, &'static str> {
    if count_received(message) > received_headers {
        let ServerReply { line, .. } = reply::MAIL_LOOP;
        return Err(line);
    }
    let mut body = Vec::with_capacity(message.len() + 256);
    write_left(&mut body, hostname, user, id, date);
    // It would continue the trace header.
    if message.starts_with(b" ") || message.starts_with(b"\t") {
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(message);
    Ok(body)
}

#[cfg(test)]
#[path = "local_tests.rs"]
mod tests;
