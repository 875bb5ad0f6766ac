//! Reads each section of the file. Defaults come from [`keys`](super::keys).

use super::client::client;
use super::dkim::dkim;
use super::effective::flat;
use super::listen;
use super::reader::{
    Places, Section, Source, choice, flag, number, or_empty, parsed, path, positive_span, rate, share, size,
    span, text,
};
use super::route::route;
use super::{Config, Disk, Idempotency, Limits, Log, Problem, Rates, Retry};
use spool_core::bounce::OnFailure;
use spool_core::{Address, DomainPattern, a_labels, valid_domain};
use spool_smtp::server::BareNewline;
use spool_smtp::submission::FixSubmissions;
use toml::de::{DeTable, DeValue};

pub(super) fn read(text: &str) -> Result<Config, Vec<Problem>> {
    let source = Source::new(text);
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        source.problem(error.span().unwrap_or_default(), error.message().to_owned());
    }
    let config = root(Section::new(&source, Some(document.get_ref()), ""));
    let (problems, mut places) = source.into_findings();
    if problems.is_empty() {
        places.values = flat(text);
        Ok(Config { places, ..config })
    } else {
        Err(problems)
    }
}

/// The keys that are asked for while `text` is read, without the numbers of tables.
#[cfg(test)]
pub(super) fn asked(text: &str) -> std::collections::BTreeSet<String> {
    let source = Source::new(text);
    let (document, _) = DeTable::parse_recoverable(text);
    let _ = root(Section::new(&source, Some(document.get_ref()), ""));
    source.into_findings().1.asked
}

fn root(section: Section<'_, '_>) -> Config {
    let listen = section.section("listen");
    let retry = retry(section.section("retry"));
    let dkim = dkim(section.section("dkim"), retry.expire_after);
    let relay = section.section("relay");
    let admin = section.section("admin");
    let tls = listen::tls(&listen);
    let (smtp, unix) = listen::smtp(&listen);
    let config = Config {
        spool_dir: section.get("spool_dir", path),
        hostname: section.get("hostname", hostname),
        max_concurrent_jobs: section.get("max_concurrent_jobs", number(0)),
        shutdown_timeout: section.get("shutdown_timeout", span),
        threads: section.get("threads", number(0)),
        smtp,
        unix,
        smtps: listen::smtps(&listen, tls.as_ref()),
        proxy_protocol: listen.list("proxy_protocol", parsed),
        tls,
        admin: listen.get("admin", or_empty(parsed)),
        token_file: admin.get("token_file", or_empty(path)),
        admin_plaintext: admin.get("allow_plaintext", flag),
        limits: limits(listen.section("limits")),
        allow_networks: relay.list("allow_networks", parsed),
        allow_domains: relay.list("allow_domains", domain),
        proxies: relay.list("proxies", parsed),
        drop_dir: relay.get("drop_dir", or_empty(listen::drop_dir)),
        users_file: relay.get("users_file", or_empty(path)),
        fix_submissions: relay.get("fix_submissions", choice(&FIX_SUBMISSIONS)),
        route: route(section.section("route")),
        retry,
        client: client(section.section("client")),
        disk: disk(section.section("spool")),
        idempotency: idempotency(section.section("idempotency")),
        log: log(section.section("log")),
        dkim,
        inherited: super::Inherited::default(),
        places: Places::default(),
    };
    if let Some((place, problem)) = listen.place("admin").zip(config.admin_problem()) {
        listen.problem("admin", place, problem);
    }
    for section in [section, listen, relay, admin] {
        section.end();
    }
    config
}

const FIX_SUBMISSIONS: [(&str, FixSubmissions); 3] = [
    ("never", FixSubmissions::Never),
    ("authenticated", FixSubmissions::Authenticated),
    ("networks", FixSubmissions::Networks),
];

/// A host name, in A-labels: it goes into greetings, headers and ids.
fn hostname(value: &DeValue<'_>) -> Result<String, String> {
    let name = text(value)?;
    match ascii_host_name(&name) {
        Some(ascii) => Ok(ascii),
        None if name.is_empty() => Ok(name),
        None => Err(format!("{name:?} is no host name")),
    }
}

/// `name` as a host name in A-labels; `None`: it is none, or has no such form.
pub(crate) fn ascii_host_name(name: &str) -> Option<String> {
    let ascii = match name.is_ascii() {
        true => name.into(),
        false => a_labels(name),
    };
    (valid_domain(name) && ascii.is_ascii()).then(|| ascii.into_owned())
}

fn limits(section: Section<'_, '_>) -> Limits {
    let words = [
        ("reject", BareNewline::Reject),
        ("normalize", BareNewline::Normalize),
    ];
    let message_size = section.get("message_size", size);
    let line_length = section.get("line_length", size);
    let limits = Limits {
        connections: section.get("connections", number(1)),
        connections_per_client: section.get("connections_per_client", number(1)),
        message_size: usize::try_from(message_size).unwrap_or(usize::MAX),
        recipients: section.get("recipients", number(1)),
        line_length: usize::try_from(line_length).unwrap_or(usize::MAX),
        errors_per_session: section.get("errors_per_session", number(1)),
        command_timeout: section.get("command_timeout", positive_span),
        data_timeout: section.get("data_timeout", positive_span),
        tls_timeout: section.get("tls_timeout", positive_span),
        bare_newline: section.get("bare_newline", choice(&words)),
        received_headers: section.get("received_headers", number(1)),
        memory: section.get("memory", size),
        rates: Rates {
            connections_per_client: section.get("connections_per_client_rate", or_empty(rate)),
            messages_per_client: section.get("messages_per_client", or_empty(rate)),
            recipients_per_client: section.get("recipients_per_client", or_empty(rate)),
            failed_logins_per_client: section.get("failed_logins_per_client", or_empty(rate)),
            messages_per_user: section.get("messages_per_user", or_empty(rate)),
            recipients_per_user: section.get("recipients_per_user", or_empty(rate)),
        },
    };
    for (key, least, value) in [
        ("line_length", 512, line_length),
        ("message_size", 1024, message_size),
    ] {
        if let Some(place) = section.place(key).filter(|_| value < least) {
            section.problem(key, place, &format!("must be at least {least}B"));
        }
    }
    section.end();
    limits
}

pub(super) fn domain(value: &DeValue<'_>) -> Result<DomainPattern, String> {
    let text = text(value)?;
    DomainPattern::parse(&text).ok_or_else(|| format!("{text:?} is no domain"))
}

fn retry(section: Section<'_, '_>) -> Retry {
    let words = [("bounce", OnFailure::Bounce), ("freeze", OnFailure::Freeze)];
    let retry = Retry {
        intervals: section.list("intervals", positive_span),
        repeat_last: section.get("repeat_last", flag),
        jitter: section.get("jitter", share),
        expire_after: section.get("expire_after", positive_span),
        on_failure: section.get("on_failure", choice(&words)),
        bounce_from: section.get("bounce_from", or_empty(bounce_from)),
        bounce_size: usize::try_from(section.get("bounce_size", size)).unwrap_or(usize::MAX),
        bounces_per_hour: section.get("bounces_per_hour", number(0)),
        delay_warning_after: section.get("delay_warning_after", or_empty(positive_span)),
    };
    section.end();
    retry
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

fn idempotency(section: Section<'_, '_>) -> Idempotency {
    let idempotency = Idempotency {
        window: section.get("window", positive_span),
        keys: section.get("keys", number(1)),
    };
    section.end();
    idempotency
}

fn log(section: Section<'_, '_>) -> Log {
    let log = Log {
        redact: section.get("redact", flag),
        redact_key_file: section.get("redact_key_file", or_empty(path)),
    };
    section.end();
    log
}

fn disk(section: Section<'_, '_>) -> Disk {
    let segment_size = section.get("segment_size", size);
    if let Some(place) = section.place("segment_size").filter(|_| segment_size < 64 << 10) {
        section.problem("segment_size", place, "must be at least 64KiB");
    }
    let disk = Disk {
        segment_size,
        min_free_space: section.get("min_free_space", size),
        max_messages: section.get("max_messages", number(0)),
        memory_limit: section.get("memory_limit", size),
        scrub_rate: section.get("scrub_rate", size),
    };
    section.later("purge_removed_after");
    section.end();
    disk
}
