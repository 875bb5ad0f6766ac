//! The operations on messages over HTTP: freeze, send, remove, recover, purge, reroute, bounce, expire.
//!
//! It selects ids and hands them to the spool in batches; what each message allows is the spool's to decide. It never
//! takes an empty request for everything.

use super::answer::json;
use super::audit::log;
use super::caller::Caller;
use super::error::{HandlerResult, bad_request, refused};
use super::read::{Body, decoded};
use super::select::Pages;
use super::state::State;
use crate::operation::{Operation, Order, Report, Request, Trouble};
use crate::selector::Selector;
use actix_web::Error;
use actix_web::http::StatusCode;
use actix_web::web::Data;
use spool_actors::{
    Bounce, Expire, Freeze, NewRoute, Outcome, Purge, Recover, Remove, Reroute, SendNow, WhenLoaded, Which,
};
use spool_core::store::{Archive, archive_from_disk};
use spool_core::{Clock, Held, MessageId, MessageSummary, Routing, ShownStatus, SpoolError, SystemClock};
use std::path::PathBuf;
use std::time::Duration;

/// Messages handed to the spool at once.
const BATCH: usize = 1000;
/// Memory of a list of ids once it is decoded, in quarters of its text.
const PARSED: usize = 12;

pub(super) async fn operate(
    state: Data<State>,
    operation: Operation,
    by: Caller,
    body: Body,
) -> HandlerResult {
    let (order, _held) = read(operation, body).await?;
    // A selection is made among all messages.
    state.ask(WhenLoaded).await.map_err(refused)?;
    // Also when nothing is selected, and in a dry run.
    if order.route == NewRoute::ByConfig
        && operation == Operation::Reroute
        && matches!(state.relay.routes.routing(), Routing::ToBuiltInSink(_))
    {
        return Err(refused(SpoolError::NoConfiguration));
    }
    let single = order.selector.only_ids().is_some_and(|ids| ids.len() == 1);
    let report = match order.dry_run {
        true => dry_run(&state, order).await,
        false => {
            let subject = (order.words.clone(), None);
            let report = run(&state, order).await;
            log(operation.name(), by, subject, report.as_ref());
            report
        }
    };
    answer(&state, report.map_err(refused)?, single)
}

/// The order, with the memory charged for it.
async fn read(operation: Operation, mut body: Body) -> Result<(Order, Held), Error> {
    body.grow(PARSED)?;
    let read = move |body: Body| {
        let request = body.object::<Request>();
        let order = request.and_then(|request| request.check(operation));
        (order, body.into_charge())
    };
    let (order, held) = decoded(body, read).await?;
    Ok((order.map_err(bad_request)?, held))
}

/// The report. When one message was named, its error decides the status.
fn answer(state: &State, mut report: Report, single: bool) -> HandlerResult {
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
    json(state, status, &report)
}

/// Performs an order.
async fn run(state: &State, mut order: Order) -> Result<Report, SpoolError> {
    let mut report = Report::default();
    if let Some(outcome) = whole(state, &order).await {
        add(&mut report, &outcome?);
        report.matched = report.done + report.errors.len();
        return Ok(report);
    }
    let ids = match order.selector.only_ids() {
        // The spool reports those that do not exist.
        Some(ids) => ids.iter().copied().collect(),
        None => selected(state, &mut order).await?,
    };
    report.matched = ids.len();
    for batch in ids.chunks(BATCH) {
        add(&mut report, &perform(state, &order, batch.to_vec()).await?);
    }
    Ok(report)
}

fn add(report: &mut Report, outcome: &Outcome) {
    report.done += outcome.done;
    report.errors.extend(outcome.errors.iter().map(Trouble::from));
}

/// Performs an order for these messages.
async fn perform(state: &State, order: &Order, ids: Vec<MessageId>) -> Result<Outcome, SpoolError> {
    match order.operation {
        Operation::Freeze => state.ask(Freeze(ids)).await,
        Operation::Send => send(state, order, Which::SomeMessages(ids)).await,
        Operation::Remove => state.ask(Remove(ids)).await,
        Operation::Recover => {
            let from = order.archive.unwrap_or(Archive::Removed);
            state.ask(Recover { ids, from }).await
        }
        Operation::Purge => purge(state, order, Some(ids)).await,
        Operation::Reroute => {
            let to = order.route.clone();
            state.ask(Reroute { ids, to }).await
        }
        Operation::Bounce => {
            let reason = order.reason.clone();
            state.ask(Bounce { ids, reason }).await
        }
        Operation::Expire => state.ask(Expire(ids)).await,
    }
}

async fn send(state: &State, order: &Order, which: Which) -> Result<Outcome, SpoolError> {
    let retry_intervals = order.retry_intervals.clone();
    let send = SendNow {
        which,
        retry_intervals,
    };
    state.ask(send).await
}

async fn purge(state: &State, order: &Order, ids: Option<Vec<MessageId>>) -> Result<Outcome, SpoolError> {
    let older_than = order.older_than;
    state.ask(Purge { older_than, ids }).await
}

/// Performs an order that the spool can perform as a whole, without a list of ids.
async fn whole(state: &State, order: &Order) -> Option<Result<Outcome, SpoolError>> {
    let everything = order.selector.is_everything();
    if order.operation == Operation::Purge && everything {
        return Some(purge(state, order, None).await);
    }
    let which = match everything {
        true => Which::AllMessages,
        false => Which::FrozenOnly,
    };
    let sends = order.operation == Operation::Send && (everything || order.selector.is_frozen_only());
    match sends {
        true => Some(send(state, order, which).await),
        false => None,
    }
}

/// The selected ids. Takes the selector out of `order`.
async fn selected(state: &State, order: &mut Order) -> Result<Vec<MessageId>, SpoolError> {
    let selector = std::mem::take(&mut order.selector);
    if order.operation == Operation::Purge {
        return removed(state.spool_dir.clone(), selector, order.older_than).await;
    }
    let mut pages = Pages::new(state, selector, order.archive, false);
    let mut ids = Vec::new();
    while let Some(page) = pages.next().await? {
        ids.extend(page.iter().map(|message| message.id));
    }
    Ok(ids)
}

/// The selected removed messages that were removed long enough ago. A listing does not state when they were removed.
async fn removed(
    dir: PathBuf,
    selector: Selector,
    older_than: Duration,
) -> Result<Vec<MessageId>, SpoolError> {
    let look = move || {
        let (mut ids, now) = (Vec::new(), SystemClock.now());
        let looked = archive_from_disk(&dir, Archive::Removed, &mut |id, archived| {
            let Ok(archived) = archived else { return };
            let summary = MessageSummary {
                queue: Archive::Removed.queue(),
                ..MessageSummary::of(&archived.message, now)
            };
            if now.since(archived.at) >= older_than && selector.matches(&summary, now) {
                ids.push(id);
            }
        });
        looked.map(|()| ids)
    };
    let looked = actix_web::web::block(look).await;
    let looked = looked.map_err(|why| SpoolError::Disk(why.to_string()))?;
    looked.map_err(|why| SpoolError::Disk(why.to_string()))
}

fn has_no_sender(message: &MessageSummary) -> bool {
    let envelope = message.envelope.as_ref();
    envelope.is_some_and(|envelope| envelope.sender.is_empty())
}

/// The messages that an order would change, and the errors that are known beforehand.
async fn dry_run(state: &State, order: Order) -> Result<Report, SpoolError> {
    let (operation, mut report) = (order.operation, Report::default());
    if operation == Operation::Purge {
        let ids = removed(state.spool_dir.clone(), order.selector, order.older_than).await?;
        report.matched = ids.len();
        report.ids = Some(ids);
        return Ok(report);
    }
    let mut missing = order.selector.only_ids().cloned().unwrap_or_default();
    let envelopes = operation == Operation::Bounce;
    let mut pages = Pages::new(state, order.selector, order.archive, envelopes);
    let mut ids = Vec::new();
    while let Some(page) = pages.next().await? {
        report.matched += page.len();
        for message in &page {
            missing.remove(&message.id);
            match obstacle(operation, message) {
                Some(error) => report.errors.push((&error).into()),
                None => ids.push(message.id),
            }
        }
    }
    report.matched += missing.len();
    let missing = missing.into_iter().map(SpoolError::NoSuchMessage);
    report.errors.extend(missing.map(|error| Trouble::from(&error)));
    report.ids = Some(ids);
    Ok(report)
}

/// Why an operation would fail for a message.
fn obstacle(operation: Operation, message: &MessageSummary) -> Option<SpoolError> {
    let (id, sending) = (message.id, message.status == ShownStatus::Sending);
    let ends = matches!(operation, Operation::Bounce | Operation::Expire);
    if operation == Operation::Remove && !message.status.is_frozen() {
        Some(SpoolError::NotFrozen(id))
    } else if ends && sending {
        Some(SpoolError::BeingSent(id))
    } else if operation == Operation::Bounce && has_no_sender(message) {
        Some(SpoolError::NullReversePath(id))
    } else if operation == Operation::Send && message.next_hops.is_empty() {
        Some(SpoolError::NoRoute(id))
    } else {
        None
    }
}
