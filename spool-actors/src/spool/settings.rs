//! What can be set while a spool runs: jobs, policies, routes, notices.

use super::SpoolActor;
use super::messages::SetMaxConcurrentJobs;
use crate::engine::Input;
use actix::{Context, Handler, Message};
use spool_core::bounce::NoticeConfig;
use spool_core::{Policies, Routing, SpoolError};

/// Replaces the policies of destinations, as after a reload. They apply to waiting messages as well, and to sessions that start after this.
///
/// # Errors
/// [`SpoolError::Killed`].
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<(), SpoolError>")]
pub struct SetPolicies(pub Policies);

/// Replaces the routing, as after a reload. It applies to waiting messages as well, and to sessions that start after this. When all messages
/// are checked, the number of those that were moved is logged.
///
/// # Errors
/// [`SpoolError::Killed`].
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<(), SpoolError>")]
pub struct SetRouting(pub Routing);

/// Sets how notices are returned; `None`: no notices are returned.
///
/// # Errors
/// [`SpoolError::Killed`].
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<(), SpoolError>")]
pub struct SetNotices(pub Option<NoticeConfig>);

impl Handler<SetPolicies> for SpoolActor {
    type Result = Result<(), SpoolError>;

    fn handle(&mut self, set: SetPolicies, _: &mut Context<Self>) -> Self::Result {
        self.alive()?;
        let now = self.now();
        drop(self.ask_limits(now, move |limits| limits.set_policies(set.0)));
        Ok(())
    }
}

impl Handler<SetRouting> for SpoolActor {
    type Result = Result<(), SpoolError>;

    fn handle(&mut self, set: SetRouting, ctx: &mut Context<Self>) -> Self::Result {
        self.alive()?;
        self.feed(Input::SetRouting(set.0), ctx);
        Ok(())
    }
}

impl Handler<SetNotices> for SpoolActor {
    type Result = Result<(), SpoolError>;

    fn handle(&mut self, set: SetNotices, ctx: &mut Context<Self>) -> Self::Result {
        self.alive()?;
        self.feed(Input::SetNotices(set.0), ctx);
        Ok(())
    }
}

impl Handler<SetMaxConcurrentJobs> for SpoolActor {
    type Result = Result<(), SpoolError>;

    fn handle(&mut self, set: SetMaxConcurrentJobs, ctx: &mut Context<Self>) -> Self::Result {
        self.alive()?;
        tracing::debug!(max = set.0, "maximum of concurrent jobs set");
        let now = self.now();
        drop(self.ask_limits(now, move |limits| limits.set_max_jobs(set.0)));
        self.feed(Input::SetMaxJobs(set.0), ctx);
        // What asks for the jobs next sees it.
        self.turn(ctx);
        Ok(())
    }
}
