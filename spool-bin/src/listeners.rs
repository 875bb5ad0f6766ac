//! The listeners of SMTP: network sockets, with or without TLS before the greeting, and Unix sockets.

use crate::config::{Config, v6_only};
use crate::failure::Failure;
use crate::relay::Relay;
use crate::shutdown::run_part;
use crate::sockets;
use anyhow::Context;
use spool_actors::{OpenSpool, Part};
use spool_core::BoxFuture;
use spool_smtp::server::{CurrentConfig, Listener, LocalListener, Opening};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Bound listeners that do not accept yet.
#[derive(Default)]
pub(crate) struct Listeners {
    /// The addresses of the network sockets for SMTP and for implicit TLS, as they are bound.
    pub(crate) smtp: Vec<SocketAddr>,
    pub(crate) smtps: Vec<SocketAddr>,
    network: Vec<Listener>,
    local: Vec<LocalListener>,
}

impl Listeners {
    /// Binds all listeners of `config`; `passed` are the sockets of the service manager for SMTP and for implicit TLS.
    pub(crate) async fn bind(
        config: &Config,
        passed: (Vec<TcpListener>, Vec<TcpListener>),
    ) -> Result<Self, Failure> {
        let mut all = Self::default();
        all.smtp = all.bind_network(config, &config.smtp, Opening::Plain, passed.0)?;
        all.smtps = all.bind_network(config, &config.smtps, Opening::ImplicitTls, passed.1)?;
        for path in &config.unix {
            let listener = LocalListener::bind(path).await;
            let listener = listener.with_context(|| format!("cannot listen on {}", path.display()))?;
            all.local.push(listener);
        }
        Ok(all)
    }

    /// Binds the listeners of one list of addresses; returns the addresses as they are bound.
    fn bind_network(
        &mut self,
        config: &Config,
        addresses: &[SocketAddr],
        opening: Opening,
        passed: Vec<TcpListener>,
    ) -> Result<Vec<SocketAddr>, Failure> {
        let (mut passed, mut all) = (passed.into_iter(), Vec::new());
        for address in addresses {
            let cannot = || format!("cannot listen on {address}");
            let listener = match passed.next() {
                Some(passed) => Ok(passed),
                None => sockets::listen(*address, v6_only(config, *address)),
            };
            let listener = listener.and_then(Listener::from_std).with_context(cannot)?;
            all.push(listener.local_addr().with_context(cannot)?);
            let proxied = config.proxy_protocol.contains(address);
            self.network.push(listener.opening(opening).proxied(proxied));
        }
        Ok(all)
    }
}

/// A session, to be run on a worker thread.
type SessionTask = Box<dyn FnOnce() -> BoxFuture<()> + Send>;

impl Listeners {
    /// Accepts connections until the service is stopped. Sessions run on the worker threads of the spool.
    pub(crate) fn accept(
        self,
        server: &CurrentConfig,
        relay: &Relay,
        spool: &OpenSpool,
        stopped: &watch::Receiver<bool>,
    ) -> Vec<JoinHandle<()>> {
        let place = || {
            let workers = spool.workers.clone();
            move |session: SessionTask| {
                if !workers.place(session) {
                    tracing::error!("the worker threads have ended; a connection is dropped");
                }
            }
        };
        let parts = || (server.clone(), Arc::new(relay.clone()), place(), stopped.clone());
        let network = self.network.into_iter().map(|listener| {
            let (server, relay, place, stopped) = parts();
            Box::pin(listener.run(server, relay, place, stopped)) as BoxFuture<()>
        });
        let local = self.local.into_iter().map(|listener| {
            let (server, relay, place, stopped) = parts();
            Box::pin(listener.run(server, relay, place, stopped)) as BoxFuture<()>
        });
        let run = |running| run_part(spool, Part::Ingress, stopped, running);
        network.chain(local).map(run).collect()
    }
}
