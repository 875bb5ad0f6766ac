//! Listening sockets. Socket activation: sockets that a service manager passes to the process are taken by their names at the start,
//! while there is one thread. Without them the service binds its sockets itself.

use crate::config::Inherited;
use crate::failure::Failure;
use anyhow::Context;
use listenfd::ListenFd;
use socket2::{Domain, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};

/// Connections that wait to be accepted; the system may allow fewer.
const BACKLOG: i32 = 1024;

/// Passed sockets, by the name in the socket's unit (`FileDescriptorName=`).
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
    /// The sockets that were passed to this process.
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

    /// Their addresses.
    ///
    /// # Errors
    /// An error of the system.
    pub(crate) fn addresses(&self) -> Result<Inherited, Failure> {
        let of = |listener: &TcpListener| listener.local_addr().context("a socket of the service manager");
        Ok(Inherited {
            smtp: self.smtp.iter().map(of).collect::<Result<_, _>>()?,
            smtps: self.smtps.iter().map(of).collect::<Result<_, _>>()?,
            admin: self.admin.as_ref().map(of).transpose()?,
        })
    }
}

/// Listens on `address`. The IPv6 wildcard accepts IPv4 as well, whatever the system's default is, unless `v6_only` is set.
///
/// # Errors
/// When the address is in use, not local, or not permitted.
pub(crate) fn listen(address: SocketAddr, v6_only: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(v6_only)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    #[expect(clippy::print_stdout, reason = "a skipped test is said")]
    fn both_wildcards_can_listen_on_one_port() {
        let Ok(both) = listen("[::]:0".parse().unwrap(), false) else {
            println!("skipped: no IPv6 here");
            return;
        };
        let port = both.local_addr().unwrap().port();
        assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());
        let v4 = SocketAddr::from(([0, 0, 0, 0], port));
        let error = listen(v4, false).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(both);
        let v6 = listen(SocketAddr::from(([0; 8], port)), true).unwrap();
        let refused = TcpStream::connect(("127.0.0.1", port)).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        let v4 = listen(v4, false).unwrap();
        for (listener, address) in [(v4, "127.0.0.1"), (v6, "::1")] {
            assert!(TcpStream::connect((address, port)).is_ok(), "{address}");
            assert!(listener.accept().is_ok());
        }
    }
}
