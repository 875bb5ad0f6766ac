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
use std::sync::Arc;
use tokio::sync::watch;

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
        client.tls_roots = roots(path).map_err(Failure::Usage)?;
    }
    if let Some(path) = &config.client.dnssec_anchors {
        client.route.trust_anchors = anchors(path).map_err(Failure::Usage)?;
    }
    Ok(client)
}

/// The client of `config`, with policies, and with the credentials that `logins` has at each time.
pub(crate) fn client(
    config: &Config,
    routes: &Routes,
    logins: watch::Sender<ClientLogins>,
) -> Result<SmtpConfig, Failure> {
    let mut client = resolving(config)?;
    let policies = routes.policies();
    client.policies = Lookup::new(move |next_hops: &[NextHop]| policies.of(next_hops));
    client.credentials = Lookup::new(move |hop: &NextHop| logins.borrow().get(hop).cloned());
    Ok(client)
}

/// The credentials for each host.
pub(crate) type ClientLogins = HashMap<NextHop, Arc<Credentials>>;

/// Reads the files of secrets that `client` names.
///
/// # Errors
/// The path, and what is wrong with it.
pub(crate) fn logins(client: &Client) -> Result<ClientLogins, Failure> {
    let read = |login: &Login| secret(login).map(|secret| (login.next_hop.clone(), Arc::new(secret)));
    let logins = client.logins.iter().map(read);
    logins.collect::<Result<_, _>>().map_err(Failure::Usage)
}

/// The credentials for one host, with the secret of the login's file.
///
/// # Errors
/// The path of the file, and what is wrong with it, without its content.
pub(crate) fn secret(login: &Login) -> Result<Credentials, String> {
    let made = files::parse_text(login.secret.path(), MAX_SECRET, |text| {
        let secret = text.trim_end_matches(['\r', '\n']);
        match login.secret {
            Secret::Password(_) => Credentials::password(&login.user, secret),
            Secret::Token(_) => Credentials::bearer_token(&login.user, secret),
        }
    });
    Ok(made?.over(login.security))
}

/// The certificates to trust.
///
/// # Errors
/// As [`secret`].
pub(crate) fn roots(path: &Path) -> Result<TrustRoots, String> {
    files::parse(path, MAX_ROOTS, TrustRoots::from_pem)
}

/// The trust anchors of DNSSEC.
///
/// # Errors
/// As [`secret`].
pub(crate) fn anchors(path: &Path) -> Result<TrustAnchors, String> {
    files::parse_text(path, MAX_ANCHORS, TrustAnchors::from_text)
}
