//! Work on the disk that blocks: the engine requests it as one value and gets the result as another.
//!
//! The shell runs a [`DiskJob`] on a thread that may block, in `spool/disk.rs`, and returns its result as a [`Done`].

use super::World;
use super::bulk::{BulkId, Work};
use super::content::Content;
use super::taken::Taken;
use super::unattended::Why;
use bytes::Bytes;
use spool_core::store::{Archive, Archived, StoreError};
use spool_core::{
    Event, Held, LearnedDestination, Message, MessageId, RouteGroup, Routing, SpoolError, Status, Timestamp,
};
use std::sync::Arc;
use std::time::Duration;

/// A message with its body, which is empty where it is not needed.
pub(crate) type Read = (Message, Bytes);

/// A pair that was read from an archive, with the memory that it takes.
pub(crate) type Fetched = Result<(Box<Archived>, Bytes, Held), SpoolError>;

/// Work on the disk.
#[derive(Debug)]
pub(crate) enum DiskJob<W: World> {
    /// Read messages that are about to be sent, into the memory that was granted for each.
    Load(Vec<(MessageId, Held)>),
    /// Read messages that an operation has taken, into `held`; for a remove, move them to the archive.
    ReadTaken {
        bulk: BulkId,
        work: Work,
        taken: Vec<Taken>,
        held: Held,
        at: Timestamp,
    },
    /// Read messages whose end is to be written.
    ReadUnattended {
        step: Vec<(MessageId, Why)>,
        held: Held,
        /// Whether notices may be due, for which bodies are needed.
        bodies: bool,
    },
    /// Read where the recipients of messages go.
    Route {
        ids: Vec<MessageId>,
        routing: Routing,
        generation: u32,
    },
    /// Read messages that are to be divided.
    ReadWhole(Vec<(MessageId, Status, Held)>),
    /// Lay a message in the archive of removed ones for the presend hook; then its end, with these events, is to be written.
    ArchivePresented {
        archived: Box<Archived>,
        body: Bytes,
        events: Vec<Event>,
    },
    /// Read pairs from an archive, to be added again.
    Fetch {
        bulk: BulkId,
        archive: Archive,
        ids: Vec<MessageId>,
    },
    /// A message is on the journal again: discard its pair.
    DropPair {
        bulk: BulkId,
        archive: Archive,
        id: MessageId,
    },
    /// The journal keeps these messages after all, or was never told of them: discard their pairs. `back`: the message that stays in the
    /// journal and what it waits for then. Nothing else is done with it before: a remove would lay a new pair under the same names.
    TakeOff {
        archive: Archive,
        ids: Vec<MessageId>,
        back: Option<(MessageId, Status)>,
    },
    /// Lay mail in quarantine, all of it or none.
    Quarantine {
        pairs: Vec<(Archived, Bytes)>,
        events: Vec<Event>,
        held: Held,
        reply: W::Reply,
    },
    /// Delete removed messages for good.
    Purge {
        older_than: Duration,
        ids: Option<Vec<MessageId>>,
        at: Timestamp,
        reply: W::Reply,
    },
    /// Keep what was learned of destinations.
    Keep(Vec<LearnedDestination>),
}

/// The result of a [`DiskJob`].
#[derive(Debug)]
pub(crate) enum Done<W: World> {
    Loaded(Vec<(MessageId, Result<Box<Content>, StoreError>)>),
    ReadTaken {
        bulk: BulkId,
        work: Work,
        read: Vec<(Taken, Result<Read, StoreError>)>,
        held: Arc<Held>,
    },
    ReadUnattended {
        read: Vec<(MessageId, Why, Result<Read, StoreError>)>,
        held: Held,
    },
    Routed {
        routes: Vec<(MessageId, Result<Vec<RouteGroup>, StoreError>)>,
        generation: u32,
    },
    ReadWhole(Vec<(MessageId, Status, Result<Box<Content>, StoreError>)>),
    ArchivedPresented {
        id: MessageId,
        laid: Result<(), StoreError>,
        events: Vec<Event>,
    },
    Fetched {
        bulk: BulkId,
        archive: Archive,
        pairs: Vec<Fetched>,
    },
    DroppedPair {
        bulk: BulkId,
        id: MessageId,
        discarded: Result<(), StoreError>,
    },
    TakenOff {
        archive: Archive,
        discarded: Result<(), StoreError>,
        back: Option<(MessageId, Status)>,
    },
    Quarantined {
        ids: Vec<MessageId>,
        laid: Result<(), StoreError>,
        events: Vec<Event>,
        held: Held,
        reply: W::Reply,
    },
    Purged {
        outcome: Result<super::Outcome, SpoolError>,
        reply: W::Reply,
    },
    Kept,
    /// The work panicked, and its answer is lost with it.
    Lost,
}

/// What memory is waited for.
#[derive(Debug)]
pub(crate) enum Wanted {
    /// The first message in the line of a destination.
    Line(crate::engine::DestinationId),
    /// Messages that an operation has taken.
    Taken {
        bulk: BulkId,
        work: Work,
        taken: Vec<Taken>,
    },
    /// Messages whose end is to be written.
    Unattended(Vec<(MessageId, Why)>),
}
