//! What a configuration names outside of its file: files, the spool's directory, addresses; and what in it can have no
//! effect. `spool check` and the start of `spool serve` look by the same function.
//!
//! It looks and changes nothing; it takes no lock and no port. Of a secret it tells where it stands, never what it is.

use super::{Config, Places, Secret};
use crate::admin::Token;
use crate::files::open_to_others;
use crate::logging::Redactor;
use crate::outbound;
use rustix::fs::{Access, access};
use spool_core::store::examine_dir;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
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
        match (file, self.line) {
            (Some(file), Some(line)) => format!("{}:{line}: {self}", file.display()),
            (Some(_) | None, _) => self.to_string(),
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
        if let Some(mode) = open_to_others(path) {
            let path = path.display();
            self.warn(
                place,
                format!("{path}: others than its owner may use it (mode {mode:04o}); chmod 600 closes it"),
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
    admin(config, &mut found);
    client(config, &mut found);
    resolv_conf(config, &mut found);
    rules(config, &mut found);
    log(config, &mut found);
    found.all.sort_by_key(|finding| finding.line);
    found.all
}

fn spool_dir(config: &Config, found: &mut Found<'_>) {
    let dir = &config.spool_dir;
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
    for (nth, address) in config.smtp.iter().enumerate() {
        let before = config.smtp.iter().take(nth);
        if let Some(other) = before.into_iter().find(|other| clash(address, other)) {
            found.error("listen.smtp", twice(address, other, "listen.smtp"));
        }
        if let Some(admin) = config.admin.filter(|admin| clash(address, admin)) {
            match found.places.line("listen.admin") {
                Some(_) => found.error("listen.admin", twice(&admin, address, "listen.smtp")),
                None => found.error("listen.smtp", twice(address, &admin, "listen.admin by default")),
            }
        }
    }
}

fn twice(address: &SocketAddr, other: &SocketAddr, key: &str) -> String {
    match address == other {
        true => format!("{address} is in {key} already"),
        false => format!("{address} and {other} in {key} cannot both be listened on"),
    }
}

fn clash(one: &SocketAddr, other: &SocketAddr) -> bool {
    let everywhere = |all: &SocketAddr, other: &SocketAddr| match (all.ip(), other.ip()) {
        (IpAddr::V4(all), IpAddr::V4(_)) => all.is_unspecified(),
        // It takes IPv4 as well.
        (IpAddr::V6(all), _) => all.is_unspecified(),
        (IpAddr::V4(_), IpAddr::V6(_)) => false,
    };
    let same = one.ip() == other.ip() || everywhere(one, other) || everywhere(other, one);
    // Port 0 is another one each time.
    same && one.port() == other.port() && one.port() != 0
}

fn admin(config: &Config, found: &mut Found<'_>) {
    if let Some(problem) = config.admin_problem() {
        found.error("listen.admin", problem.to_owned());
    }
    if let (Some(_), Some(path)) = (config.admin, &config.token_file) {
        match Token::read(path) {
            Ok(_) => found.secret("admin.token_file", path),
            Err(why) => found.error("admin.token_file", why),
        }
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
    let (place, path) = ("route.resolv_conf", &config.route.resolv_conf);
    if found.places.line(place).is_none() || !config.route.dns_servers.is_empty() {
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

#[cfg(test)]
#[path = "inspect_tests.rs"]
mod tests;
