//! What a configuration names outside of its file: files, the spool's directory, addresses; and what in it can have no
//! effect. `spool check` and the start of `spool serve` look by the same function.
//!
//! It looks and changes nothing; it takes no lock and no port. Of a secret it tells where it stands, never what it is.

use super::addresses::clash;
use super::{Config, DkimKey, Places, Secret, keys, listen};
use crate::admin::Token;
use crate::certificates;
use crate::files::{OTHERS, OTHERS_THAN_READERS, open_to};
use crate::logging::Redactor;
use crate::outbound;
use crate::signing;
use crate::users;
use rustix::fs::{Access, access};
use spool_core::bounce::OnFailure;
use spool_core::store::examine_dir;
use spool_core::{Address, Clock, SystemClock, Timestamp};
use spool_smtp::dkim::{Algorithm, SigningKey};
use std::fmt;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// How grave it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gravity {
    /// It works, and is hardly meant so.
    Warning,
    /// The service would not start, or not do what is asked for.
    Error,
}

/// Something found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) gravity: Gravity,
    /// Which key, as in `client.tls_roots`.
    pub(crate) key: String,
    /// Where the file sets it; `None` for a default or an option of the command line.
    pub(crate) line: Option<usize>,
    pub(crate) text: String,
}

impl Finding {
    pub(crate) fn is_error(&self) -> bool {
        self.gravity == Gravity::Error
    }

    /// In one line, as found in `file`.
    pub(crate) fn at(&self, file: Option<&Path>) -> String {
        format!("{}{self}", self.place(file))
    }

    /// The same without its gravity, for a line of the log with a level of its own.
    pub(crate) fn logged(&self, file: Option<&Path>) -> String {
        format!("{}{}: {}", self.place(file), self.key, self.text)
    }

    fn place(&self, file: Option<&Path>) -> String {
        match (file, self.line) {
            (Some(file), Some(line)) => format!("{}:{line}: ", file.display()),
            (Some(_) | None, _) => String::new(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let warning = if self.is_error() { "" } else { "warning: " };
        write!(f, "{warning}{}: {}", self.key, self.text)
    }
}

/// Collects findings.
struct Found<'p> {
    places: &'p Places,
    all: Vec<Finding>,
}

impl Found<'_> {
    fn add(&mut self, gravity: Gravity, place: &str, text: String) {
        // Without the number of its table: the line says which.
        let key = place.split_once('[').map_or(place.to_owned(), |(table, rest)| {
            let key = rest.split_once(']').map_or("", |(_, key)| key);
            format!("{table}{key}")
        });
        debug_assert!(keys::is_key(&key), "{key} is no key");
        self.all.push(Finding {
            gravity,
            key,
            line: self.places.line(place),
            text,
        });
    }

    fn error(&mut self, place: &str, text: String) {
        self.add(Gravity::Error, place, text);
    }

    fn warn(&mut self, place: &str, text: String) {
        self.add(Gravity::Warning, place, text);
    }

    /// A file with a secret in it that was read.
    fn secret(&mut self, place: &str, path: &Path) {
        if let Some(mode) = open_to(OTHERS, path) {
            let path = path.display();
            self.warn(
                place,
                format!("{path}: others than its owner may use it (mode {mode:04o}); chmod 600 closes it"),
            );
        }
    }

    /// The token of the admin API, which its group may read: those who run commands.
    fn token(&mut self, place: &str, path: &Path) {
        if let Some(mode) = open_to(OTHERS_THAN_READERS, path) {
            let path = path.display();
            self.warn(
                place,
                format!(
                    "{path}: others than its owner and its group may use it (mode {mode:04o}); chmod 640 closes it"
                ),
            );
        }
    }
}

/// Everything that can be seen before the service starts, in the order of the lines.
pub(crate) fn inspect(config: &Config) -> Vec<Finding> {
    let mut found = Found {
        places: &config.places,
        all: Vec::new(),
    };
    spool_dir(config, &mut found);
    addresses(config, &mut found);
    unix(config, &mut found);
    drop_dir(config, &mut found);
    proxies(config, &mut found);
    tls(config, &mut found);
    users(config, &mut found);
    admin(config, &mut found);
    client(config, &mut found);
    resolv_conf(config, &mut found);
    rules(config, &mut found);
    log(config, &mut found);
    dkim(config, &mut found);
    notices(config, &mut found);
    found.all.sort_by_key(|finding| finding.line);
    found.all
}

fn spool_dir(config: &Config, found: &mut Found<'_>) {
    let dir = &config.spool.dir;
    let place = "spool_dir";
    if std::fs::symlink_metadata(dir).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
        let parent = match dir.parent() {
            Some(parent) if parent != Path::new("") => parent,
            Some(_) | None => Path::new("."),
        };
        match std::fs::metadata(parent) {
            Ok(data) if !data.is_dir() => {
                found.error(place, format!("{}: is not a directory", parent.display()));
            }
            Ok(_) => may(
                parent,
                Access::WRITE_OK | Access::EXEC_OK,
                "make a directory in",
                place,
                found,
            ),
            Err(error) => found.error(place, format!("{}: {error}", parent.display())),
        }
        return;
    }
    match std::fs::metadata(dir) {
        Ok(data) if !data.is_dir() => {
            found.error(place, format!("{}: is not a directory", dir.display()));
        }
        Ok(_) => match examine_dir(dir) {
            Ok(()) => {
                let all = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
                may(dir, all, "read and write", place, found);
            }
            Err(error) => found.error(place, error.to_string()),
        },
        Err(error) => found.error(place, format!("{}: {error}", dir.display())),
    }
}

fn may(path: &Path, what: Access, verb: &str, place: &str, found: &mut Found<'_>) {
    if let Err(error) = access(path, what) {
        let (path, error) = (path.display(), std::io::Error::from(error));
        found.error(place, format!("{path}: may not {verb} it: {error}"));
    }
}

/// Addresses of which only one can be had.
fn addresses(config: &Config, found: &mut Found<'_>) {
    // Those of the service manager are bound already.
    let inherited = config.inherited;
    let smtp = config.smtp.iter().filter(|_| !inherited.smtp);
    let smtp = smtp.map(|address| (address, "listen.smtp"));
    let smtps = config.smtps.iter().filter(|_| !inherited.smtps);
    let smtps = smtps.map(|address| (address, "listen.smtps"));
    let admin = config.admin.filter(|_| !inherited.admin);
    let all: Vec<_> = smtp.chain(smtps).collect();
    for (nth, (address, key)) in all.iter().enumerate() {
        let mut before = all.iter().take(nth);
        if let Some((other, first)) = before.find(|(other, _)| clash(address, other)) {
            found.error(key, twice(address, other, first));
        }
        if let Some(admin) = admin.filter(|admin| clash(address, admin)) {
            match found.places.line("listen.admin") {
                Some(_) => found.error("listen.admin", twice(&admin, address, key)),
                None => found.error(key, twice(address, &admin, "listen.admin by default")),
            }
        }
    }
}

/// The files of Unix sockets: that they can be made, and replace nothing else than a socket.
fn unix(config: &Config, found: &mut Found<'_>) {
    let place = "listen.smtp";
    for (nth, path) in config.unix.iter().enumerate() {
        let told = |why: &str| format!("{}: {why}", path.display());
        if config.unix.iter().take(nth).any(|other| other == path) {
            found.error(place, told("is in listen.smtp already"));
        }
        match std::fs::symlink_metadata(path) {
            Ok(data) if !data.file_type().is_socket() => {
                found.error(place, told("is something else than a socket"));
            }
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                found.error(place, told(&error.to_string()));
            }
            Ok(_) | Err(_) => {
                let dir = path.parent().unwrap_or(Path::new("/"));
                let all = Access::WRITE_OK | Access::EXEC_OK;
                may(dir, all, "make a socket in", place, found);
            }
        }
    }
}

/// The directory in which mail is left while the service is down: one that others can enter.
fn drop_dir(config: &Config, found: &mut Found<'_>) {
    let (place, Some(dir)) = ("relay.drop_dir", &config.drop_dir) else {
        return;
    };
    let told = |why: &str| format!("{}: {why}", dir.display());
    if dir.starts_with(&config.spool.dir) {
        found.error(place, told("lies in spool_dir, which nobody else may enter"));
        return;
    }
    match std::fs::symlink_metadata(dir) {
        Ok(data) if !data.is_dir() => found.error(place, told("is not a directory")),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let parent = dir.parent().unwrap_or(Path::new("/"));
            let all = Access::WRITE_OK | Access::EXEC_OK;
            may(parent, all, "make a directory in", place, found);
        }
        Err(error) => found.error(place, told(&error.to_string())),
    }
}

/// Listeners that expect a PROXY header.
fn proxies(config: &Config, found: &mut Found<'_>) {
    if let Some(problem) = listen::proxy_problem(config) {
        found.error("listen.proxy_protocol", problem);
    }
    for proxy in &config.server.proxies {
        let clients = config
            .server
            .relay
            .allow_networks
            .iter()
            .any(|network| network.overlaps(proxy));
        if proxy.is_most() || proxy.is_many() && clients {
            found.warn(
                "relay.proxies",
                format!("{proxy}: clients may be in it, and each of them may say by XCLIENT that it is another one"),
            );
        }
    }
}

/// The certificate of the ingress and its key.
fn tls(config: &Config, found: &mut Found<'_>) {
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

fn twice(address: &SocketAddr, other: &SocketAddr, key: &str) -> String {
    match address == other {
        true => format!("{address} is in {key} already"),
        false => format!("{address} and {other} in {key} cannot both be listened on"),
    }
}

fn admin(config: &Config, found: &mut Found<'_>) {
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

/// The file of those who may log in.
fn users(config: &Config, found: &mut Found<'_>) {
    const PLACE: &str = "relay.users_file";
    let Some(path) = &config.users_file else {
        return;
    };
    match users::read(path) {
        Ok(_) => found.secret(PLACE, path),
        Err(problems) => problems
            .into_iter()
            .for_each(|problem| found.error(PLACE, problem)),
    }
    if config.tls.is_none() {
        let text = "nobody can log in: AUTH is offered under TLS only, and listen.tls names no certificate";
        found.warn(PLACE, text.to_owned());
    }
}

/// The files of `[client]`.
fn client(config: &Config, found: &mut Found<'_>) {
    let client = &config.client;
    let told = |path: &Path, why: String| format!("{}: {why}", path.display());
    if let Some(path) = &client.tls_roots
        && let Err(why) = outbound::roots(path)
    {
        found.error("client.tls_roots", told(path, why));
    }
    if let Some(path) = &client.dnssec_anchors
        && let Err(why) = outbound::anchors(path)
    {
        found.error("client.dnssec_anchors", told(path, why));
    }
    for (nth, login) in client.logins.iter().enumerate() {
        let key = match login.secret {
            Secret::Password(_) => "password_file",
            Secret::Token(_) => "token_file",
        };
        let (place, path) = (format!("client.login[{nth}].{key}"), login.secret.path());
        match outbound::secret(login) {
            Ok(_) => found.secret(&place, path),
            Err(why) => found.error(&place, told(path, why)),
        }
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
fn log(config: &Config, found: &mut Found<'_>) {
    let Some(path) = &config.log.redact_key_file else {
        return;
    };
    match Redactor::new(Some(path)) {
        Ok(_) => found.secret("log.redact_key_file", path),
        Err(why) => found.error("log.redact_key_file", why),
    }
}

/// The file that names the name servers, where the configuration says which and it is used.
fn resolv_conf(config: &Config, found: &mut Found<'_>) {
    let route = &config.client.smtp.route;
    let (place, path) = ("route.resolv_conf", &route.resolv_conf);
    if found.places.line(place).is_none() || !route.dns_servers.is_empty() {
        return;
    }
    let why = match std::fs::metadata(path) {
        Ok(data) if data.is_file() => match access(path, Access::READ_OK) {
            Ok(()) => return,
            Err(error) => std::io::Error::from(error).to_string(),
        },
        Ok(_) => "is not a regular file".to_owned(),
        Err(error) => error.to_string(),
    };
    let path = path.display();
    found.warn(
        place,
        format!("{path}: {why}; without it the name server is 127.0.0.1"),
    );
}

/// A notice that a message is late, of mail that is given up before.
fn notices(config: &Config, found: &mut Found<'_>) {
    let retry = &config.retry;
    if retry
        .delay_warning_after
        .is_some_and(|after| after >= retry.expire_after)
    {
        let text = "no sender is ever told that his mail is late: it expires before".to_owned();
        found.warn("retry.delay_warning_after", text);
    }
    let domain = retry
        .bounce_from
        .as_ref()
        .map_or(config.hostname.as_str(), Address::domain);
    let keys = &config.dkim.keys;
    if retry.on_failure == OnFailure::Bounce && !keys.is_empty() && !keys.iter().any(|key| key.covers(domain))
    {
        let text = format!("bounces come from {domain}, and no signing key is for it: they go out unsigned");
        found.warn("retry.bounce_from", text);
        // Where the file leaves the address to the default, the keys are what calls for another one.
        if let Some(finding) = found.all.last_mut().filter(|finding| finding.line.is_none()) {
            finding.line = found.places.line("dkim.key[0].domain");
        }
    }
}

/// Rules that no recipient comes to.
fn rules(config: &Config, found: &mut Found<'_>) {
    let rules = &config.route.rules;
    for (nth, rule) in rules.iter().enumerate() {
        let before = rules.iter().take(nth);
        if let Some(first) = before.into_iter().find(|first| first.domain.covers(&rule.domain)) {
            let (domain, first) = (&rule.domain, &first.domain);
            found.warn(
                &format!("route.rule[{nth}].domain"),
                format!("{domain} is never matched: the rule for {first} above takes its mail"),
            );
        }
    }
}

/// The signing keys: their files, and those that sign nothing.
fn dkim(config: &Config, found: &mut Found<'_>) {
    let now = SystemClock.now();
    let configured = &config.dkim.keys;
    let mut keys: Vec<(usize, SigningKey)> = Vec::new();
    for (nth, key) in configured.iter().enumerate() {
        let place = format!("dkim.key[{nth}].file");
        match signing::key(key) {
            Ok(read) => {
                found.secret(&place, &key.file);
                keys.push((nth, read));
            }
            Err(why) => found.error(&place, format!("{}: {why}", key.file.display())),
        }
    }
    for (nth, read) in &keys {
        let Some(key) = configured.get(*nth) else { continue };
        let of_domain = |algorithm: Algorithm| {
            let others = keys
                .iter()
                .filter(move |(_, other)| other.algorithm() == algorithm);
            let others = others.filter_map(|(other, _)| Some((*other, configured.get(*other)?)));
            others.filter(|(_, other)| other.domain == key.domain)
        };
        let place = |name: &str| format!("dkim.key[{nth}].{name}");
        if let Some(until) = key.until.filter(|until| *until <= now) {
            found.warn(
                &place("until"),
                format!("ended at {until}: the key signs nothing any more"),
            );
        } else if !signs(*nth, key, &of_domain(read.algorithm()).collect::<Vec<_>>(), now) {
            let why = format!(
                "a newer key of {} signs in its place: the key signs nothing",
                key.domain
            );
            found.warn(&place("selector"), why);
        }
        if read.algorithm() == Algorithm::Ed25519 && of_domain(Algorithm::Rsa).next().is_none() {
            let why = "Ed25519 without an RSA key of the same domain: many receivers see no signature that they can check";
            found.warn(&place("file"), why.to_owned());
        }
    }
}

/// Whether `key` is ever the newest of `all` keys of its domain and algorithm, now or later. What comes later in the file is the newer
/// one of equals.
fn signs(nth: usize, key: &DkimKey, all: &[(usize, &DkimKey)], now: Timestamp) -> bool {
    let begins = |key: &DkimKey| key.from.unwrap_or(now).max(now);
    let times = all
        .iter()
        .flat_map(|(_, other)| [Some(begins(other)), other.until])
        .flatten();
    let valid = |key: &DkimKey, at: Timestamp| begins(key) <= at && key.until.is_none_or(|until| at < until);
    times.filter(|at| *at >= now && valid(key, *at)).any(|at| {
        let newest = all
            .iter()
            .filter(|(_, other)| valid(other, at))
            .max_by_key(|(nth, other)| (other.from, *nth));
        newest.is_some_and(|(newest, _)| *newest == nth)
    })
}

#[cfg(test)]
#[path = "inspect_tests.rs"]
mod tests;
