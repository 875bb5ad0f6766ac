//! The event stream as server-sent events: `id:` is the sequence number, `data:` the event as JSON.
//!
//! A follower that falls behind is told how much it missed, by an event; it never holds up the spool. So many follow at
//! once, and no more.

use super::connection::Line;
use super::{State, busy, error, refused};
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, HeaderName};
use actix_web::web::{Data, Query};
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use futures_util::StreamExt;
use serde::Deserialize;
use spool_actors::Subscribe;
use spool_core::{Event, SpoolError};
use std::sync::Arc;

/// Followers at once.
pub(super) const MAX_FOLLOWERS: usize = 100;

/// What a browser sends when it comes back.
static LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct From {
    since: Option<String>,
}

pub(super) async fn follow(state: Data<State>, from: Query<From>, request: HttpRequest) -> HttpResponse {
    let since = match since(&from, &request) {
        Ok(since) => since,
        Err(text) => return error(StatusCode::BAD_REQUEST, &text),
    };
    let Ok(place) = Arc::clone(&state.followers).try_acquire_owned() else {
        return busy(&format!("busy: {MAX_FOLLOWERS} follow already; try again later"));
    };
    if let Some(line) = request.conn_data::<Arc<Line>>() {
        line.is_endless();
    }
    let subscribed = state.relay.spool.send(Subscribe { since }).await;
    let subscription = match subscribed.unwrap_or(Err(SpoolError::Killed)) {
        Ok(subscription) => subscription,
        Err(why) => return refused(&why),
    };
    // A comment first: the head goes out now, not with the first event.
    let begin = futures_util::stream::iter([Ok(Bytes::from_static(b": from here on\n\n"))]);
    let events = subscription.map(move |event| {
        // Given back when the stream is dropped.
        let _place = &place;
        text(&event).map_err(actix_web::Error::from)
    });
    HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((CACHE_CONTROL, "no-store"))
        .streaming(begin.chain(events))
}

/// Where to begin. What a browser that comes back has seen counts more than the address it began with.
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
    fn an_event_is_one_block_whatever_stands_in_it() {
        let event = Event::new(7, Timestamp(0), EventKind::Quarantined("a\n\ndata: b".into()));
        let text = String::from_utf8(text(&event).unwrap().to_vec()).unwrap();
        assert!(
            text.starts_with("id: 7\ndata: {") && text.ends_with("}\n\n"),
            "{text}"
        );
        assert_eq!(text.lines().count(), 3);
    }
}
