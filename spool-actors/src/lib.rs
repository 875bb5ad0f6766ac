//! The spool as actors, and the one crate that an embedding program depends on.
//!
//! [`Spool::open`] opens a spool and returns the address of its [`SpoolActor`]; every request is a message to that address. The
//! [`prelude`] holds what most programs need, the SMTP client included. `docs/embedding.md` shows complete programs.
//!
//! The `SpoolActor` carries out the effects of an engine that decides and does no I/O. It starts one [`DeliveryActor`] for each
//! attempt, when the [`Throttle`] grants a permit and the start of the attempt is on disk. The [`EventHub`] sends events to
//! subscribers after the disk holds what they report.
//!
//! Nothing here opens a socket or a file: mail leaves through [`spool_core::DeliveryAgent`], and one writer thread drives the store.
//!
//! # Features
//! - `smtp` (default): re-exports [`spool_smtp`], and its `SmtpAgent` and `SmtpConfig` in the prelude. A program with a
//!   [`DeliveryAgent`](spool_core::DeliveryAgent) of its own can do without.

mod delivery;
mod engine;
mod errors;
mod event_hub;
mod gate;
mod outcome;
mod pace;
pub mod prelude;
mod spool;
mod supervision;
mod throttle;
mod workers;
mod writer;

pub use actix::{Addr, MailboxError, System, WeakAddr};
pub use spool_core;
#[cfg(feature = "smtp")]
pub use spool_smtp;

pub use delivery::DeliveryActor;
pub use event_hub::{EventHub, Subscription};
pub use gate::Gate;
pub use outcome::{Circuit, DestinationState};
pub use spool::messages::{
    Add, Details, Explain, Flushed, Freeze, Get, GetBody, GetJobs, GetStats, Idle, Jobs, KillAndFlush,
    ListMessages, Loaded, NewRoute, Outcome, Purge, Quarantine, Recover, Remove, Reroute, SendNow,
    SetMaxConcurrentJobs, SpoolStats, Subscribe, WaitIdle, WhenEnded, WhenLoaded, Which,
};
pub use spool::{
    Bounce, Destinations, Expire, GetPulse, OpenSpool, Progress, Pulse, ResetDestination, SetNotices,
    SetPolicies, SetRouting, Spool, SpoolActor,
};
pub use supervision::{Ending, Part, Sentinel};
pub use throttle::{Permit, Throttle};
pub use workers::Workers;
