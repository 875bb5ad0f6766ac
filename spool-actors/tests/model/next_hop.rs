//! The next hop of a history: it answers every attempt by the history's dice, and remembers what it took.

use crate::reference::Chance;
use spool_core::{
    AttemptReport, AttemptResult, BoxFuture, DeliveryAgent, Job, MessageId, NextHop as NextHopName,
    RefusedRecipient, Reply, Stage,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

/// What a next hop has seen; shared between all lives of a spool.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Recipients for whom a body was taken.
    pub(crate) taken: BTreeMap<MessageId, BTreeSet<u32>>,
    /// Messages whose attempt runs.
    pub(crate) running: BTreeSet<MessageId>,
    /// Messages that nobody may try: a freeze was answered, and no send was asked for since.
    pub(crate) forbidden: BTreeSet<MessageId>,
    /// The most that may run at once, when that is known for sure.
    pub(crate) limit: Option<usize>,
    pub(crate) attempts: u64,
    /// What must never happen, in words.
    pub(crate) wrong: Vec<String>,
}

/// See the module. Each life of the spool has its own.
#[derive(Clone)]
pub(crate) struct NextHop {
    pub(crate) seen: Arc<Mutex<Seen>>,
    pub(crate) chance: Arc<Mutex<Chance>>,
    /// The host that cannot be reached in this life.
    pub(crate) down: Option<String>,
    /// Set when the power is cut: what was on its way comes to nothing.
    pub(crate) gone: tokio::sync::watch::Receiver<bool>,
}

impl DeliveryAgent for NextHop {
    fn deliver(&self, job: Job) -> BoxFuture<AttemptReport> {
        let (seen, mut gone) = (Arc::clone(&self.seen), self.gone.clone());
        let (verdict, pause) = {
            let mut chance = self.chance.lock().unwrap();
            let down = self.down.as_deref() == job.next_hops.first().map(NextHopName::host);
            let verdict = if down {
                unreachable()
            } else {
                verdict(&job, &mut chance)
            };
            (verdict, chance.below(4))
        };
        {
            let mut seen = seen.lock().unwrap();
            seen.attempts += 1;
            if *gone.borrow() {
                return Box::pin(std::future::pending());
            }
            if !seen.running.insert(job.message) {
                let id = job.message;
                seen.wrong.push(format!("{id}: two attempts at a time"));
            }
            if seen.forbidden.contains(&job.message) {
                let id = job.message;
                seen.wrong.push(format!("{id}: tried while frozen"));
            }
            if seen.limit.is_some_and(|limit| seen.running.len() > limit) {
                let (running, limit) = (seen.running.len(), seen.limit);
                seen.wrong.push(format!("{running} sessions run, of {limit:?}"));
            }
        }
        Box::pin(async move {
            for _ in 0..pause {
                tokio::task::yield_now().await;
            }
            if *gone.borrow_and_update() {
                return std::future::pending().await;
            }
            let mut seen = seen.lock().unwrap();
            seen.running.remove(&job.message);
            if took(&verdict.result) {
                let refused: BTreeSet<u32> =
                    verdict.refused.iter().map(|refused| refused.recipient).collect();
                let taken = job
                    .recipients
                    .iter()
                    .filter(|recipient| !refused.contains(recipient));
                seen.taken.entry(job.message).or_default().extend(taken);
            }
            verdict
        })
    }
}

/// One that breaks off after the dot may have been taken.
fn took(result: &AttemptResult) -> bool {
    matches!(result, AttemptResult::Accepted(_))
}

fn unreachable() -> AttemptReport {
    AttemptReport::new(AttemptResult::NoConnection {
        error: "refused".into(),
    })
}

fn verdict(job: &Job, chance: &mut Chance) -> AttemptReport {
    let reply = |code| Reply::new(code, "2.0.0 as the dice fell");
    let mut report = AttemptReport::new(match chance.below(8) {
        0..=2 => AttemptResult::Accepted(reply(250)),
        3 => AttemptResult::Refused {
            stage: Stage::Mail,
            reply: reply(550),
        },
        4 => AttemptResult::Refused {
            stage: Stage::FinalReply,
            reply: Reply::new([421, 450, 451][chance.below(3)], "4.7.28 as the dice fell"),
        },
        5 => unreachable().result,
        6 => AttemptResult::Broken {
            stage: Stage::FinalReply,
            error: "reset".into(),
            in_doubt: true,
        },
        _ => AttemptResult::AllRefused,
    });
    for recipient in &job.recipients {
        let all = report.result == AttemptResult::AllRefused;
        if all || (took(&report.result) && chance.below(3) == 0) {
            let reply = reply([450, 451, 550][chance.below(3)]);
            report.refused.push(RefusedRecipient {
                recipient: *recipient,
                reply,
            });
        }
    }
    // A body that nobody is left to take is not sent.
    if took(&report.result) && report.refused.len() == job.recipients.len() {
        report.result = AttemptResult::AllRefused;
    }
    report
}
