//! SMTP ingress: receives mail from clients and passes it to the spool's [`Intake`](spool_core::Intake).
//!
//! The framer splits bytes into lines, the [`Machine`] executes commands, and the data decoder reads messages; none of them uses a
//! socket. [`serve`] drives one session over any stream, and [`Listener`] accepts connections. A message is answered with 250
//! only after the intake reports that it is durable. Nothing here stores, routes or relays mail.

mod auth;
mod buffer;
mod certificate;
mod clients;
mod command;
mod config;
mod connections;
mod data;
mod framing;
mod listener;
mod local;
mod machine;
mod network;
mod parameters;
mod peer;
mod policy;
mod proxy;
mod reply;
mod session;
#[cfg(test)]
mod testing;
mod tls;
#[cfg(test)]
mod tls_tests;
mod trace;

pub use auth::{HashError, Logins, MAX_PASSWORD, PasswordHash, User, Users, check_user_name};
pub use certificate::{Certificate, CertificateError};
pub use clients::{ClientState, Clients, Count, Kind, Limited, Limits, OpenConnection};
pub use config::{BareNewline, ServerConfig};
pub use listener::{Listener, SessionStart};
pub use local::left_by;
pub use network::{Network, NetworkError};
pub use policy::RelayPolicy;
pub use session::Opening;
pub use tls::ServerTls;
