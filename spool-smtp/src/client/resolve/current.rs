//! The current resolver and hosts file. The file with the name servers is read again when it changes. The cache of answers is bounded in
//! number and age.

use super::TrustAnchors;
use super::resolv_conf::Settings;
use super::servers::NameServers;
use super::watched::Watched;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::{Hosts, Resolver};
use parking_lot::Mutex;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The most answers in the cache, usually a few hundred bytes each. The cache is cleared when they may have become too large.
const CACHE: u64 = 16_384;
/// The ages of answers in the cache: long enough to save lookups, short enough that a corrected record takes effect.
const MIN_AGE: Duration = Duration::from_secs(5);
const MAX_AGE: Duration = Duration::from_secs(3600);
/// A negative answer fails mail permanently, so it is kept for a short time.
const MAX_NEGATIVE_AGE: Duration = Duration::from_secs(300);

/// The resolver of hickory: it caches, follows aliases and validates.
pub(super) type Hickory = Resolver<NameServers>;

/// The current name servers and the resolver that uses them.
pub(super) struct CurrentResolver {
    /// The time limit of a lookup.
    limit: Duration,
    state: Mutex<ResolverState>,
}

struct ResolverState {
    /// The file with the name servers; `None`: they are fixed.
    file: Option<Watched>,
    settings: Settings,
    /// The resolver and its servers; `None` before the first lookup.
    hickory: Option<(Arc<Hickory>, NameServers)>,
}

impl CurrentResolver {
    /// The servers in `file`, in the form of resolv.conf(5), once it was read; those of `settings` until then, and without a file.
    pub(super) fn new(file: Option<Watched>, settings: Settings, limit: Duration) -> Self {
        let state = Mutex::new(ResolverState {
            file,
            settings,
            hickory: None,
        });
        Self { limit, state }
    }

    /// The resolver for the current name servers. After they have changed it is a new one with an empty cache.
    ///
    /// # Errors
    /// Those of hickory when it cannot be built.
    pub(super) fn hickory(&self, anchors: Option<&TrustAnchors>) -> Result<Arc<Hickory>, NetError> {
        let mut state = self.state.lock();
        state.reload();
        let servers = match &state.hickory {
            // A new one, because hickory clears its cache entry by entry.
            Some((_, servers)) if servers.take_cache_is_full() => servers.clone(),
            Some((hickory, _)) => return Ok(Arc::clone(hickory)),
            None => NameServers::new(&state.settings, self.limit),
        };
        let built = Arc::new(build(servers.clone(), anchors)?);
        state.hickory = Some((Arc::clone(&built), servers));
        Ok(built)
    }
}

impl ResolverState {
    fn reload(&mut self) {
        let Some(file) = &mut self.file else { return };
        match file.look(Instant::now()) {
            None => {}
            // The previous servers remain.
            Some(Err(error)) => tracing::warn!("{}: {error}", file.path.display()),
            Some(Ok(content)) => {
                let (settings, ignored) = Settings::parse(&String::from_utf8_lossy(&content));
                if settings != self.settings {
                    let servers = &settings.servers;
                    tracing::info!(?servers, ?ignored, "name servers of {}", file.path.display());
                    (self.settings, self.hickory) = (settings, None);
                }
            }
        }
    }
}

fn build(servers: NameServers, anchors: Option<&TrustAnchors>) -> Result<Hickory, NetError> {
    // A placeholder for all servers.
    let all = NameServerConfig::udp(Ipv4Addr::UNSPECIFIED.into());
    let config = ResolverConfig::from_name_servers(vec![all]);
    let mut options = ResolverOpts::default();
    options.cache_size = CACHE;
    options.positive_min_ttl = Some(MIN_AGE);
    options.positive_max_ttl = Some(MAX_AGE);
    options.negative_min_ttl = Some(MIN_AGE);
    options.negative_max_ttl = Some(MAX_NEGATIVE_AGE);
    // Without EDNS, an answer of more than 512 bytes needs a TCP connection.
    options.edns0 = true;
    // The hosts file is read separately.
    options.use_hosts_file = ResolveHosts::Never;
    // `NameServers` repeats queries.
    options.attempts = 0;
    // Validation needs every alias.
    options.preserve_intermediates = anchors.is_some();
    let mut builder = Resolver::builder_with_config(config, servers).with_options(options);
    if let Some(anchors) = anchors {
        builder = builder.with_trust_anchor(Arc::clone(&anchors.0));
    }
    builder.build()
}

/// The current names and addresses of a hosts file.
pub(super) struct HostsFile(Mutex<(Watched, Arc<Hosts>)>);

impl HostsFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(Mutex::new((Watched::new(path), Arc::default())))
    }

    /// The current content; the previous one if the file cannot be read.
    pub(super) fn hosts(&self) -> Arc<Hosts> {
        let mut known = self.0.lock();
        let (file, hosts) = &mut *known;
        if let Some(Ok(content)) = file.look(Instant::now()) {
            let mut read = Hosts::default();
            match read.read_hosts_conf(content.as_slice()) {
                Ok(()) => *hosts = Arc::new(read),
                Err(error) => tracing::warn!("{}: {error}", file.path.display()),
            }
        }
        Arc::clone(hosts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_bounded_in_number_and_age() {
        let (settings, _) = Settings::parse("nameserver 192.0.2.1\n");
        let source = CurrentResolver::new(None, settings, Duration::from_secs(1));
        let hickory = source.hickory(None).unwrap();
        let options = hickory.options();
        let seconds = |age: Option<Duration>| age.unwrap().as_secs();
        assert_eq!(options.cache_size, 16_384);
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
