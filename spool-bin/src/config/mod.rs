//! The configuration file: read whole, checked whole, and refused with every error and its line.
//!
//! [`keys`] states every key with its default. A key whose feature does not exist yet is refused when it is set to anything
//! but its default; it is never silently ignored.

mod addresses;
mod client;
mod dkim;
mod effective;
mod inspect;
mod keys;
mod listen;
mod reader;
mod route;
mod sections;
mod values;

pub(crate) use addresses::{Inherited, v6_only};
pub(crate) use dkim::{Dkim, DkimKey};
pub(crate) use effective::{Change, Effective, Origin};
pub(crate) use inspect::{Finding, inspect};
pub(crate) use keys::{TakesEffect, option_help};
pub(crate) use listen::{SmtpAddress, split};
pub(crate) use reader::Places;
pub(crate) use route::{Own, Route};
pub(crate) use sections::ascii_host_name;
pub(crate) use values::parse_span;

use crate::files;
use crate::logging::Redactor;
use spool_core::bounce::OnFailure;
use spool_core::{Address, NextHop, TlsPolicy};
use spool_smtp::client::AuthSecurity;
use spool_smtp::server::{BareNewline, Limits as Rates, Network};
use spool_smtp::submission::FixSubmissions;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use thiserror::Error;

/// Bytes of a configuration file.
const MAX_FILE: u64 = 4 << 20;

/// `[listen.limits]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) connections: usize,
    pub(crate) connections_per_client: usize,
    pub(crate) message_size: usize,
    pub(crate) recipients: usize,
    pub(crate) line_length: usize,
    pub(crate) errors_per_session: usize,
    pub(crate) command_timeout: Duration,
    pub(crate) data_timeout: Duration,
    pub(crate) tls_timeout: Duration,
    pub(crate) bare_newline: BareNewline,
    pub(crate) received_headers: usize,
    pub(crate) memory: u64,
    /// Of clients and users, in a time.
    pub(crate) rates: Rates,
}

/// `[listen.tls]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct CertificateFiles {
    /// The chain, the server's own certificate first.
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// `[retry]`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Retry {
    pub(crate) intervals: Vec<Duration>,
    pub(crate) repeat_last: bool,
    pub(crate) jitter: f64,
    pub(crate) expire_after: Duration,
    pub(crate) on_failure: OnFailure,
    /// The address in From of notices; `None`: MAILER-DAEMON of this host.
    pub(crate) bounce_from: Option<Address>,
    pub(crate) bounce_size: usize,
    /// 0: no limit.
    pub(crate) bounces_per_hour: u32,
    pub(crate) delay_warning_after: Option<Duration>,
}

/// `[client]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Client {
    /// Where a rule says nothing of it.
    pub(crate) tls: TlsPolicy,
    /// Certificates to trust; `None`: those of the machine.
    pub(crate) tls_roots: Option<PathBuf>,
    pub(crate) implicit_tls_ports: Vec<u16>,
    pub(crate) chunking: bool,
    pub(crate) plaintext_memory: Duration,
    pub(crate) mta_sts: bool,
    pub(crate) dane: bool,
    /// DNSKEY records; `None`: the root zone's.
    pub(crate) dnssec_anchors: Option<PathBuf>,
    pub(crate) source_addresses: Vec<IpAddr>,
    pub(crate) logins: Vec<Login>,
    pub(crate) connections: usize,
    pub(crate) connections_per_destination: usize,
    pub(crate) messages_per_connection: u32,
    pub(crate) idle_timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) greeting_timeout: Duration,
    pub(crate) tls_timeout: Duration,
    pub(crate) command_timeout: Duration,
    pub(crate) data_timeout: Duration,
    pub(crate) final_reply_timeout: Duration,
    pub(crate) attempt_timeout: Duration,
}

/// `[[client.login]]`: who the client is to one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) next_hop: NextHop,
    pub(crate) user: String,
    pub(crate) secret: Secret,
    pub(crate) security: AuthSecurity,
}

/// The file that holds a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Secret {
    Password(PathBuf),
    Token(PathBuf),
}

impl Secret {
    /// Where it stands.
    pub(crate) fn path(&self) -> &Path {
        let (Self::Password(path) | Self::Token(path)) = self;
        path
    }
}

/// `[spool]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Disk {
    pub(crate) segment_size: u64,
    pub(crate) min_free_space: u64,
    pub(crate) max_messages: u64,
    pub(crate) memory_limit: u64,
    pub(crate) scrub_rate: u64,
}

/// `[idempotency]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Idempotency {
    /// How long a key is remembered.
    pub(crate) window: Duration,
    /// How many are; of more, the oldest gives way.
    pub(crate) keys: usize,
}

/// `[log]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Log {
    /// Whether addresses leave as hashes.
    pub(crate) redact: bool,
    /// Holds the key of the hashes; `None`: a random one each start.
    pub(crate) redact_key_file: Option<PathBuf>,
}

impl Log {
    /// What hides addresses, if they are to be hidden.
    ///
    /// # Errors
    /// What is wrong with the file of the key.
    pub(crate) fn redactor(&self) -> Result<Option<Redactor>, String> {
        let redactor = self
            .redact
            .then(|| Redactor::new(self.redact_key_file.as_deref()));
        redactor
            .transpose()
            .map_err(|why| format!("log.redact_key_file: {why}"))
    }
}

/// Everything that can be configured.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) spool_dir: PathBuf,
    pub(crate) hostname: String,
    pub(crate) max_concurrent_jobs: usize,
    pub(crate) shutdown_timeout: Duration,
    pub(crate) threads: usize,
    pub(crate) smtp: Vec<SocketAddr>,
    /// The files of the Unix sockets in `listen.smtp`.
    pub(crate) unix: Vec<PathBuf>,
    /// Where TLS comes before the greeting.
    pub(crate) smtps: Vec<SocketAddr>,
    /// The listeners among them whose connections begin with a PROXY header.
    pub(crate) proxy_protocol: Vec<SocketAddr>,
    /// Who may speak PROXY and XCLIENT.
    pub(crate) proxies: Vec<Network>,
    /// Where `sendmail` leaves mail while the service is down; `None`: nowhere.
    pub(crate) drop_dir: Option<PathBuf>,
    /// `None`: no TLS.
    pub(crate) tls: Option<CertificateFiles>,
    pub(crate) admin: Option<SocketAddr>,
    /// Holds what every request to the admin API must know.
    pub(crate) token_file: Option<PathBuf>,
    /// Whether the token may travel without TLS, off loopback.
    pub(crate) admin_plaintext: bool,
    pub(crate) limits: Limits,
    pub(crate) allow_networks: Vec<Network>,
    pub(crate) allow_domains: Vec<spool_core::DomainPattern>,
    /// Who may log in; `None`: nobody.
    pub(crate) users_file: Option<PathBuf>,
    /// Whose mail gets what is missing in it.
    pub(crate) fix_submissions: FixSubmissions,
    pub(crate) route: Route,
    pub(crate) retry: Retry,
    pub(crate) client: Client,
    pub(crate) disk: Disk,
    pub(crate) idempotency: Idempotency,
    pub(crate) log: Log,
    pub(crate) dkim: Dkim,
    /// Which of the above are sockets of the service manager.
    pub(crate) inherited: Inherited,
    pub(crate) places: Places,
}

/// One thing wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) line: usize,
    pub(crate) text: String,
}

/// A configuration that cannot be used.
#[derive(Debug, Error)]
pub(crate) enum ConfigError {
    #[error("{}: cannot read the configuration: {why}", path.display())]
    Unreadable { path: PathBuf, why: String },
    #[error("{}", problems.iter().map(|p| format!("{}:{}: {}", path.display(), p.line, p.text)).collect::<Vec<_>>().join("\n"))]
    Problems { path: PathBuf, problems: Vec<Problem> },
}

impl Config {
    /// Reads `path`.
    pub(crate) fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = files::read_text(path, MAX_FILE).map_err(|why| ConfigError::Unreadable {
            path: path.to_owned(),
            why,
        })?;
        Self::parse(&text).map_err(|problems| ConfigError::Problems {
            path: path.to_owned(),
            problems,
        })
    }

    /// Reads a text; all of its problems, in the order of their lines.
    pub(crate) fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        sections::read(text)
    }

    /// Why the admin API must not listen where it is told to.
    pub(crate) fn admin_problem(&self) -> Option<&'static str> {
        let off_loopback = self.admin.is_some_and(|address| !address.ip().is_loopback());
        match (off_loopback, &self.token_file, self.admin_plaintext) {
            (false, _, _) | (true, Some(_), true) => None,
            (true, None, _) => Some("an address off loopback needs admin.token_file"),
            (true, Some(_), false) => Some(
                "off loopback the token would travel in the clear: listen on loopback behind a TLS proxy, or set admin.allow_plaintext = true",
            ),
        }
    }

    /// The defaults.
    pub(crate) fn defaults() -> Self {
        match Self::parse("") {
            Ok(config) => config,
            Err(problems) => unreachable!("the empty file is valid: {problems:?}"),
        }
    }
}

#[cfg(test)]
mod docs_tests;

#[cfg(test)]
mod tests;
