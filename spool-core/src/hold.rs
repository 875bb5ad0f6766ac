//! Why a message is not being sent now, as `explain` reports it.

use crate::clock::Timestamp;
use crate::message::RouteOrigin;
use crate::next_hop::NextHop;
use derive_more::Display;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// One reason why a message is not being sent at this moment, and when it ends.
#[derive(Debug, Display, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "hold", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Hold {
    /// The spool is shutting down. Ends with the next start.
    #[display("the spool is shutting down; it goes on after the next start")]
    Killed,
    /// The disk failed: nothing can be recorded, so nothing may be sent. Ends with the next start.
    #[display("the disk failed, nothing is sent until the next start: {error}")]
    Disk {
        /// What the disk said.
        error: String,
    },
    /// Frozen. Ends with `send`.
    #[display("frozen: it waits for `send`")]
    Frozen,
    /// It has no route in this process. Ends with `reroute`, or when the service runs with the configuration under
    /// which it was spooled.
    #[display("{}", without_route(*origin))]
    NoRoute {
        /// Where its next hops came from.
        origin: RouteOrigin,
    },
    /// Waits for its next attempt.
    #[display("waits for its next attempt at {until}")]
    RetryTime {
        /// When that is.
        until: Timestamp,
    },
    /// Delivery is paused: the maximum of concurrent jobs is 0. Ends when it is set to more.
    #[display("delivery is paused: the maximum of concurrent jobs is 0")]
    Paused,
    /// As many sessions as allowed are running. Ends when one of them does.
    #[display("{running} of at most {max} sessions run; it waits until one ends")]
    JobsLimit {
        /// The maximum.
        max: usize,
        /// Running now.
        running: usize,
    },
    /// It is being looked up which hosts take mail for it.
    #[display("the hosts that take its mail are being looked up")]
    PathLookup,
    /// As many sessions as the delivery agent may have connections are running. Ends when one of them does.
    #[display("{running} of at most {max} connections are in use; it waits until one is free")]
    SessionsLimit {
        /// The maximum.
        max: usize,
        /// Running now.
        running: usize,
    },
    /// As many sessions as allowed are running to its next hops. Ends when one of them does.
    #[display("{running} of at most {max} sessions run to its next hops; it waits until one ends")]
    DestinationLimit {
        /// The maximum.
        max: usize,
        /// Running now.
        running: usize,
    },
    /// Its next hops have shown that they accept no more sessions than are running. Ends when one of them ends.
    #[display(
        "its next hops take {limit} sessions at once, of at most {max}; it waits until one ends: {reason}"
    )]
    Adapted {
        /// Sessions they take, as far as is known.
        limit: usize,
        /// The configured maximum.
        max: usize,
        /// How that is known, in the words of the peer.
        reason: String,
    },
    /// The rate of its next hops, configured or learned, is used up.
    #[display("{}", without_rate(*until, learned.as_deref()))]
    RateLimit {
        /// About when it is its turn.
        until: Timestamp,
        /// Why the rate was learned, in the words of the peer.
        learned: Option<String>,
    },
    /// Consecutive attempts to reach its next hops failed: the circuit is open, then one message is tried. It uses no
    /// attempt and no retry interval.
    #[display(
        "its next hops failed {failures} times in a row; they are tried with one message at {until}: {reason}"
    )]
    Circuit {
        /// When they are tried again.
        until: Timestamp,
        /// What the last failure was.
        reason: String,
        /// How many in a row.
        failures: u32,
    },
    /// Its next hops use all the jobs that one destination may have. Ends when one of them ends.
    #[display("its next hops use the {max} sessions that one destination may; it waits until one ends")]
    FairShare {
        /// Jobs one destination may have.
        max: usize,
    },
    /// Others for the same next hops are due before it.
    #[display("{ahead} {} due before it", if *ahead == 1 { "other for the same next hops is" } else { "others for the same next hops are" })]
    Line {
        /// How many.
        ahead: usize,
    },
    /// There is no memory to read it. Ends when other mail has left.
    #[display("no memory to read it: {used} of {limit} bytes are taken; it waits for mail to leave")]
    Memory {
        /// Bytes held.
        used: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// It is being read from disk, to be sent; a matter of milliseconds.
    #[display("it is being read from disk, to be sent")]
    Reading,
    /// The presend hook is being asked.
    #[display("the presend hook is deciding")]
    Presend,
    /// Its state is being written; takes milliseconds.
    #[display("its state is being written to disk")]
    Writing,
    /// Its attempt has ended, and the disk has no room to record the result. Retried each second.
    #[display(
        "its attempt has ended, and there is no room to write that down; tried again each second: {error}"
    )]
    NoRoom {
        /// What the disk said.
        error: String,
    },
    /// It is being sent.
    #[display("is being sent since {since}")]
    Sending {
        /// Since when.
        since: Timestamp,
    },
    /// It was rerouted while being sent. The new route is for the recipients that remain when its attempt ends.
    #[display(
        "was rerouted meanwhile; whoever is left when its attempt ends goes to {}",
        listed(next_hops)
    )]
    NewRoute {
        /// The new next hops.
        next_hops: Arc<[NextHop]>,
    },
}

impl Hold {
    /// When it ends, if a time is set.
    #[must_use]
    pub const fn until(&self) -> Option<Timestamp> {
        if let Self::RetryTime { until } | Self::RateLimit { until, .. } | Self::Circuit { until, .. } = self
        {
            Some(*until)
        } else {
            None
        }
    }
}

fn without_route(origin: RouteOrigin) -> &'static str {
    match origin {
        RouteOrigin::BuiltInSink => {
            "was accepted for the built-in sink, which does not run now; `spool reroute` gives it a route"
        }
        RouteOrigin::Named | RouteOrigin::Configured => {
            "was accepted under a configuration, and the service runs without one now: start it with that, or `spool reroute` gives it a route"
        }
    }
}

fn without_rate(until: Timestamp, learned: Option<&str>) -> String {
    match learned {
        None => format!("the rate of its next hops lets it go at about {until}"),
        Some(why) => {
            format!("its next hops take no more messages in a time; it goes at about {until}: {why}")
        }
    }
}

fn listed(next_hops: &[NextHop]) -> String {
    let texts: Vec<String> = next_hops.iter().map(NextHop::to_string).collect();
    texts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_message_ahead_is_told_in_the_singular() {
        let text = |ahead| Hold::Line { ahead }.to_string();
        assert_eq!(text(1), "1 other for the same next hops is due before it");
        assert_eq!(text(2), "2 others for the same next hops are due before it");
    }
}
