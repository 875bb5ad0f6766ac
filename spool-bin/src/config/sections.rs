//! Each section of the file, with its keys, their defaults and their ranges.

use super::client::client;
use super::dkim::dkim;
use super::effective::flat;
use super::listen;
use super::reader::{Places, Section, Source, flag, number, parsed, positive_span, share, size, span, text};
use super::route::route;
use super::values::parse_rate;
use super::{Config, Disk, Idempotency, Limits, Log, Problem, Rates, Retry};
use spool_core::bounce::OnFailure;
use spool_core::{Address, DomainPattern, Rate, a_labels, valid_domain};
use spool_smtp::server::{BareNewline, Network};
use spool_smtp::submission::FixSubmissions;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
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
    let (allow_networks, allow_domains, fix_submissions, users_file, proxies, drop_dir) =
        relay(section.section("relay"));
    let retry = retry(section.section("retry"));
    let dkim = dkim(section.section("dkim"), retry.expire_after);
    let admin_section = section.section("admin");
    let token_file = admin_section.get("token_file", None, |value| {
        text(value).map(|path| (!path.is_empty()).then(|| PathBuf::from(path)))
    });
    let admin_plaintext = admin_section.get("allow_plaintext", false, flag);
    admin_section.end();
    let tls = listen::tls(&listen);
    let (smtp, unix) = listen::smtp(&listen);
    let config = Config {
        spool_dir: section.get("spool_dir", PathBuf::from("./spool-data"), |value| {
            text(value).map(PathBuf::from)
        }),
        hostname: section.get("hostname", String::new(), hostname),
        max_concurrent_jobs: section.get("max_concurrent_jobs", 200, number(0)),
        shutdown_timeout: section.get("shutdown_timeout", Duration::from_secs(30), span),
        threads: section.get("threads", 0, number(0)),
        smtp,
        unix,
        smtps: listen::smtps(&listen, tls.as_ref()),
        proxy_protocol: listen.list("proxy_protocol", Vec::new(), parsed),
        tls,
        admin: listen.get("admin", Some(SocketAddr::from(([127, 0, 0, 1], 8525))), admin),
        token_file,
        admin_plaintext,
        limits: limits(listen.section("limits")),
        allow_networks,
        allow_domains,
        users_file,
        proxies,
        drop_dir,
        fix_submissions,
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
    listen.end();
    section.end();
    config
}

/// A text that must stay empty until its feature is there.
fn later_text(section: &Section<'_, '_>, key: &'static str) {
    section.later(key, |value| value.as_str().map(str::is_empty));
}

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

fn admin(value: &DeValue<'_>) -> Result<Option<SocketAddr>, String> {
    if value.as_str() == Some("") {
        return Ok(None);
    }
    parsed(value).map(Some)
}

fn limits(section: Section<'_, '_>) -> Limits {
    let message_size = section.get("message_size", 35 << 20, size);
    let line_length = section.get("line_length", 8 << 10, size);
    let limits = Limits {
        connections: section.get("connections", 1000, number(1)),
        connections_per_client: section.get("connections_per_client", 100, number(1)),
        message_size: usize::try_from(message_size).unwrap_or(usize::MAX),
        recipients: section.get("recipients", 1000, number(1)),
        line_length: usize::try_from(line_length).unwrap_or(usize::MAX),
        errors_per_session: section.get("errors_per_session", 20, number(1)),
        command_timeout: section.get("command_timeout", Duration::from_secs(300), positive_span),
        data_timeout: section.get("data_timeout", Duration::from_secs(600), positive_span),
        tls_timeout: section.get("tls_timeout", Duration::from_secs(60), positive_span),
        bare_newline: section.get("bare_newline", BareNewline::Reject, |value| {
            match text(value)?.as_str() {
                "reject" => Ok(BareNewline::Reject),
                "normalize" => Ok(BareNewline::Normalize),
                other => Err(format!("{other:?}: must be \"reject\" or \"normalize\"")),
            }
        }),
        received_headers: section.get("received_headers", 50, number(1)),
        memory: section.get("memory", 256 << 20, size),
        rates: Rates {
            connections_per_client: section.get("connections_per_client_rate", None, rate),
            messages_per_client: section.get("messages_per_client", None, rate),
            recipients_per_client: section.get("recipients_per_client", None, rate),
            failed_logins_per_client: section.get("failed_logins_per_client", None, rate),
            messages_per_user: section.get("messages_per_user", None, rate),
            recipients_per_user: section.get("recipients_per_user", None, rate),
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

/// A rate, or none for an empty text.
fn rate(value: &DeValue<'_>) -> Result<Option<Rate>, String> {
    match text(value)?.as_str() {
        "" => Ok(None),
        text => parse_rate(text).map(Some),
    }
}

/// The keys of `[relay]`, in the order of their names here.
type Relay = (
    Vec<Network>,
    Vec<DomainPattern>,
    FixSubmissions,
    Option<PathBuf>,
    Vec<Network>,
    Option<PathBuf>,
);

fn relay(section: Section<'_, '_>) -> Relay {
    let loopback = ["127.0.0.0/8", "::1/128"]
        .iter()
        .filter_map(|network| network.parse().ok())
        .collect();
    let networks = section.list("allow_networks", loopback, parsed);
    let domains = section.list("allow_domains", Vec::new(), domain);
    let proxies = section.list("proxies", Vec::new(), parsed);
    let drop_dir = section.get("drop_dir", None, listen::drop_dir);
    let users = section.get("users_file", None, |value| {
        text(value).map(|path| (!path.is_empty()).then(|| PathBuf::from(path)))
    });
    let fix_submissions = section.get("fix_submissions", FixSubmissions::Authenticated, fix_submissions);
    section.end();
    (networks, domains, fix_submissions, users, proxies, drop_dir)
}

fn fix_submissions(value: &DeValue<'_>) -> Result<FixSubmissions, String> {
    match text(value)?.as_str() {
        "never" => Ok(FixSubmissions::Never),
        "authenticated" => Ok(FixSubmissions::Authenticated),
        "networks" => Ok(FixSubmissions::Networks),
        other => Err(format!(
            "{other:?}: must be \"never\", \"authenticated\" or \"networks\""
        )),
    }
}

pub(super) fn domain(value: &DeValue<'_>) -> Result<DomainPattern, String> {
    let text = text(value)?;
    DomainPattern::parse(&text).ok_or_else(|| format!("{text:?} is no domain"))
}

fn retry(section: Section<'_, '_>) -> Retry {
    let minutes = [1, 5, 15, 30, 60, 120, 240, 480].map(|m| Duration::from_secs(m * 60));
    let retry = Retry {
        intervals: section.list("intervals", minutes.to_vec(), positive_span),
        repeat_last: section.get("repeat_last", true, flag),
        jitter: section.get("jitter", 0.2, share),
        expire_after: section.get("expire_after", Duration::from_secs(4 * 86_400), positive_span),
        on_failure: section.get("on_failure", OnFailure::Bounce, |value| {
            match text(value)?.as_str() {
                "bounce" => Ok(OnFailure::Bounce),
                "freeze" => Ok(OnFailure::Freeze),
                other => Err(format!("{other:?}: must be \"bounce\" or \"freeze\"")),
            }
        }),
        bounce_from: section.get("bounce_from", None, bounce_from),
        bounce_size: usize::try_from(section.get("bounce_size", 50_000, size)).unwrap_or(usize::MAX),
        bounces_per_hour: section.get("bounces_per_hour", 20, number(0)),
        delay_warning_after: section.get("delay_warning_after", None, |value| match value.as_str() {
            Some("") => Ok(None),
            _ => positive_span(value).map(Some),
        }),
    };
    section.end();
    retry
}

/// An address in ASCII, for a header field; empty for none.
fn bounce_from(value: &DeValue<'_>) -> Result<Option<Address>, String> {
    let text = text(value)?;
    if text.is_empty() {
        return Ok(None);
    }
    let address: Address = text.parse().map_err(|error| format!("{text:?}: {error}"))?;
    match address.is_ascii() {
        true => Ok(Some(address)),
        false => Err(format!("{text:?}: must be ASCII; write the domain in A-labels")),
    }
}

fn idempotency(section: Section<'_, '_>) -> Idempotency {
    let idempotency = Idempotency {
        window: section.get("window", Duration::from_secs(86_400), positive_span),
        keys: section.get("keys", 1_000_000, number(1)),
    };
    section.end();
    idempotency
}

fn log(section: Section<'_, '_>) -> Log {
    let log = Log {
        redact: section.get("redact", false, flag),
        redact_key_file: section.get("redact_key_file", None, |value| {
            text(value).map(|path| (!path.is_empty()).then(|| PathBuf::from(path)))
        }),
    };
    section.end();
    log
}

fn disk(section: Section<'_, '_>) -> Disk {
    let segment_size = section.get("segment_size", 64 << 20, size);
    if let Some(place) = section.place("segment_size").filter(|_| segment_size < 64 << 10) {
        section.problem("segment_size", place, "must be at least 64KiB");
    }
    let disk = Disk {
        segment_size,
        min_free_space: section.get("min_free_space", 256 << 20, size),
        max_messages: section.get("max_messages", 0, number(0)),
        memory_limit: section.get("memory_limit", 512 << 20, size),
        scrub_rate: section.get("scrub_rate", 2 << 20, size),
    };
    later_text(&section, "purge_removed_after");
    section.end();
    disk
}
