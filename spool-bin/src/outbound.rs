//! The delivery client of the configuration, with the certificates and secrets of its files, which are read at the start. Errors
//! name the path of a file and never its content.

use crate::config::{Client, Config, Login, Secret};
use crate::failure::Failure;
use crate::files;
use crate::routes::Routes;
use spool_core::NextHop;
use spool_smtp::client::{Credentials, Lookup, SmtpConfig, TrustAnchors, TrustRoots};
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

/// The largest file with a secret.
const MAX_SECRET: u64 = 64 * 1024;
/// The largest file of certificates. Those of usual systems have a quarter of a mebibyte.
const MAX_ROOTS: u64 = 16 << 20;
/// The largest file of DNSKEY records.
const MAX_ANCHORS: u64 = 1 << 20;

/// The client as `config` has it, without secrets and policies: enough to find hosts.
pub(crate) fn resolving(config: &Config) -> Result<SmtpConfig, Failure> {
    let mut client = config.client.smtp.clone();
    client.hostname.clone_from(&config.hostname);
    client.route.listeners = [&config.smtp[..], &config.smtps].concat();
    if let Some(path) = &config.client.tls_roots {
        client.tls_roots = roots(path).map_err(|why| refuse(path, &why))?;
    }
    if let Some(path) = &config.client.dnssec_anchors {
        client.route.trust_anchors = anchors(path).map_err(|why| refuse(path, &why))?;
    }
    Ok(client)
}

/// The client of `config`, with policies and credentials.
pub(crate) fn client(config: &Config, routes: &Routes, logins: &ClientLogins) -> Result<SmtpConfig, Failure> {
    let mut client = resolving(config)?;
    let policies = routes.policies();
    client.policies = Lookup::new(move |next_hops: &[NextHop]| policies.of(next_hops));
    client.credentials = logins.lookup();
    Ok(client)
}

fn refuse(path: &Path, why: &dyn std::fmt::Display) -> Failure {
    Failure::Usage(format!("{}: {why}", path.display()))
}

/// The credentials for each host. Clones share them; a reload replaces them for the client as well.
#[derive(Clone, Default)]
pub(crate) struct ClientLogins(Arc<RwLock<HashMap<NextHop, Arc<Credentials>>>>);

impl ClientLogins {
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

    /// Replaces them by those of `other`.
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

/// The credentials for one host, with the secret of the login's file.
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

/// The trust anchors of DNSSEC.
///
/// # Errors
/// As [`secret`].
pub(crate) fn anchors(path: &Path) -> Result<TrustAnchors, String> {
    TrustAnchors::from_text(&files::read_text(path, MAX_ANCHORS)?).map_err(|error| error.to_string())
}
