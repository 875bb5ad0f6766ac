//! The one place that names all crates: opens the spool, starts the ingress, the admin API and the built-in sink, and
//! ends them in order.

use crate::admin;
use crate::cli::Serve;
use crate::config::Config;
use crate::descriptors;
use crate::failure::Failure;
use crate::logging::Redaction;
use crate::manager;
use crate::outbound;
use crate::reload::Live;
use crate::routes::Routes;
use crate::shutdown::{GRACE, LAST_WORDS, Signals, Stoppable, Wanted, close};
use crate::sockets::Sockets;
use crate::way::Way;
use actix::Addr;
use anyhow::Context;
use spool_actors::{
    Add, Ending, Gate, KillAndFlush, OpenSpool, Part, SetMaxConcurrentJobs, SetRouting, Spool, SpoolActor,
};
use spool_core::log::{Accepted, Record};
use spool_core::store::StoreOptions;
use spool_core::{
    AddError, Address, BoxFuture, Budget, Envelope, Halt, InitialStatus, Intake, Mail, MessageId, NextHop,
    RandomDice, Routing, Section, SpoolConfig, Submission, SystemClock, visible,
};
use spool_smtp::client::SmtpAgent;
use spool_smtp::server::{CurrentConfig, Listener, RelayPolicy, ServerConfig};
use spool_smtp::sink::{Sink, SinkConfig};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// What `systemctl status` shows of a service that runs.
const SERVING: &str = "serving";

/// What a mail needs on its way from the door to the spool.
#[derive(Clone)]
pub(crate) struct Relay {
    pub(crate) spool: Addr<SpoolActor>,
    pub(crate) gate: Gate,
    pub(crate) routes: Routes,
    /// Set when the service was asked to end.
    pub(crate) stopping: Halt,
}

impl Relay {
    /// Into `spool`, by `routes`.
    pub(crate) fn new(spool: &OpenSpool, routes: Routes) -> Self {
        Self {
            spool: spool.addr.clone(),
            gate: spool.gate.clone(),
            routes,
            stopping: Halt::default(),
        }
    }

    /// Whether mail can be routed by a configuration: the built-in sink does not take all of it.
    pub(crate) fn has_configuration(&self) -> bool {
        matches!(self.routes.routing(), Routing::ByRules(_))
    }

    /// The sections of a mail, by the routes, or all to `next_hops` when there are any; and the routing they are from.
    pub(crate) fn sections(&self, envelope: Envelope, next_hops: &[NextHop]) -> (Vec<Section>, Routing) {
        self.routes.sections(envelope, next_hops)
    }

    /// Where mail for `address` goes, and why.
    pub(crate) fn way(&self, address: &Address) -> Way {
        self.routes.way(address)
    }

    /// Spools a submission whose sections are from `routing`; the answer comes once it is durable.
    pub(crate) async fn submit(
        &self,
        submission: Submission,
        routing: Routing,
    ) -> Result<Vec<MessageId>, AddError> {
        self.spool
            .send(Add::submission(submission).routed_by(routing))
            .await
            .unwrap_or(Err(AddError::Killed))
    }
}

impl Intake for Relay {
    fn accept(&self, mail: Mail) -> BoxFuture<Result<Vec<MessageId>, AddError>> {
        let Mail {
            envelope,
            body,
            flows,
            source,
        } = mail;
        let via = if source.client.is_some() { "smtp" } else { "local" };
        let taken = Record::wanted().then(|| Accepted::new(via, source, &envelope, body.len(), &flows));
        let (sections, routing) = self.sections(envelope, &[]);
        let submission = Submission {
            sections,
            body,
            initial: InitialStatus::SendNow,
            flows,
            parent: None,
            related: Vec::new(),
            key: None,
        };
        let request = self.spool.send(Add::submission(submission).routed_by(routing));
        Box::pin(async move {
            let answer = request.await.unwrap_or(Err(AddError::Killed));
            if let (Some(taken), Ok(ids)) = (taken, &answer) {
                taken.emit(ids);
            }
            answer
        })
    }

    fn admit(&self, size: u64) -> Result<(), AddError> {
        self.gate.admit(size)
    }
}

/// Runs the service to its end.
pub(crate) fn serve(
    config: &Config,
    built_in_sink: bool,
    options: Serve,
    redaction: Redaction,
    sockets: Sockets,
) -> Result<(), Failure> {
    descriptors::check()?;
    actix::System::new().block_on(run(config.clone(), built_in_sink, options, redaction, sockets))
}

async fn run(
    mut config: Config,
    built_in_sink: bool,
    options: Serve,
    redaction: Redaction,
    sockets: Sockets,
) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    descriptors::raise(&config);
    let (stop, stopped) = watch::channel(false);
    // The spool first: whoever cannot have it must not take a port from the one who has.
    let routes = Routes::of(&config);
    if built_in_sink {
        // Until it has started, mail for it goes nowhere.
        routes.to_built_in_sink(None);
    }
    let logins = outbound::Logins::read(&config.client)?;
    let agent = Arc::new(SmtpAgent::new(outbound::client(&config, &routes, &logins)?));
    let spool = manager::patiently(open(&config, &routes, &agent)).await?;
    let relay = Relay::new(&spool, routes);
    // One for all who bring mail, whichever way.
    let memory = Budget::new(config.limits.memory);
    let mut live = Live::new(&config, server(&config, &memory), logins, redaction);
    let started = async {
        if built_in_sink {
            relay
                .routes
                .to_built_in_sink(Some(start_sink(stopped.clone()).await?));
            relay.spool.do_send(SetRouting(relay.routes.routing()));
        }
        let (smtp, listeners) =
            listen(&config, sockets.smtp, &relay, &spool, &stopped, live.server()).await?;
        let (admin_address, admin) = start_admin(
            &config,
            sockets.admin,
            &relay,
            agent,
            &memory,
            &spool,
            stopped.clone(),
        )?;
        ready(&config, &smtp, admin_address)?;
        Ok((listeners, admin))
    };
    let (listeners, admin) = match started.await {
        Ok(started) => started,
        Err(failure) => {
            // Closed first, so that what ends with this process is no failure of its own.
            let _ = spool.addr.send(KillAndFlush { timeout: Some(GRACE) }).await;
            return Err(failure);
        }
    };

    manager::ready(SERVING);
    let mut alive = std::pin::pin!(manager::watch(spool.addr.clone()));
    let mut ended = std::pin::pin!(spool.ended());
    let failed = loop {
        tokio::select! {
            wanted = signals.next() => match wanted {
                Wanted::Reload => {
                    manager::reloading();
                    live.reload(&options, &relay, &mut config);
                    manager::ready(SERVING);
                }
                Wanted::End => break false,
            },
            _ = &mut ended => break true,
            () = &mut alive => {}
        }
    };
    manager::stopping(config.shutdown_timeout);
    let deadline = Instant::now() + config.shutdown_timeout;
    let end = async {
        if failed {
            // Nothing is sent any more; what runs is waited for below.
            tokio::time::sleep(LAST_WORDS.min(config.shutdown_timeout / 2)).await;
        } else {
            tracing::info!("shutting down");
            // Nothing new is sent; what clients are about to hand over is still taken.
            spool.addr.do_send(SetMaxConcurrentJobs(0));
        }
        relay.stopping.set();
        let _ = stop.send(true);
        close(&spool, listeners, admin, deadline, failed).await;
    };
    tokio::select! {
        () = end => {}
        () = signals.at_once(failed) => tracing::warn!("ended at once"),
    }
    match relay.gate.ending() {
        None | Some(Ending::Killed) => Ok(()),
        Some(ending) => Err(Failure::Failed(format!("the service has ended: {ending}"))),
    }
}

async fn open(config: &Config, routes: &Routes, agent: &Arc<SmtpAgent>) -> Result<OpenSpool, Failure> {
    let mut store = StoreOptions::default();
    store.segment_size = config.disk.segment_size;
    store.min_free_space = config.disk.min_free_space;
    store.max_messages = config.disk.max_messages;
    store.key_window = config.idempotency.window;
    store.max_keys = config.idempotency.keys;
    let mut spool = SpoolConfig::new(&config.spool_dir);
    spool.store = store;
    spool.max_concurrent_jobs = config.max_concurrent_jobs;
    spool.max_jobs_per_destination = config.client.connections_per_destination;
    spool.policies = routes.policies();
    spool.routing = routes.routing();
    spool.memory_limit = config.disk.memory_limit;
    spool.max_recipients = config.limits.recipients;
    spool.scrub_rate = config.disk.scrub_rate;
    spool.threads = config.threads;
    let agent = Arc::clone(agent);
    Ok(Spool::start(spool, agent, Arc::new(SystemClock), Arc::new(RandomDice)).await?)
}

fn server(config: &Config, memory: &Budget) -> ServerConfig {
    let limits = &config.limits;
    ServerConfig {
        hostname: config.hostname.clone(),
        connections: limits.connections,
        connections_per_client: limits.connections_per_client,
        message_size: limits.message_size,
        recipients: limits.recipients,
        line_length: limits.line_length,
        errors_per_session: limits.errors_per_session,
        command_timeout: limits.command_timeout,
        data_timeout: limits.data_timeout,
        bare_newline: limits.bare_newline,
        received_headers: limits.received_headers,
        memory: memory.clone(),
        relay: RelayPolicy {
            allow_networks: config.allow_networks.clone(),
            allow_domains: config.allow_domains.clone(),
        },
        clock: Arc::new(SystemClock),
    }
}

/// The built-in sink, on a port of its own.
async fn start_sink(stopped: watch::Receiver<bool>) -> Result<NextHop, Failure> {
    let sink = Sink::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), SinkConfig::default()).await;
    let sink = sink.context("the built-in sink")?;
    let address = sink.local_addr().context("the built-in sink")?;
    tracing::warn!(%address, "no next hop was given: all mail goes to the built-in sink, which forgets it");
    actix::spawn(sink.run(stopped));
    Ok(address.into())
}

/// Listens everywhere, then accepts. Sessions run on the spool's worker threads.
async fn listen(
    config: &Config,
    passed: Vec<TcpListener>,
    relay: &Relay,
    spool: &OpenSpool,
    stopped: &watch::Receiver<bool>,
    server: CurrentConfig,
) -> Result<(Vec<SocketAddr>, Vec<JoinHandle<()>>), Failure> {
    let mut listeners = Vec::new();
    let mut passed = passed.into_iter();
    for address in &config.smtp {
        let listener = match passed.next() {
            Some(passed) => Listener::from_std(passed),
            None => Listener::bind(*address).await,
        };
        let listener = listener.with_context(|| format!("cannot listen on {address}"))?;
        let bound = listener
            .local_addr()
            .with_context(|| format!("cannot listen on {address}"))?;
        listeners.push((listener, bound));
    }
    let addresses = listeners.iter().map(|(_, address)| *address).collect();
    let run = |listener: Listener| {
        let workers = spool.workers.clone();
        let place = move |session: Box<dyn FnOnce() -> BoxFuture<()> + Send>| {
            if !workers.place(session) {
                tracing::error!("the worker threads have ended; a connection is dropped");
            }
        };
        let (server, relay, stopped) = (server.clone(), Arc::new(relay.clone()), stopped.clone());
        let part = Stoppable::new(spool.sentinel(Part::Ingress), stopped.clone());
        actix::spawn(async move {
            listener.run(server, relay, place, stopped).await;
            drop(part);
        })
    };
    let running = listeners.into_iter().map(|(listener, _)| run(listener)).collect();
    Ok((addresses, running))
}

fn start_admin(
    config: &Config,
    passed: Option<TcpListener>,
    relay: &Relay,
    agent: Arc<SmtpAgent>,
    memory: &Budget,
    spool: &OpenSpool,
    stopped: watch::Receiver<bool>,
) -> Result<(Option<SocketAddr>, Option<actix_web::dev::ServerHandle>), Failure> {
    let Some(address) = config.admin else {
        return Ok((None, None));
    };
    let listener = match passed {
        Some(passed) => Ok(passed),
        None => TcpListener::bind(address),
    };
    let listener = listener.with_context(|| format!("the admin API cannot listen on {address}"))?;
    let bound = listener.local_addr().context("the admin API")?;
    let state = admin::State::new(
        relay.clone(),
        agent,
        admin::Limits {
            message_size: config.limits.message_size,
            recipients: config.limits.recipients,
        },
        memory.clone(),
        config.spool_dir.clone(),
    );
    let token = config.token_file.as_deref().map(admin::Token::read).transpose();
    let token = token.map_err(|why| Failure::Usage(format!("admin.token_file: {why}")))?;
    let server = admin::serve(listener, state, token, &config.hostname).context("the admin API")?;
    let handle = server.handle();
    let part = Stoppable::new(spool.sentinel(Part::Admin), stopped);
    actix::spawn(async move {
        if let Err(error) = server.await {
            tracing::error!(%error, "the admin API ended");
        }
        drop(part);
    });
    Ok((Some(bound), Some(handle)))
}

/// The one line on standard output.
fn ready(config: &Config, smtp: &[SocketAddr], admin: Option<SocketAddr>) -> Result<(), Failure> {
    let smtp: Vec<String> = smtp.iter().map(ToString::to_string).collect();
    let admin = admin.map_or(String::new(), |address| address.to_string());
    let line = format!(
        "ready smtp={} admin={admin} spool={}\n",
        smtp.join(","),
        visible(&config.spool_dir.display().to_string())
    );
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes())
        .and_then(|()| out.flush())
        .context("standard output")?;
    Ok(())
}
