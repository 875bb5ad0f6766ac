//! SMTP for the spool: the ingress server, the delivery client, the mock sink and the load generator.
//!
//! It never touches the store and knows no actor: mail comes in through [`spool_core::Intake`] and goes out as a
//! [`spool_core::DeliveryAgent`].

pub mod client;
mod deadline;
mod der;
pub mod dkim;
mod fingerprint;
mod glob;
mod hidden;
mod line_error;
pub mod load;
pub mod server;
pub mod sink;
mod stream;
pub mod submission;
mod tls_names;

pub use line_error::LineError;
