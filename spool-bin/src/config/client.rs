//! Reads `[client]`. Secrets and certificates stay in their files; only their paths are here.

use super::read::{choice, flag, number, or_empty, parsed, path, positive_span, span, text};
use super::reader::TableReader;
use super::settings::{Client, Login, Secret};
use spool_core::TlsPolicy;
use spool_smtp::client::{RouteConfig, SmtpConfig};

pub(super) fn client(section: &TableReader<'_>, route: RouteConfig) -> Client {
    let mut smtp = SmtpConfig::default();
    smtp.route = route;
    smtp.route.mta_sts = section.get("mta_sts", flag);
    smtp.route.dane = section.get("dane", flag);
    smtp.tls = section.get("tls", |value| text(value)?.parse());
    smtp.implicit_tls_ports = section.list("implicit_tls_ports", number(1));
    smtp.chunking = section.get("chunking", flag);
    smtp.plaintext_memory = section.get("plaintext_memory", span);
    smtp.source_addresses = section.list("source_addresses", parsed);
    smtp.connections = section.get("connections", number(1));
    smtp.connections_per_destination = section.get("connections_per_destination", number(1));
    smtp.messages_per_connection = section.get("messages_per_connection", number(1));
    smtp.idle_timeout = section.get("idle_timeout", span);
    smtp.connect_timeout = section.get("connect_timeout", positive_span);
    smtp.greeting_timeout = section.get("greeting_timeout", positive_span);
    smtp.tls_timeout = section.get("tls_timeout", positive_span);
    smtp.command_timeout = section.get("command_timeout", positive_span);
    smtp.data_timeout = section.get("data_timeout", positive_span);
    smtp.final_reply_timeout = section.get("final_reply_timeout", positive_span);
    smtp.attempt_timeout = section.get("attempt_timeout", positive_span);
    Client {
        smtp,
        tls_roots: section.get("tls_roots", or_empty(path)),
        dnssec_anchors: section.get("dnssec_anchors", or_empty(path)),
        logins: section
            .sections("login")
            .filter_map(|login| self::login(&login))
            .collect(),
    }
}

/// Over which sessions credentials are sent.
const SECURITY: [(&str, TlsPolicy); 3] = [
    ("verify", TlsPolicy::Verify),
    ("required", TlsPolicy::Required),
    ("none", TlsPolicy::None),
];

/// `[[client.login]]`.
fn login(section: &TableReader<'_>) -> Option<Login> {
    let next_hop = section.optional("next_hop", parsed);
    let user = section.optional("user", text);
    let password = section.optional("password_file", or_empty(path)).flatten();
    let token = section.optional("token_file", or_empty(path)).flatten();
    let security = section.get("security", choice(&SECURITY));
    section.require();
    let secret = match (password, token) {
        (Some(file), None) => Some(Secret::Password(file)),
        (None, Some(file)) => Some(Secret::Token(file)),
        (None, None) | (Some(_), Some(_)) => {
            let why = "give a password_file or a token_file, and only one of them";
            section.problem_of_table("password_file", why);
            None
        }
    };
    Some(Login {
        next_hop: next_hop?,
        user: user?,
        secret: secret?,
        security,
    })
}
