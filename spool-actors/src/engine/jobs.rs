//! Work on the disk that blocks: the engine requests it as one value and gets the result as another.
//!
//! The shell runs a [`DiskJob`] on a thread that may block, in `spool/disk.rs`, and returns its result as a [`Done`].

use super::content::Content;
use super::work::{Work, WorkId};
use super::{DestinationId, World};
use bytes::Bytes;
use spool_core::store::{Archive, Archived, StoreError};
use spool_core::{Event, Held, MessageId, RouteGroup, Routing, SpoolError, Timestamp};

/// A pair that was read from an archive, with the memory that it takes.
pub(crate) type Fetched = Result<(Box<Archived>, Bytes, Held), SpoolError>;

/// What messages are read for.
#[derive(Debug)]
pub(crate) enum ReadFor {
    /// To be sent.
    Attempts,
    /// Work that has claimed them. If it removes them, they are moved to the archive at this time.
    Work {
        id: WorkId,
        work: Work,
        bodies: bool,
        at: Timestamp,
    },
}

/// Mail that is laid in quarantine.
#[derive(Debug)]
pub(crate) struct Quarantining<W: World> {
    pub(super) ids: Vec<MessageId>,
    pub(super) events: Vec<Event>,
    pub(super) held: Held,
    pub(super) reply: W::Reply,
}

/// Work on the disk.
#[derive(Debug)]
pub(crate) enum DiskJob<W: World> {
    /// Read messages, into the memory that was granted for each.
    Read(ReadFor, Vec<(MessageId, Held)>),
    /// Read where the recipients of messages go.
    Route {
        ids: Vec<MessageId>,
        routing: Routing,
        generation: u32,
    },
    /// Read pairs from an archive, to be added again.
    Fetch {
        work: WorkId,
        archive: Archive,
        ids: Vec<MessageId>,
    },
    /// Discard pairs of messages that the journal has, or was never told of. Nothing else is done with these messages before: a remove would
    /// lay new pairs under the same names. `recovered`: the work that has brought them back.
    Discard {
        archive: Archive,
        ids: Vec<MessageId>,
        recovered: Option<WorkId>,
    },
    /// Lay mail in quarantine, all of it or none.
    Quarantine(Vec<(Archived, Bytes)>, Quarantining<W>),
}

/// The result of a [`DiskJob`].
#[derive(Debug)]
pub(crate) enum Done<W: World> {
    Read(ReadFor, Vec<(MessageId, Result<Box<Content>, StoreError>)>),
    Routed {
        routes: Vec<(MessageId, Result<Vec<RouteGroup>, StoreError>)>,
        generation: u32,
    },
    Fetched {
        work: WorkId,
        archive: Archive,
        pairs: Vec<Fetched>,
    },
    Discarded {
        archive: Archive,
        ids: Vec<MessageId>,
        recovered: Option<WorkId>,
        discarded: Result<(), StoreError>,
    },
    Quarantined(Result<(), StoreError>, Quarantining<W>),
    /// The work panicked, and its answer is lost with it.
    Lost,
}

/// What memory is waited for.
#[derive(Debug)]
pub(crate) enum Wanted {
    /// The first message in the line of a destination.
    Line(DestinationId),
    /// Messages that work has claimed.
    Claimed(WorkId, Work, Vec<MessageId>),
}
