//! MTA-STS (RFC 8461): a domain publishes over HTTPS which hosts are its mail exchangers, and that mail is sent only over TLS with a valid
//! certificate.
//!
//! It never lowers security. If a policy cannot be fetched, the domain has none.

mod cache;
mod fetch;
mod policy;

pub(super) use cache::PolicyCache;
#[cfg(test)]
pub(super) use fetch::Fetch;
pub(super) use fetch::{HTTPS, over_https};
pub(super) use policy::{Mode, Policy};

#[cfg(test)]
pub(super) mod tests;
