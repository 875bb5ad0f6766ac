//! The spool as actors.
//!
//! A [`SpoolActor`] is the address everything is asked of, and the shell of an engine that decides and does nothing else. It starts one [`DeliveryActor`] for each
//! attempt, when the [`Throttle`] grants a permit and the begin of the attempt is on disk; the [`EventHub`] tells
//! subscribers what happened, after the disk holds it. Every actor is a thin shell round a pure machine.
//!
//! Nothing here opens a socket or a file: mail leaves through [`spool_core::DeliveryAgent`], and the store is
//! driven by one writer thread.

mod delivery;
mod engine;
mod errors;
mod event_hub;
mod gate;
mod outcome;
mod pace;
mod spool;
mod supervision;
mod throttle;
mod workers;
mod writer;

pub use delivery::DeliveryActor;
pub use event_hub::{EventHub, Subscription};
pub use gate::Gate;
pub use spool::messages::{
    Add, Details, Explain, Flushed, Freeze, Get, GetBody, GetJobs, GetStats, Idle, Jobs, KillAndFlush,
    ListMessages, Loaded, NewRoute, Outcome, Purge, Quarantine, Recover, Remove, Reroute, SendNow,
    SetMaxConcurrentJobs, SpoolStats, Subscribe, WaitIdle, WhenEnded, WhenLoaded, Which,
};
pub use spool::{
    Bounce, Circuit, DestinationState, Destinations, Expire, GetPulse, OpenSpool, Progress, Pulse,
    ResetDestination, SetNotices, SetPolicies, SetRouting, Spool, SpoolActor,
};
pub use supervision::{Ending, Part, Sentinel};
pub use throttle::{Permit, Throttle};
pub use workers::Workers;
