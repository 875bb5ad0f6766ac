//! The operations on messages over HTTP: freeze, send, remove, recover, purge, reroute, bounce, expire.
//!
//! It selects ids and hands them to the spool in batches; what each message allows is the spool's to decide. It never
//! takes an empty request for everything.

use super::answer::in_memory;
use super::caller::Caller;
use super::queue::JSON;
use super::read::{Body, made};
use super::select::Pages;
use super::{State, error, refused};
use crate::operation::{Operation, Order, Report, Request, Trouble};
use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::Data;
use spool_actors::{
    Bounce, Expire, Freeze, NewRoute, Outcome, Purge, Recover, Remove, Reroute, SendNow, WhenLoaded, Which,
};
use spool_core::log::Record;
use spool_core::store::{Shelf, shelf_from_disk};
use spool_core::{Clock, Held, MessageId, MessageSummary, ShownStatus, SpoolError, SystemClock};
use std::path::PathBuf;

/// Messages handed to the spool at once.
const BATCH: usize = 1000;
/// What a list of ids takes once it is read, in quarters of its text.
const PARSED: usize = 12;

pub(super) async fn freeze(state: Data<State>, by: Caller, body: Body) -> HttpResponse {
    operate(&state, Operation::Freeze, by, body).await
}

pub(super) async fn send(state: Data<State>, by: Caller, body: Body) -> HttpResponse {
    operate(&state, Operation::Send, by, body).await
}

pub(super) async fn remove(state: Data<State>, by: Caller, body: Body) -> HttpResponse {
    operate(&state, Operation::Remove, by, body).await
}

pub(super) async fn recover(state: Data<State>, by: Caller, body: Body) -> HttpResponse {
    operate(&state, Operation::Recover, by, body).await
}

pub(super) async fn reroute(state: Data<State>, by: Caller, body: Body) -> HttpResponse {
    operate(&state, Operation::Reroute, by, body).await
}

pub(super) async fn bounce(state: Data<State>, by: Caller, body: Body) -> HttpResponse {
    operate(&state, Operation::Bounce, by, body).await
}

pub(super) async fn expire(state: Data<State>, by: Caller, body: Body) -> HttpResponse {
    operate(&state, Operation::Expire, by, body).await
}

pub(super) async fn purge(state: Data<State>, by: Caller, body: Body) -> HttpResponse {
    operate(&state, Operation::Purge, by, body).await
}

async fn operate(state: &State, operation: Operation, by: Caller, body: Body) -> HttpResponse {
    let (order, _held) = match read(operation, body).await {
        Ok(order) => order,
        Err(refusal) => return refusal,
    };
    // A selection is made among everything that is there, or it is none.
    let loaded = state.relay.spool.send(WhenLoaded).await;
    if let Err(why) = loaded.unwrap_or(Err(SpoolError::Killed)) {
        return refused(&why);
    }
    // Also when nothing is selected, and in a dry run.
    if order.route == NewRoute::ByConfig
        && operation == Operation::Reroute
        && !state.relay.has_configuration()
    {
        return refused(&SpoolError::NoConfiguration);
    }
    let single = order.selector.only_ids().is_some_and(|ids| ids.len() == 1);
    let report = match order.dry_run {
        true => dry_run(state, order).await,
        false => {
            let selector = order.words.clone();
            let report = run(state, order).await;
            log(operation.name(), by, selector, report.as_ref());
            report
        }
    };
    match report {
        Ok(report) => answer(state, report, single),
        Err(why) => refused(&why),
    }
}

/// What an operation is about.
pub(super) enum About {
    /// Messages or clients, as conditions.
    Selector(String),
    /// A user who has logged in.
    User(String),
}

impl From<String> for About {
    fn from(selector: String) -> Self {
        Self::Selector(selector)
    }
}

/// The line of the log about an operation.
pub(super) fn log(
    name: &'static str,
    by: Caller,
    about: impl Into<About>,
    report: Result<&Report, &SpoolError>,
) {
    if !Record::wanted() {
        return;
    }
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let (matched, done, failed, error) = match report {
        Ok(report) => (report.matched, report.done, report.errors.len(), None),
        Err(error) => (0, 0, 0, Some(error.to_string())),
    };
    let (selector, user) = match about.into() {
        About::Selector(selector) => (selector, None),
        About::User(user) => (String::new(), Some(user)),
    };
    let operation = spool_core::log::Operation {
        name,
        by: by.to_string(),
        selector,
        user,
        matched: count(matched),
        done: count(done),
        failed: count(failed),
        error,
    };
    Record::Operation(operation).emit();
}

/// The order, and the memory it is charged for.
async fn read(operation: Operation, mut body: Body) -> Result<(Order, Held), HttpResponse> {
    body.grow(PARSED)?;
    let read = move |body: Body| {
        let request = body.object::<Request>();
        let order = request.and_then(|request| request.check(operation));
        (order, body.into_charge())
    };
    let (order, held) = made(body, read).await?;
    match order {
        Ok(order) => Ok((order, held)),
        Err(why) => Err(error(StatusCode::BAD_REQUEST, &why)),
    }
}

/// For one message named, what went wrong is the status; otherwise the report tells.
fn answer(state: &State, mut report: Report, single: bool) -> HttpResponse {
    let trouble = report.errors.first().filter(|_| single);
    let status = match trouble.map(|trouble| trouble.code.as_str()) {
        Some("no_such_message") => StatusCode::NOT_FOUND,
        Some("not_frozen" | "no_route" | "on_spool" | "being_sent" | "null_reverse_path") => {
            StatusCode::CONFLICT
        }
        Some(_) | None => StatusCode::OK,
    };
    if status != StatusCode::OK {
        report.error = trouble.map(|trouble| trouble.error.clone());
    }
    match serde_json::to_vec(&report) {
        Ok(json) => in_memory(state, status, JSON, json),
        Err(why) => error(StatusCode::INTERNAL_SERVER_ERROR, &why.to_string()),
    }
}

/// Does it.
async fn run(state: &State, order: Order) -> Result<Report, SpoolError> {
    if let Some(whole) = whole(&order) {
        let outcome = whole.ask(state).await?;
        return Ok(Report {
            matched: outcome.done + outcome.errors.len(),
            done: outcome.done,
            errors: outcome.errors.iter().map(Trouble::from).collect(),
            ..Report::default()
        });
    }
    let (operation, shelf) = (order.operation, order.shelf.unwrap_or(Shelf::Removed));
    let (older_than, retry_intervals) = (order.older_than, order.retry_intervals.clone());
    let (to, reason) = (order.route.clone(), order.reason.clone());
    let ids = match order.selector.only_ids() {
        // Whichever is not there, the spool says so.
        Some(ids) => ids.iter().copied().collect(),
        None => selected(state, order).await?,
    };
    let mut report = Report {
        matched: ids.len(),
        ..Report::default()
    };
    for batch in ids.chunks(BATCH) {
        let ids = batch.to_vec();
        let asked = match operation {
            Operation::Freeze => Asked::Freeze(Freeze(ids)),
            Operation::Send => Asked::Send(SendNow {
                which: Which::SomeMessages(ids),
                retry_intervals: retry_intervals.clone(),
            }),
            Operation::Remove => Asked::Remove(Remove(ids)),
            Operation::Recover => Asked::Recover(Recover { ids, from: shelf }),
            Operation::Purge => Asked::Purge(Purge {
                older_than,
                ids: Some(ids),
            }),
            Operation::Reroute => Asked::Reroute(Reroute { ids, to: to.clone() }),
            Operation::Bounce => Asked::Bounce(Bounce {
                ids,
                reason: reason.clone(),
            }),
            Operation::Expire => Asked::Expire(Expire(ids)),
        };
        let outcome = asked.ask(state).await?;
        report.done += outcome.done;
        report.errors.extend(outcome.errors.iter().map(Trouble::from));
    }
    Ok(report)
}

/// What is asked of the spool.
enum Asked {
    Freeze(Freeze),
    Send(SendNow),
    Remove(Remove),
    Recover(Recover),
    Purge(Purge),
    Reroute(Reroute),
    Bounce(Bounce),
    Expire(Expire),
}

impl Asked {
    async fn ask(self, state: &State) -> Result<Outcome, SpoolError> {
        let spool = &state.relay.spool;
        let outcome = match self {
            Self::Freeze(freeze) => spool.send(freeze).await,
            Self::Send(send) => spool.send(send).await,
            Self::Remove(remove) => spool.send(remove).await,
            Self::Recover(recover) => spool.send(recover).await,
            Self::Purge(purge) => spool.send(purge).await,
            Self::Reroute(reroute) => spool.send(reroute).await,
            Self::Bounce(bounce) => spool.send(bounce).await,
            Self::Expire(expire) => spool.send(expire).await,
        };
        outcome.unwrap_or(Err(SpoolError::Killed))
    }
}

/// What the spool does as a whole, without a list of ids.
fn whole(order: &Order) -> Option<Asked> {
    let send = |which| {
        Asked::Send(SendNow {
            which,
            retry_intervals: order.retry_intervals.clone(),
        })
    };
    match order.operation {
        Operation::Send if order.selector.is_everything() => Some(send(Which::AllMessages)),
        Operation::Send if order.selector.is_frozen_only() => Some(send(Which::FrozenOnly)),
        Operation::Purge if order.selector.is_everything() => Some(Asked::Purge(Purge {
            older_than: order.older_than,
            ids: None,
        })),
        Operation::Freeze
        | Operation::Send
        | Operation::Remove
        | Operation::Recover
        | Operation::Purge
        | Operation::Reroute
        | Operation::Bounce
        | Operation::Expire => None,
    }
}

/// The ids that are meant.
async fn selected(state: &State, order: Order) -> Result<Vec<MessageId>, SpoolError> {
    if order.operation == Operation::Purge {
        return removed(state.spool_dir.clone(), order).await;
    }
    let mut pages = Pages::new(state.relay.spool.clone(), order.selector, order.shelf, false);
    let mut ids = Vec::new();
    while let Some(page) = pages.next().await? {
        ids.extend(page.iter().map(|message| message.id));
    }
    Ok(ids)
}

/// The removed messages that are meant and were removed long enough ago: a listing does not tell when that was.
async fn removed(dir: PathBuf, order: Order) -> Result<Vec<MessageId>, SpoolError> {
    let look = move || {
        let (mut ids, now) = (Vec::new(), SystemClock.now());
        let looked = shelf_from_disk(&dir, Shelf::Removed, &mut |id, shelved| {
            let Ok(shelved) = shelved else { return };
            let summary = MessageSummary {
                queue: Shelf::Removed.queue(),
                ..MessageSummary::of(&shelved.message, now)
            };
            if now.since(shelved.at) >= order.older_than && order.selector.matches(&summary, now) {
                ids.push(id);
            }
        });
        looked.map(|()| ids)
    };
    match actix_web::web::block(look).await {
        Ok(Ok(ids)) => Ok(ids),
        Ok(Err(why)) => Err(SpoolError::Disk(why.to_string())),
        Err(why) => Err(SpoolError::Disk(why.to_string())),
    }
}

fn has_no_sender(message: &MessageSummary) -> bool {
    let envelope = message.envelope.as_ref();
    envelope.is_some_and(|envelope| envelope.sender.is_empty())
}

/// Tells to which messages it would be done, and what would go wrong as far as that is known beforehand.
async fn dry_run(state: &State, order: Order) -> Result<Report, SpoolError> {
    let named = order.selector.only_ids().cloned();
    let (operation, mut report) = (order.operation, Report::default());
    let mut ids = Vec::new();
    if operation == Operation::Purge {
        ids = removed(state.spool_dir.clone(), order).await?;
        report.matched = ids.len();
    } else {
        let envelopes = operation == Operation::Bounce;
        let mut pages = Pages::new(state.relay.spool.clone(), order.selector, order.shelf, envelopes);
        let mut missing = named.unwrap_or_default();
        while let Some(page) = pages.next().await? {
            report.matched += page.len();
            for message in &page {
                missing.remove(&message.id);
                let (id, frozen) = (message.id, message.status.is_frozen());
                match operation {
                    Operation::Remove if !frozen => report.errors.push((&SpoolError::NotFrozen(id)).into()),
                    Operation::Bounce | Operation::Expire if message.status == ShownStatus::Sending => {
                        report.errors.push((&SpoolError::BeingSent(id)).into());
                    }
                    Operation::Bounce if has_no_sender(message) => {
                        report.errors.push((&SpoolError::NullReversePath(id)).into());
                    }
                    Operation::Send if message.next_hops.is_empty() => {
                        report.errors.push((&SpoolError::NoRoute(id)).into());
                    }
                    Operation::Freeze
                    | Operation::Send
                    | Operation::Remove
                    | Operation::Recover
                    | Operation::Purge
                    | Operation::Reroute
                    | Operation::Bounce
                    | Operation::Expire => ids.push(id),
                }
            }
        }
        report.matched += missing.len();
        let gone = missing.into_iter().map(SpoolError::NoSuchMessage);
        report.errors.extend(gone.map(|gone| Trouble::from(&gone)));
    }
    report.ids = Some(ids);
    Ok(report)
}
