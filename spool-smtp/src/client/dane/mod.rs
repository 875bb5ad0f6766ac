//! DANE for SMTP (RFC 7672): a domain says in DNSSEC which certificates the servers of its mail show.
//!
//! It never makes a way less secure than it is without. What cannot be asked for is not taken for "there is none".

mod chain;
mod demand;
mod tlsa;

pub(super) use demand::Dane;
pub use tlsa::Tlsa;

#[cfg(test)]
pub(super) use tlsa::tests::record;
