//! The harness of the scenarios: processes, a raw SMTP client, and mail of every kind.
//!
//! Everything here fails loudly: a harness that forgives proves nothing.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test harness panics"
)]

pub mod authority;
pub mod capture;
pub mod http;
pub mod mail_auth;
pub mod mails;
pub mod name_server;
pub mod process;
pub mod raw;
pub mod signed_zones;
pub mod tls;
pub mod tls_client;
