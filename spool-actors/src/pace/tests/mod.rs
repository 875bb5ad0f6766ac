//! A sender with more messages than it can send, against peers with hidden limits, on virtual time.

mod convergence;
mod outage;
mod peers;
mod sender;
