//! The contract of the spool, through its public address. docs/delivery-semantics.md says which test holds which line.

#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests panic"
)]

mod adds;
mod archives;
mod attempt;
mod bounces;
mod bounces_by_hand;
mod bounces_cut;
mod bounces_late;
mod bounces_limits;
mod bounces_signed;
mod circuits;
mod clock;
mod destinations;
mod events;
mod faults;
mod full_disk;
mod hooks;
mod lifecycle;
mod memory;
mod operations;
mod pulse;
mod reasons;
mod reroute;
mod routes;
mod routes_divided;
mod starts;
mod support;
