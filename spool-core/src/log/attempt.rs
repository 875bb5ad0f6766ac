//! The log lines of an attempt: one for each recipient that was tried, and one for each host that did not decide the
//! result.

use super::line::{Line, Value};
use crate::attempt::{Attempt, AttemptReport, AttemptResult, RecipientIndex};
use crate::clock::{Timestamp, millis};
use crate::envelope::Envelope;
use crate::id::{FlowId, MessageId};
use crate::message::{Message, MessageState, Status};
use crate::next_hop::NextHop;
use crate::reply::Reply;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tracing::Level;

/// The result of a recipient in an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OutcomeKind {
    /// Accepted by the next hop.
    Delivered,
    /// To be tried again.
    Deferred,
    /// Not to be tried again.
    Failed,
    /// A hook said that it is done.
    Discharged,
}

impl OutcomeKind {
    const fn event(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Deferred => "deferred",
            Self::Failed => "failed",
            Self::Discharged => "discharged",
        }
    }
}

/// A completed attempt.
#[derive(Debug, Clone)]
pub struct AttemptRecord {
    id: MessageId,
    flows: Vec<FlowId>,
    envelope: Arc<Envelope>,
    report: AttemptReport,
    /// Its number in the message's record, from 1.
    number: u64,
    tried: Vec<RecipientIndex>,
    outcomes: Vec<(RecipientIndex, OutcomeKind)>,
    /// When the deferred recipients are tried again.
    next: Option<Timestamp>,
    delays: [u64; 4],
}

impl AttemptRecord {
    /// The attempt of `message`, whose state is still the one before it.
    #[must_use]
    pub fn new(message: &Message, attempt: &Attempt) -> Self {
        let due = match message.state.status {
            Status::SendAt(due) => due.max(message.spooled_at).min(attempt.at),
            Status::Frozen => attempt.at,
        };
        let transmission = attempt.report.transmission.map_or(0, millis);
        let transmission = transmission.min(attempt.duration_ms);
        Self {
            id: message.id,
            flows: message.flows.clone(),
            envelope: Arc::clone(&message.envelope),
            report: attempt.report.clone(),
            number: message.state.attempts.total().saturating_add(1),
            tried: message.state.remaining.clone(),
            outcomes: Vec::new(),
            next: None,
            delays: [
                millis(due.since(message.spooled_at)),
                millis(attempt.at.since(due)),
                attempt.duration_ms - transmission,
                transmission,
            ],
        }
    }

    /// Records the results of its recipients: `after` is the state after it.
    pub fn settled(&mut self, after: &MessageState) {
        let later: HashSet<_> = after.remaining.iter().copied().collect();
        let failed: HashSet<_> = after.failed.iter().map(|failed| failed.recipient).collect();
        let refused: HashSet<_> = self
            .report
            .refused
            .iter()
            .map(|refused| refused.recipient)
            .collect();
        let taken = matches!(self.report.result, AttemptResult::Accepted(_));
        let outcome = |recipient| {
            let outcome = if later.contains(&recipient) {
                OutcomeKind::Deferred
            } else if failed.contains(&recipient) {
                OutcomeKind::Failed
            } else if taken && !refused.contains(&recipient) {
                OutcomeKind::Delivered
            } else {
                OutcomeKind::Discharged
            };
            (recipient, outcome)
        };
        self.outcomes = std::mem::take(&mut self.tried).into_iter().map(outcome).collect();
        self.next = match after.status {
            Status::SendAt(due) => Some(due),
            Status::Frozen => None,
        };
    }

    pub(super) fn footprint(&self) -> usize {
        let envelope = usize::try_from(self.envelope.footprint()).unwrap_or(usize::MAX);
        let refused = self
            .report
            .refused
            .iter()
            .map(|refused| refused.reply.text.len() + 64);
        envelope
            .saturating_add(refused.sum())
            .saturating_add(self.report.before.len() * 1024)
            .saturating_add(self.outcomes.len() * size_of::<(RecipientIndex, OutcomeKind)>())
    }

    pub(super) fn lines(&self, each: &mut dyn FnMut(Line<'_>)) {
        for host in &self.report.before {
            each(self.tried_in_vain(&host.report, millis(host.took)));
        }
        let hosts = self.report.refusing_hosts();
        let refused = self.report.refused.iter().zip(hosts);
        let refused: HashMap<_, _> = refused
            .map(|(refused, host)| (refused.recipient, (&refused.reply, host)))
            .collect();
        for (recipient, outcome) in &self.outcomes {
            each(self.line(*recipient, *outcome, refused.get(recipient).copied()));
        }
    }

    /// The common start of its lines.
    fn begin(&self, event: &'static str) -> Line<'_> {
        let mut line = Line::new(event, Level::INFO);
        line.add("id", Value::Id(self.id));
        line.list("flow", self.flows.iter().copied().map(Value::flow));
        line.add("sender", Value::address(self.envelope.reverse_path.as_str()));
        line
    }

    /// The line of a host that did not decide the result.
    fn tried_in_vain<'s>(&'s self, report: &'s AttemptReport, took: u64) -> Line<'s> {
        let mut line = self.begin("tried");
        self.relay(&mut line, report.peer.as_ref());
        reply(&mut line, report.result.reply(), &report.result);
        line.add("seconds", Value::Seconds(took));
        protection(&mut line, report);
        line.add("attempt", Value::Number(self.number));
        line
    }

    fn line<'s>(
        &'s self,
        recipient: RecipientIndex,
        outcome: OutcomeKind,
        refused: Option<(&'s Reply, Option<&'s NextHop>)>,
    ) -> Line<'s> {
        let report = &self.report;
        let mut line = self.begin(outcome.event());
        let recipient = self.envelope.recipient(recipient);
        let recipient = recipient.map_or("", |recipient| recipient.address.as_str());
        line.add("recipient", Value::address(recipient));
        let host = refused.map_or(report.peer.as_ref(), |(_, host)| host);
        self.relay(&mut line, host);
        let said = refused.map(|(reply, _)| reply).or(report.result.reply());
        reply(&mut line, said, &report.result);
        line.add(
            "delay",
            Value::Seconds(self.delays.iter().copied().fold(0, u64::saturating_add)),
        );
        line.add("delays", Value::Stages(self.delays));
        protection(&mut line, report);
        line.add("attempt", Value::Number(self.number));
        if let Some(next) = self.next.filter(|_| outcome == OutcomeKind::Deferred) {
            line.shown("next", next);
        }
        line
    }

    /// `mx.example.net[192.0.2.1]:25`; without an address where none is known, or the host is one.
    fn relay(&self, line: &mut Line<'_>, host: Option<&NextHop>) {
        let Some(host) = host else { return };
        let others = self.report.before.iter().map(|host| &host.report);
        let mut reports = std::iter::once(&self.report).chain(others);
        let report = reports.find(|report| report.peer.as_ref() == Some(host));
        let address = report.and_then(|report| report.address);
        let named = address.filter(|address| host.host() != address.to_string());
        let mut relay = host.to_string();
        if let (Some(address), Some((name, port))) = (named, relay.rsplit_once(':')) {
            relay = format!("{name}[{address}]:{port}");
        }
        line.add("relay", Value::Word(relay.into()));
    }
}

/// The reply, by its parts; where there is none, what happened.
fn reply<'r>(line: &mut Line<'r>, reply: Option<&'r Reply>, result: &'r AttemptResult) {
    match reply {
        Some(reply) => {
            line.add("reply", Value::Number(reply.code.into()));
            if let Some(enhanced) = reply.enhanced {
                line.shown("enhanced", enhanced);
            }
            line.text("text", &reply.text);
        }
        None => line.add("text", Value::Text(result.to_string().into())),
    }
    if let AttemptResult::Refused { stage, .. } | AttemptResult::Broken { stage, .. } = result {
        line.shown("stage", stage);
    }
}

/// The TLS of the session, from the text that is kept in the record.
fn protection<'r>(line: &mut Line<'r>, report: &'r AttemptReport) {
    if let Some(session) = report.session {
        line.add("session", Value::flow(session));
    }
    match report.tls.as_deref() {
        None => line.word("tls", "none"),
        Some(text) if text.starts_with("TLS") => {
            let version = text.split(' ').next().unwrap_or(text);
            line.word("tls", version);
            line.add("verified", Value::flag(is_verified(text)));
        }
        Some(text) => {
            line.word("tls", "none");
            line.text("tls_failure", text);
        }
    }
}

/// Whether the certificate was valid by the trusted roots, or by TLSA records.
fn is_verified(tls: &str) -> bool {
    let verdict = tls.splitn(3, ", ").nth(2).unwrap_or_default();
    verdict.starts_with("verified") || (verdict.starts_with("dane ") && !verdict.starts_with("dane without"))
}
