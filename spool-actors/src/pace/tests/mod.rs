//! A sender with more messages than it can send, against peers with hidden limits and outages, on virtual time.
//!
//! Each test prints its rows of the table in docs/smtp-egress.md: `cargo test -p spool-actors --lib -- pace::tests
//! --nocapture --test-threads 1`.

mod convergence;
mod estimates;
mod outage;
mod peers;
mod sender;
