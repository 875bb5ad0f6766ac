//! What is remembered of each change until the disk has answered for it.

use super::notice::NewNotice;
use super::queue::{Known, Note, Route};
use super::work::WorkId;
use super::{DestinationId, World};
use spool_core::store::{Archive, Change, Outcome, StoreError};
use spool_core::{Held, MessageId, MessageState, Status};

/// A change, what is remembered of it, and the disk's answer.
#[derive(Debug)]
pub(crate) struct Answered<T> {
    pub(crate) change: Change,
    pub(crate) tag: T,
    pub(crate) result: Result<(), StoreError>,
}

/// A change that is to be written; urgent ones are waited for.
#[derive(Debug)]
pub(crate) struct ToCommit<W: World> {
    pub(crate) change: Change,
    pub(crate) tag: Tag<W>,
    pub(crate) urgent: bool,
}

/// Why a change was committed. The change itself says which message it is about.
#[derive(Debug)]
pub(crate) enum Tag<W: World> {
    /// A caller added mail and waits for the ids.
    Added { reply: W::Reply, places: Places },
    /// The next hops of an attempt; its start is written after them. `reply` waits for that, if the attempt has its session.
    Routed { reply: Option<W::Reply> },
    /// The start of an attempt. `reply` waits for it, if the attempt has its session.
    Armed { reply: Option<W::Reply> },
    /// An attempt does not start, or not yet.
    Recalled,
    /// An attempt has ended: its message waits, or ends because it was `delivered` or its sender gets a notice.
    Settled {
        delivered: bool,
        notice: Option<Box<NewNotice>>,
    },
    /// The presend hook put the message off, or froze it.
    Presented,
    /// Work changed a message, or ended it.
    Changed {
        work: WorkId,
        notice: Option<Box<NewNotice>>,
        _held: Held,
    },
    /// An operation gave a message another route.
    Rerouted { work: WorkId, route: Route, _held: Held },
    /// Part of what is written of a message: what follows is written after it, or fails as well.
    Before,
    /// A message was divided among several routes.
    Divided(Divided),
    /// An operation noted something for the end of a session.
    NotedWhileSending { work: WorkId, id: MessageId, note: Note },
    /// An operation brought a message back from an archive.
    Recovered {
        work: WorkId,
        archive: Archive,
        known: Known,
        _held: Held,
    },
    /// Mail was laid in quarantine.
    Quarantined {
        reply: W::Reply,
        ids: Vec<MessageId>,
        _held: Held,
    },
}

/// The places of the messages of an add.
#[derive(Debug)]
pub(crate) struct Places {
    /// For each message its line, whether it has a place in front of the sessions there, and its memory.
    pub(super) each: Vec<(DestinationId, bool, Held)>,
    /// The routing that the lines are from.
    pub(super) generation: u32,
}

/// A message that is being divided.
#[derive(Debug)]
pub(crate) struct Divided {
    pub(super) id: MessageId,
    /// Where the rest of it goes.
    pub(super) rest: Route,
    pub(super) parts: Vec<Known>,
    /// What all but the body takes, with the parts.
    pub(super) _held: Held,
}

impl<W: World> Tag<W> {
    fn notice(&mut self) -> Option<&mut NewNotice> {
        let (Self::Settled { notice, .. } | Self::Changed { notice, .. }) = self else {
            return None;
        };
        notice.as_deref_mut()
    }

    /// Whether a notice is spooled with the change.
    pub(crate) fn has_notice(&mut self) -> bool {
        self.notice().is_some()
    }

    /// Sets the size of the notice's body.
    pub(crate) fn resize_notice(&mut self, body: u64) {
        if let Some(notice) = self.notice() {
            notice.resize(body);
        }
    }
}

/// The change by which a message waits, and nothing of an attempt is on disk.
pub(super) const fn waiting(id: MessageId, status: Status) -> Change {
    Change::Mark {
        id,
        status,
        frozen: None,
        in_flight: None,
        events: Vec::new(),
    }
}

/// What a change makes of a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Made {
    pub(super) id: MessageId,
    /// Its status, and whether the start of an attempt is on disk; `None`: it ends.
    pub(super) after: Option<(Status, bool)>,
}

impl Made {
    /// `None`: no message has another state.
    pub(super) fn by(change: &Change) -> Option<Self> {
        let of_state = |state: &MessageState| Some((state.status, state.in_flight.is_some()));
        let (id, after) = match change {
            Change::Mark {
                id,
                status,
                in_flight,
                ..
            } => (*id, Some((*status, in_flight.is_some()))),
            Change::State { id, state, .. } => (*id, of_state(state)),
            Change::Finish { id, .. } => (*id, None),
            Change::Add(addition) => {
                let conclusion = addition.conclusion.as_ref()?;
                let after = match &conclusion.outcome {
                    Outcome::State(state) => of_state(state),
                    Outcome::Finish(_) => None,
                };
                (conclusion.id, after)
            }
            Change::Route { .. } | Change::Move(_) | Change::Note { .. } => return None,
        };
        Some(Self { id, after })
    }

    pub(super) fn status(self) -> Option<Status> {
        self.after.map(|(status, _)| status)
    }
}
