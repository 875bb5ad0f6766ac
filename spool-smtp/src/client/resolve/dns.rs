//! [`Resolve`] with DNS and the hosts file of the system. It uses hickory, with name servers that are queried one at a time.
//!
//! With trust anchors it validates every answer; the AD bit of a name server is ignored. Entries of the hosts file count as not validated.
//!
//! A name without a dot is resolved by the system, with its hosts file and search list.

use super::current::{CurrentResolver, HostsFile};
use super::proof::{Followed, MAX_ALIASES, endless, follow};
use super::resolv_conf::Settings;
use super::verdict::OPEN_ALIAS;
use super::watched::Watched;
use super::{Addresses, Answer, Exchanger, LookupError, Resolve, RouteConfig, TrustAnchors, aliases};
use crate::client::dane::Tlsa;
use futures_util::future::select;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::dnssec::Proof;
use hickory_resolver::proto::op::{Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use spool_core::{BoxFuture, harmless};
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

/// How long to wait for the second address family after the first has addresses. RFC 8305 suggests 50 ms for interactive use; a relay can
/// wait longer.
const SECOND_FAMILY: Duration = Duration::from_secs(1);

/// The longest time of a lookup.
const LIMIT: Duration = Duration::from_secs(30);

/// Looks up names with DNS.
#[derive(Clone, Debug)]
pub struct DnsResolver(Arc<DnsLookups>);

#[derive(derive_more::Debug)]
#[debug("DnsLookups")]
struct DnsLookups {
    anchors: Option<TrustAnchors>,
    servers: CurrentResolver,
    hosts: HostsFile,
}

impl DnsResolver {
    /// A resolver that queries `servers` in order; without any, those of /etc/resolv.conf, or a name server on this host if that file does
    /// not exist.
    #[must_use]
    pub fn new(servers: &[SocketAddr]) -> Self {
        let config = RouteConfig {
            dns_servers: servers.to_vec(),
            ..RouteConfig::default()
        };
        Self::from_config(&config, LIMIT)
    }

    /// A resolver that validates answers with DNSSEC, from `anchors`. Invalid answers are errors.
    #[must_use]
    pub fn validating(servers: &[SocketAddr], anchors: &TrustAnchors) -> Self {
        let config = RouteConfig {
            dns_servers: servers.to_vec(),
            dane: true,
            trust_anchors: anchors.clone(),
            ..RouteConfig::default()
        };
        Self::from_config(&config, LIMIT)
    }

    /// A resolver with the name servers in `config`, which validates answers if `dane` is set. A lookup takes at most `limit`, in which
    /// all servers are queried.
    #[must_use]
    pub fn from_config(config: &RouteConfig, limit: Duration) -> Self {
        let anchors = config.dane.then(|| config.trust_anchors.clone());
        let (mut settings, _) = Settings::parse("");
        let is_fixed = !config.dns_servers.is_empty();
        if is_fixed {
            settings.servers.clone_from(&config.dns_servers);
        }
        let file = (!is_fixed).then(|| Watched::new(config.resolv_conf.clone()));
        Self::over(CurrentResolver::new(file, settings, limit.min(LIMIT)), anchors)
    }

    /// A resolver that uses `servers`.
    pub(super) fn over(servers: CurrentResolver, anchors: Option<TrustAnchors>) -> Self {
        Self(Arc::new(DnsLookups {
            anchors,
            servers,
            hosts: HostsFile::new("/etc/hosts".into()),
        }))
    }
}

impl DnsLookups {
    /// Looks up `name`, and returns the result of `read` for its records.
    async fn ask<T>(
        &self,
        name: Name,
        kind: RecordType,
        read: impl FnOnce(&Followed<'_>) -> T,
    ) -> Result<T, LookupError> {
        let hickory = self.servers.hickory(self.anchors.as_ref());
        let hickory = hickory.map_err(|error| failure(&error))?;
        if self.anchors.is_none() {
            let answer = hickory.lookup(name.clone(), kind).await;
            let answer = answer.map_err(|error| failure(&error))?;
            let all = Followed::insecure(&name, kind, answer.answers());
            return match all.records.is_empty() {
                true => Err(LookupError::NoData),
                false => Ok(read(&all)),
            };
        }
        let answers = aliases::lookup(&hickory, &name, kind).await;
        let mut answers = answers.map_err(|error| failure(&error))?;
        for _ in 0..MAX_ALIASES {
            let followed = follow(&name, kind, &answers)?;
            if !followed.records.is_empty() {
                return Ok(read(&followed));
            }
            if answers.iter().all(|record| record.record_type() != kind) {
                return Err(LookupError::NoData);
            }
            // The cache has returned the target of an alias without the alias.
            let alias = hickory.lookup(followed.end, RecordType::CNAME).await;
            let alias = alias.map_err(|error| LookupError::Temporary(harmless(&error.to_string())))?;
            answers.extend(alias.answers().iter().cloned());
        }
        let error = "an answer about another name".to_owned();
        Err(LookupError::Temporary(error))
    }

    async fn family(&self, name: Name, kind: RecordType) -> Result<Addresses, LookupError> {
        let read = |followed: &Followed<'_>| Addresses {
            ips: followed
                .records
                .iter()
                .filter_map(|data| data.ip_addr())
                .collect(),
            secure_names: followed.secure_names.clone(),
        };
        let mut addresses = self.ask(name, kind, read).await?;
        // The cache keeps the order, and the first address would get all the load.
        fastrand::shuffle(&mut addresses.ips);
        Ok(addresses)
    }

    async fn addresses(&self, name: Name) -> Result<Addresses, LookupError> {
        let known = self.in_hosts_file(&name);
        if !known.is_empty() {
            return Ok(Addresses::insecure(known));
        }
        let v6 = pin!(self.family(name.clone(), RecordType::AAAA));
        let v4 = pin!(self.family(name, RecordType::A));
        let (first, other) = select(v6, v4).await.into_inner();
        let second = match first {
            Ok(_) => tokio::time::timeout(SECOND_FAMILY, other).await,
            Err(_) => Ok(other.await),
        };
        match (first, second) {
            (Ok(first), Ok(Ok(second))) => Ok(both(first, second)),
            (Ok(addresses), Ok(Err(_)) | Err(_)) | (Err(_), Ok(Ok(addresses))) => Ok(addresses),
            (Err(first), Ok(Err(second))) => Err(worse(first, second)),
            (Err(first), Err(_)) => Err(first),
        }
    }

    fn in_hosts_file(&self, name: &Name) -> Vec<IpAddr> {
        let hosts = self.hosts.hosts();
        let mut known = Vec::new();
        for kind in [RecordType::AAAA, RecordType::A] {
            if let Some(found) = hosts.lookup_static_host(&Query::query(name.clone(), kind)) {
                known.extend(found.answers().iter().filter_map(|record| record.data.ip_addr()));
            }
        }
        known
    }
}

/// Both families together. A name is secure only if it is secure for both.
fn both(mut one: Addresses, other: Addresses) -> Addresses {
    one.ips.extend(other.ips);
    one.secure_names.retain(|name| other.secure_names.contains(name));
    one
}

/// The error when both families failed: temporary if either is.
fn worse(one: LookupError, other: LookupError) -> LookupError {
    match (one, other) {
        (temporary @ LookupError::Temporary(_), _) | (_, temporary @ LookupError::Temporary(_)) => temporary,
        (LookupError::NoSuchDomain, _) | (_, LookupError::NoSuchDomain) => LookupError::NoSuchDomain,
        (LookupError::NoData, LookupError::NoData) => LookupError::NoData,
    }
}

fn failure(error: &NetError) -> LookupError {
    if error.is_nx_domain() {
        return LookupError::NoSuchDomain;
    }
    if let NetError::Dns(DnsError::NoRecordsFound(none)) = error {
        return match none.response_code == OPEN_ALIAS {
            true => endless(),
            false => LookupError::NoData,
        };
    }
    // The denial of a zone that is proved to be unsigned.
    if let NetError::Dns(DnsError::Nsec {
        response,
        proof: Proof::Insecure,
        ..
    }) = error
    {
        return match response.response_code == ResponseCode::NXDomain {
            true => LookupError::NoSuchDomain,
            false => LookupError::NoData,
        };
    }
    LookupError::Temporary(harmless(&error.to_string()))
}

/// The absolute name, for which no search list is used. A text that is not a DNS name does not exist.
fn absolute(name: &str) -> Result<Name, LookupError> {
    if name.is_empty() || !name.is_ascii() {
        return Err(LookupError::NoSuchDomain);
    }
    Name::from_ascii(format!("{name}.")).map_err(|_| LookupError::NoSuchDomain)
}

fn exchanger(data: &RData) -> Option<Exchanger> {
    let RData::MX(mx) = data else { return None };
    Some(Exchanger {
        preference: mx.preference,
        host: mx.exchange.to_ascii().trim_end_matches('.').to_ascii_lowercase(),
    })
}

fn text(data: &RData) -> Option<String> {
    let RData::TXT(txt) = data else { return None };
    String::from_utf8(txt.txt_data.concat()).ok()
}

fn tlsa(data: &RData) -> Option<Tlsa> {
    let RData::TLSA(tlsa) = data else { return None };
    Some(Tlsa {
        usage: tlsa.cert_usage.into(),
        selector: tlsa.selector.into(),
        matching: tlsa.matching.into(),
        data: tlsa.cert_data.clone(),
    })
}

impl DnsResolver {
    /// The records for which `take` returns a value.
    fn records<T: Send + 'static>(
        &self,
        name: &str,
        kind: RecordType,
        take: fn(&RData) -> Option<T>,
    ) -> BoxFuture<Result<Answer<T>, LookupError>> {
        let (inner, name) = (Arc::clone(&self.0), absolute(name));
        Box::pin(async move {
            let read = |followed: &Followed<'_>| Answer {
                records: followed.records.iter().filter_map(|data| take(data)).collect(),
                secure: followed.secure,
            };
            let answer = inner.ask(name?, kind, read).await?;
            match answer.records.is_empty() {
                true => Err(LookupError::NoData),
                false => Ok(answer),
            }
        })
    }
}

impl Resolve for DnsResolver {
    fn exchangers(&self, domain: &str) -> BoxFuture<Result<Answer<Exchanger>, LookupError>> {
        self.records(domain, RecordType::MX, exchanger)
    }

    fn texts(&self, name: &str) -> BoxFuture<Result<Vec<String>, LookupError>> {
        let answer = self.records(name, RecordType::TXT, text);
        Box::pin(async move { Ok(answer.await?.records) })
    }

    fn tlsa(&self, name: &str) -> BoxFuture<Result<Answer<Tlsa>, LookupError>> {
        self.records(name, RecordType::TLSA, tlsa)
    }

    fn addresses(&self, host: &str) -> BoxFuture<Result<Addresses, LookupError>> {
        if let Ok(address) = host.parse() {
            return Box::pin(std::future::ready(Ok(Addresses::insecure(vec![address]))));
        }
        let (inner, name, host) = (Arc::clone(&self.0), absolute(host), host.to_owned());
        Box::pin(async move {
            if host.contains('.') {
                return inner.addresses(name?).await;
            }
            let found = tokio::net::lookup_host((host, 0)).await;
            let found = found.map_err(|error| LookupError::Temporary(harmless(&error.to_string())))?;
            let found: Vec<IpAddr> = found.map(|address| address.ip()).collect();
            if found.is_empty() {
                Err(LookupError::NoData)
            } else {
                Ok(Addresses::insecure(found))
            }
        })
    }
}
