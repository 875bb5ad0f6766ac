//! How a spool ends: a closed list of reasons, set once, and watched by everybody.
//!
//! Whatever part of a spool can no longer do its work reports here. The first reason stands; later ones are consequences of
//! it. From that moment no session starts ([`Halt`]), nothing is taken, and every question has a typed answer. Nothing here
//! decides about mail, and nothing here can be undone: a spool that has ended must be opened again.

mod ending;
mod endure;
#[cfg(any(test, debug_assertions))]
mod failpoint;
mod sentinel;

pub use ending::{Ending, Part};
pub use sentinel::Sentinel;

use actix::{Actor, Addr, AsyncContext, Context};
use endure::Endure;
use spool_core::{AddError, Halt, SpoolError};
use std::future::Future;
use std::sync::Arc;
use tokio::sync::watch;

/// The place where the parts of one spool report its end. Cloning shares it.
#[derive(Debug, Clone)]
pub(crate) struct Supervision {
    ending: Arc<watch::Sender<Option<Ending>>>,
    /// What forbids sessions from that moment.
    pub(crate) halt: Halt,
    #[cfg(any(test, debug_assertions))]
    failpoint: failpoint::Failpoint,
}

impl Supervision {
    pub(crate) fn new() -> Self {
        Self {
            ending: Arc::new(watch::Sender::new(None)),
            halt: Halt::default(),
            #[cfg(any(test, debug_assertions))]
            failpoint: failpoint::Failpoint::default(),
        }
    }

    /// Ends the spool for this reason, unless it has ended already.
    pub(crate) fn end(&self, ending: Ending) {
        let text = ending.to_string();
        let failed = ending != Ending::Killed;
        let first = self.ending.send_if_modified(|known| {
            if known.is_some() {
                return false;
            }
            *known = Some(ending);
            self.halt.set();
            true
        });
        if first && failed {
            tracing::error!(reason = %text, "the spool ends: it takes and sends nothing any more, until it is started again");
        }
    }

    /// Why it has ended, if it has.
    pub(crate) fn ending(&self) -> Option<Ending> {
        self.ending.borrow().clone()
    }

    /// Whether it has ended. One atomic read.
    pub(crate) fn is_over(&self) -> bool {
        self.halt.is_set()
    }

    /// Waits until it has ended.
    pub(crate) fn ended(&self) -> impl Future<Output = Ending> + Send + use<> {
        let mut watch = self.ending.subscribe();
        async move {
            let ending = watch.wait_for(Option::is_some).await;
            // Without its sender nothing is left of the spool.
            ending.map_or(Ending::Killed, |ending| ending.clone().unwrap_or(Ending::Killed))
        }
    }

    /// What to tell someone whose question can no longer be answered.
    pub(crate) fn error(&self) -> SpoolError {
        self.ending().unwrap_or(Ending::Killed).spool_error()
    }

    /// The same for someone who adds mail.
    pub(crate) fn add_error(&self) -> AddError {
        self.ending().unwrap_or(Ending::Killed).add_error()
    }

    /// Has `part` panic the next time that it works, for a test.
    #[cfg(any(test, debug_assertions))]
    pub(crate) fn panic_in(&self, part: Part) {
        self.failpoint.arm(part);
    }

    /// Where a test has `part` panic.
    #[cfg(any(test, debug_assertions))]
    pub(crate) fn failpoint(&self, part: Part) {
        self.failpoint.reached(part);
    }

    #[cfg(not(any(test, debug_assertions)))]
    #[inline]
    pub(crate) const fn failpoint(&self, _part: Part) {}

    /// Reports `part` when it is dropped before [`Sentinel::done`]: by a panic, or because its thread ended.
    pub(crate) fn sentinel(&self, part: Part) -> Sentinel {
        Sentinel {
            supervision: self.clone(),
            part,
            done: false,
        }
    }

    /// Runs an actor so that a panic in it ends the spool and not the actor: what was sent to it is still answered.
    pub(crate) fn run<A>(&self, part: Part, context: Context<A>, actor: A) -> Addr<A>
    where
        A: Actor<Context = Context<A>>,
    {
        let address = context.address();
        actix::spawn(Endure::new(context.into_future(actor), self.sentinel(part)));
        address
    }
}

#[cfg(test)]
mod tests;
