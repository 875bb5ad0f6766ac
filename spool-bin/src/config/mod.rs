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
pub(crate) use route::Route;
pub(crate) use sections::ascii_host_name;
pub(crate) use values::parse_span;

use crate::files;
use crate::logging::Redactor;
use spool_core::bounce::OnFailure;
use spool_core::{Address, NextHop, RetryPolicy, SpoolConfig};
use spool_smtp::client::{AuthSecurity, SmtpConfig};
use spool_smtp::server::{Limits, ServerConfig};
use spool_smtp::submission::FixSubmissions;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use thiserror::Error;

/// Bytes of a configuration file.
const MAX_FILE: u64 = 4 << 20;

/// `[listen.tls]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct CertificateFiles {
    /// The chain, the server's own certificate first.
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// `[retry]`.
#[derive(Debug, Clone)]
pub(crate) struct Retry {
    pub(crate) policy: RetryPolicy,
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
#[derive(Debug, Clone)]
pub(crate) struct Client {
    /// Everything that needs no other file; with the name servers and the own addresses of `[route]`.
    pub(crate) smtp: SmtpConfig,
    /// Certificates to trust; `None`: those of the machine.
    pub(crate) tls_roots: Option<PathBuf>,
    /// DNSKEY records; `None`: the root zone's.
    pub(crate) dnssec_anchors: Option<PathBuf>,
    pub(crate) logins: Vec<Login>,
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
    /// `[spool]`, `[idempotency]` and the keys before the first table.
    pub(crate) spool: SpoolConfig,
    pub(crate) hostname: String,
    pub(crate) shutdown_timeout: Duration,
    pub(crate) smtp: Vec<SocketAddr>,
    /// The files of the Unix sockets in `listen.smtp`.
    pub(crate) unix: Vec<PathBuf>,
    /// Where TLS comes before the greeting.
    pub(crate) smtps: Vec<SocketAddr>,
    /// The listeners among them whose connections begin with a PROXY header.
    pub(crate) proxy_protocol: Vec<SocketAddr>,
    /// `[listen.limits]`, and the networks and domains of `[relay]`.
    pub(crate) server: ServerConfig,
    /// Limits of clients and users in a time.
    pub(crate) rates: Limits,
    /// Where `sendmail` leaves mail while the service is down; `None`: nowhere.
    pub(crate) drop_dir: Option<PathBuf>,
    /// `None`: no TLS.
    pub(crate) tls: Option<CertificateFiles>,
    pub(crate) admin: Option<SocketAddr>,
    /// Holds the token of the admin API.
    pub(crate) token_file: Option<PathBuf>,
    /// Whether the token may travel without TLS, off loopback.
    pub(crate) admin_plaintext: bool,
    /// Who may log in; `None`: nobody.
    pub(crate) users_file: Option<PathBuf>,
    /// Whose mail gets what is missing in it.
    pub(crate) fix_submissions: FixSubmissions,
    pub(crate) route: Route,
    pub(crate) retry: Retry,
    pub(crate) client: Client,
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
