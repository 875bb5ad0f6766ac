//! The contract of the spool, through its public address. docs/delivery-semantics.md says which test holds which line.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests panic"
)]

mod attempt;
mod events;
mod lifecycle;
mod operations;
mod support;
