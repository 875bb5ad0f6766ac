//! The hosts of an attempt that were passed over without a transaction, and the report when there was no other host.

use super::connect_error::ConnectError;
use spool_core::{AttemptReport, AttemptResult, NextHop, Reply, Stage};

/// A host that was passed over, with its number among the hosts of the attempt.
struct PassedHost {
    number: usize,
    peer: NextHop,
    result: AttemptResult,
}

impl PassedHost {
    fn is_permanent(&self) -> bool {
        matches!(&self.result, AttemptResult::Refused { reply, .. } if reply.is_permanent())
    }
}

/// The hosts that were passed over, and the reasons.
#[derive(Default)]
pub(super) struct PassedHosts {
    lines: Vec<String>,
    /// The last one.
    peer: Option<NextHop>,
    /// The last host that was reached and ended the session.
    ended: Option<PassedHost>,
    /// The last host that cannot accept such a message: final only if that is true of every host.
    unable: Option<PassedHost>,
    /// A next hop for which no host was found; a temporary reason takes precedence over a permanent one.
    unrouted: Option<PassedHost>,
    /// Whether a host was not reached.
    unreached: bool,
    /// The host at which the attempt was withdrawn.
    withdrawn: Option<NextHop>,
}

impl PassedHosts {
    /// Adds a host; returns the line about it.
    pub(super) fn add(&mut self, number: usize, peer: NextHop, error: ConnectError) -> &str {
        // The error of a host that is an address begins with that address already.
        let (name, error_text) = (peer.to_string(), error.to_string());
        self.lines.push(match error_text.starts_with(&name) {
            true => error_text,
            false => format!("{name}: {error_text}"),
        });
        self.peer = Some(peer.clone());
        let host = |result| {
            Some(PassedHost {
                number,
                peer: peer.clone(),
                result,
            })
        };
        match error {
            ConnectError::Failed(_) => self.unreached = true,
            ConnectError::Withdrawn => {
                self.unreached = true;
                self.withdrawn = Some(peer);
            }
            ConnectError::Ended(AttemptResult::Refused {
                stage: Stage::Route,
                reply,
            }) => {
                let is_temporary = self.unrouted.as_ref().is_some_and(|known| !known.is_permanent());
                if !(is_temporary && reply.is_permanent()) {
                    self.unrouted = host(no_route(reply));
                }
            }
            ConnectError::Unable(reply) => self.unable = host(no_route(reply)),
            ConnectError::Ended(result) => self.ended = host(result),
        }
        self.lines.last().map_or("", String::as_str)
    }

    /// The lines about all hosts.
    pub(super) fn lines(&self) -> String {
        self.lines.join("; ")
    }

    /// Whether the attempt was withdrawn.
    pub(super) const fn is_withdrawn(&self) -> bool {
        self.withdrawn.is_some()
    }

    /// Whether every host was found and reached, and none ended the session: what they lack is final.
    pub(super) fn all_were_reached(&self) -> bool {
        let unrouted = self.unrouted.as_ref();
        !self.unreached && self.ended.is_none() && unrouted.is_none_or(PassedHost::is_permanent)
    }

    /// The report of an attempt without a transaction, with the number of the host that it is about. Nothing has begun if the attempt was
    /// withdrawn. Otherwise the reply of a host takes precedence. That hosts cannot accept such a message, or what DNS says, counts only if
    /// every host was reached.
    pub(super) fn report(self) -> (usize, AttemptReport) {
        let lines = self.lines();
        let all_reached = !self.unreached;
        let routes_are_final = self.unrouted.as_ref().is_none_or(PassedHost::is_permanent);
        let unable = self.unable.filter(|_| all_reached && routes_are_final);
        let unrouted = self.unrouted.filter(|_| all_reached);
        let (number, peer, result) = match (self.withdrawn, self.ended.or(unable).or(unrouted)) {
            (Some(host), _) => (0, Some(host), AttemptResult::NotBegun { reason: lines }),
            (None, Some(host)) => (host.number, Some(host.peer), host.result),
            (None, None) => (0, self.peer, AttemptResult::NoConnection { error: lines }),
        };
        let mut report = AttemptReport::new(result);
        report.peer = peer;
        (number, report)
    }
}

/// The result for a reply of our own.
pub(super) const fn no_route(reply: Reply) -> AttemptResult {
    let stage = Stage::Route;
    AttemptResult::Refused { stage, reply }
}
