//! Throttle: who may start a delivery session now.
//!
//! It is told how many attempts each destination is ready for and grants permits, at most `n` of those given out since the
//! last [`SetMax`], to whoever has the fewest of them. A permit comes back when it is dropped, wherever that happens.

mod machine;
#[cfg(test)]
pub(crate) use machine::Machine;
pub(crate) mod messages;

pub use messages::Permit;

use crate::supervision::{Part, Supervision};
use actix::{Actor, Addr, AsyncContext, Context, Handler, MessageResult, WeakAddr, WeakRecipient};
#[cfg(not(test))]
use machine::Machine;
use messages::{Contended, Demand, Granted, Release, SetMax, Why};

/// The actor that grants permits.
#[derive(Debug)]
pub struct Throttle {
    machine: Machine,
    granted: WeakRecipient<Granted>,
    contended: WeakRecipient<Contended>,
    /// What was last told.
    told: bool,
    own: Option<WeakAddr<Self>>,
    supervision: Supervision,
}

impl Throttle {
    /// Starts one that tells `granted` of its permits, and `contended` whether others wait for them.
    pub(crate) fn start(
        supervision: &Supervision,
        max: usize,
        granted: WeakRecipient<Granted>,
        contended: WeakRecipient<Contended>,
    ) -> Addr<Self> {
        let throttle = Self {
            machine: Machine::new(max),
            granted,
            contended,
            told: false,
            own: None,
            supervision: supervision.clone(),
        };
        supervision.run(Part::Throttle, Context::new(), throttle)
    }

    fn grant(&mut self) {
        // Weak, as the spool holds the throttle: the last handle on a spool is always somebody else's.
        let (Some(own), Some(granted)) = (&self.own, self.granted.upgrade()) else {
            return;
        };
        while let Some((destination, epoch)) = self.machine.next() {
            let permit = Permit::new(own.clone(), destination, epoch);
            granted.do_send(Granted { destination, permit });
        }
        let waits = self.machine.is_contended();
        if waits != self.told
            && let Some(contended) = self.contended.upgrade()
        {
            self.told = waits;
            contended.do_send(Contended(waits));
        }
    }
}

impl Actor for Throttle {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.own = Some(ctx.address().downgrade());
    }
}

impl Handler<Demand> for Throttle {
    type Result = ();
    fn handle(&mut self, demand: Demand, _: &mut Self::Context) {
        self.supervision.failpoint(Part::Throttle);
        self.machine.demand(demand.destination, demand.more);
        self.grant();
    }
}

impl Handler<Why> for Throttle {
    type Result = MessageResult<Why>;
    fn handle(&mut self, why: Why, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.machine.holds(why.destination))
    }
}

impl Handler<Release> for Throttle {
    type Result = ();
    fn handle(&mut self, release: Release, _: &mut Self::Context) {
        self.machine.release(release.destination, release.epoch);
        self.grant();
    }
}

impl Handler<SetMax> for Throttle {
    type Result = ();
    fn handle(&mut self, set: SetMax, _: &mut Self::Context) {
        self.machine.set_max(set.0);
        self.grant();
    }
}
