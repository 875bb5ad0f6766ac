//! Runs the service: starts the built-in sink, opens the spool, starts the listeners and the admin API, and ends them in order.
//! The only file that names all crates.

use crate::admin;
use crate::certificates::Watched;
use crate::config::{CertificateFiles, Config, Effective, v6_only};
use crate::contents::Contents;
use crate::descriptors;
use crate::dropbox::DropBox;
use crate::failure::Failure;
use crate::listeners::Listeners;
use crate::logging::Redaction;
use crate::manager;
use crate::memory;
use crate::outbound;
use crate::relay::Relay;
use crate::reload::{Live, Reread};
use crate::routes::Routes;
use crate::shutdown::{FAILED_SERVICE, GRACE, Signals, Wanted, close, run_part};
use crate::signing;
use crate::sockets::{self, Sockets};
use crate::submissions::Submissions;
use crate::users;
use anyhow::Context;
use spool_actors::{Ending, KillAndFlush, OpenSpool, Part, SetMaxConcurrentJobs, Spool};
use spool_core::{NextHop, RandomDice, SystemClock, visible};
use spool_smtp::client::SmtpAgent;
use spool_smtp::server::ServerConfig;
use spool_smtp::sink::{Sink, SinkConfig};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// The status of a running service in `systemctl status`.
const SERVING: &str = "serving";

/// Runs the service to its end.
pub(crate) fn serve(
    config: Config,
    built_in_sink: bool,
    reread: &Reread,
    redaction: Redaction,
    sockets: Sockets,
) -> Result<(), Failure> {
    descriptors::check().map_err(Failure::Failed)?;
    actix::System::new().block_on(run(config, built_in_sink, reread, redaction, sockets))
}

/// The parts of a service that exist before anything listens.
struct RelayService {
    spool: OpenSpool,
    relay: Relay,
    agent: Arc<SmtpAgent>,
    certificate: Option<Watched>,
    stopped: watch::Receiver<bool>,
}

/// The tasks that must end before the spool is closed, and the admin API.
type Started = (Vec<JoinHandle<()>>, Option<actix_web::dev::ServerHandle>);

async fn run(
    mut config: Config,
    built_in_sink: bool,
    reread: &Reread,
    redaction: Redaction,
    sockets: Sockets,
) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let clients = config.server.connections + admin::MAX_CONNECTIONS;
    descriptors::raise(clients + config.client.smtp.connections);
    let (stop, stopped) = watch::channel(false);
    let (mut service, mut live) = open(&config, built_in_sink, redaction, stopped).await?;
    let (listeners, admin) = match service.start(&config, sockets, &live).await {
        Ok(started) => started,
        Err(failure) => {
            // Closed first, so that its end with this process does not count as a failure.
            let _ = service
                .spool
                .addr
                .send(KillAndFlush { timeout: Some(GRACE) })
                .await;
            return Err(failure);
        }
    };
    let RelayService { spool, relay, .. } = service;
    manager::ready(SERVING);
    let mut alive = std::pin::pin!(manager::watch(spool.addr.clone()));
    let mut ended = std::pin::pin!(spool.ended());
    let failed = loop {
        tokio::select! {
            wanted = signals.next() => match wanted {
                Wanted::Reload => {
                    manager::reloading();
                    live.reload(reread, &relay, &mut config);
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
            // Nothing is sent any more; running sessions are waited for below.
            tokio::time::sleep(FAILED_SERVICE.min(config.shutdown_timeout / 2)).await;
        } else {
            tracing::info!("shutting down");
            // No delivery begins; mail that clients are sending is still accepted.
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
    relay.submissions.log_counts();
    match relay.gate.ending() {
        None | Some(Ending::Killed) => Ok(()),
        Some(ending) => Err(Failure::Failed(format!("the service has ended: {ending}"))),
    }
}

/// Makes the part panic that a test names in the environment. Release builds do not look.
#[cfg(debug_assertions)]
fn panic_for_a_test(spool: &OpenSpool) {
    let named = std::env::var("SPOOL_TEST_PANIC_IN").unwrap_or_default();
    let parts = [
        Part::Spool,
        Part::Throttle,
        Part::EventHub,
        Part::Writer,
        Part::BlockingJob,
    ];
    if let Some(part) = parts.into_iter().find(|part| part.to_string() == named) {
        spool.panic_in(part);
    }
}

/// Opens the spool and everything that needs no port.
async fn open(
    config: &Config,
    built_in_sink: bool,
    redaction: Redaction,
    stopped: watch::Receiver<bool>,
) -> Result<(RelayService, Live), Failure> {
    let (certificate, pairs) = certificate(config)?.unzip();
    let users = users::of(config)?;
    // The spool before the listeners: a process that cannot open it must not take a port from the one that has.
    let routes = Routes::of(config);
    if built_in_sink {
        // It may start before the spool is open: the system chooses its port, so that it takes none from another process.
        routes.to_built_in_sink(start_sink(stopped.clone()).await?);
    }
    let logins = watch::Sender::new(outbound::logins(&config.client)?);
    let client = outbound::client(config, &routes, logins.clone())?;
    let agent = Arc::new(SmtpAgent::new(client));
    let submissions = Submissions::new(config, signing::rules(config)?, &config.server.memory);
    let mut spool = config.spool.clone();
    spool.policies = routes.policies();
    spool.routing = routes.routing();
    spool.signer = Some(submissions.signer());
    spool.notices = Some(config.notices.clone());
    let (clock, dice) = (Arc::new(SystemClock), Arc::new(RandomDice));
    let opening = Spool::start(spool, Arc::clone(&agent) as _, clock, dice);
    let spool = manager::while_working(opening).await?;
    let relay = Relay::new(&spool, routes, submissions);
    relay.admit(users, config);
    let server = ServerConfig {
        hostname: config.hostname.clone(),
        tls: certificate.as_ref().map(Watched::tls),
        clients: relay.clients.clone(),
        logins: relay.logins.clone(),
        ..config.server.clone()
    };
    let service = RelayService {
        spool,
        relay,
        agent,
        certificate,
        stopped,
    };
    let live = Live {
        started: Effective::of(config),
        contents: Contents::of(config),
        server: watch::Sender::new(Arc::new(server)),
        logins,
        redaction,
        pairs,
    };
    Ok((service, live))
}

/// The certificate, if TLS is configured, and the channel that announces other files and requests to read them again.
fn certificate(config: &Config) -> Result<Option<(Watched, watch::Sender<CertificateFiles>)>, Failure> {
    let start = |pair: &CertificateFiles| {
        let watched = Watched::start(pair.clone(), Arc::new(SystemClock));
        watched
            .map(|watched| (watched, watch::Sender::new(pair.clone())))
            .map_err(|unusable| Failure::Usage(format!("listen.tls.{}: {}", unusable.key, unusable.why)))
    };
    config.tls.as_ref().map(start).transpose()
}

impl RelayService {
    /// Starts everything that listens, and reports that the service is ready.
    async fn start(&mut self, config: &Config, sockets: Sockets, live: &Live) -> Result<Started, Failure> {
        let certificate = self.certificate.take();
        let Self {
            spool,
            relay,
            stopped,
            ..
        } = self;
        let dropbox = DropBox::open(config, relay, &config.server.memory)?;
        let listeners = Listeners::bind(config, (sockets.smtp, sockets.smtps)).await?;
        let [smtp, smtps] = [&listeners.smtp, &listeners.smtps].map(|addresses| addresses.join(","));
        let mut tasks = listeners.accept(&live.server.subscribe(), relay, spool, stopped);
        if let Some(dropbox) = dropbox {
            let running = dropbox.run(stopped.clone());
            tasks.push(run_part(spool, Part::Ingress, stopped, running));
        }
        if let (Some(mut certificate), Some(pairs)) = (certificate, &live.pairs) {
            let pairs = pairs.subscribe();
            let stopped = stopped.clone();
            actix::spawn(async move { certificate.run(pairs, stopped).await });
        }
        let (admin_address, admin) = self.start_admin(config, sockets.admin)?;
        ready(config, &smtp, &smtps, admin_address)?;
        actix::spawn(memory::give_back());
        #[cfg(debug_assertions)]
        panic_for_a_test(&self.spool);
        Ok((tasks, admin))
    }

    fn start_admin(
        &self,
        config: &Config,
        passed: Option<TcpListener>,
    ) -> Result<(Option<SocketAddr>, Option<actix_web::dev::ServerHandle>), Failure> {
        let Some(address) = config.admin else {
            return Ok((None, None));
        };
        let listener = match passed {
            Some(passed) => Ok(passed),
            None => sockets::listen(address, v6_only(config, address)),
        };
        let listener = listener.with_context(|| format!("the admin API cannot listen on {address}"))?;
        let bound = listener.local_addr().context("the admin API")?;
        let state = admin::State::new(self.relay.clone(), Arc::clone(&self.agent), config);
        let token = config.token_file.as_deref().map(admin::Token::read).transpose();
        let token = token.map_err(|why| Failure::Usage(format!("admin.token_file: {why}")))?;
        let server = admin::serve(listener, state, token, &config.hostname).context("the admin API")?;
        let handle = server.handle();
        run_part(&self.spool, Part::Admin, &self.stopped, async move {
            if let Err(error) = server.await {
                tracing::error!(%error, "the admin API ended");
            }
        });
        Ok((Some(bound), Some(handle)))
    }
}

/// Starts the built-in sink on a port chosen by the system.
async fn start_sink(stopped: watch::Receiver<bool>) -> Result<NextHop, Failure> {
    let sink = Sink::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), SinkConfig::default()).await;
    let sink = sink.context("the built-in sink")?;
    let address = sink.local_addr().context("the built-in sink")?;
    tracing::warn!(%address, "no next hop was given: all mail goes to the built-in sink, which forgets it");
    actix::spawn(sink.run(stopped));
    Ok(address.into())
}

/// Prints the one line on standard output.
fn ready(config: &Config, smtp: &str, smtps: &str, admin: Option<SocketAddr>) -> Result<(), Failure> {
    let admin = admin.map_or(String::new(), |address| address.to_string());
    let smtps = match smtps.is_empty() {
        true => String::new(),
        false => format!(" smtps={smtps}"),
    };
    let (smtp, dir) = (visible(smtp), config.spool.dir.display().to_string());
    let line = format!("ready smtp={smtp} admin={admin} spool={}{smtps}\n", visible(&dir));
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes())
        .and_then(|()| out.flush())
        .context("standard output")?;
    Ok(())
}
