//! Mail from local programs: over a Unix socket, or as a file.
//!
//! The kernel identifies the client (SO_PEERCRED, or the owner of the file). A local program may send anywhere, as with any
//! `sendmail`. The socket file has mode 0666; the permissions of its directory decide who may submit. A socket on which another
//! process listens is never replaced.

use super::reply;
use super::trace::{count_received, write_left};
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};

/// The mode of the socket: everyone who may enter the directory can connect.
const MODE: u32 = 0o666;

/// A Unix socket that listens. Its file is removed with it.
#[derive(Debug)]
pub(super) struct LocalSocket {
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

impl LocalSocket {
    /// Listens on the socket file `path`. A file on which no process listens is replaced.
    pub(super) async fn bind(path: &Path) -> io::Result<Self> {
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

    pub(super) async fn accept(&self) -> io::Result<UnixStream> {
        Ok(self.socket.accept().await?.0)
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
        return Err(reply::MAIL_LOOP.line);
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
