//! Work on many messages that is done in steps: the operations that callers ask for, and what the engine has to do by itself.

use crate::outcome::NewRoute;
use spool_core::RetryInterval;
use spool_core::store::Archive;
use std::sync::Arc;

/// Messages of one step.
const STEP: usize = 256;
/// Messages of one step of work that always reads bodies. What needs them only for notices is bounded by bytes.
const STEP_WITH_BODIES: usize = 16;

/// Names work under way.
pub(crate) type WorkId = u64;

/// What is to be done with messages.
#[derive(Debug, Clone)]
pub(crate) enum Work {
    Freeze,
    SendNow(Arc<[RetryInterval]>),
    Remove,
    Recover(Archive),
    Reroute(NewRoute),
    /// With the reason.
    Bounce(Arc<str>),
    Expire,
    /// Messages that the presend hook wants removed; they are claimed already.
    RemoveForHook,
    /// Messages that expired while they waited in line end; with the last reply of their destination.
    GiveUp(Arc<str>),
    /// Attempts that a former process left open become attempts in doubt.
    Interrupted,
    /// Messages are divided among their routes.
    Divide,
}

impl Work {
    /// The most messages of one step.
    pub(super) const fn step(&self) -> usize {
        match self {
            Self::Freeze | Self::SendNow(_) | Self::Reroute(_) | Self::GiveUp(_) | Self::Interrupted => STEP,
            Self::Remove
            | Self::RemoveForHook
            | Self::Recover(_)
            | Self::Bounce(_)
            | Self::Expire
            | Self::Divide => STEP_WITH_BODIES,
        }
    }

    /// Whether it needs the bodies of its messages; `notices`: whether notices are returned.
    pub(super) const fn reads_bodies(&self, notices: bool) -> bool {
        match self {
            Self::Remove | Self::RemoveForHook | Self::Bounce(_) | Self::Expire | Self::Divide => true,
            Self::GiveUp(_) | Self::Interrupted => notices,
            Self::Freeze | Self::SendNow(_) | Self::Recover(_) | Self::Reroute(_) => false,
        }
    }

    /// Whether its messages go to the archive of removed ones.
    pub(crate) const fn removes(&self) -> bool {
        matches!(self, Self::Remove | Self::RemoveForHook)
    }

    /// The kind of the engine's own work; kinds do not wait for each other. Operations have none.
    pub(super) const fn own_kind(&self) -> Option<WorkId> {
        match self {
            Self::RemoveForHook => Some(0),
            Self::GiveUp(_) => Some(1),
            Self::Interrupted => Some(2),
            Self::Divide => Some(3),
            Self::Freeze
            | Self::SendNow(_)
            | Self::Remove
            | Self::Recover(_)
            | Self::Reroute(_)
            | Self::Bounce(_)
            | Self::Expire => None,
        }
    }

    /// Whether its messages are claimed before it starts.
    pub(super) const fn has_claimed(&self) -> bool {
        matches!(self, Self::RemoveForHook | Self::GiveUp(_) | Self::Interrupted)
    }
}
