//! [`Resolve`] by DNS, with hickory: a cache of answers with bounds on their age and number, and the system's hosts file.
//!
//! With trust anchors it validates every answer by itself; the AD bit of a name server is never looked at. What it finds in the
//! hosts file is not proved.
//!
//! A name without a dot is the system's to resolve: hosts file, search list, and whatever else it is told to ask.

use super::proof::{Followed, MAX_ALIASES, follow};
use super::{Addresses, Answer, Exchanger, LookupError, Resolve, TrustAnchors, aliases};
use crate::client::dane::Tlsa;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::dnssec::Proof;
use hickory_resolver::proto::op::{Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::{Hosts, TokioResolver, system_conf};
use spool_core::{BoxFuture, harmless};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Answers kept: a few hundred bytes each as a rule, 64 KiB at worst.
const CACHE: u64 = 4096;
/// Ages of answers: not so short that each message asks anew, not so long that a mended record does not help.
const MIN_AGE: Duration = Duration::from_secs(5);
const MAX_AGE: Duration = Duration::from_secs(3600);
/// "No such domain" fails mail for good: it is not believed for long.
const MAX_NEGATIVE_AGE: Duration = Duration::from_secs(300);
/// How long the second family's answer is waited for once the first has given addresses. RFC 8305 has 50 ms, for a
/// person who waits; a spool has more patience than a broken name server deserves.
const SECOND_FAMILY: Duration = Duration::from_secs(1);
/// Questions under way on one TCP connection.
const TCP_QUESTIONS: usize = 256;

/// Asks name servers.
#[derive(Clone, Debug)]
pub struct DnsResolver(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    hickory: Result<TokioResolver, String>,
    hosts: Hosts,
    validates: bool,
}

impl DnsResolver {
    /// One that asks `servers`, or those of /etc/resolv.conf when there are none; without such a file, a name server on
    /// this host, as the system itself does. Both files are read here, once.
    #[must_use]
    pub fn new(servers: &[SocketAddr]) -> Self {
        Self::with_options(servers, None, |_| {})
    }

    /// One that proves what it is told by DNSSEC, from `anchors`: an answer that is not what its zone has signed is none.
    #[must_use]
    pub fn validating(servers: &[SocketAddr], anchors: &TrustAnchors) -> Self {
        Self::with_options(servers, Some(anchors), |_| {})
    }

    /// The same, with the options as `change` leaves them.
    pub(super) fn with_options(
        servers: &[SocketAddr],
        anchors: Option<&TrustAnchors>,
        change: impl FnOnce(&mut ResolverOpts),
    ) -> Self {
        let (config, mut options) = match servers {
            [] => system_conf::read_system_conf().unwrap_or_else(|error| {
                tracing::warn!("/etc/resolv.conf: {error}; asking a name server on this host");
                let local = NameServerConfig::udp_and_tcp(Ipv4Addr::LOCALHOST.into());
                (
                    ResolverConfig::from_name_servers(vec![local]),
                    ResolverOpts::default(),
                )
            }),
            servers => {
                let servers = servers.iter().copied().map(name_server).collect();
                (
                    ResolverConfig::from_name_servers(servers),
                    ResolverOpts::default(),
                )
            }
        };
        bound(&mut options);
        // What is proved is proved alias by alias.
        options.preserve_intermediates = anchors.is_some();
        change(&mut options);
        let mut builder =
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).with_options(options);
        if let Some(anchors) = anchors {
            builder = builder.with_trust_anchor(anchors.keys());
        }
        let hickory = builder.build();
        Self(Arc::new(Inner {
            hickory: hickory.map_err(|error| error.to_string()),
            hosts: Hosts::from_system().unwrap_or_default(),
            validates: anchors.is_some(),
        }))
    }
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let at = |mut connection: ConnectionConfig| {
        connection.port = address.port();
        connection
    };
    let connections = vec![at(ConnectionConfig::udp()), at(ConnectionConfig::tcp())];
    NameServerConfig::new(address.ip(), true, connections)
}

fn bound(options: &mut ResolverOpts) {
    options.cache_size = CACHE;
    options.positive_min_ttl = Some(MIN_AGE);
    options.positive_max_ttl = Some(MAX_AGE);
    options.negative_min_ttl = Some(MIN_AGE);
    options.negative_max_ttl = Some(MAX_NEGATIVE_AGE);
    options.max_active_requests = TCP_QUESTIONS;
    // Without it an answer of more than 512 bytes costs a TCP connection.
    options.edns0 = true;
    // The hosts file is asked first, and here.
    options.use_hosts_file = ResolveHosts::Never;
}

impl Inner {
    /// What `read` makes of the records of `name`.
    async fn ask<T>(
        &self,
        name: Name,
        kind: RecordType,
        read: impl FnOnce(&Followed<'_>) -> T,
    ) -> Result<T, LookupError> {
        let hickory = self.hickory.as_ref();
        let hickory = hickory.map_err(|error| LookupError::Temporary(error.clone()))?;
        if !self.validates {
            let answer = hickory.lookup(name.clone(), kind).await;
            let answer = answer.map_err(|error| failure(&error))?;
            let all = Followed::unproved(&name, kind, answer.answers());
            return match all.records.is_empty() {
                true => Err(LookupError::NoData),
                false => Ok(read(&all)),
            };
        }
        let answers = aliases::lookup(hickory, &name, kind).await;
        let mut answers = answers.map_err(|error| failure(&error))?;
        for _ in 0..MAX_ALIASES {
            let followed = follow(&name, kind, &answers)?;
            if !followed.records.is_empty() {
                return Ok(read(&followed));
            }
            if answers.iter().all(|record| record.record_type() != kind) {
                return Err(LookupError::NoData);
            }
            // What an alias leads to came from the cache, and that leaves the alias out.
            let alias = hickory.lookup(followed.end, RecordType::CNAME).await;
            let alias = alias.map_err(|error| LookupError::Temporary(harmless(&error.to_string())))?;
            answers.extend(alias.answers().iter().cloned());
        }
        let error = "an answer about another name".to_owned();
        Err(LookupError::Temporary(error))
    }

    /// Those records that `take` takes.
    async fn records<T>(
        &self,
        name: Name,
        kind: RecordType,
        take: impl Fn(&RData) -> Option<T>,
    ) -> Result<Answer<T>, LookupError> {
        let read = |followed: &Followed<'_>| Answer {
            records: followed.records.iter().filter_map(|data| take(data)).collect(),
            secure: followed.secure,
        };
        let answer = self.ask(name, kind, read).await?;
        match answer.records.is_empty() {
            true => Err(LookupError::NoData),
            false => Ok(answer),
        }
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
        // The cache gives one order over and over, and the first would have all the load.
        fastrand::shuffle(&mut addresses.ips);
        Ok(addresses)
    }

    async fn addresses(&self, name: Name) -> Result<Addresses, LookupError> {
        let known = self.in_hosts_file(&name);
        if !known.is_empty() {
            return Ok(Addresses::unproved(known));
        }
        let (v6, v4) = (
            self.family(name.clone(), RecordType::AAAA),
            self.family(name, RecordType::A),
        );
        tokio::pin!(v6, v4);
        let (first, second) = tokio::select! {
            first = &mut v6 => match first {
                Ok(_) => (first, tokio::time::timeout(SECOND_FAMILY, v4).await),
                Err(_) => (first, Ok(v4.await)),
            },
            first = &mut v4 => match first {
                Ok(_) => (first, tokio::time::timeout(SECOND_FAMILY, v6).await),
                Err(_) => (first, Ok(v6.await)),
            },
        };
        match (first, second) {
            (Ok(first), Ok(Ok(second))) => Ok(both(first, second)),
            (Ok(addresses), Ok(Err(_)) | Err(_)) | (Err(_), Ok(Ok(addresses))) => Ok(addresses),
            (Err(first), Ok(Err(second))) => Err(worse(first, second)),
            (Err(first), Err(_)) => Err(first),
        }
    }

    fn in_hosts_file(&self, name: &Name) -> Vec<IpAddr> {
        let lookups = [RecordType::AAAA, RecordType::A]
            .into_iter()
            .filter_map(|kind| self.hosts.lookup_static_host(&Query::query(name.clone(), kind)));
        lookups
            .flat_map(|lookup| lookup.answers().iter().filter_map(address).collect::<Vec<_>>())
            .collect()
    }
}

fn address(record: &Record) -> Option<IpAddr> {
    record.data.ip_addr()
}

/// Two families together: proved is what is proved of both.
fn both(mut one: Addresses, other: Addresses) -> Addresses {
    one.ips.extend(other.ips);
    one.secure_names.retain(|name| other.secure_names.contains(name));
    one
}

/// What two families that both failed say together: nothing is certain while one of them could not be asked.
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
    if error.is_no_records_found() {
        return LookupError::NoData;
    }
    // A denial that is proved to be as good as one of an unsigned zone.
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

/// The name from the root down: no search list. A text that is no name in DNS names nothing that exists.
fn absolute(name: &str) -> Result<Name, LookupError> {
    if name.is_empty() || !name.is_ascii() {
        return Err(LookupError::NoSuchDomain);
    }
    Name::from_ascii(format!("{name}.")).map_err(|_| LookupError::NoSuchDomain)
}

fn exchanger(data: &RData) -> Option<Exchanger> {
    #[allow(clippy::wildcard_enum_match_arm, reason = "dozens of other kinds of records")]
    match data {
        RData::MX(mx) => Some(Exchanger {
            preference: mx.preference,
            host: mx.exchange.to_ascii().trim_end_matches('.').to_ascii_lowercase(),
        }),
        _ => None,
    }
}

fn text(data: &RData) -> Option<String> {
    #[allow(clippy::wildcard_enum_match_arm, reason = "dozens of other kinds of records")]
    match data {
        RData::TXT(txt) => String::from_utf8(txt.txt_data.concat()).ok(),
        _ => None,
    }
}

fn tlsa(data: &RData) -> Option<Tlsa> {
    #[allow(clippy::wildcard_enum_match_arm, reason = "dozens of other kinds of records")]
    match data {
        RData::TLSA(tlsa) => Some(Tlsa {
            usage: tlsa.cert_usage.into(),
            selector: tlsa.selector.into(),
            matching: tlsa.matching.into(),
            data: tlsa.cert_data.clone(),
        }),
        _ => None,
    }
}

impl Resolve for DnsResolver {
    fn exchangers(&self, domain: &str) -> BoxFuture<Result<Answer<Exchanger>, LookupError>> {
        let (inner, name) = (Arc::clone(&self.0), absolute(domain));
        Box::pin(async move { inner.records(name?, RecordType::MX, exchanger).await })
    }

    fn texts(&self, name: &str) -> BoxFuture<Result<Vec<String>, LookupError>> {
        let (inner, name) = (Arc::clone(&self.0), absolute(name));
        Box::pin(async move {
            let answer = inner.records(name?, RecordType::TXT, text).await?;
            Ok(answer.records)
        })
    }

    fn tlsa(&self, name: &str) -> BoxFuture<Result<Answer<Tlsa>, LookupError>> {
        let (inner, name) = (Arc::clone(&self.0), absolute(name));
        Box::pin(async move { inner.records(name?, RecordType::TLSA, tlsa).await })
    }

    fn addresses(&self, host: &str) -> BoxFuture<Result<Addresses, LookupError>> {
        if let Ok(address) = host.parse() {
            return Box::pin(std::future::ready(Ok(Addresses::unproved(vec![address]))));
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
                Ok(Addresses::unproved(found))
            }
        })
    }
}
