//! The configuration file: read whole, checked whole, and refused with every error and its line.
//!
//! `docs/spool.example.toml` is the reference for names and defaults. A key whose feature is not there yet is refused
//! when it is set to anything but its default, never silently ignored.

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
pub(crate) use keys::Takes;
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
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        Config::parse(text)
            .unwrap_err()
            .iter()
            .map(|p| format!("{}: {}", p.line, p.text))
            .collect()
    }

    #[test]
    fn the_example_is_valid_and_says_the_defaults() {
        let example = Config::parse(include_str!("../../../docs/spool.example.toml")).unwrap();
        assert_eq!(format!("{example:?}"), format!("{:?}", Config::defaults()));
    }

    #[test]
    fn the_configurations_of_packages_and_of_the_installation_are_valid() {
        let page = include_str!("../../../docs/install.md");
        let written = page
            .split("```toml")
            .nth(1)
            .and_then(|rest| rest.split("```").next())
            .unwrap();
        let installed = include_str!("../../../packaging/spool.toml");
        let container = include_str!("../../../packaging/container.toml");
        for text in [written, installed, container] {
            let config = Config::parse(text).unwrap_or_else(|problems| panic!("{text}\n{problems:?}"));
            assert_eq!(config.spool_dir, Path::new("/var/lib/spool"));
        }
        let all = installed.lines().map(|line| {
            line.strip_prefix("# ")
                .filter(|rest| rest.contains(['[', '=']))
                .unwrap_or(line)
        });
        let with_comments: Vec<&str> = all.collect();
        assert!(
            Config::parse(&with_comments.join("\n")).is_ok(),
            "what is in comments fits as well"
        );
    }

    #[test]
    fn the_line_of_each_key_is_known() {
        let text = "hostname = \"a\"\n[client]\ntls_roots = \"x\"\n[[route.rule]]\ndomain = \"a\"\n[[route.rule]]\n\ndomain = \"b\"\n";
        let places = Config::parse(text).unwrap().places;
        let lines = [
            "hostname",
            "client.tls_roots",
            "route.rule[0].domain",
            "route.rule[1].domain",
            "threads",
        ];
        assert_eq!(
            lines.map(|key| places.line(key)),
            [Some(1), Some(3), Some(5), Some(8), None]
        );
    }

    #[test]
    fn a_host_name_is_kept_in_a_labels_and_one_without_them_is_refused() {
        let name =
            |text: &str| Config::parse(&format!("hostname = {text:?}\n")).map(|config| config.hostname);
        assert_eq!(name("b\u{fc}ro.example").unwrap(), "xn--bro-hoa.example");
        assert_eq!(name("MX.example").unwrap(), "MX.example");
        for bad in [
            "xn--\u{fc}.example",
            "\u{ff41}\u{ff1a}\u{ff42}.example",
            "a b",
            "-x",
        ] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_key_of_the_example_is_checked() {
        let example = include_str!("../../../docs/spool.example.toml");
        let mut section = String::new();
        let mut keys = 0;
        for line in example.lines() {
            if line.starts_with('[') {
                section = format!("{line}\n");
            } else if let Some((key, _)) = line.split_once(" = ").filter(|(key, _)| !key.starts_with('#')) {
                keys += 1;
                // A date suits no key, and a misspelt key none at all.
                let wrong = problems(&format!("{section}{key} = 1979-05-27\n"));
                assert!(wrong.len() == 1 && wrong[0].contains(key), "{key}: {wrong:?}");
                let line = 1 + section.lines().count();
                let unknown = problems(&format!("{section}{key}x = 1\n"));
                assert_eq!(unknown.len(), 1, "{unknown:?}");
                assert!(
                    unknown[0].starts_with(&format!("{line}: ")) && unknown[0].contains("unknown key"),
                    "{unknown:?}"
                );
            }
        }
        assert!(keys > 45, "{keys}");
    }

    #[test]
    fn every_error_is_told_with_its_line() {
        let text = "max_concurrent_jobs = -1\nthreads = 2.5\n[retry]\nintervals = [\"1m\", \"soon\"]\njitter = 2\n\
                    [listen]\nsmtp = [\"localhost\"]\n[frob]\n[[route.rule]]\ndomain = \"a b\"\nnext_hops = [\"b\"]\n";
        let found = problems(text);
        let lines: Vec<_> = found
            .iter()
            .map(|problem| problem.split(':').next().unwrap())
            .collect();
        assert_eq!(lines, ["1", "2", "4", "5", "7", "8", "10", "11"], "{found:#?}");
    }

    #[test]
    fn a_syntax_error_has_its_line() {
        let found = problems("threads = 1\nthreads 2\n");
        assert!(found[0].starts_with("2: "), "{found:?}");
    }

    #[test]
    fn the_api_leaves_loopback_only_with_a_token_and_a_word() {
        let off = "[listen]\nadmin = \"192.0.2.1:8525\"\n";
        let token = "[admin]\ntoken_file = \"token\"\n";
        assert!(problems(off)[0].starts_with("2: listen.admin: ") && problems(off)[0].contains("token_file"));
        let without_tls = problems(&format!("{off}{token}"));
        assert!(without_tls[0].contains("allow_plaintext"), "{without_tls:?}");
        let config = Config::parse(&format!("{off}{token}allow_plaintext = true\n")).unwrap();
        assert_eq!(config.admin_problem(), None);
        assert!(Config::parse(token).is_ok(), "on loopback a token is as good");
    }

    #[test]
    fn rules_are_read_whole() {
        let text = "[route]\nmx_port = 26\ndns_servers = [\"192.0.2.53\", \"[::1]:5353\"]\nown = [\"MX.example.org\", \"192.0.2.1\"]\nignore_networks = []\n\
                    [[route.rule]]\ndomain = \"a.example\"\ntls = \"verify\"\nmax_connections = 5\nrate = \"100/1m\"\n\
                    [[route.rule]]\ndomain = \"*.b.example\"\nnext_hops = [\"c:25\", \"mx:d.example:26\"]\n\
                    [[route.rule]]\ndomain = \"e.example\"\nnext_hops = []\n";
        let route = Config::parse(text).unwrap().route;
        let [a, b, e] = &route.rules[..] else {
            panic!("{:?}", route.rules)
        };
        assert!(a.next_hops.is_empty() && e.next_hops.is_empty());
        assert_eq!(a.policy.tls, Some(TlsPolicy::Verify));
        assert_eq!(a.policy.max_connections, std::num::NonZeroU32::new(5));
        assert_eq!(
            a.policy.rate,
            spool_core::Rate::new(100, Duration::from_secs(60)).ok()
        );
        assert_eq!(b.next_hops[1].to_string(), "mx:d.example:26");
        assert_eq!(b.policy, spool_core::DestinationPolicy::default());
        assert!(b.domain.matches("x.b.example") && !b.domain.matches("b.example"));
        let servers: Vec<_> = route.dns_servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["192.0.2.53:53", "[::1]:5353"]);
        let own = [
            Own::Name("mx.example.org".to_owned()),
            Own::Address([192, 0, 2, 1].into()),
        ];
        assert_eq!(
            (route.mx_port, &route.own[..], route.ignore_networks.len()),
            (26, &own[..], 0)
        );
    }

    #[test]
    fn rules_that_cannot_both_be_true_are_refused_where_the_second_stands() {
        let rule = |domain: &str, more: &str| format!("[[route.rule]]\ndomain = \"{domain}\"\n{more}\n");
        let (to, other) = ("next_hops = [\"s:25\"]", "next_hops = [\"t:25\"]");
        let cases = [
            // Line 5 is the second rule's domain, line 6 its next hops.
            (
                rule("b\u{fc}cher.example", to) + &rule("XN--BCHER-kva.example", other),
                Some("5: route.rule.domain: "),
            ),
            (
                rule("a.example", to) + &rule("b.example", &format!("{to}\nmax_connections = 2")),
                Some("6: route.rule.next_hops: "),
            ),
            (
                rule("a.example", &format!("{to}\ntls = \"none\""))
                    + &rule("b.example", &format!("{other}\ntls = \"verify\"")),
                None,
            ),
            (rule("a.example", to) + &rule("b.example", to), None),
            (
                rule("a.example", "tls = \"none\"") + &rule("b.example", "tls = \"verify\""),
                None,
            ),
            (
                format!("[route]\n{to}\n") + &rule("a.example", &format!("{to}\nrate = \"1/1s\"")),
                Some("5: route.rule.next_hops: "),
            ),
            (format!("[route]\n{to}\n") + &rule("a.example", to), None),
        ];
        for (text, expected) in cases {
            match (Config::parse(&text), expected) {
                (Ok(_), None) => {}
                (Err(_), Some(expected)) => {
                    let found = problems(&text);
                    assert!(
                        found.len() == 1 && found[0].starts_with(expected),
                        "{text}\n{found:?}"
                    );
                }
                (result, _) => panic!("{text}\n{:?}", result.err()),
            }
        }
    }

    #[test]
    fn what_is_wrong_in_a_rule_is_told_with_its_line() {
        let text = "[route]\nmx_port = 0\ndns_servers = [\"ns.example\"]\nown = [\"[::1]\"]\nignore_networks = [\"10.0.0.1/8\"]\n\
                    [[route.rule]]\ntls = \"yes\"\n[[route.rule]]\ndomain = \"a.example\"\nmax_connections = 0\nrate = \"0/1m\"\nfrob = 1\n";
        let found = problems(text);
        let lines: Vec<_> = found
            .iter()
            .map(|problem| problem.split(':').next().unwrap())
            .collect();
        assert_eq!(
            lines,
            ["2", "3", "4", "5", "6", "7", "10", "11", "12"],
            "{found:#?}"
        );
    }

    #[test]
    fn what_is_said_of_notices_is_read_and_nonsense_is_refused() {
        let text = "[retry]\non_failure = \"freeze\"\nbounce_from = \"post@example.org\"\nbounce_size = \"10KiB\"\nbounces_per_hour = 0\ndelay_warning_after = \"4h\"\n";
        let retry = Config::parse(text).unwrap().retry;
        assert_eq!(retry.on_failure, OnFailure::Freeze);
        assert_eq!(retry.bounce_from.unwrap().as_str(), "post@example.org");
        assert_eq!(retry.bounce_size, 10 << 10);
        assert_eq!(retry.bounces_per_hour, 0);
        assert_eq!(Config::parse("").unwrap().retry.bounces_per_hour, 20);
        assert_eq!(retry.delay_warning_after, Some(Duration::from_secs(4 * 3600)));
        for bad in [
            "on_failure = \"drop\"",
            "bounce_from = \"nobody\"",
            "bounce_from = \"\u{fc}@example.org\"",
            "bounce_size = \"50k\"",
            "bounces_per_hour = -1",
            "delay_warning_after = \"0s\"",
            "delay_warning_after = \"soon\"",
        ] {
            let found = problems(&format!("[retry]\n{bad}\n"));
            assert!(
                found.len() == 1 && found[0].starts_with("2: "),
                "{bad}: {found:?}"
            );
        }
    }

    #[test]
    fn what_comes_later_is_refused_and_not_ignored() {
        let text = "[spool]\npurge_removed_after = \"30d\"";
        let found = problems(text);
        assert!(found.len() == 1 && found[0].starts_with("2: "), "{found:?}");
        assert!(found[0].contains("not yet supported"), "{found:?}");
    }

    #[test]
    fn tls_needs_a_certificate_and_its_key() {
        let both =
            "[listen]\nsmtps = [\"127.0.0.1:465\"]\n[listen.tls]\ncertificate = \"a.pem\"\nkey = \"b.pem\"\n";
        let config = Config::parse(both).unwrap();
        let pair = config.tls.unwrap();
        assert_eq!((pair.certificate, pair.key), ("a.pem".into(), "b.pem".into()));
        assert_eq!(config.smtps.len(), 1);
        for (text, line, what) in [
            ("[listen.tls]\ncertificate = \"a.pem\"\n", "2", "needs a key"),
            ("[listen.tls]\nkey = \"b.pem\"\n", "2", "needs a certificate"),
            (
                "[listen]\nsmtps = [\"127.0.0.1:465\"]\n",
                "2",
                "needs listen.tls.certificate",
            ),
        ] {
            let found = problems(text);
            assert!(
                found.len() == 1 && found[0].starts_with(&format!("{line}: ")) && found[0].contains(what),
                "{text}: {found:?}"
            );
        }
    }

    #[test]
    fn limits_in_a_time_are_rates_or_nothing() {
        let keys = [
            "connections_per_client_rate",
            "messages_per_client",
            "recipients_per_client",
            "failed_logins_per_client",
            "messages_per_user",
            "recipients_per_user",
        ];
        let all: String = keys
            .iter()
            .zip(1..)
            .map(|(key, n)| format!("{key} = \"{n}/1m\"\n"))
            .collect();
        let rates = Config::parse(&format!("[listen.limits]\n{all}"))
            .unwrap()
            .limits
            .rates;
        let read = [
            rates.connections_per_client,
            rates.messages_per_client,
            rates.recipients_per_client,
            rates.failed_logins_per_client,
            rates.messages_per_user,
            rates.recipients_per_user,
        ];
        for (rate, n) in read.iter().zip(1..) {
            assert_eq!(*rate, spool_core::Rate::new(n, Duration::from_secs(60)).ok());
        }
        for key in keys {
            let none = Config::parse(&format!("[listen.limits]\n{key} = \"\"\n")).unwrap();
            assert_eq!(none.limits.rates, Rates::default());
            let found = problems(&format!("[listen.limits]\n{key} = \"many\"\n"));
            assert!(found[0].starts_with("2: ") && found[0].contains(key), "{found:?}");
        }
    }

    #[test]
    fn proxies_are_networks_and_their_listeners_addresses() {
        let text =
            "[listen]\nproxy_protocol = [\"127.0.0.1:2525\"]\n[relay]\nproxies = [\"10.0.0.0/8\", \"::1\"]\n";
        let config = Config::parse(text).unwrap();
        assert_eq!((config.proxy_protocol.len(), config.proxies.len()), (1, 2));
        for text in [
            "[relay]\nproxies = [\"proxy.example\"]",
            "[listen]\nproxy_protocol = [\"127.0.0.1\"]",
        ] {
            assert_eq!(problems(text).len(), 1, "{text}");
        }
    }

    #[test]
    fn a_login_names_its_host_and_one_secret() {
        let login = "[client]\ntls = \"verify\"\n[[client.login]]\nnext_hop = \"smtp.example.net:587\"\nuser = \"ada\"\n";
        let config = Config::parse(&format!("{login}password_file = \"secret\"\n")).unwrap();
        let [login_read] = config.client.logins.as_slice() else {
            panic!("{:?}", config.client);
        };
        assert_eq!(login_read.secret, Secret::Password("secret".into()));
        assert_eq!(login_read.security, AuthSecurity::VerifiedTls);
        for (text, line, what) in [
            (login.to_owned(), "3", "only one of them"),
            (
                format!("{login}password_file = \"a\"\ntoken_file = \"b\"\n"),
                "3",
                "only one of them",
            ),
            (
                format!("{login}token_file = \"b\"\nsecurity = \"tls\"\n"),
                "7",
                "must be",
            ),
            (
                "[[client.login]]\nuser = \"ada\"\ntoken_file = \"b\"\n".to_owned(),
                "1",
                "is missing",
            ),
        ] {
            let found = problems(&text);
            assert!(
                found.len() == 1 && found[0].starts_with(&format!("{line}: ")) && found[0].contains(what),
                "{text}: {found:?}"
            );
        }
    }
}
