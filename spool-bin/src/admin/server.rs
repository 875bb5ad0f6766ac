//! The HTTP server: actix-web's application over connections with deadlines, and the one middleware that every request
//! passes.
//!
//! Requests with a body, requests that read, and followers of the events have separate slots, taken before a body is read.
//! A probe needs none, so that it is answered whatever the others do.

use super::connection::{HEAD_TIMEOUT, LINGER};
use super::connections::Connections;
use super::error::{error, response, with_response};
use super::guard::{Guard, GuardRefusal};
use super::routes::routes;
use super::state::State;
use super::stream::Stream;
use super::token::Token;
use super::tracked::{ActiveRequest, TrackedBody};
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
use actix_web::{App, Error};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

/// Connections at the same time. For one more, the one that has waited longest for a request is closed.
pub(crate) const MAX_CONNECTIONS: usize = 512;
/// Connections handed over by the accepting thread; the rest wait in the kernel. More than are ever kept.
const HANDED_OVER: usize = 4 * MAX_CONNECTIONS;
/// How long a connection without a request is kept.
const IDLE: Duration = Duration::from_secs(5);
/// How long a shutdown waits for requests, in seconds.
const SHUTDOWN: u64 = 2;

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
    let (address, name) = (listener.local_addr()?, name.to_owned());
    let guard = Data::new(Guard { address, name, token });
    let state = Data::new(state);
    let connections = Arc::new(Connections::new(MAX_CONNECTIONS, state.memory.clone()));
    let builder = Server::build();
    let ending = builder.graceful_shutdown_signal();
    let server = builder
        .workers(1)
        .max_concurrent_connections(HANDED_OVER)
        .disable_signals()
        .shutdown_timeout(SHUTDOWN)
        .listen("admin", listener, move || {
            let app = App::new()
                .app_data(guard.clone())
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
                .on_connect_ext(|stream: &Stream, kept| drop(kept.insert(Arc::clone(&stream.connection))))
                .finish(map_config(app, |()| AppConfig::default()));
            let (connections, counted) = (Arc::clone(&connections), state.clone());
            let accept = move |io: TcpStream| {
                let peer = io.peer_addr().ok();
                let stream = Stream::accept(io, &connections);
                let full = || DispatchError::Io(std::io::Error::other("too many connections"));
                std::future::ready(
                    stream
                        .map(|stream| (stream, Protocol::Http1, peer))
                        .ok_or_else(full),
                )
            };
            fn_service(accept).and_then(http).map_err(move |why| {
                counted.slots.failures.count(&why);
                why
            })
        })?;
    Ok(server.run())
}

/// What every request passes: the guard, a slot, HEAD as GET without its body, and the end of the connection after a request
/// that was refused.
pub(super) async fn pass(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let (is_head, brings_body) = (request.method() == Method::HEAD, brings_body(&request));
    let active = ActiveRequest::begin(&request, brings_body).await;
    let is_old = request.version() < Version::HTTP_11;
    let (mut response, slot, refused) = match admit(&request) {
        Err((refusal, refused)) => (request.error_response(refusal), None, refused),
        Ok(slot) => {
            if is_head {
                request.head_mut().method = Method::GET;
            }
            (next.call(request).await?.map_into_boxed_body(), slot, false)
        }
    };
    // The rest of its body is not read, and nothing more is read from a peer that was refused.
    let is_last = refused || (brings_body && !response.status().is_success());
    if is_last {
        active.is_last();
    }
    // HTTP/1.0 has no chunks: a body of unknown length ends with the connection.
    let unknown = matches!(response.response().body().size(), BodySize::Stream);
    let head = response.response_mut().head_mut();
    head.no_chunking(is_old);
    if is_last || (is_old && unknown) {
        head.set_connection_type(ConnectionType::Close);
    }
    Ok(response.map_body(|_, body| BoxBody::new(TrackedBody::new(body, is_head, active, slot))))
}

fn brings_body(request: &ServiceRequest) -> bool {
    let headers = request.headers();
    let length = headers.get(CONTENT_LENGTH);
    headers.contains_key(TRANSFER_ENCODING) || length.is_some_and(|length| length != "0")
}

/// A slot for an admitted request; or the error, and whether the guard refused the request.
fn admit(request: &ServiceRequest) -> Result<Option<OwnedSemaphorePermit>, (Error, bool)> {
    let state = request.app_data::<Data<State>>();
    let (Some(guard), Some(state)) = (request.app_data::<Data<Guard>>(), state) else {
        // Without its own names the guard cannot admit anything.
        let text = "this server does not know its name";
        return Err((error(StatusCode::FORBIDDEN, text), true));
    };
    if let Some(refusal) = guard.refusal(request.head()) {
        state.slots.failures.refused.fetch_add(1, Ordering::Relaxed);
        return Err((refuse(refusal), true));
    }
    let slot = state.slots.take(request.method(), request.path());
    slot.map_err(|refusal| (refusal, false))
}

fn refuse((status, text): GuardRefusal) -> Error {
    let mut response = response(status, text);
    if status == StatusCode::UNAUTHORIZED {
        let bearer = HeaderValue::from_static("Bearer");
        response.headers_mut().insert(WWW_AUTHENTICATE, bearer);
    }
    with_response(response)
}
