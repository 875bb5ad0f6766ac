//! Who comes in, by the heads of requests.

use super::*;
use actix_web::http::header::HeaderValue;

fn hosts(address: &str) -> Guard {
    Guard {
        address: address.parse().unwrap(),
        name: "mx.example.net".to_owned(),
        token: None,
    }
}

struct Asked(RequestHead);

fn ask(method: Method, path: &'static str) -> Asked {
    let mut head = RequestHead::default();
    (head.method, head.uri) = (method, path.parse().unwrap());
    Asked(head)
}

fn get() -> Asked {
    ask(Method::GET, "/api/v1/status").with(&HOST, "localhost:8525")
}

impl Asked {
    fn with(mut self, name: &HeaderName, value: &'static str) -> Self {
        self.0
            .headers
            .insert(name.clone(), HeaderValue::from_static(value));
        self
    }

    fn status(&self) -> Option<StatusCode> {
        let refusal = hosts("127.0.0.1:8525").refusal(&self.0);
        refusal.map(|(status, _)| status)
    }

    fn passes(&self) -> bool {
        self.status().is_none()
    }
}

#[test]
fn only_our_own_names_pass() {
    for host in ["127.0.0.1:8525", "localhost:8525", "LOCALHOST:8525", "[::1]:8525"] {
        assert!(get().with(&HOST, host).passes(), "{host}");
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
        assert!(!get().with(&HOST, host).passes(), "{host}");
        let probe = ask(Method::GET, "/healthz").with(&HOST, host);
        assert!(!probe.passes(), "{host}");
    }
}

#[test]
fn a_probe_may_speak_http_1_0_without_a_host() {
    for path in ["/healthz", "/readyz"] {
        let mut probe = ask(Method::GET, path);
        assert!(!probe.passes(), "HTTP/1.1 has a Host");
        probe.0.version = Version::HTTP_10;
        assert!(probe.passes(), "{path}");
    }
    let mut other = ask(Method::GET, "/api/v1/status");
    other.0.version = Version::HTTP_10;
    assert!(!other.passes());
}

#[test]
fn pages_of_other_origins_change_and_load_nothing() {
    let post = || {
        ask(Method::POST, "/api/v1/freeze")
            .with(&HOST, "localhost:8525")
            .with(&CONTENT_TYPE, "application/json")
    };
    assert!(post().with(&ORIGIN, "http://localhost:8525").passes());
    assert!(!post().with(&ORIGIN, "http://evil.example").passes());
    assert!(!get().with(&ORIGIN, "null").passes());
    assert!(get().with(&FETCH_SITE, "same-origin").passes());
    assert!(get().with(&FETCH_SITE, "none").passes(), "typed by a person");
}

#[test]
fn other_sites_may_link_to_the_first_page_and_frame_nothing() {
    let paths = [
        "/",
        "/api/v1/events",
        "/api/v1/status",
        "/api/v1/messages/x/body",
        "/healthz",
        "/readyz",
    ];
    for site in ["cross-site", "same-site"] {
        for path in paths {
            for destination in ["document", "iframe", "frame", "embed", "object", "empty"] {
                let asked = ask(Method::GET, path)
                    .with(&HOST, "localhost:8525")
                    .with(&FETCH_SITE, site)
                    .with(&FETCH_MODE, "navigate")
                    .with(&FETCH_DEST, destination);
                let linked = path == "/" && destination == "document";
                assert_eq!(asked.passes(), linked, "{site} {path} {destination}");
            }
        }
    }
    let fetched = get().with(&FETCH_SITE, "cross-site").with(&FETCH_MODE, "no-cors");
    assert_eq!(fetched.status(), Some(StatusCode::FORBIDDEN));
}

#[test]
fn the_content_type_is_json_in_any_case_and_with_parameters() {
    let post = || ask(Method::POST, "/api/v1/freeze").with(&HOST, "localhost:8525");
    for kind in [
        "application/json",
        "Application/JSON",
        "APPLICATION/JSON; charset=utf-8",
        "application/json ;charset=\"utf-8\"",
        "application/json;",
    ] {
        assert!(post().with(&CONTENT_TYPE, kind).passes(), "{kind}");
    }
    for kind in [
        "text/plain",
        "application/jsonp",
        "text/plain; application/json",
        "",
    ] {
        let refused = post().with(&CONTENT_TYPE, kind).status();
        assert_eq!(refused, Some(StatusCode::UNSUPPORTED_MEDIA_TYPE), "{kind}");
    }
    assert_eq!(post().status(), Some(StatusCode::UNSUPPORTED_MEDIA_TYPE));
}

#[test]
fn elsewhere_our_name_and_our_addresses_pass() {
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
