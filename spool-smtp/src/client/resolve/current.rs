//! What lookups go through, as it is now: hickory over the name servers of a file, read again when it changes, with a cache of answers
//! whose age and number are bounded; and the system's hosts file.

use super::TrustAnchors;
use super::resolv_conf::Settings;
use super::servers::NameServers;
use super::watched::Watched;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::{Hosts, Resolver};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Answers kept: a few hundred bytes each as a rule. When they may have become too large, all of them are forgotten.
const CACHE: u64 = 4096;
/// Ages of answers: not so short that each message asks anew, not so long that a fixed record does not help.
const MIN_AGE: Duration = Duration::from_secs(5);
const MAX_AGE: Duration = Duration::from_secs(3600);
/// "No such domain" fails mail for good: it is not believed for long.
const MAX_NEGATIVE_AGE: Duration = Duration::from_secs(300);

/// hickory's part of a lookup: what is kept, where aliases lead, what is proved.
pub(super) type Hickory = Resolver<NameServers>;

/// Name servers, and what asks those of now.
pub(super) struct CurrentResolver {
    /// How long an answer is waited for.
    limit: Duration,
    state: Mutex<ResolverState>,
}

struct ResolverState {
    /// `None`: the servers were given, and stay.
    file: Option<Watched>,
    settings: Settings,
    /// What asks the servers of now, and these; `None`: they have not been asked yet.
    hickory: Option<(Arc<Hickory>, NameServers)>,
}

impl CurrentResolver {
    /// These servers.
    pub(super) fn given(settings: Settings, limit: Duration) -> Self {
        Self::new(None, settings, limit)
    }

    /// Those that `file` names, as resolv.conf(5) describes it.
    pub(super) fn of_file(file: Watched, limit: Duration) -> Self {
        let (nothing_read, _) = Settings::parse("");
        Self::new(Some(file), nothing_read, limit)
    }

    fn new(file: Option<Watched>, settings: Settings, limit: Duration) -> Self {
        let state = Mutex::new(ResolverState {
            file,
            settings,
            hickory: None,
        });
        Self { limit, state }
    }

    /// What asks the name servers of now; another one once they have changed, with nothing kept of what the others said.
    ///
    /// # Errors
    /// Those of hickory, which cannot be made.
    pub(super) fn hickory(&self, anchors: Option<&TrustAnchors>) -> Result<Arc<Hickory>, NetError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.look();
        let servers = match &state.hickory {
            // Its cache would be cleared bit by bit, while it is filled again.
            Some((_, servers)) if servers.have_answered_enough() => servers.clone(),
            Some((hickory, _)) => return Ok(Arc::clone(hickory)),
            None => NameServers::new(&state.settings, self.limit),
        };
        let built = Arc::new(build(servers.clone(), anchors)?);
        state.hickory = Some((Arc::clone(&built), servers));
        Ok(built)
    }
}

impl ResolverState {
    fn look(&mut self) {
        let Some(file) = &mut self.file else { return };
        match file.look(Instant::now()) {
            None => {}
            // What was known before is as good a guess as any.
            Some(Err(error)) => tracing::warn!("{}: {error}", file.path().display()),
            Some(Ok(content)) => {
                let (settings, ignored) = Settings::parse(&String::from_utf8_lossy(&content));
                if settings != self.settings {
                    let servers = &settings.servers;
                    tracing::info!(?servers, ?ignored, "name servers of {}", file.path().display());
                    (self.settings, self.hickory) = (settings, None);
                }
            }
        }
    }
}

fn build(servers: NameServers, anchors: Option<&TrustAnchors>) -> Result<Hickory, NetError> {
    // Not an address: one connection, to all servers.
    let all = NameServerConfig::udp(Ipv4Addr::UNSPECIFIED.into());
    let config = ResolverConfig::from_name_servers(vec![all]);
    let mut options = ResolverOpts::default();
    bound(&mut options);
    // What is proved is proved alias by alias.
    options.preserve_intermediates = anchors.is_some();
    let mut builder = Resolver::builder_with_config(config, servers).with_options(options);
    if let Some(anchors) = anchors {
        builder = builder.with_trust_anchor(anchors.keys());
    }
    builder.build()
}

fn bound(options: &mut ResolverOpts) {
    options.cache_size = CACHE;
    options.positive_min_ttl = Some(MIN_AGE);
    options.positive_max_ttl = Some(MAX_AGE);
    options.negative_min_ttl = Some(MIN_AGE);
    options.negative_max_ttl = Some(MAX_NEGATIVE_AGE);
    // Without it an answer of more than 512 bytes costs a TCP connection.
    options.edns0 = true;
    // The hosts file is asked first, and elsewhere.
    options.use_hosts_file = ResolveHosts::Never;
    // The servers below see to that.
    options.attempts = 0;
}

/// The names and addresses of a hosts file as it is now.
pub(super) struct HostsFile(Mutex<(Watched, Arc<Hosts>)>);

impl HostsFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(Mutex::new((Watched::new(path), Arc::default())))
    }

    /// One that cannot be read is as it was.
    pub(super) fn hosts(&self) -> Arc<Hosts> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (file, hosts) = &mut *known;
        if let Some(Ok(content)) = file.look(Instant::now()) {
            let mut read = Hosts::default();
            match read.read_hosts_conf(content.as_slice()) {
                Ok(()) => *hosts = Arc::new(read),
                Err(error) => tracing::warn!("{}: {error}", file.path().display()),
            }
        }
        Arc::clone(hosts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_of_answers_is_bounded_in_number_and_age() {
        let (settings, _) = Settings::parse("nameserver 192.0.2.1\n");
        let source = CurrentResolver::given(settings, Duration::from_secs(1));
        let hickory = source.hickory(None).unwrap();
        let options = hickory.options();
        let seconds = |age: Option<Duration>| age.unwrap().as_secs();
        assert_eq!(options.cache_size, 4096);
        assert_eq!(
            (
                seconds(options.positive_min_ttl),
                seconds(options.positive_max_ttl)
            ),
            (5, 3600)
        );
        assert_eq!(
            (
                seconds(options.negative_min_ttl),
                seconds(options.negative_max_ttl)
            ),
            (5, 300)
        );
    }
}
