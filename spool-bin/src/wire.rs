//! The one place that names all crates: opens the spool, starts the ingress, the admin API and the built-in sink, and
//! ends them in order.

use crate::admin;
use crate::certificates::Watched;
use crate::cli::Serve;
use crate::config::{CertificateFiles, Config, v6_only};
use crate::descriptors;
use crate::dropbox::DropBox;
use crate::failure::Failure;
use crate::logging::Redaction;
use crate::manager;
use crate::outbound;
use crate::reload::Live;
use crate::routes::Routes;
use crate::shutdown::{GRACE, LAST_WORDS, Signals, Stoppable, Wanted, close};
use crate::signing;
use crate::sockets::{self, Sockets};
use crate::submissions::Submissions;
use crate::users;
use crate::way::Way;
use actix::Addr;
use anyhow::Context;
use spool_actors::{
    Add, Ending, Gate, KillAndFlush, OpenSpool, Part, SetMaxConcurrentJobs, SetRouting, Spool, SpoolActor,
};
use spool_core::bounce::NoticeConfig;
use spool_core::log::{Accepted, Record};
use spool_core::{
    AddError, Address, Admission, BoxFuture, Budget, Envelope, Fingerprint, Halt, InitialStatus, Intake,
    Mail, MessageId, NextHop, RandomDice, Routing, Section, Submission, SystemClock, visible,
};
use spool_smtp::client::SmtpAgent;
use spool_smtp::server::{
    Clients, CurrentConfig, Listener, LocalListener, Logins, Opening, ServerConfig, ServerTls, Users,
};
use spool_smtp::sink::{Sink, SinkConfig};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
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
    /// What is done to the mail of submitters.
    pub(crate) submissions: Submissions,
    /// Set when the service was asked to end.
    pub(crate) stopping: Halt,
    /// What clients and users did lately.
    pub(crate) clients: Clients,
    /// Who may log in.
    logins: Logins,
}

impl Relay {
    /// Into `spool`, by `routes`.
    pub(crate) fn new(spool: &OpenSpool, routes: Routes, submissions: Submissions) -> Self {
        let clients = Clients::default();
        Self {
            logins: Logins::new(clients.clone()),
            clients,
            spool: spool.addr.clone(),
            gate: spool.gate.clone(),
            routes,
            submissions,
            stopping: Halt::default(),
        }
    }

    /// Who may log in from now on, and how much clients and users may do.
    pub(crate) fn admit(&self, users: Option<Users>, config: &Config) {
        self.logins.set_users(users);
        self.clients.set_limits(config.rates);
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

    /// Spools a submission of a program of this machine, or of one that has the token of the admin API. Its sections are from `routing`;
    /// the answer comes once it is durable.
    pub(crate) async fn submit(
        &self,
        mut submission: Submission,
        routing: Routing,
    ) -> Result<Vec<MessageId>, AddError> {
        let (mut fingerprint, mut _held) = (None, None);
        if self.submissions.concern(&Admission::Network) {
            // Of what was handed in: what is added to it differs each time.
            fingerprint = submission
                .key
                .is_some()
                .then(|| Fingerprint::of(&submission.sections, &submission.body));
            let body = std::mem::take(&mut submission.body);
            let finished = self
                .submissions
                .finish(&Admission::Network, body, submission.flows.last());
            let (body, held) = finished.await?;
            (submission.body, _held) = (body, Some(held));
        }
        self.spool
            .send(
                Add::submission(submission)
                    .routed_by(routing)
                    .fingerprint(fingerprint),
            )
            .await
            .unwrap_or(Err(AddError::Killed))
    }
}

impl Intake for Relay {
    fn accept(&self, mail: Mail) -> BoxFuture<Result<Vec<MessageId>, AddError>> {
        if !self.submissions.concern(&mail.source.admission) {
            return Box::pin(self.spool_mail(mail));
        }
        let relay = self.clone();
        // On its own: nobody who stops waiting for the answer undoes it.
        let finished = tokio::spawn(async move {
            let id = mail.flows.last();
            let finished = relay
                .submissions
                .finish(&mail.source.admission, mail.body, id)
                .await;
            let (body, _held) = finished?;
            relay.spool_mail(Mail { body, ..mail }).await
        });
        Box::pin(async move { finished.await.unwrap_or(Err(AddError::Killed)) })
    }

    fn admit(&self, size: u64) -> Result<(), AddError> {
        self.gate.admit(size)
    }
}

impl Relay {
    /// Spools `mail` as it is. The request is made before the future is polled.
    fn spool_mail(
        &self,
        mail: Mail,
    ) -> impl Future<Output = Result<Vec<MessageId>, AddError>> + Send + use<> {
        let Mail {
            envelope,
            body,
            flows,
            source,
        } = mail;
        let via = if source.client.is_some() { "smtp" } else { "local" };
        let taken =
            Record::wanted().then(|| Accepted::new(via, source.clone(), &envelope, body.len(), &flows));
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
        let mut add = Add::submission(submission).routed_by(routing);
        if !source.admission.is_submission() {
            add = add.of_unknown_submitter();
        }
        let request = self.spool.send(add);
        async move {
            let answer = request.await.unwrap_or(Err(AddError::Killed));
            if let (Some(taken), Ok(ids)) = (taken, &answer) {
                taken.emit(ids);
            }
            answer
        }
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
    let (certificate, pairs) = certificate(&config)?;
    let users = users::of(&config)?;
    // The spool first: whoever cannot have it must not take a port from the one who has.
    let routes = Routes::of(&config);
    if built_in_sink {
        // Until it has started, mail for it goes nowhere.
        routes.to_built_in_sink(None);
    }
    let logins = outbound::Logins::read(&config.client)?;
    let agent = Arc::new(SmtpAgent::new(outbound::client(&config, &routes, &logins)?));
    // One for all who bring mail, whichever way.
    let memory = config.server.memory.clone();
    let submissions = Submissions::new(&config, signing::rules(&config)?, &memory)?;
    let spool = manager::patiently(open(&config, &routes, &agent, &submissions)).await?;
    let relay = Relay::new(&spool, routes, submissions);
    relay.admit(users, &config);
    let tls = certificate.as_ref().map(Watched::tls);
    let server = server(&config, &relay, tls);
    let mut live = Live::new(&config, server, logins, redaction, pairs);
    let started = async {
        if built_in_sink {
            relay
                .routes
                .to_built_in_sink(Some(start_sink(stopped.clone()).await?));
            relay.spool.do_send(SetRouting(relay.routes.routing()));
        }
        let dropbox = DropBox::open(&config, &relay, &memory)?;
        let passed = (sockets.smtp, sockets.smtps);
        let (addresses, mut listeners) =
            listen(&config, passed, live.server(), &relay, &spool, &stopped).await?;
        if let Some(dropbox) = dropbox {
            let part = Stoppable::new(spool.sentinel(Part::Ingress), stopped.clone());
            let running = dropbox.run(stopped.clone());
            listeners.push(actix::spawn(async move {
                running.await;
                drop(part);
            }));
        }
        if let (Some(certificate), Some(pairs)) = (certificate, live.pairs()) {
            actix::spawn(certificate.run(pairs, stopped.clone()));
        }
        let (admin_address, admin) = start_admin(
            &config,
            sockets.admin,
            &relay,
            agent,
            &memory,
            &spool,
            stopped.clone(),
        )?;
        ready(&config, &addresses, admin_address)?;
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
    relay.submissions.log_counts();
    match relay.gate.ending() {
        None | Some(Ending::Killed) => Ok(()),
        Some(ending) => Err(Failure::Failed(format!("the service has ended: {ending}"))),
    }
}

async fn open(
    config: &Config,
    routes: &Routes,
    agent: &Arc<SmtpAgent>,
    submissions: &Submissions,
) -> Result<OpenSpool, Failure> {
    let mut spool = config.spool.clone();
    spool.policies = routes.policies();
    spool.routing = routes.routing();
    spool.signer = Some(submissions.signer());
    spool.notices = Some(notices(config));
    let agent = Arc::clone(agent);
    Ok(Spool::start(spool, agent, Arc::new(SystemClock), Arc::new(RandomDice)).await?)
}

/// The certificate, if there is to be TLS; and where to say that its files are to be looked at, or are others.
fn certificate(
    config: &Config,
) -> Result<(Option<Watched>, Option<watch::Sender<CertificateFiles>>), Failure> {
    let Some(pair) = &config.tls else {
        return Ok((None, None));
    };
    let watched = Watched::start(pair.clone(), Arc::new(SystemClock))
        .map_err(|unusable| Failure::Usage(format!("listen.tls.{}: {}", unusable.key, unusable.why)))?;
    Ok((Some(watched), Some(watch::Sender::new(pair.clone()))))
}

/// How senders are told what became of their mail.
pub(crate) fn notices(config: &Config) -> NoticeConfig {
    let mut notices = NoticeConfig::new(config.hostname.as_str());
    if let Some(from) = &config.retry.bounce_from {
        notices.from = from.to_string();
    }
    notices.on_failure = config.retry.on_failure;
    notices.delay_warning_after = config.retry.delay_warning_after;
    notices.size_limit = config.retry.bounce_size;
    notices.per_hour = config.retry.bounces_per_hour;
    notices.retry = config.retry.policy.clone();
    notices
}

fn server(config: &Config, relay: &Relay, tls: Option<ServerTls>) -> ServerConfig {
    ServerConfig {
        hostname: config.hostname.clone(),
        tls,
        clients: relay.clients.clone(),
        logins: relay.logins.clone(),
        ..config.server.clone()
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

/// Where clients are listened for.
struct Addresses {
    smtp: Vec<SocketAddr>,
    smtps: Vec<SocketAddr>,
    unix: Vec<PathBuf>,
}

/// A session that is to be served, for the worker threads.
type Session = Box<dyn FnOnce() -> BoxFuture<()> + Send>;

/// A socket that is listened on.
enum Door {
    Network(Listener),
    Local(LocalListener),
}

/// Listens everywhere, then accepts. Sessions run on the spool's worker threads.
async fn listen(
    config: &Config,
    passed: (Vec<TcpListener>, Vec<TcpListener>),
    server: CurrentConfig,
    relay: &Relay,
    spool: &OpenSpool,
    stopped: &watch::Receiver<bool>,
) -> Result<(Addresses, Vec<JoinHandle<()>>), Failure> {
    let mut listeners = Vec::new();
    let (mut plain_passed, mut implicit_passed) = (passed.0.into_iter(), passed.1.into_iter());
    let plain = config.smtp.iter().map(|address| (address, Opening::Plain));
    let implicit = config.smtps.iter().map(|address| (address, Opening::ImplicitTls));
    for (address, opening) in plain.chain(implicit) {
        let passed = match opening {
            Opening::Plain => plain_passed.next(),
            Opening::ImplicitTls => implicit_passed.next(),
        };
        let listener = match passed {
            Some(passed) => Listener::from_std(passed),
            None => sockets::listen(*address, v6_only(config, *address)).and_then(Listener::from_std),
        };
        let listener = listener.with_context(|| format!("cannot listen on {address}"))?;
        let bound = listener
            .local_addr()
            .with_context(|| format!("cannot listen on {address}"))?;
        let proxied = config.proxy_protocol.contains(address);
        listeners.push((listener.opening(opening).proxied(proxied), bound, opening));
    }
    let mut local = Vec::new();
    for path in &config.unix {
        let listener = LocalListener::bind(path).await;
        local.push(listener.with_context(|| format!("cannot listen on {}", path.display()))?);
    }
    let bound = |which| {
        let all = listeners.iter();
        all.filter(|(_, _, opening)| *opening == which)
            .map(|(_, address, _)| *address)
            .collect()
    };
    let addresses = Addresses {
        smtp: bound(Opening::Plain),
        smtps: bound(Opening::ImplicitTls),
        unix: config.unix.clone(),
    };
    let run = |door: Door| {
        let workers = spool.workers.clone();
        let place = move |session: Session| {
            if !workers.place(session) {
                tracing::error!("the worker threads have ended; a connection is dropped");
            }
        };
        let (server, relay, stopped) = (server.clone(), Arc::new(relay.clone()), stopped.clone());
        let part = Stoppable::new(spool.sentinel(Part::Ingress), stopped.clone());
        actix::spawn(async move {
            match door {
                Door::Network(listener) => listener.run(server, relay, place, stopped).await,
                Door::Local(listener) => listener.run(server, relay, place, stopped).await,
            }
            drop(part);
        })
    };
    let network = listeners
        .into_iter()
        .map(|(listener, ..)| Door::Network(listener));
    let doors = network.chain(local.into_iter().map(Door::Local));
    let running = doors.map(run).collect();
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
        None => sockets::listen(address, v6_only(config, address)),
    };
    let listener = listener.with_context(|| format!("the admin API cannot listen on {address}"))?;
    let bound = listener.local_addr().context("the admin API")?;
    let state = admin::State::new(
        relay.clone(),
        agent,
        admin::Limits {
            message_size: config.server.message_size,
            recipients: config.server.recipients,
        },
        memory.clone(),
        config.spool.dir.clone(),
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
fn ready(config: &Config, addresses: &Addresses, admin: Option<SocketAddr>) -> Result<(), Failure> {
    let joined =
        |addresses: &[SocketAddr]| -> Vec<String> { addresses.iter().map(ToString::to_string).collect() };
    let unix = addresses.unix.iter();
    let unix = unix.map(|path| format!("unix:{}", visible(&path.display().to_string())));
    let smtp: Vec<String> = joined(&addresses.smtp).into_iter().chain(unix).collect();
    let admin = admin.map_or(String::new(), |address| address.to_string());
    let smtps = match addresses.smtps.is_empty() {
        true => String::new(),
        false => format!(" smtps={}", joined(&addresses.smtps).join(",")),
    };
    let line = format!(
        "ready smtp={} admin={admin} spool={}{smtps}\n",
        smtp.join(","),
        visible(&config.spool.dir.display().to_string())
    );
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes())
        .and_then(|()| out.flush())
        .context("standard output")?;
    Ok(())
}
