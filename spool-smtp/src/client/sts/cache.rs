//! The cache of policies: they are fetched when mail is sent to a domain, and kept for the time that the policy states.
//!
//! A policy remains until it expires, also if a newer one cannot be fetched: an attacker who blocks DNS or HTTPS cannot remove it (RFC 8461
//! section 3.3).

use super::fetch::Fetch;
use super::policy::{Mode, Policy, record_id};
use crate::client::resolve::Resolve;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The most domains.
const MAX_DOMAINS: usize = 4096;
/// The least time between two fetches for the same id: after a failure (section 3.3 requires at least five minutes), and for a policy that
/// expires earlier.
const PAUSE: Duration = Duration::from_secs(300);
/// The time limit of a fetch (section 3.3 suggests a minute).
const FETCH_TIMEOUT: Duration = Duration::from_secs(60);

/// The state of one domain.
#[derive(Debug, Default)]
struct PolicyEntry {
    known: Option<Known>,
    /// The id for which the last fetch failed, and the time.
    failed: Option<(String, Instant)>,
}

#[derive(Debug)]
struct Known {
    id: String,
    policy: Arc<Policy>,
    /// When the policy is fetched again, although its id is the same.
    stale: Instant,
    expires: Instant,
}

impl PolicyEntry {
    /// The policy, unless it has expired.
    fn valid(&mut self) -> Option<&Known> {
        self.known.take_if(|known| known.expires <= Instant::now());
        self.known.as_ref()
    }
}

type SharedEntry = Arc<tokio::sync::Mutex<PolicyEntry>>;

/// The policies of all domains.
#[derive(Debug)]
pub(in crate::client) struct PolicyCache {
    resolver: Arc<dyn Resolve>,
    fetch: Fetch,
    domains: Mutex<HashMap<String, SharedEntry>>,
}

impl PolicyCache {
    /// A cache that reads the announcements with `resolver` and the policies with `fetch`.
    pub(in crate::client) fn new(resolver: Arc<dyn Resolve>, fetch: Fetch) -> Self {
        Self {
            resolver,
            fetch,
            domains: Mutex::default(),
        }
    }

    /// The policy of `domain`, in A-labels; `None` if it has none, or it cannot be fetched.
    pub(in crate::client) async fn of(&self, domain: &str) -> Option<Arc<Policy>> {
        let records = self.resolver.texts(&format!("_mta-sts.{domain}"));
        let records = tokio::time::timeout(FETCH_TIMEOUT, records).await;
        let records = records.ok().and_then(Result::ok).unwrap_or_default();
        let announced = record_id(&records);
        let entry = self.entry(domain, announced.is_some())?;
        // Concurrent callers wait for the same fetch.
        let mut entry = entry.lock().await;
        if let Some(id) = announced
            && is_due(&mut entry, id)
        {
            self.refresh(domain, id, &mut entry).await;
        }
        entry.valid().map(|known| Arc::clone(&known.policy))
    }

    /// The entry of `domain`; with `make`, it is created if there is none.
    fn entry(&self, domain: &str, make: bool) -> Option<SharedEntry> {
        let mut domains = self.domains.lock();
        if let Some(entry) = domains.get(domain) {
            return Some(Arc::clone(entry));
        }
        if !make {
            return None;
        }
        if domains.len() >= MAX_DOMAINS {
            // Entries that are in use, or have a valid policy, are kept.
            domains.retain(|_, entry| entry.try_lock().map_or(true, |mut entry| entry.valid().is_some()));
        }
        let entry = SharedEntry::default();
        if domains.len() < MAX_DOMAINS {
            domains.insert(domain.to_owned(), Arc::clone(&entry));
        }
        Some(entry)
    }

    async fn refresh(&self, domain: &str, id: &str, entry: &mut PolicyEntry) {
        let fetched = tokio::time::timeout(FETCH_TIMEOUT, self.fetch.get(domain)).await;
        let text = fetched.unwrap_or_else(|_| Err("timed out".to_owned()));
        let policy = text.and_then(|text| Policy::parse(&text).map_err(|error| error.to_string()));
        let now = Instant::now();
        match policy {
            Ok(policy) => {
                entry.failed = None;
                entry.known = Some(Known {
                    id: id.to_owned(),
                    stale: now + (policy.max_age / 2).max(PAUSE),
                    expires: now + policy.max_age.max(PAUSE),
                    policy: Arc::new(policy),
                });
            }
            Err(error) => {
                let kept = entry
                    .known
                    .as_ref()
                    .is_some_and(|known| known.policy.mode == Mode::Enforce);
                tracing::warn!(domain, error, kept, "no MTA-STS policy");
                entry.failed = Some((id.to_owned(), now));
            }
        }
    }
}

/// Whether the policy with this `id` must be fetched.
fn is_due(entry: &mut PolicyEntry, id: &str) -> bool {
    let now = Instant::now();
    let fresh = entry
        .valid()
        .is_some_and(|known| known.id == id && now < known.stale);
    let failed = entry.failed.as_ref();
    let paused = failed.is_some_and(|(failed, at)| failed == id && now < *at + PAUSE);
    !fresh && !paused
}

#[cfg(test)]
mod tests {
    use super::super::tests::one_text;
    use super::*;
    use crate::client::resolve::tests::Names;

    #[test]
    fn no_more_domains_are_kept_than_allowed() {
        let cache = PolicyCache::new(Arc::new(Names::default()), one_text(""));
        let kept = || cache.domains.lock().len();
        let domain = |n: usize| format!("d{n}.example");
        let in_use =
            (0..MAX_DOMAINS).map(|n| cache.entry(&domain(n), true).unwrap().try_lock_owned().unwrap());
        let in_use: Vec<_> = in_use.collect();
        assert_eq!(kept(), 4096);
        // One more gets an entry that is not kept.
        assert!(cache.entry("more.example", true).is_some());
        assert_eq!(kept(), 4096);
        assert!(cache.entry("more.example", false).is_none());
        drop(in_use);
        // Entries without a policy are removed.
        assert!(cache.entry("more.example", true).is_some());
        assert_eq!(kept(), 1);
    }
}
