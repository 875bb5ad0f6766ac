//! Socket activation: the listening sockets that a service manager passes to the process, by their names.
//!
//! They are taken at the very beginning, while there is one thread. Without them the service binds its sockets itself.

use crate::failure::Failure;
use listenfd::ListenFd;
use std::net::{SocketAddr, TcpListener};

/// What is passed, by the name in the socket's unit (`FileDescriptorName=`).
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    /// Named `smtp`: in place of `listen.smtp`.
    pub(crate) smtp: Vec<TcpListener>,
    /// Named `smtps`: in place of `listen.smtps`.
    pub(crate) smtps: Vec<TcpListener>,
    /// Named `admin`: in place of `listen.admin`.
    pub(crate) admin: Option<TcpListener>,
}

impl Sockets {
    /// Those of this process.
    ///
    /// # Errors
    /// A socket without a known name, or one that is no TCP listener.
    pub(crate) fn inherit() -> Result<Self, Failure> {
        let refuse = |why: String| Failure::Usage(format!("a socket of the service manager: {why}"));
        let named = sd_notify::listen_fds_with_names().map_err(|error| refuse(error.to_string()))?;
        let names: Vec<String> = named.map(|(_, name)| name).collect();
        if names.is_empty() {
            return Ok(Self::default());
        }
        let (mut all, mut passed) = (Self::default(), ListenFd::from_env());
        for (place, name) in names.into_iter().enumerate() {
            let listener = passed.take_tcp_listener(place);
            let listener = listener.map_err(|error| refuse(format!("{name}: {error}")))?;
            let listener = listener.ok_or_else(|| refuse(format!("{name}: is not there")))?;
            match name.as_str() {
                "smtp" => all.smtp.push(listener),
                "smtps" => all.smtps.push(listener),
                "admin" if all.admin.is_none() => all.admin = Some(listener),
                "admin" => return Err(refuse("admin: there is more than one".to_owned())),
                other => {
                    return Err(refuse(format!(
                        "{other:?}: its name must be smtp, smtps or admin (FileDescriptorName=)"
                    )));
                }
            }
        }
        Ok(all)
    }
}

/// Where they listen.
///
/// # Errors
/// When the system does not know.
pub(crate) fn addresses(listeners: &[TcpListener]) -> Result<Vec<SocketAddr>, Failure> {
    let of = |listener: &TcpListener| {
        listener
            .local_addr()
            .map_err(|error| Failure::Failed(format!("a socket of the service manager: {error}")))
    };
    listeners.iter().map(of).collect()
}
