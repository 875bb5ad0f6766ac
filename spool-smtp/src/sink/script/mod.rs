//! The sink's script: lines of `STAGE CONDITION... ACTION`, the first that matches applies. See `docs/sink-script.md`.
//!
//! This file evaluates a script; `parse` reads it. The counters of conditions are kept for each line, and bounded.

mod parse;

use crate::glob::glob;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The most triples of line, sender and recipient that `first=` counts.
const MAX_PAIRS: usize = 1_000_000;

/// The stage of a session at which a rule applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ScriptStage {
    Connect,
    /// In place of the handshake.
    Tls,
    Ehlo,
    Helo,
    StartTls,
    /// When the name and the password have arrived.
    Auth,
    Mail,
    Rcpt,
    Data,
    /// Before the octets of the chunk.
    Bdat,
    /// When the first bytes of the message have arrived.
    Body,
    Dot,
    Rset,
    Quit,
}

/// Which certificate the sink uses, if not its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Flaw {
    Expired,
    SelfSigned,
    OtherName,
}

/// The action of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ScriptAction {
    /// These bytes, CRLF included.
    Say(Vec<u8>),
    /// These bytes, one at a time.
    Drip(Vec<u8>, Duration),
    /// The same bytes again and again.
    Endless(Vec<u8>),
    /// These bytes, then the end of the connection.
    SayAndClose(Vec<u8>),
    /// The usual action, later.
    Delay(Duration),
    /// No reply and no reading, until the connection is closed.
    Hang,
    /// The end of the connection.
    Close,
    /// The end of the connection, with RST.
    Reset,
    /// The usual action, without and with these extensions in the reply to EHLO.
    Extensions { hidden: Vec<String>, more: Vec<String> },
    /// Slow reading of the message.
    Slow(Duration),
    /// The handshake, with this certificate.
    Certificate(Flaw),
}

impl ScriptAction {
    /// Whether it takes the place of the usual action.
    pub(super) const fn replaces_the_usual(&self) -> bool {
        !matches!(
            self,
            Self::Delay(_) | Self::Extensions { .. } | Self::Slow(_) | Self::Certificate(_)
        )
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Condition {
    /// In lower case, as `To`.
    From(String),
    To(String),
    Nth(u64),
    Tls(bool),
    Over(usize),
    First(u64),
    Rate(u64),
    Share(f64),
}

#[derive(Debug, Clone, PartialEq)]
struct ScriptRule {
    stage: ScriptStage,
    /// Conditions with a counter come last: they count only where all others hold.
    conditions: Vec<Condition>,
    action: ScriptAction,
}

/// A complete script. The empty one accepts everything.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Script(Vec<ScriptRule>);

/// The state that conditions are evaluated against.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment<'m> {
    pub(super) stage: ScriptStage,
    pub(super) from: &'m str,
    pub(super) to: &'m str,
    /// Open connections, this one included.
    pub(super) open: usize,
    /// Whether this connection is under TLS.
    pub(super) tls: bool,
}

/// The counters of conditions over all sessions, by the position of their line.
#[derive(Debug, Default)]
pub(super) struct ScriptCounters {
    messages: AtomicU64,
    dice: AtomicU64,
    pairs: Mutex<HashMap<(usize, String, String), u64>>,
    seconds: Mutex<HashMap<usize, (Instant, u64)>>,
}

impl Script {
    /// Whether every message is accepted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The action for a stage, if a rule applies.
    pub(super) fn action(&self, moment: Moment<'_>, memory: &ScriptCounters) -> Option<&ScriptAction> {
        if self.0.is_empty() {
            return None;
        }
        if moment.stage == ScriptStage::Mail {
            memory.messages.fetch_add(1, Ordering::Relaxed);
        }
        let mut rules = self.0.iter().enumerate();
        let found = rules.find(|(line, rule)| {
            let mut conditions = rule.conditions.iter();
            rule.stage == moment.stage && conditions.all(|condition| condition.holds(*line, moment, memory))
        });
        found.map(|(_, rule)| &rule.action)
    }
}

impl Condition {
    const fn counts(&self) -> bool {
        matches!(self, Self::First(_) | Self::Rate(_) | Self::Share(_))
    }

    fn holds(&self, line: usize, moment: Moment<'_>, memory: &ScriptCounters) -> bool {
        match self {
            Self::From(pattern) => glob(pattern, &moment.from.to_ascii_lowercase()),
            Self::To(pattern) => glob(pattern, &moment.to.to_ascii_lowercase()),
            Self::Nth(n) => memory.messages.load(Ordering::Relaxed) == *n,
            Self::Tls(wanted) => moment.tls == *wanted,
            Self::Over(limit) => moment.open > *limit,
            Self::First(n) => memory.count_pair(line, moment) <= *n,
            Self::Rate(limit) => memory.count_in_second(line) > *limit,
            Self::Share(share) => memory.roll() < *share,
        }
    }
}

impl ScriptCounters {
    /// How often this pair of sender and recipient has reached the line.
    fn count_pair(&self, line: usize, moment: Moment<'_>) -> u64 {
        let mut pairs = self.pairs.lock();
        if pairs.len() >= MAX_PAIRS {
            pairs.clear();
        }
        let pair = (line, moment.from.to_owned(), moment.to.to_owned());
        let seen = pairs.entry(pair).or_default();
        *seen += 1;
        *seen
    }

    /// How often the line was reached within the second.
    fn count_in_second(&self, line: usize) -> u64 {
        let mut seconds = self.seconds.lock();
        let (start, seen) = seconds.entry(line).or_insert_with(|| (Instant::now(), 0));
        if start.elapsed() >= Duration::from_secs(1) {
            (*start, *seen) = (Instant::now(), 0);
        }
        *seen += 1;
        *seen
    }

    /// From 0 to 1, the same sequence in every run.
    fn roll(&self) -> f64 {
        fastrand::Rng::with_seed(self.dice.fetch_add(1, Ordering::Relaxed)).f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(script: &Script, memory: &ScriptCounters, stage: ScriptStage, from: &str, to: &str) -> bool {
        let moment = Moment {
            stage,
            from,
            to,
            open: 1,
            tls: false,
        };
        script.action(moment, memory).is_some()
    }

    #[test]
    fn conditions_hold_when_they_should() {
        let script: Script = "rcpt first=1 from=*@a.example reply 451 later\nrcpt to=B@* reply 550 no\nmail tls=yes hang\nmail tls=no hang"
            .parse()
            .unwrap();
        let memory = ScriptCounters::default();
        let ask = |from, to| asked(&script, &memory, ScriptStage::Rcpt, from, to);
        assert!(
            ask("x@a.example", "y@c") && !ask("x@a.example", "y@c"),
            "greylisted once"
        );
        assert!(ask("x@z", "b@c") && !ask("x@z", "bb@c"));
        assert!(glob("*a*b", "xxaybzb") && !glob("*a*b", "xxaybz") && glob("*", ""));
        assert!(
            asked(&script, &memory, ScriptStage::Mail, "", ""),
            "not under TLS"
        );
    }

    #[test]
    fn each_line_has_its_own_counter() {
        let text = "connect first=1 close\nehlo first=1 close\nmail first=1 from=b@* hang\nmail rate=1 from=c@* hang\nrset rate=1 hang";
        let script: Script = text.parse().unwrap();
        let memory = ScriptCounters::default();
        let ask = |stage, from| asked(&script, &memory, stage, from, "");
        for stage in [ScriptStage::Connect, ScriptStage::Ehlo] {
            assert!(ask(stage, "") && !ask(stage, ""), "{stage:?}");
        }
        assert!(
            !ask(ScriptStage::Mail, "a@x") && ask(ScriptStage::Mail, "b@x") && !ask(ScriptStage::Mail, "b@x")
        );
        assert!(!ask(ScriptStage::Rset, "") && ask(ScriptStage::Rset, ""));
        assert!(!ask(ScriptStage::Mail, "c@x") && ask(ScriptStage::Mail, "c@x"));
    }
}
