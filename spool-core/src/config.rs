//! The configuration of a spool, given by the program that opens it. Every value has a default and a unit.

use crate::bounce::NoticeConfig;
use crate::destination::Policies;
use crate::hooks::Hooks;
use crate::routing::Routing;
use crate::sign::Signer;
use crate::store::StoreOptions;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The configuration of one spool.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SpoolConfig {
    /// The spool's directory, made when missing.
    pub dir: PathBuf,
    /// The file layer.
    pub store: StoreOptions,
    /// Delivery sessions at once; 0 pauses delivery. Default 200.
    pub max_concurrent_jobs: usize,
    /// Delivery sessions at once on one path, unless its policy says otherwise. Default 10.
    pub max_jobs_per_destination: usize,
    /// Delivery sessions at once however many jobs are allowed: the connections that the delivery agent may have. Unlike the jobs, sessions
    /// that run when the limit of jobs is changed count. Default: no limit.
    pub max_sessions: usize,
    /// The policies of destinations. Default: none.
    pub policies: Policies,
    /// Where mail that was routed by a configuration goes. Default: to the next hops it was spooled with.
    pub routing: Routing,
    /// Bytes of bodies and envelopes held in memory. Default 512 MiB.
    pub memory_limit: u64,
    /// Recipients of one submission, in all of its sections together. Default 1000.
    pub max_recipients: usize,
    /// Threads for sessions; 0: one less than there are cores, and none on one or two cores, where the spool's own thread does that work.
    pub threads: usize,
    /// Bytes per second that the scrub reads; 0: none. Default 2 MiB.
    pub scrub_rate: u64,
    /// Events that a subscriber may lag behind before it misses some. Default 4096.
    pub event_buffer: usize,
    /// Hooks of the embedding program.
    pub hooks: Hooks,
    /// Signs the messages that the spool itself creates. Default: none. Added messages are not signed by the spool.
    pub signer: Option<Arc<dyn Signer>>,
    /// How senders are notified. Default: not at all; then messages with failed recipients are frozen.
    pub notices: Option<NoticeConfig>,
    /// The interval of `Ping` events. Default 30 s.
    pub ping_interval: Duration,
}

impl SpoolConfig {
    /// The defaults, for the spool in `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            store: StoreOptions::default(),
            max_concurrent_jobs: 200,
            max_jobs_per_destination: 10,
            max_sessions: usize::MAX,
            policies: Policies::default(),
            routing: Routing::default(),
            memory_limit: 512 << 20,
            max_recipients: 1000,
            threads: 0,
            scrub_rate: 2 << 20,
            hooks: Hooks::default(),
            event_buffer: 4096,
            signer: None,
            notices: None,
            ping_interval: Duration::from_secs(30),
        }
    }
}
