//! The hosts for one next hop, in the order in which they are tried (RFC 5321 section 5.1, RFC 7505).
//!
//! Names are asked for when their turn comes: a broken name server of a backup does not hold up the first choice. Where
//! the way leads back to this relay it ends, for whatever comes behind would lead back here as well.

use super::{Addresses, Answer, Exchanger, LookupError, Resolve, RouteConfig};
use crate::client::config::SmtpConfig;
use crate::client::dane::Dane;
use crate::client::sts::{HttpsFetch, Mode, Policy, PolicyCache};
use futures_util::future::join_all;
use spool_core::{NextHop, Reply, TlsPolicy, a_labels};
use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// The most mail exchangers of a domain that are tried in one attempt.
const MAX_HOSTS: usize = 5;
/// The most whose addresses are asked for, because those that have none are not tried; and the most hosts of a path.
pub(super) const MAX_NAMES: usize = 32;
/// Hosts of one preference whose addresses are asked for at once.
const AT_ONCE: usize = 4;

/// A host to have a session with.
#[derive(Debug, Clone)]
pub(in crate::client) struct Target {
    /// Its name or address, and the port. Never mail exchangers.
    pub(in crate::client) hop: NextHop,
    /// Its addresses; `None`: to be asked for when a connection is made.
    pub(in crate::client) addresses: Option<Vec<IpAddr>>,
    /// The least security that its domain asks for.
    pub(in crate::client) tls: TlsPolicy,
    /// The certificates that its TLSA records ask for.
    pub(in crate::client) dane: Option<Arc<Dane>>,
}

impl Target {
    /// A host as the configuration names it, of which nothing is known.
    fn configured(hop: &NextHop) -> Self {
        Self {
            hop: hop.clone(),
            addresses: None,
            tls: TlsPolicy::None,
            dane: None,
        }
    }
}

/// Why a next hop, or one of its hosts, cannot be tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::client) enum Unroutable {
    NoSuchDomain {
        domain: String,
    },
    /// It says that it takes no mail.
    NullMx {
        domain: String,
    },
    /// None at all, or none that mail may be sent to.
    NoAddress {
        domain: String,
        host: String,
    },
    Loop {
        domain: String,
        host: String,
    },
    /// Somebody may have put the host into the domain's DNS: its MTA-STS policy does not name it.
    NotInPolicy {
        domain: String,
        host: String,
    },
    /// Nobody could say.
    Unknown {
        name: String,
        error: String,
    },
}

impl Unroutable {
    fn unknown(name: &str, error: &LookupError) -> Self {
        let (name, error) = (name.to_owned(), error.to_string());
        Self::Unknown { name, error }
    }

    /// The reply that a record keeps of it. Where the next hop stands in somebody's configuration, and is not the
    /// recipients' own domain, it is no fault of the message: then nothing is permanent.
    pub(in crate::client) fn reply(&self, recipients_own: bool) -> Reply {
        let (code, subject, detail) = match self {
            Self::NoSuchDomain { .. } => (550, 1, 2),
            Self::NullMx { .. } => (556, 1, 10),
            Self::NoAddress { .. } => (550, 4, 4),
            Self::Loop { .. } => (550, 4, 6),
            Self::Unknown { .. } => (451, 4, 3),
            // Never for good (RFC 8461 section 5): a newer policy may name it.
            Self::NotInPolicy { .. } => (451, 7, 0),
        };
        let code = if recipients_own { code } else { 451 };
        Reply::new(code, &format!("{}.{subject}.{detail} {self}", code / 100))
    }
}

impl fmt::Display for Unroutable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchDomain { domain } => write!(f, "the domain {domain} does not exist"),
            Self::NullMx { domain } => write!(f, "the domain {domain} takes no mail (RFC 7505)"),
            Self::NoAddress { domain, host } if domain == host => {
                write!(
                    f,
                    "{domain} has no mail exchanger, and no address to send mail to"
                )
            }
            Self::NoAddress { domain, host } => {
                write!(
                    f,
                    "{host}, a mail exchanger of {domain}, has no address to send mail to"
                )
            }
            Self::Loop { domain, host } => {
                write!(f, "mail for {domain} would come back: {host} is this relay")
            }
            Self::NotInPolicy { domain, host } => {
                write!(f, "the MTA-STS policy of {domain} does not name {host}")
            }
            Self::Unknown { name, error } => write!(f, "looking for {name}: {error}"),
        }
    }
}

/// Finds the way to next hops.
#[derive(Debug)]
pub(in crate::client) struct Routes {
    resolver: Arc<dyn Resolve>,
    config: RouteConfig,
    hostname: String,
    timeout: Duration,
    sts: Option<PolicyCache>,
}

impl Routes {
    /// Asks `resolver`, each time for no longer than `connect_timeout`, on behalf of the relay that `config` describes.
    pub(in crate::client) fn new(resolver: Arc<dyn Resolve>, config: &SmtpConfig) -> Self {
        let route = config.route.clone();
        let sts = route.mta_sts.then(|| {
            let fetch = HttpsFetch::new(Arc::clone(&resolver), route.clone(), config.tls_roots.clone());
            PolicyCache::new(Arc::clone(&resolver), Arc::new(fetch))
        });
        Self {
            resolver,
            sts,
            config: route,
            hostname: a_labels(&config.hostname).into_owned(),
            timeout: config.connect_timeout,
        }
    }

    /// The same, with policies from elsewhere.
    #[cfg(test)]
    pub(in crate::client) fn with_policies(mut self, policies: PolicyCache) -> Self {
        self.sts = Some(policies);
        self
    }

    /// The way to `hop`. `recipients_own`: it was found by the recipients' domain alone.
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
                    route.usable(hop.host(), Addresses::unproved(vec![literal]), None)
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

    /// The MTA-STS policy of `domain`, if it is to be kept to.
    async fn enforced(&self, domain: &str) -> Option<Arc<Policy>> {
        let policy = self.sts.as_ref()?.of(domain).await;
        policy.filter(|policy| policy.mode == Mode::Enforce)
    }

    /// A host that the configuration names. Its addresses are asked for when a connection is made, but for DANE.
    async fn smart_host(&self, hop: &NextHop) -> Result<Target, Unroutable> {
        let mut target = Target::configured(hop);
        if self.config.dane {
            let addresses = self.addresses(hop.host()).await;
            let addresses = addresses.map_err(|error| Unroutable::unknown(hop.host(), &error))?;
            target.dane = self.dane(hop.host(), hop, &addresses).await?;
            target.tls = target.dane.as_ref().map_or(TlsPolicy::None, |dane| dane.tls());
            target.addresses = Some(addresses.ips);
        }
        Ok(target)
    }

    /// What the TLSA records of `host` ask for, where DNSSEC proves that it is the one that mail for `hop` goes to.
    async fn dane(
        &self,
        host: &str,
        hop: &NextHop,
        addresses: &Addresses,
    ) -> Result<Option<Arc<Dane>>, Unroutable> {
        let names = &addresses.secure_names;
        let asked = Dane::of(&*self.resolver, names, (host, hop.port()), hop.host());
        let asked = tokio::time::timeout(self.timeout, asked).await;
        let name = || format!("the TLSA records of {host}");
        let found = asked.unwrap_or_else(|_| Err(timed_out()));
        let found = found.map_err(|error| Unroutable::unknown(&name(), &error))?;
        Ok(found.map(Arc::new))
    }

    /// The mail exchangers of `hop`, grouped by preference, in the order of their names within each; and whether they are proved.
    pub(super) async fn exchangers(
        &self,
        hop: &NextHop,
    ) -> Result<(VecDeque<Vec<String>>, bool), Unroutable> {
        let domain = || hop.host().to_owned();
        let asked = tokio::time::timeout(self.timeout, self.resolver.exchangers(hop.host()));
        let answer = match asked.await.unwrap_or_else(|_| Err(timed_out())) {
            Ok(answer) => answer,
            // The domain itself is the host, where there is no MX record at all (RFC 5321 section 5.1). Then it is its
            // addresses that are proved, or not.
            Err(LookupError::NoData) => Answer {
                records: vec![Exchanger {
                    preference: 0,
                    host: domain(),
                }],
                secure: true,
            },
            Err(LookupError::NoSuchDomain) => return Err(Unroutable::NoSuchDomain { domain: domain() }),
            Err(LookupError::Temporary(error)) => {
                let name = format!("the mail exchangers of {}", hop.host());
                return Err(Unroutable::Unknown { name, error });
            }
        };
        let Answer {
            records: mut found,
            secure,
        } = answer;
        found.retain(|exchanger| !exchanger.host.is_empty());
        if found.is_empty() {
            return Err(Unroutable::NullMx { domain: domain() });
        }
        found.sort();
        let own = |exchanger: &&Exchanger| {
            self.config
                .is_own_name(&exchanger.host, hop.port(), &self.hostname)
        };
        if let Some(own) = found.iter().find(own).cloned() {
            found.retain(|exchanger| exchanger.preference < own.preference);
            if found.is_empty() {
                let host = own.host;
                return Err(Unroutable::Loop {
                    domain: domain(),
                    host,
                });
            }
        }
        let mut seen = HashSet::new();
        found.retain(|exchanger| seen.insert(exchanger.host.clone()));
        found.truncate(MAX_NAMES);
        let groups = found.chunk_by(|one, other| one.preference == other.preference);
        let names = |group: &[Exchanger]| group.iter().map(|exchanger| exchanger.host.clone()).collect();
        Ok((groups.map(names).collect(), secure))
    }

    /// The addresses of `host`, a name or an address.
    pub(in crate::client) async fn addresses(&self, host: &str) -> Result<Addresses, LookupError> {
        if let Ok(address) = host.parse() {
            return Ok(Addresses::unproved(vec![address]));
        }
        let asked = tokio::time::timeout(self.timeout, self.resolver.addresses(host));
        asked.await.unwrap_or_else(|_| Err(timed_out()))
    }
}

fn timed_out() -> LookupError {
    LookupError::Temporary("the name servers did not answer in time".to_owned())
}

/// The way to one next hop, host by host.
#[derive(Debug)]
pub(in crate::client) struct Route<'r> {
    routes: &'r Routes,
    hop: NextHop,
    /// To be kept to.
    policy: Option<Arc<Policy>>,
    /// Whether DNSSEC proves the mail exchangers.
    secure: bool,
    /// Mail exchangers whose turn has not come, by preference.
    groups: VecDeque<Vec<String>>,
    ready: VecDeque<Result<Target, Unroutable>>,
    /// How many more may be tried.
    tries: usize,
}

impl Route<'_> {
    /// The next host, or why one is passed over; `None` at the end.
    pub(in crate::client) async fn next(&mut self) -> Option<Result<Target, Unroutable>> {
        while self.tries > 0 {
            if let Some(next) = self.ready.pop_front() {
                let nowhere = matches!(
                    next,
                    Err(Unroutable::NoAddress { .. } | Unroutable::NotInPolicy { .. })
                );
                self.tries -= usize::from(!nowhere);
                return Some(next);
            }
            let group = self.groups.pop_front()?;
            self.look_up(&group).await;
        }
        None
    }

    /// Asks for the addresses of hosts of one preference. One that is this relay ends the way, and drops its equals.
    async fn look_up(&mut self, hosts: &[String]) {
        for some in hosts.chunks(AT_ONCE) {
            for target in join_all(some.iter().map(|host| self.find(host))).await {
                if matches!(target, Err(Unroutable::Loop { .. })) {
                    self.groups.clear();
                    self.ready.clear();
                    self.ready.push_back(target);
                    return;
                }
                self.ready.push_back(target);
            }
        }
    }

    /// Asks for the addresses of `host`, and for its TLSA records where they count.
    async fn find(&self, host: &str) -> Result<Target, Unroutable> {
        // A name of one label is the system's to resolve, by this host's search list: nobody's MX record leads there.
        if !host.contains('.') && host != self.hop.host() {
            return Err(self.no_address(host));
        }
        let addresses = match self.routes.addresses(host).await {
            Ok(addresses) => addresses,
            Err(error @ LookupError::Temporary(_)) => return Err(Unroutable::unknown(host, &error)),
            Err(LookupError::NoSuchDomain | LookupError::NoData) => return Err(self.no_address(host)),
        };
        // Nobody's records are asked for where the way ends anyhow.
        let held = self.secure && self.routes.config.dane && !self.leads_back(&addresses.ips);
        let dane = match held {
            true => self.routes.dane(host, &self.hop, &addresses).await?,
            false => None,
        };
        self.usable(host, addresses, dane)
    }

    /// Whether one of `addresses` is this relay's.
    fn leads_back(&self, addresses: &[IpAddr]) -> bool {
        let config = &self.routes.config;
        let is_own = |address: &IpAddr| config.is_own_address(SocketAddr::new(*address, self.hop.port()));
        addresses.iter().any(is_own)
    }

    /// `host` at those of `addresses` that mail may be sent to. What DANE asks for goes before what the domain's policy does
    /// (RFC 8461 section 2), unless it asks for no certificate.
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
        let names = || (self.hop.host().to_owned(), host.to_owned());
        if self.leads_back(&addresses) {
            let (domain, host) = names();
            return Err(Unroutable::Loop { domain, host });
        }
        if policy.is_some_and(|policy| !policy.allows(host)) {
            let (domain, host) = names();
            return Err(Unroutable::NotInPolicy { domain, host });
        }
        addresses.retain(|address| !config.is_ignored(*address));
        // An address where a name belongs is a mistake in the domain's records (RFC 2181 section 10.3).
        let mistake = self.hop.is_mx() && host.parse::<IpAddr>().is_ok();
        let hop = match self.hop.is_mx() {
            true => format!("{host}:{}", self.hop.port()).parse().ok(),
            false => Some(self.hop.clone()),
        };
        match hop {
            Some(hop) if !addresses.is_empty() && !mistake => Ok(Target {
                hop,
                addresses: Some(addresses),
                tls: match (policy, &dane) {
                    (Some(_), _) => TlsPolicy::Verify,
                    (None, Some(dane)) => dane.tls(),
                    (None, None) => TlsPolicy::None,
                },
                dane,
            }),
            Some(_) | None => Err(self.no_address(host)),
        }
    }

    fn no_address(&self, host: &str) -> Unroutable {
        Unroutable::NoAddress {
            domain: self.hop.host().to_owned(),
            host: host.to_owned(),
        }
    }
}
