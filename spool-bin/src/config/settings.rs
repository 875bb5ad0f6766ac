//! The values of the configuration.

use super::reader::Places;
use super::route::Route;
use spool_core::bounce::NoticeConfig;
use spool_core::{NextHop, RetryPolicy, SpoolConfig, TlsPolicy};
use spool_smtp::client::SmtpConfig;
use spool_smtp::dkim::Rules;
use spool_smtp::server::{Limits, ServerConfig};
use spool_smtp::submission::FixSubmissions;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `[listen.tls]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct CertificateFiles {
    /// The chain, the server's own certificate first.
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
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

/// `[[client.login]]`: the credentials for one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) next_hop: NextHop,
    pub(crate) user: String,
    pub(crate) secret: Secret,
    pub(crate) security: TlsPolicy,
}

/// The file that holds a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Secret {
    Password(PathBuf),
    Token(PathBuf),
}

impl Secret {
    /// The path of the file.
    pub(crate) fn path(&self) -> &Path {
        let (Self::Password(path) | Self::Token(path)) = self;
        path
    }
}

/// `[log]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Log {
    /// Whether addresses are logged as hashes.
    pub(crate) redact: bool,
    /// The file with the key of the hashes; `None`: a random key at each start.
    pub(crate) redact_key_file: Option<PathBuf>,
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
    /// Addresses with TLS before the greeting.
    pub(crate) smtps: Vec<SocketAddr>,
    /// The listeners among them whose connections begin with a PROXY header.
    pub(crate) proxy_protocol: Vec<SocketAddr>,
    /// `[listen.limits]`, and the networks and domains of `[relay]`.
    pub(crate) server: ServerConfig,
    /// Rate limits of clients and users.
    pub(crate) rates: Limits,
    /// Where `sendmail` leaves mail while the service is down; `None`: nowhere.
    pub(crate) drop_dir: Option<PathBuf>,
    /// `None`: no TLS.
    pub(crate) tls: Option<CertificateFiles>,
    pub(crate) admin: Option<SocketAddr>,
    /// The file with the token of the admin API.
    pub(crate) token_file: Option<PathBuf>,
    /// Whether the token may travel without TLS, off loopback.
    pub(crate) admin_plaintext: bool,
    /// Who may log in; `None`: nobody.
    pub(crate) users_file: Option<PathBuf>,
    /// Whose mail is completed.
    pub(crate) fix_submissions: FixSubmissions,
    pub(crate) route: Route,
    pub(crate) retry: RetryPolicy,
    /// How notices are made and retried.
    pub(crate) notices: NoticeConfig,
    pub(crate) client: Client,
    pub(crate) log: Log,
    /// `[dkim]`, with the files of the keys.
    pub(crate) dkim: Rules<PathBuf>,
    /// Those of the above that are sockets of the service manager.
    pub(crate) inherited: Inherited,
    pub(crate) places: Places,
}

/// The addresses of sockets of the service manager, which replace those of the configuration: they are bound already, each with
/// options of its own.
#[derive(Debug, Clone, Default)]
pub(crate) struct Inherited {
    pub(crate) smtp: Vec<SocketAddr>,
    pub(crate) smtps: Vec<SocketAddr>,
    pub(crate) admin: Option<SocketAddr>,
}

/// Limits of a submission.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SubmissionLimits {
    /// Bytes of its message.
    pub(crate) message_size: usize,
    /// Recipients.
    pub(crate) recipients: usize,
}

impl Config {
    pub(crate) fn submission_limits(&self) -> SubmissionLimits {
        SubmissionLimits {
            message_size: self.server.message_size,
            recipients: self.server.recipients,
        }
    }

    /// Why the admin API must not listen on its address.
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
}
