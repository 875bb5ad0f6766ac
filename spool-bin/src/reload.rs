//! SIGHUP: the configuration is read again, what can change in a running service changes, and the log lists every key that has
//! another value, and which of them wait for a restart.
//!
//! A file that cannot be used changes nothing.

use crate::cli::Serve;
use crate::config::{CertificateFiles, Change, Config, Effective, TakesEffect};
use crate::contents::Contents;
use crate::failure::Failure;
use crate::logging::{Redaction, Redactor};
use crate::outbound::Logins;
use crate::signing;
use crate::users;
use crate::wire::{Relay, notices};
use spool_actors::{SetMaxConcurrentJobs, SetNotices, SetPolicies, SetRouting};
use spool_smtp::dkim::Rules;
use spool_smtp::server::{CurrentConfig, ServerConfig, Users};
use std::sync::Arc;
use tokio::sync::watch;

/// The parts of a running service that a reload changes, beside those in [`Relay`].
pub(crate) struct Live {
    /// The configuration of the start.
    started: Effective,
    /// Of the files that were read last.
    contents: Contents,
    server: watch::Sender<Arc<ServerConfig>>,
    logins: Logins,
    redaction: Redaction,
    /// The certificate's files, where there is TLS for clients.
    pairs: Option<watch::Sender<CertificateFiles>>,
}

/// What was read, before anything of it is in force.
struct Fresh {
    config: Config,
    contents: Contents,
    logins: Logins,
    redactor: Option<Redactor>,
    users: Option<Users>,
    keys: Rules,
}

impl Live {
    pub(crate) fn new(
        config: &Config,
        server: ServerConfig,
        logins: Logins,
        redaction: Redaction,
        pairs: Option<watch::Sender<CertificateFiles>>,
    ) -> Self {
        Self {
            started: Effective::of(config),
            contents: Contents::of(config),
            server: watch::channel(Arc::new(server)).0,
            logins,
            redaction,
            pairs,
        }
    }

    /// Tells of other files of the certificate, and that they are to be looked at.
    pub(crate) fn pairs(&self) -> Option<watch::Receiver<CertificateFiles>> {
        self.pairs.as_ref().map(watch::Sender::subscribe)
    }

    /// What new connections are served by.
    pub(crate) fn server(&self) -> CurrentConfig {
        self.server.subscribe().into()
    }

    /// Reads the configuration again. `config` is that of the last time.
    pub(crate) fn reload(&mut self, options: &Serve, relay: &Relay, config: &mut Config) {
        match read(options) {
            Ok(fresh) => {
                let before = Effective::of(config);
                let contents = fresh.contents.clone();
                self.apply(fresh, relay, config);
                for (key, file) in contents.changed_since(&self.contents) {
                    let file = file.display();
                    tracing::info!(key, %file, "contents of a file changed; it is read again");
                }
                self.contents = contents;
                self.tell(&before, &Effective::of(config), config.tls.is_some());
            }
            Err(failure) => {
                for problem in failure.to_string().lines() {
                    tracing::error!("the configuration was not changed: {problem}");
                }
            }
        }
    }

    /// The number of jobs changes only if the file has another one than before: a number set by hand outlives a reload.
    fn apply(&mut self, fresh: Fresh, relay: &Relay, config: &mut Config) {
        let Fresh {
            config: new,
            logins,
            redactor,
            users,
            keys,
            contents: _,
        } = fresh;
        relay.admit(users, &new);
        relay.submissions.replace(&new, keys);
        relay.routes.replace(&new);
        // Destinations that are known are held to the new limits at once, and mail that waits follows the new routes.
        relay.spool.do_send(SetPolicies(relay.routes.policies()));
        relay.spool.do_send(SetRouting(relay.routes.routing()));
        relay.spool.do_send(SetNotices(Some(notices(&new))));
        if new.spool.max_concurrent_jobs != config.spool.max_concurrent_jobs {
            relay
                .spool
                .do_send(SetMaxConcurrentJobs(new.spool.max_concurrent_jobs));
        }
        self.logins.replace(logins);
        self.redaction.set(redactor);
        self.server
            .send_modify(|server| *server = Arc::new(serve_by(server, &new)));
        if let (Some(pairs), Some(pair)) = (&self.pairs, &new.tls) {
            pairs.send_replace(pair.clone());
        }
        *config = new;
    }

    /// Whether a change waits for a restart.
    fn waits(&self, change: &Change, has_tls: bool) -> bool {
        let switches_tls = change.key.starts_with("listen.tls.") && (self.pairs.is_none() || !has_tls);
        change.takes_effect == TakesEffect::Restart || switches_tls
    }

    fn tell(&self, before: &Effective, after: &Effective, has_tls: bool) {
        let text =
            |value: Option<toml::Value>| value.map_or_else(|| "unset".to_owned(), |value| value.to_string());
        let waiting = self.started.changes(after).into_iter();
        let waiting = waiting.filter(|change| self.waits(change, has_tls));
        let need_restart: Vec<String> = waiting.map(|change| change.key).collect();
        let changes = before.changes(after);
        let changed = changes.len();
        for change in changes {
            // A value that is back at that of the start is in force.
            let takes_effect = if need_restart.contains(&change.key) {
                "restart"
            } else {
                "now"
            };
            let (key, from, to) = (change.key, text(change.from), text(change.to));
            tracing::info!(key, from, to, takes_effect, "configuration changed");
        }
        let need_restart = format!("[{}]", need_restart.join(", "));
        tracing::info!(changed, need_restart = %need_restart, "configuration read again");
    }
}

/// Everything that can fail.
fn read(options: &Serve) -> Result<Fresh, Failure> {
    let (config, _) = options.config()?;
    options.inspected(&config)?;
    // Before they are read: what changes in between is told at the next reload, rather than never.
    let contents = Contents::of(&config);
    let logins = Logins::read(&config.client)?;
    let redactor = config.log.redactor().map_err(Failure::Usage)?;
    let (users, keys) = (users::of(&config)?, signing::rules(&config)?);
    Ok(Fresh {
        config,
        contents,
        logins,
        redactor,
        users,
        keys,
    })
}

/// What new connections take from a changed configuration. The sizes that the spool and the admin API share with them stay.
fn serve_by(before: &ServerConfig, config: &Config) -> ServerConfig {
    ServerConfig {
        hostname: before.hostname.clone(),
        message_size: before.message_size,
        recipients: before.recipients,
        memory: before.memory.clone(),
        tls: before.tls.clone(),
        clients: before.clients.clone(),
        logins: before.logins.clone(),
        ..config.server.clone()
    }
}
