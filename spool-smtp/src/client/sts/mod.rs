//! MTA-STS (RFC 8461): a domain says over HTTPS which hosts are its mail exchangers, and that mail goes to them over TLS
//! with a valid certificate or not at all.
//!
//! It never makes a way less secure than it is without: where no policy can be had, there is none.

mod cache;
mod fetch;
mod policy;

pub(super) use cache::PolicyCache;
#[cfg(test)]
pub(super) use fetch::Fetch;
pub(super) use fetch::HttpsFetch;
pub(super) use policy::{Mode, Policy};

#[cfg(test)]
pub(super) mod tests;
