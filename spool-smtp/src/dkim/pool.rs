//! [`Signing`]: signatures on a bounded number of threads, with keys that can be replaced while it runs.
//!
//! It signs one message for each core at a time; others wait for a bounded time, and beyond [`MAX_WAITING`] are refused. A message
//! is never left unsigned for lack of time.

use super::rules::{OnSigningFailure, Rules};
use super::sign::{Fragility, SigningOutcome, Skipped, keys, sign};
use crate::submission::{NoAuthor, insert};
use bytes::Bytes;
use parking_lot::RwLock;
use spool_core::{BoxFuture, Clock, SignError, Signer};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Messages that are being signed or wait; more are refused.
pub const MAX_WAITING: usize = 1024;
/// How long a message waits.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// Signs the messages of submitters with the keys of their domains. Cloning shares it.
#[derive(Clone, derive_more::Debug)]
#[debug("Signing({:?})", _0.rules())]
pub struct Signing(Arc<SigningState>);

struct SigningState {
    rules: RwLock<Arc<Rules>>,
    clock: Arc<dyn Clock>,
    /// One permit for each running signature.
    threads: Arc<Semaphore>,
    /// One permit for each message that is being signed or waits.
    places: Arc<Semaphore>,
    counts: SigningCounts<AtomicU64>,
}

impl Signing {
    /// For tests: the signing threads; a held permit blocks one.
    #[cfg(test)]
    pub(super) fn threads(&self) -> Arc<Semaphore> {
        Arc::clone(&self.0.threads)
    }

    /// Signs by `rules`, at most `threads` messages at the same time.
    #[must_use]
    pub fn new(rules: Rules, clock: Arc<dyn Clock>, threads: usize) -> Self {
        Self(Arc::new(SigningState {
            rules: RwLock::new(Arc::new(rules)),
            clock,
            threads: Arc::new(Semaphore::new(threads.max(1))),
            places: Arc::new(Semaphore::new(MAX_WAITING)),
            counts: SigningCounts::default(),
        }))
    }

    /// Signs by `rules` from now on. Running signatures use the previous rules.
    pub fn replace(&self, rules: Rules) {
        *self.0.rules.write() = Arc::new(rules);
    }

    /// Whether there is any key.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        !self.0.rules().keys.is_empty()
    }

    /// How many messages were signed, and how many not, since the start.
    #[must_use]
    pub fn counts(&self) -> SigningCounts {
        self.0.counts.read()
    }

    async fn sign_in_turn(self, rules: Arc<Rules>, message: Bytes) -> Result<Bytes, SignError> {
        let shared = &self.0;
        let Ok(_place) = shared.places.try_acquire() else {
            return Err(shared.busy());
        };
        let turn = timeout(MAX_WAIT, Arc::clone(&shared.threads).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            return Err(shared.busy());
        };
        let now = shared.clock.now();
        let (ours, bytes) = (Arc::clone(&rules), message.clone());
        let signed = tokio::task::spawn_blocking(move || {
            // Held until the work is done, even if the caller no longer waits.
            let _turn = turn;
            sign(&ours, &bytes, now)
        });
        let outcome = signed.await;
        let outcome =
            outcome.unwrap_or_else(|error| SigningOutcome::Failed(format!("signing ended: {error}")));
        shared.conclude(&rules, message, outcome)
    }
}

impl Signer for Signing {
    fn sign(&self, message: Bytes) -> BoxFuture<Result<Bytes, SignError>> {
        let shared = &self.0;
        let rules = shared.rules();
        if rules.keys.is_empty() {
            return Box::pin(std::future::ready(Ok(message)));
        }
        if let Err(outcome) = keys(&rules, &message, shared.clock.now()) {
            return Box::pin(std::future::ready(shared.conclude(&rules, message, outcome)));
        }
        Box::pin(self.clone().sign_in_turn(rules, message))
    }
}

impl SigningState {
    fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.read())
    }

    fn busy(&self) -> SignError {
        self.counts.busy.fetch_add(1, Ordering::Relaxed);
        SignError::Busy
    }

    /// The resulting message, or why there is none. It is counted, and logged unless an error is returned, because the caller decides what
    /// happens to the message.
    fn conclude(&self, rules: &Rules, message: Bytes, outcome: SigningOutcome) -> Result<Bytes, SignError> {
        match outcome {
            SigningOutcome::Signed {
                fields,
                domain,
                fragility,
            } => {
                tracing::debug!(%domain, "message signed");
                self.counts.signed(fragility);
                // Without a copy if the message is not shared.
                let mut message = Vec::from(message);
                insert(&mut message, 0, &fields);
                Ok(message.into())
            }
            SigningOutcome::Skipped(why) => {
                match why {
                    Skipped::NoKey => tracing::debug!(%why, "message not signed"),
                    Skipped::Author(_) | Skipped::Malformed | Skipped::TooLarge => {
                        tracing::info!(%why, "message not signed");
                    }
                }
                self.counts.skipped(why);
                Ok(message)
            }
            SigningOutcome::Failed(why) => {
                self.counts.failed.fetch_add(1, Ordering::Relaxed);
                match rules.on_failure {
                    OnSigningFailure::Defer => Err(SignError::Failed(why)),
                    OnSigningFailure::Unsigned => {
                        tracing::error!(%why, "message taken without a signature: it cannot be signed");
                        Ok(message)
                    }
                }
            }
        }
    }
}

/// How many messages were signed, and how many not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SigningCounts<C = u64> {
    /// Signed.
    pub signed: C,
    /// Of them, with a line longer than 998 bytes.
    pub fragile_long_line: C,
    /// Of them, not all ASCII.
    pub fragile_eight_bit: C,
    /// Not signed: no key for the domain of the author.
    pub no_key: C,
    /// Not signed: no author, or one that cannot be read.
    pub no_author: C,
    /// Not signed: several authors.
    pub several_authors: C,
    /// Not signed: a line of the header section is no header field.
    pub malformed: C,
    /// Not signed: header fields too many or too long.
    pub too_large: C,
    /// Signing failed.
    pub failed: C,
    /// Refused because too many waited, or for too long.
    pub busy: C,
}

impl SigningCounts<AtomicU64> {
    fn signed(&self, fragility: Fragility) {
        self.signed.fetch_add(1, Ordering::Relaxed);
        self.fragile_long_line
            .fetch_add(fragility.long_line.into(), Ordering::Relaxed);
        self.fragile_eight_bit
            .fetch_add(fragility.eight_bit.into(), Ordering::Relaxed);
    }

    fn skipped(&self, why: Skipped) {
        let count = match why {
            Skipped::NoKey => &self.no_key,
            Skipped::Author(NoAuthor::Several) => &self.several_authors,
            Skipped::Author(NoAuthor::None | NoAuthor::Unreadable) => &self.no_author,
            Skipped::Malformed => &self.malformed,
            Skipped::TooLarge => &self.too_large,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    fn read(&self) -> SigningCounts {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        SigningCounts {
            signed: of(&self.signed),
            fragile_long_line: of(&self.fragile_long_line),
            fragile_eight_bit: of(&self.fragile_eight_bit),
            no_key: of(&self.no_key),
            no_author: of(&self.no_author),
            several_authors: of(&self.several_authors),
            malformed: of(&self.malformed),
            too_large: of(&self.too_large),
            failed: of(&self.failed),
            busy: of(&self.busy),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{DomainKey, SigningKey};
    use super::*;
    use spool_core::SystemClock;

    #[tokio::test(start_paused = true)]
    async fn a_message_is_refused_after_waiting_too_long() {
        let key = DomainKey {
            domain: "example.org".to_owned(),
            selector: "s".to_owned(),
            subdomains: false,
            from: None,
            until: None,
            key: SigningKey::from_pem(include_bytes!("testdata/ed25519.pem")).unwrap(),
        };
        let rules = Rules {
            keys: vec![key],
            ..Rules::default()
        };
        let signing = Signing::new(rules, Arc::new(SystemClock), 1);
        let turn = Arc::clone(&signing.0.threads).acquire_owned().await.unwrap();
        let message = Bytes::from_static(b"From: ada@example.org\r\n\r\n");
        let begun = tokio::time::Instant::now();
        assert_eq!(signing.sign(message.clone()).await, Err(SignError::Busy));
        assert_eq!(begun.elapsed().as_secs(), MAX_WAIT.as_secs());
        assert_eq!(
            signing.0.places.available_permits(),
            MAX_WAITING,
            "its place is free"
        );
        drop(turn);
        assert!(signing.sign(message).await.is_ok());
    }
}
