//! The hosts of a next hop, in the order in which they are tried (RFC 5321 section 5.1, RFC 7505).
//!
//! A host is looked up when it is its turn, so that a broken name server of a backup does not delay the first choice. The route ends at a
//! host that is this relay, because the hosts after it would send the mail back as well.

use super::target::Target;
use super::unroutable::Unroutable;
use super::{Addresses, Exchanger, LookupError, Resolve, RouteConfig};
use crate::client::config::SmtpConfig;
use crate::client::dane::Dane;
use crate::client::sts::{HTTPS, Mode, Policy, PolicyCache, over_https};
use futures_util::future::join_all;
use spool_core::{NextHop, TlsPolicy, a_labels};
use std::collections::{HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// The most mail exchangers of a domain that are tried in an attempt.
const MAX_HOSTS: usize = 5;
/// The most hosts that are looked up, including those without an address; also the most hosts of a path.
pub(super) const MAX_NAMES: usize = 32;
/// The number of hosts of one preference that are looked up concurrently.
const AT_ONCE: usize = 4;

/// Finds the hosts of next hops.
#[derive(Debug)]
pub(in crate::client) struct Routes {
    resolver: Arc<dyn Resolve>,
    config: RouteConfig,
    hostname: String,
    timeout: Duration,
    sts: Option<PolicyCache>,
}

impl Routes {
    /// Uses `resolver`, with `connect_timeout` as the limit of each lookup.
    pub(in crate::client) fn new(resolver: Arc<dyn Resolve>, config: &SmtpConfig) -> Self {
        let route = config.route.clone();
        let sts = route.mta_sts.then(|| {
            let (resolver, roots) = (Arc::clone(&resolver), config.tls_roots.clone());
            let fetch = over_https(HTTPS, Arc::clone(&resolver), route.clone(), roots);
            PolicyCache::new(resolver, fetch)
        });
        Self {
            resolver,
            sts,
            config: route,
            hostname: a_labels(&config.hostname).into_owned(),
            timeout: config.connect_timeout,
        }
    }

    /// For tests: replaces the MTA-STS policies.
    #[cfg(test)]
    pub(in crate::client) fn with_policies(mut self, policies: PolicyCache) -> Self {
        self.sts = Some(policies);
        self
    }

    /// The route to `hop`. `recipients_own`: it is the domain of the recipients.
    pub(in crate::client) async fn to(&self, hop: &NextHop, recipients_own: bool) -> Route<'_> {
        let mut route = Route {
            routes: self,
            hop: hop.clone(),
            policy: None,
            secure: false,
            groups: VecDeque::new(),
            ready: VecDeque::new(),
            tries: MAX_HOSTS,
        };
        if !hop.is_mx() {
            let target = match hop.host().parse() {
                Ok(literal) if recipients_own => {
                    route.usable(hop.host(), Addresses::insecure(vec![literal]), None)
                }
                Ok(_) => Ok(Target::configured(hop)),
                Err(_) => self.smart_host(hop).await,
            };
            route.ready.push_back(target);
            return route;
        }
        match self.exchangers(hop).await {
            Ok((mut groups, secure)) => {
                groups.iter_mut().for_each(|equals| fastrand::shuffle(equals));
                route.groups = groups;
                route.secure = secure;
                route.policy = self.enforced(hop.host()).await;
            }
            Err(unroutable) => route.ready.push_back(Err(unroutable)),
        }
        route
    }

    /// The MTA-STS policy of `domain`, if its mode is `enforce`.
    async fn enforced(&self, domain: &str) -> Option<Arc<Policy>> {
        let policy = self.sts.as_ref()?.of(domain).await;
        policy.filter(|policy| policy.mode == Mode::Enforce)
    }

    /// A host of the configuration. Its addresses are looked up here only for DANE, otherwise when a connection is made.
    async fn smart_host(&self, hop: &NextHop) -> Result<Target, Unroutable> {
        let mut target = Target::configured(hop);
        if self.config.dane {
            let addresses = self.addresses(hop.host()).await;
            let addresses = addresses.map_err(|error| Unroutable::Unknown(hop.host().to_owned(), error))?;
            target.dane = self.dane(hop.host(), hop, &addresses).await?;
            target.tls = target
                .dane
                .as_ref()
                .map_or(TlsPolicy::None, |_| TlsPolicy::Required);
            target.addresses = Some(addresses.ips);
        }
        Ok(target)
    }

    /// The requirements of the TLSA records of `host`, a host of `hop` that DNSSEC has validated.
    async fn dane(
        &self,
        host: &str,
        hop: &NextHop,
        addresses: &Addresses,
    ) -> Result<Option<Arc<Dane>>, Unroutable> {
        let names = &addresses.secure_names;
        let asked = Dane::of(&*self.resolver, names, (host, hop.port()), hop.host());
        let asked = tokio::time::timeout(self.timeout, asked).await;
        let found = asked.unwrap_or_else(|_| Err(timed_out()));
        let unknown = |error| Unroutable::Unknown(format!("the TLSA records of {host}"), error);
        let found = found.map_err(unknown)?;
        Ok(found.map(Arc::new))
    }

    /// The mail exchangers of `hop`, grouped by preference and sorted by name, and whether DNSSEC has validated them.
    pub(super) async fn exchangers(
        &self,
        hop: &NextHop,
    ) -> Result<(VecDeque<Vec<String>>, bool), Unroutable> {
        let domain = || hop.host().to_owned();
        let asked = tokio::time::timeout(self.timeout, self.resolver.exchangers(hop.host()));
        let (mut found, secure) = match asked.await.unwrap_or_else(|_| Err(timed_out())) {
            Ok(answer) => (answer.records, answer.secure),
            // Without an MX record the domain itself is the host (RFC 5321 section 5.1). Only its addresses need validation then.
            Err(LookupError::NoData) => {
                let (preference, host) = (0, domain());
                (vec![Exchanger { preference, host }], true)
            }
            Err(LookupError::NoSuchDomain) => return Err(Unroutable::NoSuchDomain(domain())),
            Err(error @ LookupError::Temporary(_)) => {
                let name = format!("the mail exchangers of {}", hop.host());
                return Err(Unroutable::Unknown(name, error));
            }
        };
        found.retain(|exchanger| !exchanger.host.is_empty());
        if found.is_empty() {
            return Err(Unroutable::NullMx(domain()));
        }
        found.sort();
        let own = |exchanger: &&Exchanger| {
            self.config
                .is_own_name(&exchanger.host, hop.port(), &self.hostname)
        };
        if let Some(own) = found.iter().find(own).cloned() {
            found.retain(|exchanger| exchanger.preference < own.preference);
            if found.is_empty() {
                return Err(Unroutable::Loop(domain(), own.host));
            }
        }
        let mut seen = HashSet::new();
        found.retain(|exchanger| seen.insert(exchanger.host.clone()));
        found.truncate(MAX_NAMES);
        let groups = found.chunk_by(|one, other| one.preference == other.preference);
        let names = |group: &[Exchanger]| group.iter().map(|exchanger| exchanger.host.clone()).collect();
        Ok((groups.map(names).collect(), secure))
    }

    /// The addresses of `target`; those of a configured host are looked up now.
    pub(in crate::client) async fn addresses_of(&self, target: &Target) -> Result<Vec<IpAddr>, LookupError> {
        match &target.addresses {
            Some(addresses) => Ok(addresses.clone()),
            None => Ok(self.addresses(target.hop.host()).await?.ips),
        }
    }

    /// The addresses of `host`, a name or an address.
    async fn addresses(&self, host: &str) -> Result<Addresses, LookupError> {
        if let Ok(address) = host.parse() {
            return Ok(Addresses::insecure(vec![address]));
        }
        let asked = tokio::time::timeout(self.timeout, self.resolver.addresses(host));
        asked.await.unwrap_or_else(|_| Err(timed_out()))
    }
}

fn timed_out() -> LookupError {
    LookupError::Temporary("the name servers did not answer in time".to_owned())
}

/// The route to one next hop, host by host.
#[derive(Debug)]
pub(in crate::client) struct Route<'r> {
    routes: &'r Routes,
    hop: NextHop,
    /// The MTA-STS policy in force.
    policy: Option<Arc<Policy>>,
    /// Whether DNSSEC has validated the mail exchangers.
    secure: bool,
    /// Mail exchangers that were not looked up, by preference.
    groups: VecDeque<Vec<String>>,
    ready: VecDeque<Result<Target, Unroutable>>,
    /// How many more hosts may be tried.
    tries: usize,
}

impl Route<'_> {
    /// The next host, or why it is passed over; `None` at the end.
    pub(in crate::client) async fn next(&mut self) -> Option<Result<Target, Unroutable>> {
        while self.tries > 0 {
            if let Some(next) = self.ready.pop_front() {
                let is_free = matches!(next, Err(Unroutable::NoAddress(..) | Unroutable::NotInPolicy(..)));
                self.tries -= usize::from(!is_free);
                return Some(next);
            }
            let group = self.groups.pop_front()?;
            self.look_up(&group).await;
        }
        None
    }

    /// Looks up hosts of one preference. One that is this relay ends the route, and hosts of the same preference are dropped.
    async fn look_up(&mut self, hosts: &[String]) {
        for some in hosts.chunks(AT_ONCE) {
            for target in join_all(some.iter().map(|host| self.find(host))).await {
                if matches!(target, Err(Unroutable::Loop(..))) {
                    self.groups.clear();
                    self.ready.clear();
                    self.ready.push_back(target);
                    return;
                }
                self.ready.push_back(target);
            }
        }
    }

    /// Looks up the addresses of `host`, and its TLSA records if they apply.
    async fn find(&self, host: &str) -> Result<Target, Unroutable> {
        // A name of one label would be resolved by this host's search list, which no MX record may use.
        if !host.contains('.') && host != self.hop.host() {
            return Err(self.passed_over(Unroutable::NoAddress, host));
        }
        let addresses = match self.routes.addresses(host).await {
            Ok(addresses) => addresses,
            Err(error @ LookupError::Temporary(_)) => {
                return Err(Unroutable::Unknown(host.to_owned(), error));
            }
            Err(LookupError::NoSuchDomain | LookupError::NoData) => {
                return Err(self.passed_over(Unroutable::NoAddress, host));
            }
        };
        // Without a lookup of TLSA records if the route ends here.
        let uses_dane = self.secure && self.routes.config.dane && !self.is_this_relay(&addresses.ips);
        let dane = match uses_dane {
            true => self.routes.dane(host, &self.hop, &addresses).await?,
            false => None,
        };
        self.usable(host, addresses, dane)
    }

    /// Whether one of `addresses` is this relay's.
    fn is_this_relay(&self, addresses: &[IpAddr]) -> bool {
        let config = &self.routes.config;
        let is_own = |address: &IpAddr| config.is_own_address(SocketAddr::new(*address, self.hop.port()));
        addresses.iter().any(is_own)
    }

    /// `host` with those of `addresses` that mail may be sent to. DANE takes precedence over MTA-STS (RFC 8461 section 2), unless no TLSA
    /// record can be used.
    fn usable(
        &self,
        host: &str,
        addresses: Addresses,
        dane: Option<Arc<Dane>>,
    ) -> Result<Target, Unroutable> {
        let mut addresses = addresses.ips;
        let authenticates = dane.as_ref().is_some_and(|dane| dane.authenticates());
        let policy = self.policy.as_ref().filter(|_| !authenticates);
        let config = &self.routes.config;
        if self.is_this_relay(&addresses) {
            return Err(self.passed_over(Unroutable::Loop, host));
        }
        if policy.is_some_and(|policy| !policy.allows(host)) {
            return Err(self.passed_over(Unroutable::NotInPolicy, host));
        }
        addresses.retain(|address| !config.is_ignored(*address));
        let hop = match self.hop.is_mx() {
            // An MX record must not contain an address (RFC 2181 section 10.3).
            true if host.parse::<IpAddr>().is_ok() => None,
            true => format!("{host}:{}", self.hop.port()).parse().ok(),
            false => Some(self.hop.clone()),
        };
        let hop = hop.filter(|_| !addresses.is_empty());
        let tls = match (policy, &dane) {
            (Some(_), _) => TlsPolicy::Verify,
            (None, Some(_)) => TlsPolicy::Required,
            (None, None) => TlsPolicy::None,
        };
        Ok(Target {
            hop: hop.ok_or_else(|| self.passed_over(Unroutable::NoAddress, host))?,
            addresses: Some(addresses),
            tls,
            dane,
        })
    }

    /// Why `host` is passed over.
    fn passed_over(&self, why: fn(String, String) -> Unroutable, host: &str) -> Unroutable {
        why(self.hop.host().to_owned(), host.to_owned())
    }
}
