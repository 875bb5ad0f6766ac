//! The types of the spool, its decisions, and its file layer.
//!
//! Everything here is synchronous and deterministic: no tokio, no actix, no sockets, no environment. Time comes in
//! through [`Clock`], chance through [`Dice`], files through the store's own seam, the network through
//! [`DeliveryAgent`] and [`Intake`].

mod address;
mod agent;
mod archive;
mod attempt;
mod attempts;
pub mod bounce;
mod budget;
mod clock;
mod config;
mod crlf;
mod decisions;
mod destination;
pub mod disposition;
mod divide;
mod domain;
mod domain_pattern;
mod envelope;
mod error;
mod event;
mod footprint;
mod frozen;
mod future;
mod hold;
mod hooks;
mod id;
mod key;
pub mod log;
mod manual_clock;
mod message;
mod next_hop;
mod on_error;
mod reason;
mod related;
mod reply;
mod retry;
mod router;
mod routing;
mod sign;
mod since;
mod span;
pub mod store;
mod submission;
mod summary;
mod text;
pub mod xtext;

pub use address::{Address, AddressError, valid_domain};
pub use agent::{
    Admission, Begin, DeliveryAgent, Halt, Intake, Job, Mail, PathLookup, Source, TlsSession, Withdrawn,
};
pub use attempt::{
    Attempt, AttemptReport, AttemptResult, HostReport, RecipientIndex, RefusedRecipient, Stage,
    is_rate_limit, names_a_rate,
};
pub use attempts::{Attempts, MAX_KEPT_REFUSALS, MAX_LAST_ATTEMPTS};
pub use budget::{Budget, Held, Waiting};
pub use clock::{Clock, SystemClock, Timestamp, millis};
pub use config::SpoolConfig;
pub use crlf::{crlf, has_whole_lines};
pub use destination::{
    DestinationPolicy, LearnedCircuit, LearnedDestination, LearnedRate, LearnedSessions, Policies, Rate,
    RateError, TlsPolicy,
};
pub use divide::{Part, parts_for, state_without};
pub use domain::a_labels;
pub use domain_pattern::DomainPattern;
pub use envelope::{BodyKind, Envelope, EnvelopeError, MailParameters, Notify, Recipient, Ret, ReversePath};
pub use error::{AddError, RETRY_AFTER, SpoolError};
pub use event::{Event, EventKind};
pub use frozen::{Frozen, FrozenKind, FrozenReason};
pub use future::BoxFuture;
pub use hold::Hold;
pub use hooks::{Hooks, Presend, Refusal};
pub use id::{FlowId, IdError, IdSource, MessageId};
pub use key::{AddKey, Fingerprint, KeyDigest};
pub use manual_clock::ManualClock;
pub use message::{FailedRecipient, Message, MessageState, Queue, RouteOrigin, Section, Status};
pub use next_hop::{NextHop, NextHopError};
pub use on_error::OnError;
pub use reason::{frozen_kind, reason};
pub use related::Related;
pub use reply::{EnhancedCode, MAX_TEXT, Reply, harmless};
pub use retry::{Dice, NoDice, RandomDice, RetryInterval, RetryPolicy, Schedule, SpreadDice};
pub use router::{RouteReason, Router, Rule};
pub use routing::{RouteGroup, Routing};
pub use sign::{SignError, Signer};
pub use span::span;
pub use submission::{MAX_SECTIONS, Submission};
pub use summary::{EnvelopeSummary, MessageSummary, ShownStatus};
pub use text::{is_hidden, is_printable_ascii, visible};
