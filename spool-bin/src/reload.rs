//! SIGHUP: the configuration is read again, what can change in a running service changes, and the log lists every changed key
//! and those that need a restart.
//!
//! A file with errors changes nothing.

use crate::config::{CertificateFiles, Config, Effective, KeyChange, TakesEffect};
use crate::contents::Contents;
use crate::failure::Failure;
use crate::logging::{self, Redaction, Redactor};
use crate::outbound::{self, ClientLogins};
use crate::relay::Relay;
use crate::signing;
use crate::users;
use spool_actors::{SetMaxConcurrentJobs, SetNotices, SetPolicies, SetRouting};
use spool_smtp::dkim::Rules;
use spool_smtp::server::{ServerConfig, Users};
use std::sync::Arc;
use tokio::sync::watch;

/// Reads the configuration again, with the options of the command line, and checks it.
pub(crate) type Reread = dyn Fn() -> Result<Config, Failure>;

/// The parts of a running service that a reload changes, beside those in [`Relay`].
pub(crate) struct Live {
    /// The configuration of the start.
    pub(crate) started: Effective,
    /// Of the files as they were read last.
    pub(crate) contents: Contents,
    /// The configuration of new connections.
    pub(crate) server: watch::Sender<Arc<ServerConfig>>,
    pub(crate) logins: watch::Sender<ClientLogins>,
    pub(crate) redaction: Redaction,
    /// Announces other files of the certificate, and requests to read them again, where the server has TLS.
    pub(crate) pairs: Option<watch::Sender<CertificateFiles>>,
}

/// A configuration that was read and is not in force yet.
struct Fresh {
    config: Config,
    contents: Contents,
    logins: ClientLogins,
    redactor: Option<Arc<Redactor>>,
    users: Option<Users>,
    keys: Rules,
}

impl Live {
    /// Reads the configuration again. `config` is the previous one, and is replaced.
    pub(crate) fn reload(&mut self, reread: &Reread, relay: &Relay, config: &mut Config) {
        match read(reread) {
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

    /// The number of jobs changes only if the file has another one than before: a number set by command survives a reload.
    fn apply(&mut self, fresh: Fresh, relay: &Relay, config: &mut Config) {
        let new = fresh.config;
        relay.admit(fresh.users, &new);
        relay.submissions.replace(&new, fresh.keys);
        relay.routes.replace(&new);
        // Known destinations have the new limits immediately, and waiting mail follows the new routes.
        relay.spool.do_send(SetPolicies(relay.routes.policies()));
        relay.spool.do_send(SetRouting(relay.routes.routing()));
        relay.spool.do_send(SetNotices(Some(new.notices.clone())));
        if new.spool.max_concurrent_jobs != config.spool.max_concurrent_jobs {
            relay
                .spool
                .do_send(SetMaxConcurrentJobs(new.spool.max_concurrent_jobs));
        }
        self.logins.send_replace(fresh.logins);
        self.redaction.send_replace(fresh.redactor);
        self.server
            .send_modify(|server| *server = Arc::new(serve_by(server, &new)));
        if let (Some(pairs), Some(pair)) = (&self.pairs, &new.tls) {
            pairs.send_replace(pair.clone());
        }
        *config = new;
    }

    /// Whether a change waits for a restart.
    fn waits(&self, change: &KeyChange, has_tls: bool) -> bool {
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
            // A value that is again that of the start is in force.
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

/// Reads everything, so that nothing fails once a part is in force.
fn read(reread: &Reread) -> Result<Fresh, Failure> {
    let config = reread()?;
    // Before the files are read: a change in between is logged at the next reload and not lost.
    let contents = Contents::of(&config);
    let logins = outbound::logins(&config.client)?;
    let redactor = logging::redactor(&config.log).map_err(Failure::Usage)?;
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
