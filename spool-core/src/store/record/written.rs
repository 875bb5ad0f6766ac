//! The payloads of frames as they are written, from what a change holds and without a copy of it. The records of
//! [`super`] read them back: the fields are the same, in the same order.

use super::{How, NoteRecord, NotedEvent};
use crate::clock::Timestamp;
use crate::envelope::Envelope;
use crate::event::Event;
use crate::frozen::Frozen;
use crate::id::{FlowId, MessageId};
use crate::key::AddKey;
use crate::message::{MessageState, RouteOrigin, Status};
use crate::next_hop::NextHop;
use crate::retry::RetryPolicy;
use crate::store::change::{Addition, Change, Conclusion, Finish, NewMessage, Outcome};
use crate::store::frame::Kind;
use postcard::ser_flavors::Flavor;
use serde::{Serialize, Serializer};

/// Numbers, time and kinds of the events of one change. Without any, all are zero.
#[derive(Serialize)]
struct TellingOut<'a> {
    seq: u64,
    at: Timestamp,
    kinds: KindsOut<'a>,
}

struct KindsOut<'a>(&'a [Event]);

impl Serialize for KindsOut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|event| &event.kind))
    }
}

impl<'a> TellingOut<'a> {
    fn of(events: &'a [Event]) -> Self {
        let first = events.first();
        Self {
            seq: first.map_or(0, |event| event.seq),
            at: first.map_or(Timestamp::default(), |event| event.at),
            kinds: KindsOut(events),
        }
    }
}

/// The payload of an add, as it is written.
#[derive(Serialize)]
struct AddOut<'a> {
    spooled_at: Timestamp,
    parent: Option<MessageId>,
    flows: &'a [FlowId],
    related: &'a [MessageId],
    key: Option<&'a AddKey>,
    conclusion: Option<ConclusionOut<'a>>,
    telling: TellingOut<'a>,
    messages: MessagesOut<'a>,
}

impl<'a> AddOut<'a> {
    fn of(addition: &'a Addition, telling: TellingOut<'a>) -> Self {
        Self {
            spooled_at: addition.spooled_at,
            parent: addition.parent,
            flows: &addition.flows,
            related: &addition.related,
            key: addition.key.as_ref(),
            conclusion: addition.conclusion.as_ref().map(ConclusionOut::of),
            telling,
            messages: MessagesOut(&addition.messages),
        }
    }
}

#[derive(Serialize)]
struct ConclusionOut<'a> {
    id: MessageId,
    outcome: OutcomeOut<'a>,
}

#[derive(Serialize)]
enum OutcomeOut<'a> {
    Finish(How),
    State(&'a MessageState),
}

impl<'a> ConclusionOut<'a> {
    fn of(conclusion: &'a Conclusion) -> Self {
        Self {
            id: conclusion.id,
            outcome: match &conclusion.outcome {
                Outcome::Finish(how) => OutcomeOut::Finish((*how).into()),
                Outcome::State(state) => OutcomeOut::State(state),
            },
        }
    }
}

impl From<Finish> for How {
    fn from(how: Finish) -> Self {
        match how {
            Finish::Delivered => Self::Delivered,
            Finish::Removed => Self::Removed,
        }
    }
}

struct MessagesOut<'a>(&'a [NewMessage]);

impl Serialize for MessagesOut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|message| MessageOut {
            id: message.id,
            status: message.status,
            frozen: message.frozen.as_deref(),
            in_flight: message.in_flight,
            state: message.state.as_deref(),
            origin: message.section.origin,
            next_hops: &message.section.next_hops,
            retry: &message.section.retry,
            envelope: &message.section.envelope,
        }))
    }
}

#[derive(Serialize)]
struct MessageOut<'a> {
    id: MessageId,
    status: Status,
    frozen: Option<&'a Frozen>,
    in_flight: Option<Timestamp>,
    state: Option<&'a MessageState>,
    origin: RouteOrigin,
    next_hops: &'a [NextHop],
    retry: &'a RetryPolicy,
    envelope: &'a Envelope,
}

#[derive(Serialize)]
struct MarkOut<'a> {
    id: MessageId,
    status: Status,
    frozen: Option<&'a Frozen>,
    in_flight: Option<Timestamp>,
    telling: TellingOut<'a>,
}

#[derive(Serialize)]
struct StateOut<'a> {
    id: MessageId,
    state: &'a MessageState,
    telling: TellingOut<'a>,
}

#[derive(Serialize)]
struct RouteOut<'a> {
    id: MessageId,
    origin: RouteOrigin,
    next_hops: &'a [NextHop],
    telling: TellingOut<'a>,
}

#[derive(Serialize)]
struct FinishOut<'a> {
    id: MessageId,
    how: How,
    telling: TellingOut<'a>,
}

/// Appends the payload of `change` to `buffer`; gives its kind. An error is a value postcard cannot write; there is
/// none among these types.
pub(in crate::store) fn encode(change: &Change, buffer: &mut Vec<u8>) -> Result<Kind, postcard::Error> {
    let telling = TellingOut::of(change.events());
    let kind = match change {
        Change::Add(addition) => {
            append(&AddOut::of(addition, telling), buffer)?;
            Kind::Add
        }
        Change::Move(addition) => {
            append(&AddOut::of(addition, telling), buffer)?;
            Kind::Move
        }
        Change::Mark {
            id,
            status,
            frozen,
            in_flight,
            ..
        } => {
            let (id, status, in_flight) = (*id, *status, *in_flight);
            let mark = MarkOut {
                id,
                status,
                frozen: frozen.as_deref(),
                in_flight,
                telling,
            };
            append(&mark, buffer)?;
            Kind::Mark
        }
        Change::State { id, state, .. } => {
            let id = *id;
            append(&StateOut { id, state, telling }, buffer)?;
            Kind::State
        }
        Change::Route {
            id,
            next_hops,
            origin,
            ..
        } => {
            let (id, origin) = (*id, *origin);
            let route = RouteOut {
                id,
                origin,
                next_hops,
                telling,
            };
            append(&route, buffer)?;
            Kind::Route
        }
        Change::Finish { id, how, .. } => {
            let (id, how) = (*id, (*how).into());
            append(&FinishOut { id, how, telling }, buffer)?;
            Kind::Finish
        }
        Change::Note { events } => {
            let events = events.iter().map(NotedEvent::of).collect();
            append(&NoteRecord { events }, buffer)?;
            Kind::Note
        }
    };
    Ok(kind)
}

fn append<T: Serialize>(record: &T, buffer: &mut Vec<u8>) -> Result<(), postcard::Error> {
    postcard::serialize_with_flavor(record, Appended(buffer))
}

/// Writes at the end of a buffer, without the way through [`std::io::Write`] that `postcard::to_io` takes for each byte.
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
