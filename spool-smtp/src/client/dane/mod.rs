//! DANE for SMTP (RFC 7672): a domain publishes with DNSSEC which certificates its mail servers use.
//!
//! It never lowers security: a lookup that fails does not count as "no records".

mod chain;
mod demand;
mod tlsa;

pub(super) use demand::Dane;
pub use tlsa::Tlsa;

#[cfg(test)]
pub(super) use tlsa::tests::record;
