//! The next hop of a history: it answers every attempt by the history's dice, and remembers what it took.

use crate::notices::Told;
use crate::reference::Chance;
use spool_core::{
    Address, AttemptReport, AttemptResult, BoxFuture, DeliveryAgent, Job, MessageId, NextHop as NextHopName,
    RefusedRecipient, Reply, Router, Stage,
};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

/// What a next hop has seen; shared between all lives of a spool.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Recipients for whom a body was taken.
    pub(crate) taken: BTreeSet<String>,
    /// The routes of mail by the configuration, when it is known for sure which they are.
    pub(crate) routes: Option<Router>,
    /// Recipients of mail that a person may have given another route.
    pub(crate) rerouted: BTreeSet<String>,
    /// Messages whose attempt runs.
    pub(crate) running: BTreeSet<MessageId>,
    /// Messages that must not be tried: a freeze was answered, and no send was asked for since.
    pub(crate) forbidden: BTreeSet<MessageId>,
    /// The most that may run at once, when that is known for sure.
    pub(crate) limit: Option<usize>,
    pub(crate) attempts: u64,
    pub(crate) told: Told,
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
        Box::pin(async move {
            if job.begin.record().await.is_err() {
                let reason = "the start was refused".to_owned();
                return AttemptReport::new(AttemptResult::NotBegun { reason });
            }
            if !begins(&seen, &job, &gone) {
                return std::future::pending().await;
            }
            for _ in 0..pause {
                tokio::task::yield_now().await;
            }
            if *gone.borrow_and_update() {
                return std::future::pending().await;
            }
            let mut seen = seen.lock().unwrap();
            seen.running.remove(&job.message);
            if took(&verdict.result) && job.envelope.reverse_path.is_null() {
                seen.told.taken.insert(job.message);
            } else if took(&verdict.result) {
                let refused: BTreeSet<u32> =
                    verdict.refused.iter().map(|refused| refused.recipient).collect();
                let all = job.recipients.iter();
                let taken = all.filter(|recipient| !refused.contains(recipient));
                seen.taken
                    .extend(taken.map(|recipient| address(&job, *recipient).to_string()));
            }
            verdict
        })
    }
}

/// Notes that an attempt begins; `false`: the power was cut.
fn begins(seen: &Mutex<Seen>, job: &Job, gone: &tokio::sync::watch::Receiver<bool>) -> bool {
    let mut seen = seen.lock().unwrap();
    seen.attempts += 1;
    if *gone.borrow() {
        return false;
    }
    if !seen.running.insert(job.message) {
        let id = job.message;
        seen.wrong.push(format!("{id}: two attempts at a time"));
    }
    if seen.forbidden.contains(&job.message) {
        let id = job.message;
        seen.wrong.push(format!("{id}: tried while frozen"));
    }
    match job.envelope.reverse_path.is_null() {
        true => seen.told.tried(job),
        false => seen.check_route(job),
    }
    if seen.limit.is_some_and(|limit| seen.running.len() > limit) {
        let (running, limit) = (seen.running.len(), seen.limit);
        seen.wrong.push(format!("{running} sessions run, of {limit:?}"));
    }
    true
}

fn address(job: &Job, recipient: u32) -> &Address {
    &job.envelope.recipients[recipient as usize].address
}

impl Seen {
    /// What the configuration routes goes where it says; a body goes to its own recipients.
    fn check_route(&mut self, job: &Job) {
        for recipient in &job.recipients {
            let address = address(job, *recipient);
            let (kind, serial) = address.local_part().split_once('-').unwrap();
            let serial = serial.split('.').next().unwrap();
            if !job.body.starts_with(format!("body {serial}\r\n").as_bytes()) {
                self.wrong
                    .push(format!("{}: {address} gets the body of another", job.message));
            }
            let expected = match kind {
                "named" => Some(format!("named{}:25", job.envelope.recipients.len())),
                _ => {
                    let hops = self.routes.as_ref().map(|router| router.next_hops(address));
                    hops.map(|hops| hops[0].to_string())
                }
            };
            let went = job.next_hops[0].to_string();
            let free = self.rerouted.contains(address.as_str());
            if !free && expected.as_ref().is_some_and(|expected| *expected != went) {
                let id = job.message;
                self.wrong
                    .push(format!("{id}: {address} was tried at {went}, not {expected:?}"));
            }
        }
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
    // The body is not sent when no recipient is left.
    if took(&report.result) && report.refused.len() == job.recipients.len() {
        report.result = AttemptResult::AllRefused;
    }
    report
}
