//! One attempt over all its hosts: who is still open after each of them, and the one report in the end. Pure.
//!
//! A host that refuses for now, or breaks off before the final dot was sent, is followed by the next one, for the recipients that
//! are still open (RFC 5321 section 5.1). It never sends a recipient on whom a host may have taken, or refused for good.

use super::commands::without_smtputf8;
use super::delivery::reply_for;
use super::session::ConnectError;
use spool_core::{
    AttemptReport, AttemptResult, HostReport, Job, NextHop, RecipientIndex, RefusedRecipient, Reply, Stage,
};
use std::collections::{HashMap, HashSet};
use tokio::time::Instant;

/// The most hosts beside the deciding one that the record keeps.
const MAX_RECORDED: usize = 16;
/// The most recipients whose refusals the record of each of those keeps. What stands in the end has all of them.
const MAX_REFUSED: usize = 100;

/// The attempt as far as it has come.
pub(super) struct Attempt<'a> {
    job: &'a Job,
    begun: Instant,
    taken: HashSet<RecipientIndex>,
    /// Of those, who wants to hear of it and was taken by a host without DSN.
    without_dsn: Vec<RecipientIndex>,
    /// The last reply about one recipient by itself.
    told: HashMap<RecipientIndex, Reply>,
    /// The last host that took the message for somebody.
    accepted: Option<Numbered>,
    /// The last host that spoke of the message as a whole, or broke off: for the recipients of whom no host spoke one by one.
    ended: Option<Numbered>,
    /// The last host that answered for recipients.
    answered: Option<Numbered>,
    /// A host may hold the message: nobody is asked after it.
    in_doubt: bool,
    /// The recipients that were out of reach of every host so far that was asked for any; none before the first.
    unasked: Option<HashSet<RecipientIndex>>,
    passed: Passed,
    hosts: Vec<HostReport>,
    /// Hosts that were tried or passed over.
    count: usize,
}

/// What one host made of the recipients that it was to be asked for.
pub(super) struct Heard {
    pub(super) report: AttemptReport,
    /// Whether it may hold the message for one that it did not answer for.
    pub(super) in_doubt: bool,
    /// Those of the refused that it was not asked for, because it lacks what their addresses need. Another host may offer it.
    pub(super) out_of_reach: Vec<RecipientIndex>,
}

/// A host's report, and its place among the hosts.
type Numbered = (usize, AttemptReport);

impl<'a> Attempt<'a> {
    pub(super) fn new(job: &'a Job) -> Self {
        Self {
            job,
            begun: Instant::now(),
            taken: HashSet::new(),
            without_dsn: Vec::new(),
            told: HashMap::new(),
            accepted: None,
            ended: None,
            answered: None,
            in_doubt: false,
            unasked: None,
            passed: Passed::default(),
            hosts: Vec::new(),
            count: 0,
        }
    }

    /// What it is about.
    pub(super) const fn job(&self) -> &'a Job {
        self.job
    }

    /// The recipients that the next host is to be asked for.
    pub(super) fn open(&self) -> Vec<RecipientIndex> {
        if self.in_doubt || self.passed.withdrawn.is_some() {
            return Vec::new();
        }
        let closed = self.ended.as_ref().is_some_and(|(_, report)| is_for_good(report));
        let is_open = |recipient: &RecipientIndex| {
            let told = self.told.get(recipient);
            let for_good = told.map_or(closed, Reply::is_permanent);
            !self.taken.contains(recipient) && !for_good
        };
        self.job.recipients.iter().copied().filter(is_open).collect()
    }

    /// A host was passed over without a transaction. Gives the line about it.
    pub(super) fn pass(&mut self, peer: NextHop, error: ConnectError, begun: Instant) -> &str {
        let result = match &error {
            ConnectError::Failed(error) => Some(AttemptResult::NoConnection { error: error.clone() }),
            ConnectError::Withdrawn => None,
            ConnectError::Ended(result) => Some(result.clone()),
            ConnectError::Unable(reply) => Some(unable(reply.clone())),
        };
        self.passed.count = self.count;
        if let Some(result) = result {
            let mut report = AttemptReport::new(result);
            report.peer = Some(peer.clone());
            self.record(&report, begun);
        }
        self.count += 1;
        self.passed.note(peer, error)
    }

    /// What a host made of the recipients `asked`.
    pub(super) fn note(&mut self, asked: &[RecipientIndex], heard: Heard, begun: Instant) {
        let Heard {
            report,
            in_doubt,
            out_of_reach,
        } = heard;
        self.settle_for_good();
        self.without_dsn.extend_from_slice(&report.without_dsn);
        self.record(&report, begun);
        self.in_doubt |= in_doubt;
        let out_of_reach: HashSet<_> = out_of_reach.into_iter().collect();
        let by_itself: HashSet<_> = report.refused.iter().map(|refused| refused.recipient).collect();
        let others = asked.iter().filter(|recipient| !by_itself.contains(recipient));
        let refused = report.refused.clone();
        if !refused.is_empty() {
            self.answered = Some((self.count, report.clone()));
        }
        match &report.result {
            AttemptResult::Accepted(_) => {
                for recipient in others {
                    self.told.remove(recipient);
                    self.taken.insert(*recipient);
                }
                self.accepted = Some((self.count, report));
            }
            AttemptResult::AllRefused => {}
            result @ (AttemptResult::Refused { .. }
            | AttemptResult::NoConnection { .. }
            | AttemptResult::Broken { .. }
            | AttemptResult::Interrupted
            | AttemptResult::Panicked { .. }
            | AttemptResult::NotBegun { .. }
            | _) => {
                // What is said of the message is said of each; a session that broke off says nothing of those of whom more is known.
                let speaks = in_doubt || matches!(result, AttemptResult::Refused { .. });
                if speaks {
                    others.for_each(|recipient| drop(self.told.remove(recipient)));
                }
                if speaks || self.ended.is_none() {
                    self.ended = Some((self.count, report));
                }
            }
        }
        let by_it = refused
            .into_iter()
            .filter(|refused| !out_of_reach.contains(&refused.recipient));
        self.told
            .extend(by_it.map(|refused| (refused.recipient, refused.reply)));
        self.unasked = Some(match self.unasked.take() {
            None => out_of_reach,
            Some(unasked) => &unasked & &out_of_reach,
        });
        self.count += 1;
    }

    /// Tells the recipients that were out of reach of every host: for good, if all hosts were reached.
    fn tell_the_unasked(&mut self) {
        let closed = self.ended.as_ref().is_some_and(|(_, report)| is_for_good(report));
        let unasked = self
            .unasked
            .take()
            .filter(|unasked| !closed && !unasked.is_empty());
        let Some(unasked) = unasked else {
            return;
        };
        let reply = match !self.in_doubt && self.passed.all_spoke() {
            true => without_smtputf8(),
            false => Reply::new(
                451,
                &format!(
                    "4.4.1 no host was reached that offers SMTPUTF8, which this address needs; {}",
                    self.passed.lines.join("; ")
                ),
            ),
        };
        for recipient in unasked {
            if !self.taken.contains(&recipient) {
                self.told.entry(recipient).or_insert_with(|| reply.clone());
            }
        }
    }

    /// What a host said of the message for good is told of each, before another host speaks of those that are left.
    fn settle_for_good(&mut self) {
        let Some((_, report)) = self.ended.take_if(|(_, report)| is_for_good(report)) else {
            return;
        };
        self.tell_the_rest(&report.result);
    }

    fn tell_the_rest(&mut self, result: &AttemptResult) {
        for recipient in &self.job.recipients {
            if !self.taken.contains(recipient) && !self.told.contains_key(recipient) {
                self.told.insert(*recipient, reply_for(result));
            }
        }
    }

    fn record(&mut self, report: &AttemptReport, begun: Instant) {
        if self.hosts.len() <= MAX_RECORDED {
            let mut kept = bare(report);
            kept.refused = report.refused.iter().take(MAX_REFUSED).cloned().collect();
            self.hosts.push(HostReport {
                number: self.count,
                after: begun.saturating_duration_since(self.begun),
                took: begun.elapsed(),
                report: kept,
            });
        }
    }

    /// The end. A host that took the message comes first, then what one said of it or of its recipients, then why the others were
    /// passed over.
    pub(super) fn report(mut self) -> AttemptReport {
        self.tell_the_unasked();
        let complete = self
            .job
            .recipients
            .iter()
            .all(|recipient| self.taken.contains(recipient) || self.told.contains_key(recipient));
        let (decider, mut report) = if let Some(accepted) = self.accepted.take() {
            let result = self
                .ended
                .take()
                .map_or(AttemptResult::AllRefused, |(_, report)| report.result);
            self.tell_the_rest(&result);
            accepted
        } else if complete && let Some((number, mut answered)) = self.answered.take() {
            answered.result = AttemptResult::AllRefused;
            (number, answered)
        } else if let Some(ended) = self.ended.take() {
            ended
        } else {
            std::mem::take(&mut self.passed).report()
        };
        let mut refused: Vec<_> = std::mem::take(&mut self.told)
            .into_iter()
            .map(|(recipient, reply)| RefusedRecipient { recipient, reply })
            .collect();
        refused.sort_unstable_by_key(|refused| refused.recipient);
        report.without_dsn = std::mem::take(&mut self.without_dsn);
        let own = std::mem::replace(&mut report.refused, refused);
        // Where nobody said anything, its line about each host is in the result.
        if !matches!(
            report.result,
            AttemptResult::NoConnection { .. } | AttemptResult::NotBegun { .. }
        ) {
            let recorded = self.hosts.extract_if(.., |host| host.number == decider).next();
            self.hosts.truncate(MAX_RECORDED);
            if !self.hosts.is_empty() {
                report.own = recorded.map(|mut host| {
                    host.report.refused = own;
                    Box::new(host)
                });
            }
            report.before = self.hosts;
        }
        report
    }
}

/// The report without its recipients.
fn bare(report: &AttemptReport) -> AttemptReport {
    let mut bare = AttemptReport::new(report.result.clone());
    bare.peer = report.peer.clone();
    bare.session = report.session;
    bare.tls = report.tls.clone();
    (bare.address, bare.transmission) = (report.address, report.transmission);
    bare
}

/// What is recorded of a host that cannot take such a message: nobody but us said so.
const fn unable(reply: Reply) -> AttemptResult {
    let stage = Stage::Route;
    AttemptResult::Refused { stage, reply }
}

fn is_for_good(report: &AttemptReport) -> bool {
    matches!(&report.result, AttemptResult::Refused { reply, .. } if reply.is_permanent())
}

/// The hosts that were passed over, and why.
#[derive(Default)]
struct Passed {
    lines: Vec<String>,
    /// The place of the host that is noted.
    count: usize,
    /// The last one tried.
    peer: Option<NextHop>,
    /// How the last host that said something ended it.
    said: Option<Decision>,
    /// The last host that cannot take such a message: final only if it is true of all.
    unable: Option<Decision>,
    /// What no host could be found for; a reason that may pass before one that stays.
    unrouted: Option<(usize, NextHop, Reply)>,
    /// Whether a host was not reached.
    unreached: bool,
    /// The host at which the attempt was withdrawn.
    withdrawn: Option<NextHop>,
}

type Decision = (usize, NextHop, AttemptResult);

impl Passed {
    /// Takes one more, and gives its line.
    fn note(&mut self, peer: NextHop, error: ConnectError) -> &str {
        // A host that is an address is named by it already.
        let (name, error_text) = (peer.to_string(), error.to_string());
        self.lines.push(match error_text.starts_with(&name) {
            true => error_text,
            false => format!("{name}: {error_text}"),
        });
        self.peer = Some(peer.clone());
        let count = self.count;
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
                let known = self.unrouted.as_ref();
                let passing = known.is_some_and(|(_, _, known)| !known.is_permanent());
                if !(passing && reply.is_permanent()) {
                    self.unrouted = Some((count, peer, reply));
                }
            }
            ConnectError::Unable(reply) => self.unable = Some((count, peer, unable(reply))),
            ConnectError::Ended(result) => self.said = Some((count, peer, result)),
        }
        self.lines.last().map_or("", String::as_str)
    }

    /// Whether every host was reached, and none turned the session away or could not be found for now.
    fn all_spoke(&self) -> bool {
        let unrouted = self.unrouted.as_ref();
        let found = unrouted.is_none_or(|(_, _, reply)| reply.is_permanent());
        !self.unreached && self.said.is_none() && found
    }

    /// An attempt that was withdrawn before anything was sent is none. Otherwise a host's own words come first. That none can take such a
    /// message, or what DNS says, may be the end of it: only where nothing else is the reason.
    fn report(self) -> Numbered {
        let all_reached = !self.unreached;
        let unrouted = self.unrouted.map(|(number, peer, reply)| {
            let stage = Stage::Route;
            (number, peer, AttemptResult::Refused { stage, reply })
        });
        let nothing_passes = unrouted.as_ref().is_none_or(
            |(_, _, result)| matches!(result, AttemptResult::Refused { reply, .. } if reply.is_permanent()),
        );
        let unable = self.unable.filter(|_| all_reached && nothing_passes);
        let unrouted = unrouted.filter(|_| all_reached);
        let lines = self.lines.join("; ");
        let (number, peer, result) = match (self.withdrawn, self.said.or(unable).or(unrouted)) {
            (Some(host), _) => (0, Some(host), AttemptResult::NotBegun { reason: lines }),
            (None, Some((number, peer, result))) => (number, Some(peer), result),
            (None, None) => (0, self.peer, AttemptResult::NoConnection { error: lines }),
        };
        let mut report = AttemptReport::new(result);
        report.peer = peer;
        (number, report)
    }
}
