//! The listeners of SMTP: network sockets, with or without TLS before the greeting, and Unix sockets.

use crate::config::{Config, SmtpAddress, v6_only};
use crate::failure::Failure;
use crate::relay::Relay;
use crate::shutdown::run_part;
use crate::sockets;
use anyhow::Context;
use spool_actors::{OpenSpool, Part};
use spool_smtp::server::{Listener, Opening, ServerConfig, SessionStart};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Bound listeners that do not accept yet.
#[derive(Default)]
pub(crate) struct Listeners {
    /// The addresses for SMTP and for implicit TLS, as they are bound.
    pub(crate) smtp: Vec<String>,
    pub(crate) smtps: Vec<String>,
    all: Vec<Listener>,
}

impl Listeners {
    /// Binds all listeners of `config`; `passed` are the sockets of the service manager for SMTP and for implicit TLS.
    pub(crate) async fn bind(
        config: &Config,
        passed: (Vec<TcpListener>, Vec<TcpListener>),
    ) -> Result<Self, Failure> {
        let mut bound = Self::default();
        bound.smtp = bound.bind_network(config, &config.smtp, Opening::Plain, passed.0)?;
        bound.smtps = bound.bind_network(config, &config.smtps, Opening::ImplicitTls, passed.1)?;
        for path in &config.unix {
            let listener = Listener::local(path).await;
            let listener = listener.with_context(|| format!("cannot listen on {}", path.display()))?;
            bound.all.push(listener);
            bound.smtp.push(SmtpAddress::Unix(path.clone()).to_string());
        }
        Ok(bound)
    }

    /// Binds the listeners of one list of addresses; returns the addresses as they are bound.
    fn bind_network(
        &mut self,
        config: &Config,
        addresses: &[SocketAddr],
        opening: Opening,
        passed: Vec<TcpListener>,
    ) -> Result<Vec<String>, Failure> {
        let (mut passed, mut all) = (passed.into_iter(), Vec::new());
        for address in addresses {
            let cannot = || format!("cannot listen on {address}");
            let socket = match passed.next() {
                Some(passed) => passed,
                None => sockets::listen(*address, v6_only(config, *address)).with_context(cannot)?,
            };
            all.push(socket.local_addr().with_context(cannot)?.to_string());
            let mut listener = Listener::from_std(socket).with_context(cannot)?;
            listener.opening = opening;
            listener.proxied = config.proxy_protocol.contains(address);
            self.all.push(listener);
        }
        Ok(all)
    }

    /// Accepts connections until the service is stopped. Sessions run on the worker threads of the spool.
    pub(crate) fn accept(
        self,
        server: &watch::Receiver<Arc<ServerConfig>>,
        relay: &Relay,
        spool: &OpenSpool,
        stopped: &watch::Receiver<bool>,
    ) -> Vec<JoinHandle<()>> {
        let run = |listener: Listener| {
            let workers = spool.workers.clone();
            let place = move |session: SessionStart| {
                if !workers.place(session) {
                    tracing::error!("the worker threads have ended; a connection is dropped");
                }
            };
            let running = listener.run(server.clone(), Arc::new(relay.clone()), place, stopped.clone());
            run_part(spool, Part::Ingress, stopped, running)
        };
        self.all.into_iter().map(run).collect()
    }
}
