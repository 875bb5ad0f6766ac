//! The configuration of notices.

use super::decision::OnFailure;
use crate::retry::RetryPolicy;
use std::time::Duration;

/// How notices are returned. Without it a spool returns none: failed recipients stay with their message, which is
/// frozen in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NoticeConfig {
    /// The name of this host, a domain: the Reporting-MTA.
    pub host: String,
    /// The address in From. Default: `MAILER-DAEMON@` and the host.
    pub from: String,
    /// What happens to failed recipients. Default: a notice is returned.
    pub on_failure: OnFailure,
    /// The time after which the submitter is notified, once, that a message is late. Default: never.
    pub delay_warning_after: Option<Duration>,
    /// The largest message that is returned completely, in bytes; of a larger one the headers are. Default 50,000.
    pub size_limit: usize,
    /// Submissions of one reverse-path about which notices are returned per hour, once for failures and once for all
    /// else; beyond it, messages are frozen. 0: no limit. Default 20.
    pub per_hour: u32,
    /// How notices are retried.
    pub retry: RetryPolicy,
}

impl NoticeConfig {
    /// The defaults, for a host of this name.
    #[must_use]
    pub fn new(host: impl Into<String>) -> Self {
        let host = host.into();
        Self {
            from: format!("MAILER-DAEMON@{host}"),
            host,
            on_failure: OnFailure::Bounce,
            delay_warning_after: None,
            size_limit: 50_000,
            per_hour: 20,
            retry: RetryPolicy::default(),
        }
    }
}
