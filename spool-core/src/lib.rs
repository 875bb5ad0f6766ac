//! The spool's vocabulary, its decisions and its file layer.
//!
//! Everything here is synchronous and deterministic: no tokio, no actix, no sockets, no environment. Time comes in
//! through [`Clock`], chance through [`Dice`], files through the store's own seam, the network through
//! [`DeliveryAgent`] and [`Intake`].

mod address;
mod agent;
mod attempt;
mod budget;
mod clock;
mod config;
mod crlf;
mod destination;
pub mod disposition;
mod domain;
mod envelope;
mod error;
mod event;
mod footprint;
mod hold;
mod hooks;
mod id;
mod message;
mod next_hop;
mod reply;
mod retry;
mod routing;
pub mod store;
mod summary;
mod text;

pub use address::{Address, AddressError, valid_domain};
pub use agent::{BoxFuture, DeliveryAgent, Halt, Intake, Job, Mail};
pub use attempt::{
    Attempt, AttemptReport, AttemptResult, RecipientIndex, RefusedRecipient, Stage, is_rate_limit,
};
pub use budget::{Budget, Held, Waiting};
pub use clock::{Clock, JumpWatch, ManualClock, SystemClock, Timestamp};
pub use config::SpoolConfig;
pub use crlf::{crlf, has_whole_lines};
pub use destination::{
    DestinationPolicy, LearnedCircuit, LearnedDestination, LearnedRate, LearnedSessions, Policies, Rate,
    RateError, TlsPolicy,
};
pub use disposition::OnError;
pub use domain::a_labels;
pub use envelope::{BodyKind, Envelope, MailParameters, Notify, Recipient, Ret, ReversePath};
pub use error::{AddError, SpoolError};
pub use event::{Event, EventKind};
pub use hold::Hold;
pub use hooks::{Hooks, Presend, Refusal};
pub use id::{FlowId, IdError, IdSource, MessageId};
pub use message::{
    FailedRecipient, InitialStatus, Message, MessageState, Queue, Section, Status, Submission,
};
pub use next_hop::{NextHop, NextHopError};
pub use reply::{EnhancedCode, MAX_TEXT, Reply, harmless};
pub use retry::{Dice, NoDice, RandomDice, RetryInterval, RetryPolicy, Schedule, SpreadDice};
pub use routing::{DomainPattern, Router, Rule};
pub use summary::{EnvelopeSummary, MessageSummary, ShownStatus};
pub use text::{is_hidden, visible};
