//! Signing keys and notices.

use super::finding::Findings;
use crate::config::{Config, DkimKey};
use crate::signing;
use spool_core::bounce::OnFailure;
use spool_core::{Clock, SystemClock, Timestamp};
use spool_smtp::dkim::{Algorithm, SigningKey};

/// The signing keys: their files, and those that sign nothing.
pub(super) fn dkim(config: &Config, found: &mut Findings<'_>) {
    let now = SystemClock.now();
    let configured = &config.dkim.keys;
    let mut keys: Vec<(usize, SigningKey)> = Vec::new();
    for (nth, key) in configured.iter().enumerate() {
        let place = format!("dkim.key[{nth}].file");
        let read = found.secret_read(&place, &key.key, signing::read(key));
        keys.extend(read.map(|read| (nth, read.key)));
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

/// A notice that a message is late, of mail that is given up before.
pub(super) fn notices(config: &Config, found: &mut Findings<'_>) {
    let notices = &config.notices;
    if let (Some(after), Some(expiry)) = (notices.delay_warning_after, config.retry.expire_after)
        && after >= expiry
    {
        let text = "no notice of delay is ever sent: mail expires before".to_owned();
        found.warn("retry.delay_warning_after", text);
    }
    let domain = notices.from.rsplit('@').next().unwrap_or_default();
    let covers = |key: &DkimKey| key.covers(&domain.to_ascii_lowercase());
    let keys = &config.dkim.keys;
    if notices.on_failure == OnFailure::Bounce && !keys.is_empty() && !keys.iter().any(covers) {
        let text = format!("bounces come from {domain}, and no signing key is for it: they go out unsigned");
        found.warn("retry.bounce_from", text);
        // Where the file leaves the address to the default, the keys are what calls for another one.
        if let Some(finding) = found.all.last_mut().filter(|finding| finding.line.is_none()) {
            finding.line = found.places.line("dkim.key[0].domain");
        }
    }
}
