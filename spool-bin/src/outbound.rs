//! The delivery client as the configuration has it: limits, routes, and what stands in files of its own, certificates and secrets.
//!
//! They are read once, at the start. What is wrong with one of them is told with its path, and never with its content.

use crate::config::{Client, Config, Login, Own, Secret};
use crate::failure::Failure;
use crate::files;
use crate::routes::Routes;
use spool_core::NextHop;
use spool_smtp::client::{Credentials, Lookup, RouteConfig, SmtpConfig, TrustAnchors, TrustRoots};
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

/// The largest file with a secret in it.
const MAX_SECRET: u64 = 64 * 1024;
/// The largest file of certificates. Those that systems trust are a quarter of a mebibyte.
const MAX_ROOTS: u64 = 16 << 20;
/// The largest file of DNSKEY records.
const MAX_ANCHORS: u64 = 1 << 20;

/// What is needed to find hosts as `config` says: no secrets.
pub(crate) fn resolving(config: &Config) -> Result<SmtpConfig, Failure> {
    let limits = &config.client;
    let mut client = SmtpConfig::default();
    client.hostname.clone_from(&config.hostname);
    client.route = route(config)?;
    client.connect_timeout = limits.connect_timeout;
    if let Some(path) = &limits.tls_roots {
        client.tls_roots = roots(path).map_err(|why| refuse(path, &why))?;
    }
    Ok(client)
}

/// Reads what `config` names.
pub(crate) fn client(config: &Config, routes: &Routes, logins: &Logins) -> Result<SmtpConfig, Failure> {
    let limits = &config.client;
    let mut client = resolving(config)?;
    client.tls = limits.tls;
    client.implicit_tls_ports.clone_from(&limits.implicit_tls_ports);
    client.chunking = limits.chunking;
    client.plaintext_memory = limits.plaintext_memory;
    let policies = routes.policies();
    client.policies = Lookup::new(move |next_hops: &[NextHop]| policies.of(next_hops));
    client.credentials = logins.lookup();
    client.source_addresses.clone_from(&limits.source_addresses);
    client.connections = limits.connections;
    client.connections_per_destination = limits.connections_per_destination;
    client.messages_per_connection = limits.messages_per_connection;
    client.idle_timeout = limits.idle_timeout;
    client.greeting_timeout = limits.greeting_timeout;
    client.tls_timeout = limits.tls_timeout;
    client.command_timeout = limits.command_timeout;
    client.data_timeout = limits.data_timeout;
    client.final_reply_timeout = limits.final_reply_timeout;
    client.attempt_timeout = limits.attempt_timeout;
    Ok(client)
}

fn refuse(path: &Path, why: &dyn std::fmt::Display) -> Failure {
    Failure::Usage(format!("{}: {why}", path.display()))
}

/// Who the client is to each host that wants to know. Cloning shares it: a reload changes it for the client as well.
#[derive(Clone, Default)]
pub(crate) struct Logins(Arc<RwLock<HashMap<NextHop, Arc<Credentials>>>>);

impl Logins {
    /// Reads the files that `client` names.
    ///
    /// # Errors
    /// The path, and what is wrong with it.
    pub(crate) fn read(client: &Client) -> Result<Self, Failure> {
        let mut logins = HashMap::new();
        for login in &client.logins {
            let path = login.secret.path();
            let read = secret(login).map_err(|why| refuse(path, &why))?;
            logins.insert(login.next_hop.clone(), Arc::new(read));
        }
        Ok(Self(Arc::new(RwLock::new(logins))))
    }

    /// From now on those of `other`.
    pub(crate) fn replace(&self, other: Self) {
        let other = std::mem::take(&mut *other.0.write().unwrap_or_else(PoisonError::into_inner));
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = other;
    }

    fn lookup(&self) -> Lookup<NextHop, Option<Arc<Credentials>>> {
        let logins = self.clone();
        Lookup::new(move |hop: &NextHop| {
            let logins = logins.0.read().unwrap_or_else(PoisonError::into_inner);
            logins.get(hop).cloned()
        })
    }
}

/// Who the client is to one host, with what stands in the login's file.
///
/// # Errors
/// What is wrong with the file, without its name and its content.
pub(crate) fn secret(login: &Login) -> Result<Credentials, String> {
    let text = files::read_text(login.secret.path(), MAX_SECRET)?;
    let secret = text.trim_end_matches(['\r', '\n']);
    let made = match login.secret {
        Secret::Password(_) => Credentials::password(&login.user, secret),
        Secret::Token(_) => Credentials::bearer_token(&login.user, secret),
    };
    let made = made.map_err(|error| error.to_string())?;
    Ok(made.over(login.security))
}

/// The certificates to trust.
///
/// # Errors
/// As [`secret`].
pub(crate) fn roots(path: &Path) -> Result<TrustRoots, String> {
    TrustRoots::from_pem(&files::read(path, MAX_ROOTS)?).map_err(|error| error.to_string())
}

/// The keys that DNSSEC begins with.
///
/// # Errors
/// As [`secret`].
pub(crate) fn anchors(path: &Path) -> Result<TrustAnchors, String> {
    TrustAnchors::from_text(&files::read_text(path, MAX_ANCHORS)?).map_err(|error| error.to_string())
}

fn route(config: &Config) -> Result<RouteConfig, Failure> {
    let mut route = RouteConfig::default();
    route.dns_servers.clone_from(&config.route.dns_servers);
    route.resolv_conf.clone_from(&config.route.resolv_conf);
    route.listeners.clone_from(&config.smtp);
    route.listeners.extend(&config.smtps);
    route.mta_sts = config.client.mta_sts;
    route.dane = config.client.dane;
    if let Some(path) = &config.client.dnssec_anchors {
        route.trust_anchors = anchors(path).map_err(|why| refuse(path, &why))?;
    }
    route.ignored_networks.clone_from(&config.route.ignore_networks);
    for own in &config.route.own {
        match own {
            Own::Name(name) => route.own_names.push(name.clone()),
            Own::Address(address) => route.own_addresses.push(*address),
        }
    }
    Ok(route)
}
