//! Reads each section of the file. Defaults come from [`keys`](super::keys).

use super::client::client;
use super::dkim::dkim;
use super::listen;
use super::read::{
    choice, domain, flag, number, or_empty, parsed, path, positive_span, rate, share, size, size_from, span,
    text,
};
use super::reader::{Places, Problem, SourceText, TableReader};
use super::route::{resolving, route};
use super::settings::{Config, Inherited, Log};
use super::values::ascii_host_name;
use crate::failure::Failure;
use crate::files;
use spool_core::bounce::{NoticeConfig, OnFailure};
use spool_core::{Address, Budget, RetryInterval, RetryPolicy, SpoolConfig};
use spool_smtp::server::{BareNewline, Limits, RelayPolicy, ServerConfig};
use spool_smtp::submission::FixSubmissions;
use std::path::Path;
use toml::de::{DeTable, DeValue};

/// Bytes of a configuration file.
const MAX_FILE: u64 = 4 << 20;

impl Config {
    /// Reads `path`.
    ///
    /// # Errors
    /// Every problem, one a line.
    pub(crate) fn load(path: &Path) -> Result<Self, Failure> {
        let at = path.display();
        let text = files::read_text(path, MAX_FILE)
            .map_err(|why| Failure::Usage(format!("{at}: cannot read the configuration: {why}")))?;
        Self::parse(&text).map_err(|problems| {
            let lines = problems
                .iter()
                .map(|problem| format!("{at}:{}: {}", problem.line, problem.text));
            Failure::Usage(lines.collect::<Vec<_>>().join("\n"))
        })
    }

    /// Reads a text; all of its problems, in the order of their lines.
    pub(crate) fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let source = SourceText::new(text);
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            source.problem(error.span().unwrap_or_default(), error.message().to_owned());
        }
        let config = root(&TableReader::root(&source, document.get_ref()));
        let (problems, places) = source.into_findings(document.get_ref());
        match problems.is_empty() {
            true => Ok(Self { places, ..config }),
            false => Err(problems),
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

/// The keys that are asked for while `text` is read, without the numbers of tables.
#[cfg(test)]
pub(super) fn asked(text: &str) -> std::collections::BTreeSet<String> {
    let source = SourceText::new(text);
    let (document, _) = DeTable::parse_recoverable(text);
    let _ = root(&TableReader::root(&source, document.get_ref()));
    source.asked.take()
}

fn root(section: &TableReader<'_>) -> Config {
    let [listen, relay, admin, routes] =
        ["listen", "relay", "admin", "route"].map(|table| section.section(table));
    let hostname = section.get("hostname", hostname);
    let (retry, notices) = retry(&section.section("retry"), &hostname);
    let tls = listen::tls(&listen);
    let (smtp, unix) = listen::split(listen.list("smtp", parsed));
    let (server, rates) = server(&listen.section("limits"), &relay);
    let client = client(&section.section("client"), resolving(&routes));
    let mut spool = spool(section);
    spool.max_recipients = server.recipients;
    spool.max_jobs_per_destination = client.smtp.connections_per_destination;
    spool.max_sessions = client.smtp.connections;
    let config = Config {
        spool,
        hostname,
        shutdown_timeout: section.get("shutdown_timeout", span),
        smtp,
        unix,
        smtps: listen::smtps(&listen, tls.as_ref()),
        proxy_protocol: listen.list("proxy_protocol", parsed),
        server,
        rates,
        drop_dir: relay.get("drop_dir", or_empty(listen::drop_dir)),
        tls,
        admin: listen.get("admin", or_empty(parsed)),
        token_file: admin.get("token_file", or_empty(path)),
        admin_plaintext: admin.get("allow_plaintext", flag),
        users_file: relay.get("users_file", or_empty(path)),
        fix_submissions: relay.get("fix_submissions", choice(&FIX_SUBMISSIONS)),
        route: route(&routes),
        dkim: dkim(&section.section("dkim"), retry.expire_after),
        retry,
        notices,
        client,
        log: log(&section.section("log")),
        inherited: Inherited::default(),
        places: Places::default(),
    };
    if let Some(problem) = config.admin_problem() {
        listen.problem("admin", problem);
    }
    config
}

const FIX_SUBMISSIONS: [(&str, FixSubmissions); 3] = [
    ("never", FixSubmissions::Never),
    ("authenticated", FixSubmissions::Authenticated),
    ("networks", FixSubmissions::Networks),
];

/// A host name, in A-labels: it goes into greetings, headers and ids. An empty one is that of the machine.
fn hostname(value: &DeValue<'_>) -> Result<String, String> {
    let name = text(value)?;
    match name.is_empty() {
        true => Ok(machine_name()),
        false => ascii_host_name(&name).ok_or_else(|| format!("{name:?} is not a host name")),
    }
}

/// The machine's name, if it is a domain name.
fn machine_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| std::fs::read_to_string("/etc/hostname"));
    let name = name.unwrap_or_default();
    ascii_host_name(name.trim()).unwrap_or_else(|| "localhost".to_owned())
}

/// `[listen.limits]`, and who may relay.
fn server(section: &TableReader<'_>, relay: &TableReader<'_>) -> (ServerConfig, Limits) {
    let words = [
        ("reject", BareNewline::Reject),
        ("normalize", BareNewline::Normalize),
    ];
    let server = ServerConfig {
        connections: section.get("connections", number(1)),
        connections_per_client: section.get("connections_per_client", number(1)),
        message_size: section.get("message_size", size_from("1024B")),
        recipients: section.get("recipients", number(1)),
        line_length: section.get("line_length", size_from("512B")),
        errors_per_session: section.get("errors_per_session", number(1)),
        command_timeout: section.get("command_timeout", positive_span),
        data_timeout: section.get("data_timeout", positive_span),
        tls_timeout: section.get("tls_timeout", positive_span),
        bare_newline: section.get("bare_newline", choice(&words)),
        received_headers: section.get("received_headers", number(1)),
        memory: Budget::new(section.get("memory", size)),
        relay: RelayPolicy {
            allow_networks: relay.list("allow_networks", parsed),
            allow_domains: relay.list("allow_domains", domain),
        },
        proxies: relay.list("proxies", parsed),
        ..ServerConfig::default()
    };
    let rates = Limits {
        connections_per_client: section.get("connections_per_client_rate", or_empty(rate)),
        messages_per_client: section.get("messages_per_client", or_empty(rate)),
        recipients_per_client: section.get("recipients_per_client", or_empty(rate)),
        failed_logins_per_client: section.get("failed_logins_per_client", or_empty(rate)),
        messages_per_user: section.get("messages_per_user", or_empty(rate)),
        recipients_per_user: section.get("recipients_per_user", or_empty(rate)),
    };
    (server, rates)
}

/// `[retry]`: how often a message is tried, and what happens to those that fail.
fn retry(section: &TableReader<'_>, hostname: &str) -> (RetryPolicy, NoticeConfig) {
    let words = [("bounce", OnFailure::Bounce), ("freeze", OnFailure::Freeze)];
    let intervals = section.list("intervals", positive_span);
    let jitter = section.get("jitter", share);
    let retry = RetryPolicy {
        intervals: intervals
            .into_iter()
            .map(|span| RetryInterval::with_jitter(span, jitter))
            .collect(),
        repeat_last: section.get("repeat_last", flag),
        expire_after: Some(section.get("expire_after", positive_span)),
    };
    let mut notices = NoticeConfig::new(hostname);
    if let Some(from) = section.get("bounce_from", or_empty(bounce_from)) {
        notices.from = from.to_string();
    }
    notices.on_failure = section.get("on_failure", choice(&words));
    notices.delay_warning_after = section.get("delay_warning_after", or_empty(positive_span));
    notices.size_limit = section.get("bounce_size", size_from("0B"));
    notices.per_hour = section.get("bounces_per_hour", number(0));
    notices.retry = retry.clone();
    (retry, notices)
}

/// An address in ASCII, for a header field.
fn bounce_from(value: &DeValue<'_>) -> Result<Address, String> {
    let text = text(value)?;
    let address: Address = text.parse().map_err(|error| format!("{text:?}: {error}"))?;
    match address.is_ascii() {
        true => Ok(address),
        false => Err(format!("{text:?}: must be ASCII; write the domain in A-labels")),
    }
}

fn log(section: &TableReader<'_>) -> Log {
    Log {
        redact: section.get("redact", flag),
        redact_key_file: section.get("redact_key_file", or_empty(path)),
    }
}

/// The keys before the first table that concern the spool, `[spool]` and `[idempotency]`.
fn spool(root: &TableReader<'_>) -> SpoolConfig {
    let (section, idempotency) = (root.section("spool"), root.section("idempotency"));
    let mut spool = SpoolConfig::new(root.get("spool_dir", path));
    spool.max_concurrent_jobs = root.get("max_concurrent_jobs", number(0));
    spool.threads = root.get("threads", number(0));
    spool.store.segment_size = section.get("segment_size", size_from("64KiB"));
    spool.store.min_free_space = section.get("min_free_space", size);
    spool.store.max_messages = section.get("max_messages", number(0));
    spool.memory_limit = section.get("memory_limit", size);
    spool.scrub_rate = section.get("scrub_rate", size);
    let _: Option<()> = section.get(
        "purge_removed_after",
        or_empty(|value| text(value).and_then(|_| Err("not yet supported".to_owned()))),
    );
    spool.store.key_window = idempotency.get("window", positive_span);
    spool.store.max_keys = idempotency.get("keys", number(1));
    spool
}
