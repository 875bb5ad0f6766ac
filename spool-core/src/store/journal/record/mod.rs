//! The records in frames: what one change looks like on disk, in postcard. Those of formats 1 and 2 are only read.
//!
//! The types of [`current`], [`Addition`] with what it holds, and every type of the crate inside them are the format. postcard
//! writes fields in order and variants by number: a field is never added, moved or removed, and a variant is only ever
//! added at the end, without a new version in the frame header. The golden bytes in the tests fail otherwise.

mod current;
mod decoded;
mod format1;
mod format2;

pub(in crate::store) use current::{
    FinishRecord, MarkRecord, NoteRecord, NotedEvent, RouteRecord, StateRecord,
};
pub(in crate::store) use decoded::Decoded;

use super::frame::{Header, Kind};
use crate::store::change::{Addition, Change};
use postcard::ser_flavors::Flavor;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::borrow::Cow;

/// The record of a kind of frame, in every format that is read.
pub(in crate::store) trait Payload: DeserializeOwned {
    /// How format 1 encoded it.
    type Format1: DeserializeOwned + Into<Self>;
    /// How format 2 encoded it.
    type Format2: DeserializeOwned + Into<Self>;
}

impl Payload for Addition {
    type Format1 = format1::AddRecord1;
    type Format2 = format2::AddRecord2;
}

impl Payload for MarkRecord<'static> {
    type Format1 = format1::MarkRecord1;
    type Format2 = Self;
}

impl Payload for StateRecord<'static> {
    type Format1 = format1::StateRecord1;
    type Format2 = format2::StateRecord2;
}

impl Payload for FinishRecord<'static> {
    type Format1 = Self;
    type Format2 = Self;
}

impl Payload for NoteRecord {
    type Format1 = Self;
    type Format2 = Self;
}

/// Format 1 has no routes.
impl Payload for RouteRecord<'static> {
    type Format1 = Self;
    type Format2 = Self;
}

/// Appends the record of `change` to `buffer`; returns its kind. postcard can write all of these types, so it does not
/// fail.
pub(in crate::store) fn encode(change: &Change, buffer: &mut Vec<u8>) -> Result<Kind, postcard::Error> {
    match change {
        Change::Add(addition) => append(addition, buffer).map(|()| Kind::Add),
        Change::Move(addition) => append(addition, buffer).map(|()| Kind::Move),
        Change::Mark {
            id,
            status,
            frozen,
            in_flight,
            events,
        } => {
            let record = MarkRecord {
                id: *id,
                status: *status,
                frozen: Cow::Borrowed(frozen),
                in_flight: *in_flight,
                events: events.into(),
            };
            append(&record, buffer).map(|()| Kind::Mark)
        }
        Change::State { id, state, events } => {
            let record = StateRecord {
                id: *id,
                state: Cow::Borrowed(state),
                events: events.into(),
            };
            append(&record, buffer).map(|()| Kind::State)
        }
        Change::Route {
            id,
            next_hops,
            origin,
            events,
        } => {
            let record = RouteRecord {
                id: *id,
                origin: *origin,
                next_hops: next_hops.clone(),
                events: events.into(),
            };
            append(&record, buffer).map(|()| Kind::Route)
        }
        Change::Finish { id, how, events } => {
            let record = FinishRecord {
                id: *id,
                how: *how,
                events: events.into(),
            };
            append(&record, buffer).map(|()| Kind::Finish)
        }
        Change::Note { events } => {
            let events = events.iter().map(NotedEvent::of).collect();
            append(&NoteRecord { events }, buffer).map(|()| Kind::Note)
        }
    }
}

fn append<T: Serialize>(record: &T, buffer: &mut Vec<u8>) -> Result<(), postcard::Error> {
    postcard::serialize_with_flavor(record, Appended(buffer))
}

/// Appends to a buffer directly; `postcard::to_io` would call [`std::io::Write`] for each byte.
struct Appended<'a>(&'a mut Vec<u8>);

impl Flavor for Appended<'_> {
    type Output = ();

    #[inline]
    fn try_push(&mut self, byte: u8) -> Result<(), postcard::Error> {
        self.0.push(byte);
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> Result<(), postcard::Error> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> Result<(), postcard::Error> {
        Ok(())
    }
}

/// Decodes a whole payload of a frame with this header; trailing bytes are an error.
pub(in crate::store) fn decode<T: Payload>(header: Header, payload: &[u8]) -> Result<T, String> {
    match header.version {
        1 => whole::<T::Format1>(payload).map(Into::into),
        2 => whole::<T::Format2>(payload).map(Into::into),
        _ => whole(payload),
    }
}

fn whole<T: DeserializeOwned>(payload: &[u8]) -> Result<T, String> {
    match postcard::take_from_bytes::<T>(payload) {
        Ok((record, [])) => Ok(record),
        Ok((_, rest)) => Err(format!("{} bytes too many in the record", rest.len())),
        Err(error) => Err(format!("the record cannot be read: {error}")),
    }
}
