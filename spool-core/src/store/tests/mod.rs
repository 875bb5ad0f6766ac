//! Tests of the store as a whole, most of them on a simulated disk.

mod archive;
mod compaction;
mod crash;
mod damage;
mod descriptors;
mod destinations;
mod ends;
mod event_log;
mod faults;
mod fixture;
mod flips;
mod format;
mod format_corrupt;
mod fsck;
mod fuzzing;
mod golden;
mod held;
mod keys;
mod killed;
mod large;
mod loading;
mod operation;
mod outcomes;
mod permissions;
mod real;
mod sample;
mod scrub;
mod sealing;
mod unreadable;

use super::error::{Failure, OpenError, StoreError};
use super::fs::{Fs, SimFs};
use super::handle::Store;
use super::journal::frame::{self, Header, Kind, Place};
use super::journal::record;
use super::journal::scan::{Item, Scan};
use super::journal::segment::{self, End, HeaderKind};
use super::layout::{self, Seq};
use super::mutex::locked;
use super::offline::mail_from_disk_on;
use super::open::MIN_SEGMENT;
use super::*;
use crate::address::Address;
use crate::attempt::{Attempt, AttemptReport, AttemptResult, Stage};
use crate::clock::Timestamp;
use crate::envelope::{Envelope, ReversePath};
use crate::event::{Event, EventKind};
use crate::frozen::Frozen;
use crate::id::MessageId;
use crate::key::{AddKey, Fingerprint};
use crate::message::{Message, MessageState, RouteOrigin, Section, Status};
use crate::reply::Reply;
use crate::retry::RetryPolicy;
use bytes::Bytes;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const DIR: &str = "/spool";

fn options() -> StoreOptions {
    StoreOptions {
        segment_size: MIN_SEGMENT,
        min_free_space: 0,
        slack_segments: 0,
        max_messages: 0,
        ..StoreOptions::default()
    }
}

fn open(fs: &SimFs) -> (Store, Recovery) {
    try_open(fs).unwrap()
}

fn try_open(fs: &SimFs) -> Result<(Store, Recovery), OpenError> {
    Store::open_on(Arc::new(fs.clone()), Path::new(DIR), &options())
}

fn id(number: u128) -> MessageId {
    MessageId::from_u128(number)
}

fn section(number: u128) -> Section {
    let address = |text: String| Address::parse(&text).unwrap();
    Section {
        envelope: Envelope::of(
            ReversePath::Mailbox(address(format!("sender{number}@example.org"))),
            [
                address(format!("r{number}@example.net")),
                address("b@example.com".to_owned()),
            ],
        ),
        next_hops: ["mx.example.net:25".parse().unwrap()].into(),
        origin: RouteOrigin::Named,
        retry: RetryPolicy::default(),
    }
}

/// One add of messages that share a body.
fn add(ids: &[u128], body: impl Into<Bytes>) -> Change {
    let message = |number: &u128| NewMessage {
        id: id(*number),
        section: section(*number),
        status: Status::SendAt(Timestamp(1000)),
        frozen: None,
        in_flight: None,
        state: None,
    };
    let events = ids
        .iter()
        .map(|number| event(*number, EventKind::Spooled))
        .collect();
    Change::Add(Addition {
        messages: ids.iter().map(message).collect(),
        body: body.into(),
        flows: vec![crate::id::FlowId::from_u128(7)],
        parent: Some(id(77)),
        related: Vec::new(),
        spooled_at: Timestamp(999),
        key: None,
        conclusion: None,
        events,
    })
}

/// As it is told: the store gives it its number.
fn event(number: u128, kind: EventKind) -> Event {
    Event {
        seq: 0,
        at: Timestamp(1001),
        id: Some(id(number)),
        flows: vec![crate::id::FlowId::from_u128(7)],
        envelope: None,
        reason: None,
        kind,
    }
}

/// Bytes that depend on `seed`, none of them zero.
fn text(seed: u8, length: usize) -> Vec<u8> {
    (0..length)
        .map(|i| (i * 7 + usize::from(seed) * 31 + i / 251) as u8 | 1)
        .collect()
}

fn begin(number: u128, at: i64) -> Change {
    Change::Mark {
        id: id(number),
        status: Status::SendAt(Timestamp(1000)),
        frozen: None,
        in_flight: Some(Timestamp(at)),
        events: Vec::new(),
    }
}

fn freeze(number: u128) -> Change {
    Change::Mark {
        id: id(number),
        status: Status::Frozen,
        frozen: None,
        in_flight: None,
        events: vec![event(number, EventKind::Frozen)],
    }
}

fn state(number: u128, due: i64) -> MessageState {
    let mut state = MessageState::new(&section(number), Status::SendAt(Timestamp(due)), Timestamp(999));
    state.attempts.push(Attempt {
        at: Timestamp(due - 10),
        duration_ms: 5,
        report: AttemptReport::new(AttemptResult::Refused {
            stage: Stage::Rcpt,
            reply: Reply::new(450, "4.2.0 later"),
        }),
    });
    state
}

fn defer(number: u128, due: i64) -> Change {
    Change::State {
        id: id(number),
        state: Box::new(state(number, due)),
        events: vec![event(number, EventKind::Delayed(Timestamp(due)))],
    }
}

fn finish(number: u128) -> Change {
    Change::Finish {
        id: id(number),
        how: Finish::Delivered,
        events: vec![event(number, EventKind::Delivered)],
    }
}

/// The record of a change, and the kind of its frame.
fn record_of(change: &Change) -> (Kind, Vec<u8>) {
    let mut bytes = Vec::new();
    let kind = record::encode(change, &mut bytes).unwrap();
    (kind, bytes.split_off(frame::HEADER))
}

fn all_ok(results: &[Result<(), StoreError>]) {
    assert!(results.iter().all(Result::is_ok), "{results:?}");
}
