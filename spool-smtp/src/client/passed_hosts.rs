//! The hosts of an attempt that were passed over without a transaction, and the report when there was no other host.

use super::connect_error::ConnectError;
use super::host_outcome::{NumberedReport, is_permanent};
use spool_core::{AttemptReport, AttemptResult, NextHop, Stage};

/// The hosts that were passed over, and the reasons.
#[derive(Default)]
pub(super) struct PassedHosts {
    lines: Vec<String>,
    /// The last one.
    peer: Option<NextHop>,
    /// The last host that was reached and ended the session.
    ended: Option<NumberedReport>,
    /// The last host that cannot accept such a message: final only if that is true of every host.
    unable: Option<NumberedReport>,
    /// A next hop for which no host was found; a temporary reason takes precedence over a permanent one.
    unrouted: Option<NumberedReport>,
    /// Whether a host was not reached.
    unreached: bool,
    /// Whether the attempt was withdrawn, at the last host.
    pub(super) withdrawn: bool,
}

impl PassedHosts {
    /// Adds `peer`, which was passed over because of `error` with this report; returns the line about it.
    pub(super) fn add(&mut self, peer: NextHop, error: &ConnectError, report: NumberedReport) -> &str {
        // The error of a host that is an address begins with that address already.
        let (name, error_text) = (peer.to_string(), error.to_string());
        self.lines.push(match error_text.starts_with(&name) {
            true => error_text,
            false => format!("{name}: {error_text}"),
        });
        self.peer = Some(peer);
        match error {
            ConnectError::Failed(_) => self.unreached = true,
            ConnectError::Withdrawn => (self.unreached, self.withdrawn) = (true, true),
            ConnectError::Unable(_) => self.unable = Some(report),
            ConnectError::Ended(AttemptResult::Refused {
                stage: Stage::Route, ..
            }) => {
                if !is_permanent(&report) || self.routes_are_final() {
                    self.unrouted = Some(report);
                }
            }
            ConnectError::Ended(_) | ConnectError::TlsFailed(_) => self.ended = Some(report),
        }
        self.lines.last().map_or("", String::as_str)
    }

    /// The lines about all hosts.
    pub(super) fn lines(&self) -> String {
        self.lines.join("; ")
    }

    /// Whether every next hop without a host has none for a permanent reason.
    fn routes_are_final(&self) -> bool {
        self.unrouted.as_ref().is_none_or(is_permanent)
    }

    /// Whether every host was found and reached, and none ended the session: what they lack is final.
    pub(super) fn all_were_reached(&self) -> bool {
        !self.unreached && self.ended.is_none() && self.routes_are_final()
    }

    /// The report of an attempt without a transaction, with the number of the host that it is about. Nothing has begun if the attempt was
    /// withdrawn. Otherwise the reply of a host takes precedence. That hosts cannot accept such a message, or what DNS says, counts only if
    /// every host was reached.
    pub(super) fn report(self) -> NumberedReport {
        let (lines, routes_are_final) = (self.lines(), self.routes_are_final());
        let unable = self.unable.filter(|_| routes_are_final);
        let own = unable.or(self.unrouted).filter(|_| !self.unreached);
        let host = self.ended.or(own).filter(|_| !self.withdrawn);
        host.unwrap_or_else(|| {
            let mut none = AttemptReport::new(match self.withdrawn {
                true => AttemptResult::NotBegun { reason: lines },
                false => AttemptResult::NoConnection { error: lines },
            });
            none.peer = self.peer;
            (0, none)
        })
    }
}
