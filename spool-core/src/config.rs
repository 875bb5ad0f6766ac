//! How a spool is set up by the program that opens it. Every value has a default and a unit.

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
    /// Delivery sessions at once to one list of next hops, where its policy does not say. Default 10.
    pub max_jobs_per_destination: usize,
    /// What is asked of the ways to next hops. Default: nothing.
    pub policies: Policies,
    /// Where mail goes that was routed by a configuration. Default: to the next hops it was spooled with.
    pub routing: Routing,
    /// Bytes of bodies and envelopes held in memory. Default 512 MiB.
    pub memory_limit: u64,
    /// Recipients of one submission, in all of its sections. Default 1000.
    pub max_recipients: usize,
    /// Threads for sessions, beside the spool's own; 0: one per core in all, but at least one.
    pub threads: usize,
    /// How many bytes of cold mail a second are read again and checked; 0: none. Default 2 MiB.
    pub scrub_rate: u64,
    /// Events each subscriber may lag behind before it misses some. Default 4096.
    pub event_buffer: usize,
    /// What the embedding program decides itself.
    pub hooks: Hooks,
    /// Signs the messages that the spool itself makes. Default: nobody. Mail that is added is not signed by the spool.
    pub signer: Option<Arc<dyn Signer>>,
    /// How senders are told what became of their mail. Default: not at all, and messages whose recipients failed are frozen.
    pub notices: Option<NoticeConfig>,
    /// How often subscribers hear `Ping`. Default 30 s.
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
