//! Certificates, users and files with secrets.

use super::finding::Findings;
use crate::admin::Token;
use crate::certificates;
use crate::config::{Config, Secret};
use crate::logging::Redactor;
use crate::outbound;
use crate::users as users_file;
use spool_core::{Clock, SystemClock};

/// The certificate of the ingress and its key.
pub(super) fn tls(config: &Config, found: &mut Findings<'_>) {
    let Some(pair) = &config.tls else { return };
    let certificate = "listen.tls.certificate";
    match certificates::read(pair) {
        Ok(read) => {
            found.secret("listen.tls.key", &pair.key);
            if let Some(text) = certificates::expiry(read.expires(), SystemClock.now()) {
                found.warn(certificate, format!("{}: {text}", pair.certificate.display()));
            }
        }
        Err(unusable) => found.error(&format!("listen.tls.{}", unusable.key), unusable.why),
    }
}

/// The file of those who may log in.
pub(super) fn users(config: &Config, found: &mut Findings<'_>) {
    const PLACE: &str = "relay.users_file";
    let Some(path) = &config.users_file else {
        return;
    };
    match users_file::read(path) {
        Ok(_) => found.secret(PLACE, path),
        Err(problems) => problems
            .into_iter()
            .for_each(|problem| found.error(PLACE, problem)),
    }
    if config.tls.is_none() {
        let text = "no user can log in: AUTH is offered under TLS only, and listen.tls names no certificate";
        found.warn(PLACE, text.to_owned());
    }
}

pub(super) fn admin(config: &Config, found: &mut Findings<'_>) {
    if let Some(problem) = config.admin_problem() {
        found.error("listen.admin", problem.to_owned());
    }
    if let (Some(_), Some(path)) = (config.admin, &config.token_file) {
        match Token::read(path) {
            Ok(_) => found.token("admin.token_file", path),
            Err(why) => found.error("admin.token_file", why),
        }
    }
}

/// The files of `[client]`.
pub(super) fn client(config: &Config, found: &mut Findings<'_>) {
    let client = &config.client;
    if let Some(path) = &client.tls_roots
        && let Err(why) = outbound::roots(path)
    {
        found.error("client.tls_roots", why);
    }
    if let Some(path) = &client.dnssec_anchors
        && let Err(why) = outbound::anchors(path)
    {
        found.error("client.dnssec_anchors", why);
    }
    for (nth, login) in client.logins.iter().enumerate() {
        let key = match login.secret {
            Secret::Password(_) => "password_file",
            Secret::Token(_) => "token_file",
        };
        let (place, path) = (format!("client.login[{nth}].{key}"), login.secret.path());
        found.secret_read(&place, path, outbound::secret(login));
        let mut before = client.logins.iter().take(nth);
        if before.any(|other| other.next_hop == login.next_hop) {
            let hop = &login.next_hop;
            found.warn(
                &format!("client.login[{nth}].next_hop"),
                format!("{hop} has a login above, which is not used: the last one is"),
            );
        }
    }
}

/// The key of `log.redact`.
pub(super) fn log(config: &Config, found: &mut Findings<'_>) {
    if let Some(path) = &config.log.redact_key_file {
        found.secret_read("log.redact_key_file", path, Redactor::new(Some(path)));
    }
}
