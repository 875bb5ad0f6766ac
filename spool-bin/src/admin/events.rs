//! The event stream as server-sent events: `id:` is the sequence number, `data:` the event as JSON.
//!
//! A follower that falls behind receives an event with the number of events that it missed; it never delays the spool. The
//! number of followers is limited.

use super::connection::Connection;
use super::error::{HandlerResult, bad_request, refused};
use super::state::State;
use actix_web::http::header::{CACHE_CONTROL, HeaderName};
use actix_web::web::{Data, Query};
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use futures_util::StreamExt;
use serde::Deserialize;
use spool_actors::Subscribe;
use spool_core::Event;
use std::sync::Arc;

/// Sent by a browser that reconnects.
static LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct From {
    since: Option<String>,
}

pub(super) async fn follow(state: Data<State>, from: Query<From>, request: HttpRequest) -> HandlerResult {
    let since = since(&from, &request).map_err(bad_request)?;
    let slot = state.slots.follow()?;
    if let Some(connection) = request.conn_data::<Arc<Connection>>() {
        connection.is_endless();
    }
    let subscription = state.ask(Subscribe { since }).await.map_err(refused)?;
    // A comment first, so that the head is sent now and not with the first event.
    let begin = futures_util::stream::iter([Ok(Bytes::from_static(b": from here on\n\n"))]);
    let events = subscription.map(move |event| {
        // Released when the stream is dropped.
        let _slot = &slot;
        text(&event).map_err(actix_web::Error::from)
    });
    Ok(HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((CACHE_CONTROL, "no-store"))
        .streaming(begin.chain(events)))
}

/// Where to begin. What a reconnecting browser has seen takes precedence over the address that it began with.
fn since(from: &From, request: &HttpRequest) -> Result<Option<u64>, String> {
    let last = request.headers().get(&LAST_EVENT_ID);
    let last = last.map(|value| value.to_str().unwrap_or("?"));
    let (name, value) = match (last.filter(|last| !last.is_empty()), &from.since) {
        (Some(last), _) => ("Last-Event-ID", last),
        (None, Some(since)) => ("since", since.as_str()),
        (None, None) => return Ok(None),
    };
    let number = value.parse();
    number
        .map(Some)
        .map_err(|_| format!("{name}: expected the number of an event"))
}

fn text(event: &Event) -> Result<Bytes, serde_json::Error> {
    let json = serde_json::to_string(event)?;
    Ok(format!("id: {}\ndata: {json}\n\n", event.seq).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use spool_core::{EventKind, Timestamp};

    #[test]
    fn an_event_is_one_block() {
        let event = Event::new(7, Timestamp(0), EventKind::Quarantined("a\n\ndata: b".into()));
        let text = String::from_utf8(text(&event).unwrap().to_vec()).unwrap();
        assert!(
            text.starts_with("id: 7\ndata: {") && text.ends_with("}\n\n"),
            "{text}"
        );
        assert_eq!(text.lines().count(), 3);
    }
}
