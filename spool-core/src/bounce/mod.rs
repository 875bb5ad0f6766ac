//! Notices to the submitter: delivery status notifications (RFC 3464), including bounces.
//!
//! Everything here is pure. [`decide`] selects the recipients that a notice is about, [`build`] writes the notice, and
//! [`Notices`] is recorded with the message. `docs/bounces.md` has the tables. Nothing here sends anything or decides
//! about retries.

mod build;
mod config;
mod decision;
mod limit;
mod original;
mod parts;
mod record;
mod report;
mod unreturned;
mod write;

pub use build::build;
pub use config::NoticeConfig;
pub use decision::{Decision, OnFailure, decide, settle};
pub use limit::ReturnLimit;
pub use record::{Action, Notice, Notices};
pub use report::{Report, ReportedRecipient};
pub use unreturned::Unreturned;
