//! `[client]`: how mail leaves. Secrets and certificates stay in their files; here are only the paths.

use super::reader::{Section, flag, number, parsed, positive_span, span, text};
use super::{Client, Login, Secret};
use spool_core::TlsPolicy;
use spool_smtp::client::AuthSecurity;
use std::path::PathBuf;
use std::time::Duration;
use toml::de::DeValue;

pub(super) fn client(section: Section<'_, '_>) -> Client {
    let minutes = |m: u64| Duration::from_secs(m * 60);
    let client = Client {
        tls: section.get("tls", TlsPolicy::default(), |value| text(value)?.parse()),
        tls_roots: section.get("tls_roots", None, path),
        implicit_tls_ports: section.list("implicit_tls_ports", vec![465], number(1)),
        chunking: section.get("chunking", true, flag),
        plaintext_memory: section.get("plaintext_memory", minutes(10), span),
        mta_sts: section.get("mta_sts", false, flag),
        dane: section.get("dane", false, flag),
        dnssec_anchors: section.get("dnssec_anchors", None, path),
        source_addresses: section.list("source_addresses", Vec::new(), parsed),
        logins: logins(&section),
        connections: section.get("connections", 500, number(1)),
        connections_per_destination: section.get("connections_per_destination", 10, number(1)),
        messages_per_connection: section.get("messages_per_connection", 100, number(1)),
        idle_timeout: section.get("idle_timeout", Duration::from_secs(5), span),
        connect_timeout: section.get("connect_timeout", Duration::from_secs(30), positive_span),
        greeting_timeout: section.get("greeting_timeout", minutes(5), positive_span),
        tls_timeout: section.get("tls_timeout", minutes(1), positive_span),
        command_timeout: section.get("command_timeout", minutes(5), positive_span),
        data_timeout: section.get("data_timeout", minutes(5), positive_span),
        final_reply_timeout: section.get("final_reply_timeout", minutes(10), positive_span),
        attempt_timeout: section.get("attempt_timeout", minutes(60), positive_span),
    };
    section.end();
    client
}

fn path(value: &DeValue<'_>) -> Result<Option<PathBuf>, String> {
    let text = text(value)?;
    Ok((!text.is_empty()).then(|| PathBuf::from(text)))
}

/// `[[client.login]]`.
fn logins(client: &Section<'_, '_>) -> Vec<Login> {
    let login = |(section, place): (Section<'_, '_>, std::ops::Range<usize>)| {
        let next_hop = section.get("next_hop", None, |value| parsed(value).map(Some));
        let user = section.get("user", None, |value| text(value).map(Some));
        let password = section.get("password_file", None, path);
        let token = section.get("token_file", None, path);
        let security = section.get("security", AuthSecurity::VerifiedTls, security);
        for key in ["next_hop", "user"] {
            if section.place(key).is_none() {
                section.problem(key, place.clone(), "is missing");
            }
        }
        let secret = match (password, token) {
            (Some(file), None) => Some(Secret::Password(file)),
            (None, Some(file)) => Some(Secret::Token(file)),
            (None, None) | (Some(_), Some(_)) => {
                let why = "give a password_file or a token_file, and only one of them";
                section.problem("password_file", place, why);
                None
            }
        };
        section.end();
        Some(Login {
            next_hop: next_hop?,
            user: user?,
            secret: secret?,
            security,
        })
    };
    client.sections("login").into_iter().filter_map(login).collect()
}

fn security(value: &DeValue<'_>) -> Result<AuthSecurity, String> {
    Ok(match text(value)?.as_str() {
        "verify" => AuthSecurity::VerifiedTls,
        "required" => AuthSecurity::AnyTls,
        "none" => AuthSecurity::Plaintext,
        other => {
            return Err(format!(
                "{other:?}: must be \"verify\", \"required\" (any TLS) or \"none\" (plaintext)"
            ));
        }
    })
}
