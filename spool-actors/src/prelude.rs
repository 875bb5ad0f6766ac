//! What most embedding programs need: `use spool_actors::prelude::*;`.
//!
//! It holds the messages that a spool takes, what is in them and in their replies, the configuration, the hooks, the events, actix's
//! address types, and with the feature `smtp` the SMTP client. What is rarer is in [`spool_actors`](crate),
//! [`spool_core`] and `spool_smtp`.

pub use crate::{
    Add, Bounce, Destinations, Ending, Expire, Explain, Flushed, Freeze, Get, GetBody, GetJobs, GetStats,
    KillAndFlush, ListMessages, NewRoute, OpenSpool, Outcome, Purge, Quarantine, Recover, Remove, Reroute,
    ResetDestination, SendNow, SetMaxConcurrentJobs, SetNotices, SetPolicies, SetRouting, Spool, SpoolActor,
    Subscribe, Subscription, WaitIdle, WhenEnded, WhenLoaded, Which,
};
pub use actix::{Addr, MailboxError, System, WeakAddr};
pub use spool_core::bounce::NoticeConfig;
pub use spool_core::store::{Archive, OpenError, StoreOptions};
pub use spool_core::{
    AddError, Address, AddressError, AttemptReport, AttemptResult, BodyKind, BoxFuture, Clock, DeliveryAgent,
    DestinationPolicy, Envelope, EnvelopeError, Event, EventKind, Fingerprint, FlowId, Hold, Hooks, Job,
    MailParameters, Message, MessageId, MessageSummary, NextHop, NextHopError, Notify, OnError, Policies,
    Presend, Queue, Rate, Recipient, Refusal, Reply, Ret, RetryInterval, RetryPolicy, ReversePath,
    RouteOrigin, Router, Routing, Section, Signer, SpoolConfig, SpoolError, Status, Submission, SystemClock,
    Timestamp, TlsPolicy,
};
#[cfg(feature = "smtp")]
pub use spool_smtp::client::{SmtpAgent, SmtpConfig};
