//! Where a message stands, with everything that it has there.
//!
//! A message that is being sent has its content and its session; one that waits for its time has neither. A phase without a content
//! cannot be sent, because there is nothing to send.

use super::Route;
use crate::engine::PathId;
use crate::engine::content::Content;
use spool_core::store::StoreError;
use spool_core::{Frozen, Held, Status, Timestamp};

/// Where a message stands.
#[derive(Debug)]
pub(in crate::engine) enum Phase {
    /// Until this time, by the inside clock.
    Waiting(Timestamp),
    /// Due, in the line of its destination. It keeps its content while memory is plentiful.
    Ready(Option<Box<Content>>),
    /// Its content is being read.
    Reading,
    /// Its route is being checked, or the presend hook is being called.
    Asking(Box<Content>),
    /// The start of its attempt is being written, ahead of its permit.
    Arming(Box<Content>),
    /// All checks are done and it waits for a permit; whether the start of its attempt is on disk.
    Armed(Box<Content>, bool),
    /// Its attempt runs since this time, by the inside clock.
    Running(Box<Content>, Timestamp, Afterwards),
    /// Its attempt has ended, and the result is being decided and written. It is charged for what is being written.
    Settling(Option<Held>, Afterwards),
    /// It is claimed; it was waiting for this.
    Claimed(Status),
    /// It waits for an operator.
    Frozen,
}

/// What happens to a message when its session ends.
#[derive(Debug, Default)]
pub(in crate::engine) struct Afterwards {
    /// An operation froze it while its session ran: since when, and by whom.
    pub(in crate::engine) freeze: Option<Box<Frozen>>,
    /// Its release was given to the disk after that: that it stays frozen is to be told again.
    pub(in crate::engine) releasing: bool,
    /// Another route that it was given while its session ran.
    pub(in crate::engine) reroute: Option<Box<Route>>,
    /// Notes that are being written.
    pub(in crate::engine) pending: usize,
    /// The path by whose limits its attempt is made.
    pub(in crate::engine) path: Option<PathId>,
    /// Whether the start of its attempt is being written.
    pub(in crate::engine) is_starting: bool,
    /// Why its attempt was refused its start.
    pub(in crate::engine) refusal: Option<Refusal>,
    /// Its attempt did not begin, and it goes where the notes that are being written say.
    pub(super) undecided: bool,
}

/// Why an attempt that had a session was refused its start.
#[derive(Debug)]
pub(in crate::engine) enum Refusal {
    /// An operation changed the message meanwhile, or the spool is ending.
    Withdrawn,
    /// The disk did not take the start.
    NotWritten(StoreError),
}

/// How a phase is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counted {
    /// Not at its destination.
    Nowhere,
    /// In line.
    InLine,
    /// Before its session.
    Ahead,
    /// In a session.
    Running,
}

/// How many messages are in line, ahead of their sessions, and running.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(super) in_line: usize,
    pub(super) ahead: usize,
    pub(crate) running: usize,
}

impl Counts {
    pub(super) const fn add(&mut self, counted: Counted, by: isize) {
        let count = match counted {
            Counted::Nowhere => return,
            Counted::InLine => &mut self.in_line,
            Counted::Ahead => &mut self.ahead,
            Counted::Running => &mut self.running,
        };
        *count = count.saturating_add_signed(by);
    }

    /// Due messages that do not run yet.
    pub(crate) const fn waiting(self) -> usize {
        self.in_line + self.ahead
    }
}

/// [`Phase::counted`], [`Phase::is_passing`] and [`Phase::content`] name every phase, so that a new one does not compile until they decide
/// about it.
impl Phase {
    pub(super) const fn counted(&self) -> Counted {
        match self {
            Self::Ready(_) => Counted::InLine,
            Self::Reading | Self::Asking(_) | Self::Arming(_) | Self::Armed(..) => Counted::Ahead,
            Self::Running(..) => Counted::Running,
            Self::Waiting(_) | Self::Settling(..) | Self::Claimed(_) | Self::Frozen => Counted::Nowhere,
        }
    }

    /// Whether something is being done with the message that ends by itself: an operation that wants it waits.
    pub(super) const fn is_passing(&self) -> bool {
        match self {
            Self::Reading | Self::Asking(_) | Self::Arming(_) | Self::Settling(..) | Self::Claimed(_) => true,
            Self::Waiting(_) | Self::Ready(_) | Self::Armed(..) | Self::Running(..) | Self::Frozen => false,
        }
    }

    pub(super) fn content(&self) -> Option<&Content> {
        match self {
            Self::Ready(content) => content.as_deref(),
            Self::Asking(content)
            | Self::Arming(content)
            | Self::Armed(content, _)
            | Self::Running(content, ..) => Some(content),
            Self::Waiting(_) | Self::Reading | Self::Settling(..) | Self::Claimed(_) | Self::Frozen => None,
        }
    }

    pub(super) fn content_mut(&mut self) -> Option<&mut Content> {
        match self {
            Self::Ready(content) => content.as_deref_mut(),
            Self::Asking(content)
            | Self::Arming(content)
            | Self::Armed(content, _)
            | Self::Running(content, ..) => Some(content),
            Self::Waiting(_) | Self::Reading | Self::Settling(..) | Self::Claimed(_) | Self::Frozen => None,
        }
    }

    pub(super) fn into_content(self) -> Option<Box<Content>> {
        match self {
            Self::Ready(content) => content,
            Self::Asking(content)
            | Self::Arming(content)
            | Self::Armed(content, _)
            | Self::Running(content, ..) => Some(content),
            Self::Waiting(_) | Self::Reading | Self::Settling(..) | Self::Claimed(_) | Self::Frozen => None,
        }
    }

    /// What happens at the end of its session.
    pub(super) const fn afterwards(&mut self) -> Option<&mut Afterwards> {
        let (Self::Running(_, _, afterwards) | Self::Settling(_, afterwards)) = self else {
            return None;
        };
        Some(afterwards)
    }

    /// The time at which it becomes due, while it waits.
    pub(super) const fn due(&self) -> Option<Timestamp> {
        let Self::Waiting(due) = self else { return None };
        Some(*due)
    }

    /// Whether it may be moved to another destination at once.
    pub(super) const fn is_movable(&self) -> bool {
        matches!(self, Self::Waiting(_) | Self::Ready(_) | Self::Frozen)
    }
}
