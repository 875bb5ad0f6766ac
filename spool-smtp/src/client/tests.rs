//! The client against scripted peers on real sockets.

mod addresses;
mod auth;
mod bodies;
mod chunking;
mod dane;
mod deadlines;
mod exchangers;
mod extensions;
mod halt;
mod hosts;
mod injection;
mod paths;
mod peer;
mod pki;
mod pool;
mod recipients;
mod replies;
mod sessions;
mod sinks;
mod starts;
mod tls;
mod traps;

use super::{SmtpAgent, SmtpConfig};
use peer::{Act, EHLO, GO, HELLO, OK, Seen, peer};
use spool_core::{
    Address, AttemptReport, AttemptResult, Begin, DeliveryAgent, Envelope, Job, MessageId, NextHop,
    PathLookup, ReversePath,
};
use std::sync::Arc;
use std::time::Duration;

/// Long time limits: a busy machine must not look like a silent peer.
fn config() -> SmtpConfig {
    within(Duration::from_secs(10))
}

/// Short time limits, for silent peers.
fn hasty() -> SmtpConfig {
    within(Duration::from_millis(300))
}

fn within(limit: Duration) -> SmtpConfig {
    let mut config = SmtpConfig::default();
    (
        config.connect_timeout,
        config.greeting_timeout,
        config.command_timeout,
    ) = (limit, limit, limit);
    (config.data_timeout, config.final_reply_timeout) = (limit, limit);
    config
}

fn job(hops: &[NextHop], to: &[&str], body: &[u8]) -> Job {
    let to: Vec<Address> = to.iter().map(|to| to.parse().unwrap()).collect();
    Job {
        message: MessageId::from_u128(1),
        flows: Vec::new(),
        next_hops: hops.into(),
        path: hops.into(),
        recipients: (0..).take(to.len()).collect(),
        envelope: Arc::new(Envelope::of(ReversePath::parse("a@example.org").unwrap(), to)),
        body: body.to_vec().into(),
        begin: Begin::recorded(),
        halt: spool_core::Halt::default(),
    }
}

/// The path of `next_hops` according to `agent`.
async fn path(agent: &SmtpAgent, next_hops: &[NextHop]) -> Arc<[NextHop]> {
    match agent.path(&next_hops.into()) {
        PathLookup::Known(path) => path,
        PathLookup::Lookup(path) => path.await,
    }
}

/// Delivers as a spool does, with the path of the agent.
async fn deliver(agent: &SmtpAgent, mut job: Job) -> AttemptReport {
    job.path = path(agent, &job.next_hops).await;
    tokio::time::timeout(Duration::from_secs(20), agent.deliver(job))
        .await
        .expect("within the deadlines")
}

/// One delivery of a small message to one recipient.
async fn attempt(script: &[Act]) -> (AttemptReport, Seen) {
    attempt_with(config(), script).await
}

async fn attempt_with(config: SmtpConfig, script: &[Act]) -> (AttemptReport, Seen) {
    let (hop, seen) = peer(&[script]).await;
    (
        deliver(&SmtpAgent::new(config), job(&[hop], &["b@x.example"], b"x\r\n")).await,
        seen,
    )
}

/// A session up to the final dot, with this reply to it.
async fn final_reply(act: Act) -> AttemptResult {
    attempt_with(hasty(), &[HELLO, EHLO, OK, OK, GO, act])
        .await
        .0
        .result
}

#[expect(clippy::wildcard_enum_match_arm, reason = "everything else fails the test")]
fn code(result: &AttemptResult) -> u16 {
    match result {
        AttemptResult::Accepted(reply) | AttemptResult::Refused { reply, .. } => reply.code,
        other => panic!("{other}"),
    }
}
