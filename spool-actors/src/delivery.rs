//! DeliveryActor: one attempt to deliver one message.
//!
//! It lives for the attempt, on one of the worker threads, and reports exactly once: what the agent said, or that the
//! agent panicked, took too long, or was dropped. It decides nothing about the message.

use crate::engine::Input;
use crate::spool::{Brought, SpoolActor};
use crate::throttle::Permit;
use actix::fut::wrap_future;
use actix::{Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context};
use futures_util::FutureExt;
use spool_core::{
    Attempt, AttemptReport, AttemptResult, DeliveryAgent, Job, MessageId, Timestamp, harmless, millis,
};
use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The longest an attempt may take, whatever its agent does. An agent has limits of its own; those of SMTP allow for a large body and a
/// slow peer, an hour and one more for each 56 MiB.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// The actor that sees one attempt through.
pub struct DeliveryActor {
    agent: Arc<dyn DeliveryAgent>,
    job: Option<Job>,
    report: EndReport,
}

impl DeliveryActor {
    /// An attempt for `job`, to be started on a worker.
    pub(crate) fn new(
        agent: Arc<dyn DeliveryAgent>,
        job: Job,
        permit: Permit,
        spool: Addr<SpoolActor>,
        at: Timestamp,
    ) -> Self {
        let report = EndReport {
            id: job.message,
            spool: Some(spool),
            permit: Some(permit),
            at,
            started: Instant::now(),
        };
        Self {
            agent,
            job: Some(job),
            report,
        }
    }
}

impl Actor for DeliveryActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let Some(job) = self.job.take() else {
            return ctx.stop();
        };
        if job.halt.is_set() {
            // Granted before the spool ended: its result could not be recorded.
            let reason = "the spool has ended".to_owned();
            self.report
                .send(AttemptReport::new(AttemptResult::NotBegun { reason }));
            return ctx.stop();
        }
        let agent = Arc::clone(&self.agent);
        // Called inside the guarded future: an agent may panic before it gives its own.
        let attempt = AssertUnwindSafe(async move { agent.deliver(job).await }).catch_unwind();
        let attempt = tokio::time::timeout(ATTEMPT_TIMEOUT, attempt);
        ctx.spawn(
            wrap_future(attempt).map(|end, actor: &mut Self, ctx: &mut Context<Self>| {
                actor.report.send(match end {
                    Ok(Ok(report)) => report,
                    Ok(Err(panic)) => panicked(&said(panic.as_ref())),
                    Err(_) => panicked("the delivery agent did not come to an end"),
                });
                ctx.stop();
            }),
        );
    }
}

fn panicked(text: &str) -> AttemptReport {
    AttemptReport::new(AttemptResult::Panicked { text: harmless(text) })
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panicked".to_owned())
}

/// Reports once, if need be when it is dropped: a thread that ends takes its attempts with it.
struct EndReport {
    id: MessageId,
    spool: Option<Addr<SpoolActor>>,
    permit: Option<Permit>,
    at: Timestamp,
    started: Instant,
}

impl EndReport {
    fn send(&mut self, report: AttemptReport) {
        let Some(spool) = self.spool.take() else { return };
        let duration_ms = millis(self.started.elapsed());
        let attempt = Attempt {
            at: self.at,
            duration_ms,
            report,
        };
        spool.do_send(Brought(Input::AttemptEnded {
            id: self.id,
            attempt,
            permit: self.permit.take(),
        }));
    }
}

impl Drop for EndReport {
    fn drop(&mut self) {
        self.send(panicked("the attempt was dropped before its end"));
    }
}
