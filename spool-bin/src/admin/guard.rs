//! What stands before the API: foreign Host headers (DNS rebinding) and changes asked for by pages of other origins
//! are refused, and with a token whatever does not bring it.

use super::{Token, error};
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{
    AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN, WWW_AUTHENTICATE,
};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{Error, HttpResponse, web};
use std::net::{IpAddr, SocketAddr};

static FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
static FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// Who may come in.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) hosts: Hosts,
    pub(super) token: Option<Token>,
}

/// The names this API answers to.
#[derive(Debug)]
pub(super) struct Hosts {
    port: u16,
    address: IpAddr,
    name: String,
}

impl Hosts {
    pub(super) fn of(address: SocketAddr, name: &str) -> Self {
        Self {
            port: address.port(),
            address: address.ip(),
            name: name.to_owned(),
        }
    }

    fn is_ours(&self, authority: &str) -> bool {
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port.parse().ok()),
            Some(_) | None => (authority, Some(80)),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        // On loopback nobody needs our name, and a page may have taken it.
        let ours = !self.address.is_loopback() && host.eq_ignore_ascii_case(&self.name);
        let named = ours || host.eq_ignore_ascii_case("localhost");
        // Listening everywhere, we cannot know all our addresses; a page cannot make a name of one.
        let known = |ip: IpAddr| ip.is_loopback() || ip == self.address || self.address.is_unspecified();
        let address = host.parse::<IpAddr>().is_ok_and(known);
        port == Some(self.port) && (named || address)
    }
}

fn header<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name).map(|value| value.to_str().unwrap_or("?"))
}

/// Without knowing our own names nothing passes.
const UNKNOWN: Option<(StatusCode, &str)> =
    Some((StatusCode::FORBIDDEN, "this server does not know its name"));

/// Why a request is refused.
fn refusal(hosts: &Hosts, method: &Method, headers: &HeaderMap) -> Option<(StatusCode, &'static str)> {
    if !header(headers, &HOST).is_some_and(|host| hosts.is_ours(host)) {
        return Some((StatusCode::FORBIDDEN, "the Host header names another server"));
    }
    let own = |origin: &str| {
        origin
            .strip_prefix("http://")
            .is_some_and(|authority| hosts.is_ours(authority))
    };
    if header(headers, &ORIGIN).is_some_and(|origin| !own(origin)) {
        return Some((
            StatusCode::FORBIDDEN,
            "requests from pages of other origins are refused",
        ));
    }
    // A page can load what it may not read, and would take the places of those who follow the events. Opening an
    // address by a link is something else.
    let elsewhere =
        header(headers, &FETCH_SITE).is_some_and(|site| matches!(site, "cross-site" | "same-site"));
    let opened = *method == Method::GET && header(headers, &FETCH_MODE) == Some("navigate");
    if elsewhere && !opened {
        return Some((
            StatusCode::FORBIDDEN,
            "requests from pages of other origins are refused",
        ));
    }
    // A page can send a form to anywhere without being asked; JSON it cannot.
    let json = header(headers, &CONTENT_TYPE).is_some_and(|kind| {
        kind.split(';')
            .next()
            .is_some_and(|kind| kind.trim() == "application/json")
    });
    if !matches!(*method, Method::GET | Method::HEAD) && !json {
        return Some((
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "changes are asked for with Content-Type: application/json",
        ));
    }
    None
}

/// Whether a probe asks, which has no token and learns nothing.
fn is_probe(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz")
}

fn unauthorized() -> HttpResponse {
    let text = "this API asks for a token: Authorization: Bearer TOKEN, or --token-file with the commands";
    let mut response = error(StatusCode::UNAUTHORIZED, text);
    let bearer = HeaderValue::from_static("Bearer");
    response.headers_mut().insert(WWW_AUTHENTICATE, bearer);
    response
}

pub(super) async fn guard(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let door = request.app_data::<web::Data<Door>>();
    let refusal = door.map_or(UNKNOWN, |door| {
        refusal(&door.hosts, request.method(), request.headers())
    });
    if let Some((status, text)) = refusal {
        return Ok(request.into_response(error(status, text)));
    }
    let token = door.and_then(|door| door.token.as_ref());
    let brought = |token: &Token| token.is_in(header(request.headers(), &AUTHORIZATION));
    if !is_probe(request.path()) && !token.is_none_or(brought) {
        return Ok(request.into_response(unauthorized()));
    }
    Ok(next.call(request).await?.map_into_boxed_body())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(method: Method, headers: &[(HeaderName, &'static str)]) -> bool {
        let hosts = Hosts::of("127.0.0.1:8525".parse().unwrap(), "mx.example.net");
        let headers = headers
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_static(value)))
            .collect();
        refusal(&hosts, &method, &headers).is_some()
    }

    #[test]
    fn only_our_own_names_and_origins_pass() {
        for host in ["127.0.0.1:8525", "localhost:8525", "LOCALHOST:8525", "[::1]:8525"] {
            assert!(!refused(Method::GET, &[(HOST, host)]), "{host}");
        }
        for host in [
            "evil.example:8525",
            "127.0.0.1:80",
            "127.0.0.1",
            "localhost.evil.example:8525",
            "",
            "192.0.2.1:8525",
            "mx.example.net:8525",
        ] {
            assert!(refused(Method::GET, &[(HOST, host)]), "{host}");
        }
        assert!(refused(Method::GET, &[]));
        let host = (HOST, "localhost:8525");
        let json = (CONTENT_TYPE, "application/json; charset=utf-8");
        assert!(!refused(
            Method::POST,
            &[host.clone(), json.clone(), (ORIGIN, "http://localhost:8525")]
        ));
        assert!(refused(
            Method::POST,
            &[host.clone(), json, (ORIGIN, "http://evil.example")]
        ));
        assert!(refused(Method::GET, &[host.clone(), (ORIGIN, "null")]));
        let cross = (FETCH_SITE.clone(), "cross-site");
        let navigate = (FETCH_MODE.clone(), "navigate");
        assert!(refused(Method::GET, &[host.clone(), cross.clone()]));
        assert!(!refused(Method::GET, &[host.clone(), cross, navigate]));
        assert!(!refused(
            Method::GET,
            &[host.clone(), (FETCH_SITE.clone(), "same-origin")]
        ));
        assert!(refused(Method::POST, &[host, (CONTENT_TYPE, "text/plain")]));
    }

    #[test]
    fn elsewhere_our_name_and_our_addresses_pass() {
        let hosts = |address: &str| Hosts::of(address.parse().unwrap(), "mx.example.net");
        let one = hosts("192.0.2.1:80");
        for host in ["192.0.2.1", "192.0.2.1:80", "MX.example.net"] {
            assert!(one.is_ours(host), "{host}");
        }
        for host in ["192.0.2.2", "evil.example", "192.0.2.1:81"] {
            assert!(!one.is_ours(host), "{host}");
        }
        let all = hosts("0.0.0.0:80");
        assert!(all.is_ours("192.0.2.7") && all.is_ours("mx.example.net") && !all.is_ours("evil.example"));
    }
}
