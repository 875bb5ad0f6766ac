//! The HTTP server: actix-web's application over connections of our own, which know their deadlines, and the one
//! middleware that every request goes through.
//!
//! Requests of each kind have places of their own, taken before a body is read: those that bring a body, those that
//! look, and those that follow the events. A probe needs none, so that it is answered whatever the others do.

use super::answer::Followed;
use super::connection::{HEAD_TIMEOUT, LINGER, Line, Lines, Stream};
use super::guard::{Door, Head, Hosts, Refusal, is_probe, only_looks};
use super::{State, Token, busy, error, routes};
use actix_http::error::DispatchError;
use actix_http::{ConnectionType, HttpService, KeepAlive, Protocol};
use actix_service::{IntoServiceFactory, ServiceFactoryExt, fn_service, map_config};
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{AppConfig, Server, ServiceRequest, ServiceResponse};
use actix_web::http::header::{CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING, WWW_AUTHENTICATE};
use actix_web::http::{Method, StatusCode, Version};
use actix_web::middleware::{Next, from_fn};
use actix_web::rt::net::TcpStream;
use actix_web::web::Data;
use actix_web::{App, Error, HttpResponse};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections at once. One more takes the place of the one that has waited longest for a head.
pub(crate) const MAX_CONNECTIONS: usize = 512;
/// Connections handed over by the accepting thread; the rest wait in the kernel. More than are ever kept.
const HANDED_OVER: usize = 4 * MAX_CONNECTIONS;
/// Requests at once that bring a body.
pub(super) const MAX_BODIES: usize = 64;
/// Requests at once that look, but for those who follow the events.
pub(super) const MAX_LOOKS: usize = 32;
/// How long a connection without a request is kept.
const IDLE: Duration = Duration::from_secs(5);
/// How long the server's end waits for its requests, in seconds.
const SHUTDOWN: u64 = 2;

/// Where requests that take time or memory have to find room. All are fewer than [`MAX_CONNECTIONS`], so that there is
/// always a connection that may give way.
#[derive(Debug)]
pub(super) struct Places {
    bodies: Arc<Semaphore>,
    looks: Arc<Semaphore>,
}

impl Places {
    pub(super) fn new() -> Self {
        Self {
            bodies: Arc::new(Semaphore::new(MAX_BODIES)),
            looks: Arc::new(Semaphore::new(MAX_LOOKS)),
        }
    }

    /// A place for a request; `Ok(None)` when it needs none here.
    fn find(&self, method: &Method, path: &str) -> Result<Option<OwnedSemaphorePermit>, HttpResponse> {
        let kind = match only_looks(method) {
            // Who follows the events asks for a place there.
            true if is_probe(path) || path == super::EVENTS => return Ok(None),
            true => &self.looks,
            false => &self.bodies,
        };
        let place = Arc::clone(kind).try_acquire_owned();
        place
            .map(Some)
            .map_err(|_| busy("busy: too many requests are being answered; try again soon"))
    }
}

/// What clients did wrong, since the start.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// What is no HTTP.
    pub(super) invalid: AtomicU64,
    /// Refused by the guard.
    pub(super) refused: AtomicU64,
    /// Connections that found no place, or ended because their peer was too slow or had gone.
    pub(super) broken: AtomicU64,
}

impl Faults {
    fn count(&self, error: &DispatchError) {
        let kind = match matches!(error, DispatchError::Parse(_)) {
            true => &self.invalid,
            false => &self.broken,
        };
        kind.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(%error, "a connection to the admin API has ended");
    }
}

/// Serves the API on `listener` until it is stopped.
///
/// With a `token` every request must bring it; `name` is this machine's, for requests from elsewhere.
///
/// # Errors
/// When the listener cannot be used.
pub(crate) fn serve(
    listener: TcpListener,
    state: State,
    token: Option<Token>,
    name: &str,
) -> std::io::Result<Server> {
    let hosts = Hosts::of(listener.local_addr()?, name);
    let door = Data::new(Door { hosts, token });
    let state = Data::new(state);
    let lines = Arc::new(Lines::new(MAX_CONNECTIONS));
    let builder = Server::build();
    let ending = builder.graceful_shutdown_signal();
    let server = builder
        .workers(1)
        .max_concurrent_connections(HANDED_OVER)
        .disable_signals()
        .shutdown_timeout(SHUTDOWN)
        .listen("admin", listener, move || {
            let app = App::new()
                .app_data(door.clone())
                .wrap(from_fn(pass))
                .configure(|config| routes(config, &state));
            let app = app.into_factory().map_err(|why: Error| why.error_response());
            let ending = ending.clone();
            let http = HttpService::build()
                .graceful_shutdown_signal(move || {
                    let ending = ending.clone();
                    async move { ending.notified().await }
                })
                .keep_alive(KeepAlive::Timeout(IDLE))
                .client_request_timeout(HEAD_TIMEOUT)
                .client_disconnect_timeout(LINGER)
                .on_connect_ext(|stream: &Stream, kept| drop(kept.insert(stream.line())))
                .finish(map_config(app, |()| AppConfig::default()));
            let (lines, faults) = (Arc::clone(&lines), state.clone());
            let accept = move |io: TcpStream| {
                let peer = io.peer_addr().ok();
                let stream = Stream::accept(io, &lines);
                let full = || DispatchError::Io(std::io::Error::other("too many connections"));
                std::future::ready(
                    stream
                        .map(|stream| (stream, Protocol::Http1, peer))
                        .ok_or_else(full),
                )
            };
            fn_service(accept).and_then(http).map_err(move |why| {
                faults.faults.count(&why);
                why
            })
        })?;
    Ok(server.run())
}

/// Tells the connection when a request is over, however it ends.
pub(super) struct Turn(Option<Arc<Line>>);

impl Turn {
    fn begin(request: &ServiceRequest) -> Self {
        let line = request.conn_data::<Arc<Line>>().cloned();
        if let Some(line) = &line {
            line.begins();
        }
        Self(line)
    }

    /// The last one on its connection.
    fn is_last(&self) {
        if let Some(line) = &self.0 {
            line.closes();
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(line) = &self.0 {
            line.ends();
        }
    }
}

/// What every request goes through: the guard, a place, HEAD as GET without its body, and the end of a connection whose
/// request was refused.
pub(super) async fn pass(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let turn = Turn::begin(&request);
    let (is_head, brings_body) = (request.method() == Method::HEAD, brings_body(&request));
    let is_old = request.version() < Version::HTTP_11;
    let (mut response, place, refused) = match admit(&request) {
        Err((refusal, refused)) => (request.into_response(refusal), None, refused),
        Ok(place) => {
            if is_head {
                request.head_mut().method = Method::GET;
            }
            (next.call(request).await?.map_into_boxed_body(), place, false)
        }
    };
    // What is left of its body is not read; whoever was refused is not listened to any more.
    if refused || (brings_body && !response.status().is_success()) {
        let head = response.response_mut().head_mut();
        head.set_connection_type(ConnectionType::Close);
        turn.is_last();
    }
    if is_old {
        // HTTP/1.0 has no chunks: a body of unknown length ends with the connection.
        let head = response.response_mut().head_mut();
        head.no_chunking(true);
        if matches!(response.response().body().size(), BodySize::Stream) {
            let head = response.response_mut().head_mut();
            head.set_connection_type(ConnectionType::Close);
        }
    }
    Ok(response.map_body(|_, body| BoxBody::new(Followed::new(body, is_head, turn, place))))
}

fn brings_body(request: &ServiceRequest) -> bool {
    let headers = request.headers();
    let length = headers.get(CONTENT_LENGTH);
    headers.contains_key(TRANSFER_ENCODING) || length.is_some_and(|length| length != "0")
}

/// A place for a request that may come in; or the answer it gets, and whether the guard refused it.
fn admit(request: &ServiceRequest) -> Result<Option<OwnedSemaphorePermit>, (HttpResponse, bool)> {
    let state = request.app_data::<Data<State>>();
    let (Some(door), Some(state)) = (request.app_data::<Data<Door>>(), state) else {
        // Without knowing our own names nothing passes.
        let text = "this server does not know its name";
        return Err((error(StatusCode::FORBIDDEN, text), true));
    };
    let head = Head {
        method: request.method(),
        version: request.version(),
        path: request.path(),
        headers: request.headers(),
    };
    if let Some(refusal) = door.refusal(head) {
        state.faults.refused.fetch_add(1, Ordering::Relaxed);
        return Err((refuse(refusal), true));
    }
    let place = state.places.find(head.method, head.path);
    place.map_err(|refusal| (refusal, false))
}

fn refuse((status, text): Refusal) -> HttpResponse {
    let mut response = error(status, text);
    if status == StatusCode::UNAUTHORIZED {
        let bearer = HeaderValue::from_static("Bearer");
        response.headers_mut().insert(WWW_AUTHENTICATE, bearer);
    }
    response
}
