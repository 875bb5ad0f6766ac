//! The guard of the API: it refuses foreign Host headers (DNS rebinding), requests from pages of other origins and, when
//! there is a token, requests without it.
//!
//! It decides by the head of a request alone. Nothing more is read from a peer that was refused: its connection ends.

use super::token::Token;
use actix_web::dev::RequestHead;
use actix_web::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, ORIGIN};
use actix_web::http::{Method, StatusCode, Version};
use std::net::{IpAddr, SocketAddr};

static FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
static FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
static FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// Which requests are admitted.
#[derive(Debug)]
pub(super) struct Guard {
    /// Where this API listens.
    pub(super) address: SocketAddr,
    /// The name of this machine.
    pub(super) name: String,
    pub(super) token: Option<Token>,
}

impl Guard {
    fn is_ours(&self, authority: &str) -> bool {
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port.parse().ok()),
            Some(_) | None => (authority, Some(80)),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        // On loopback nobody needs the name of the host, and a page may have rebound it.
        let ours = !self.address.ip().is_loopback() && host.eq_ignore_ascii_case(&self.name);
        let named = ours || host.eq_ignore_ascii_case("localhost");
        // Of a wildcard listener the addresses are not known; a page cannot rebind an address.
        let known =
            |ip: IpAddr| ip.is_loopback() || ip == self.address.ip() || self.address.ip().is_unspecified();
        let address = host.parse::<IpAddr>().is_ok_and(known);
        port == Some(self.address.port()) && (named || address)
    }

    /// Why a request is not admitted.
    pub(super) fn refusal(&self, request: &RequestHead) -> Option<GuardRefusal> {
        self.foreign(request).or_else(|| {
            let brought = |token: &Token| token.is_in(header(request.headers(), &AUTHORIZATION));
            let free = is_probe(request.uri.path()) || self.token.as_ref().is_none_or(brought);
            (!free).then_some(NO_TOKEN)
        })
    }

    /// Why a request is foreign.
    fn foreign(&self, request: &RequestHead) -> Option<GuardRefusal> {
        let headers = request.headers();
        let named = match header(headers, &HOST) {
            Some(host) => self.is_ours(host),
            // HTTP/1.0 knows no Host; no browser speaks it.
            None => request.version == Version::HTTP_10 && is_probe(request.uri.path()),
        };
        if !named {
            return Some((StatusCode::FORBIDDEN, "the Host header names another server"));
        }
        let own = |origin: &str| {
            origin
                .strip_prefix("http://")
                .is_some_and(|authority| self.is_ours(authority))
        };
        if header(headers, &ORIGIN).is_some_and(|origin| !own(origin)) || from_elsewhere(request) {
            return Some(OTHER_ORIGIN);
        }
        if !changes_nothing(&request.method) && !says_json(headers) {
            return Some((
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "changes are asked for with Content-Type: application/json",
            ));
        }
        None
    }
}

fn header<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name).map(|value| value.to_str().unwrap_or("?"))
}

/// Why a request is refused.
pub(super) type GuardRefusal = (StatusCode, &'static str);

const OTHER_ORIGIN: GuardRefusal = (
    StatusCode::FORBIDDEN,
    "requests from pages of other origins are refused",
);

const NO_TOKEN: GuardRefusal = (
    StatusCode::UNAUTHORIZED,
    "this API asks for a token: Authorization: Bearer TOKEN, or --token-file FILE (SPOOL_TOKEN_FILE) with the commands",
);

/// Whether a path is a probe, which needs no token and reveals nothing.
pub(super) fn is_probe(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz")
}

/// Whether a method changes nothing.
pub(super) fn changes_nothing(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// Whether a browser states that a page of another site sends the request. A page can load what it may not read, also in a
/// frame, and would take the slots of followers of the events. A link to the first page is admitted.
fn from_elsewhere(request: &RequestHead) -> bool {
    let told = |name: &HeaderName| header(request.headers(), name);
    let elsewhere = told(&FETCH_SITE).is_some_and(|site| matches!(site, "cross-site" | "same-site"));
    let link = changes_nothing(&request.method)
        && request.uri.path() == "/"
        && told(&FETCH_MODE) == Some("navigate")
        && told(&FETCH_DEST) == Some("document");
    elsewhere && !link
}

/// A page can send a form to any server without a preflight request, but not JSON.
fn says_json(headers: &HeaderMap) -> bool {
    let kind = header(headers, &CONTENT_TYPE).and_then(|kind| kind.split(';').next());
    kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
