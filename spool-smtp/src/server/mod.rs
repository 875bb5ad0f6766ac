//! SMTP ingress: takes mail from clients and hands it to the spool's [`Intake`](spool_core::Intake).
//!
//! Bytes go through [`framing`](self), commands through the [`Machine`], message text through the data decoder; none
//! of them knows a socket. [`serve`] drives one session over any stream, [`Listener`] accepts connections. A message
//! is answered with 250 only after the intake said that it is durable. Nothing here stores, routes or relays mail.

mod buffer;
mod command;
mod config;
mod connections;
mod data;
mod deadline;
mod framing;
mod listener;
mod machine;
mod network;
mod policy;
mod reply;
mod session;
#[cfg(test)]
mod testing;
mod trace;

pub use config::{BareNewline, CurrentConfig, ServerConfig};
pub use listener::{Listener, SessionStart};
pub use machine::{Machine, Next};
pub use network::{Network, NetworkError};
pub use policy::RelayPolicy;
pub use session::serve;
