//! Throttle: the owner of every outbound limit, and of what is learned of paths.
//!
//! The engine reports how many messages of each destination wait, and Throttle grants permits: at most the maximum of concurrent jobs, and
//! for a path no more than its policy and its pace allow. The destination with the fewest permits is next. A permit comes back when it is
//! returned or dropped. [`Limits`] makes all decisions; the actor asks the delivery agent for paths and carries out each [`Output`].

mod limits;
pub(crate) mod messages;
mod path;
mod permit;
mod turns;

#[cfg(test)]
mod tests;

pub(crate) use limits::{Limits, LimitsSetup, Output};
pub use permit::Permit;

use crate::engine::{DestinationId, Now, Told};
use crate::supervision::{Part, Supervision};
use actix::fut::wrap_future;
use actix::{Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, WeakRecipient};
use messages::{Ask, Said, Saying, Tell};
use permit::Dropped;
use spool_core::{DeliveryAgent, NextHop, PathLookup};
use std::sync::Arc;

/// The actor that grants permits.
pub struct Throttle {
    limits: Limits,
    agent: Arc<dyn DeliveryAgent>,
    /// Weak, because the spool holds the throttle, which must not keep the spool open.
    spool: WeakRecipient<Said>,
    /// The time of the last output from the spool.
    now: Now,
    supervision: Supervision,
}

impl Throttle {
    /// Starts one that tells `spool` of its permits.
    pub(crate) fn start(
        supervision: &Supervision,
        setup: LimitsSetup,
        agent: Arc<dyn DeliveryAgent>,
        spool: WeakRecipient<Said>,
        now: Now,
    ) -> Addr<Self> {
        let throttle = Self {
            limits: Limits::new(setup, now),
            agent,
            spool,
            now,
            supervision: supervision.clone(),
        };
        supervision.run(Part::Throttle, Context::new(), throttle)
    }

    /// Passes on what the machine says, until it has no more to say.
    fn settle(&mut self, ctx: &mut Context<Self>) {
        loop {
            let mut said = Vec::new();
            let mut looked_up = false;
            for output in self.limits.settle(self.now) {
                match output {
                    Output::LookUp(destination, hops) => {
                        looked_up |= self.look_up(destination, &hops, ctx);
                    }
                    Output::Granted(destination, grant) => {
                        let permit = Permit::new(grant, ctx.address().downgrade());
                        said.push(Saying::Granted(destination, permit));
                    }
                    Output::News(news) => said.push(Saying::News(news)),
                }
            }
            // The spool may have ended.
            if let Some(spool) = self.spool.upgrade().filter(|_| !said.is_empty()) {
                spool.do_send(Said(said));
            }
            if !looked_up {
                return;
            }
        }
    }

    /// Asks the agent for a path; whether it was known at once.
    fn look_up(
        &mut self,
        destination: DestinationId,
        asked: &Arc<[NextHop]>,
        ctx: &mut Context<Self>,
    ) -> bool {
        let lookup = match self.agent.path(asked) {
            PathLookup::Known(hops) => {
                self.limits.looked_up(destination, &hops, self.now);
                return true;
            }
            PathLookup::Lookup(lookup) => lookup,
        };
        ctx.spawn(
            wrap_future(lookup).map(move |hops, actor: &mut Self, ctx: &mut Context<Self>| {
                actor.limits.looked_up(destination, &hops, actor.now);
                actor.settle(ctx);
            }),
        );
        false
    }
}

impl Actor for Throttle {
    type Context = Context<Self>;
}

impl Handler<Tell> for Throttle {
    type Result = ();

    fn handle(&mut self, Tell(told, now): Tell, ctx: &mut Context<Self>) {
        self.supervision.failpoint(Part::Throttle);
        self.now = now;
        for told in told {
            self.limits.hear(told, now);
        }
        self.settle(ctx);
    }
}

impl Handler<Dropped> for Throttle {
    type Result = ();

    fn handle(&mut self, dropped: Dropped, ctx: &mut Context<Self>) {
        self.limits.hear(Told::Returned(dropped.0, None), self.now);
        self.settle(ctx);
    }
}

impl Handler<Ask> for Throttle {
    type Result = ();

    fn handle(&mut self, Ask(ask, now): Ask, ctx: &mut Context<Self>) {
        self.now = now;
        ask(&mut self.limits);
        self.settle(ctx);
    }
}
