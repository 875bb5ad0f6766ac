//! The routes, through actix-web's own test service, over a spool on disk whose mail is all frozen.

use super::*;
use crate::config::Config;
use crate::operation::Report;
use actix_web::http::Method;
use actix_web::http::header::{CONTENT_TYPE, HOST, ORIGIN};
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use serde_json::{Value, json};
use spool_actors::{Add, DestinationState, Spool, WhenLoaded};
use spool_core::{
    Envelope, MessageId, NoDice, RetryPolicy, ReversePath, RouteOrigin, Section, SpoolConfig, SystemClock,
};
use spool_smtp::client::{PoolSnapshot, SmtpAgent, SmtpConfig};

const OURS: &str = "127.0.0.1:8525";

struct Api {
    state: Data<State>,
    door: Data<Door>,
    _dir: tempfile::TempDir,
}

type Answer = (StatusCode, Vec<u8>);

impl Api {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = SpoolConfig::new(dir.path().join("spool"));
        config.max_concurrent_jobs = 0;
        config.store.min_free_space = 0;
        let agent = Arc::new(SmtpAgent::new(SmtpConfig::default()));
        let spool = Spool::start(
            config.clone(),
            Arc::clone(&agent) as _,
            Arc::new(SystemClock),
            Arc::new(NoDice),
        )
        .await
        .unwrap();
        // Names are answered once all is loaded.
        spool.addr.send(WhenLoaded).await.unwrap().unwrap();
        let mut service = Config::parse("").unwrap();
        service.route.next_hops = vec!["mx.example.net:25".parse().unwrap()];
        let state = State::new(
            Relay::new(&spool, crate::routes::Routes::of(&service)),
            agent,
            10_000,
            config.dir,
        );
        let hosts = Hosts::of(OURS.parse().unwrap(), "localhost");
        Self {
            state: Data::new(state),
            door: Data::new(Door { hosts, token: None }),
            _dir: dir,
        }
    }

    async fn call(&self, request: TestRequest) -> Answer {
        let app = App::new()
            .app_data(self.door.clone())
            .wrap(from_fn(guard))
            .configure(|config| routes(config, &self.state));
        let app = init_service(app).await;
        let response = call_service(&app, request.to_request()).await;
        (response.status(), read_body(response).await.to_vec())
    }

    async fn get(&self, path: &str) -> Answer {
        let request = TestRequest::get().uri(path).insert_header((HOST, OURS));
        self.call(request).await
    }

    async fn post(&self, path: &str, body: &str) -> (StatusCode, Value) {
        let request = TestRequest::post()
            .uri(path)
            .insert_header((HOST, OURS))
            .insert_header((CONTENT_TYPE, "application/json"))
            .set_payload(body.to_owned());
        let (status, body) = self.call(request).await;
        let text = String::from_utf8_lossy(&body).into_owned();
        (
            status,
            serde_json::from_slice(&body).unwrap_or_else(|_| panic!("{path}: {text}")),
        )
    }

    /// Spools a frozen message; gives its id.
    async fn frozen(&self, from: &str, to: &str) -> String {
        let body = json!({"from": from, "to": [to], "body": "x\n", "frozen": true});
        let (status, answer) = self.post("/api/v1/messages", &body.to_string()).await;
        assert_eq!(status, StatusCode::CREATED, "{answer}");
        answer["ids"][0].as_str().unwrap().to_owned()
    }

    async fn count(&self, query: &str) -> u64 {
        let (status, body) = self.get(&format!("/api/v1/count{query}")).await;
        assert_eq!(status, StatusCode::OK, "{query}");
        serde_json::from_slice::<Value>(&body).unwrap()["count"]
            .as_u64()
            .unwrap()
    }

    async fn dry_run(&self, operation: &str, mut request: Value) -> Report {
        request["dry_run"] = true.into();
        let (_, answer) = self
            .post(&format!("/api/v1/{operation}"), &request.to_string())
            .await;
        serde_json::from_value(answer).unwrap()
    }
}

#[actix_web::test]
async fn nothing_is_behind_the_guards_back() {
    let api = Api::start().await;
    let id = MessageId::from_u128(7);
    let paths = [
        (Method::GET, "/healthz".to_owned()),
        (Method::GET, "/api/v1/status".to_owned()),
        (Method::GET, format!("/api/v1/messages/{id}")),
        (Method::GET, format!("/api/v1/messages/{id}/body")),
        (Method::GET, format!("/api/v1/messages/{id}/explain")),
        (Method::GET, "/api/v1/events".to_owned()),
        (Method::POST, "/api/v1/messages".to_owned()),
        (Method::POST, "/api/v1/freeze".to_owned()),
        (Method::POST, "/api/v1/purge".to_owned()),
        (Method::GET, "/no/such/thing".to_owned()),
    ];
    for (method, path) in paths {
        let request = || TestRequest::default().method(method.clone()).uri(&path);
        let json = (CONTENT_TYPE, "application/json");
        let foreign_host = request()
            .insert_header((HOST, "evil.example:8525"))
            .insert_header(json.clone());
        assert_eq!(api.call(foreign_host).await.0, StatusCode::FORBIDDEN, "{path}");
        let foreign_page = request()
            .insert_header((HOST, OURS))
            .insert_header((ORIGIN, "http://evil.example"))
            .insert_header(json);
        assert_eq!(api.call(foreign_page).await.0, StatusCode::FORBIDDEN, "{path}");
        if method == Method::POST {
            let form = request()
                .insert_header((HOST, OURS))
                .insert_header((CONTENT_TYPE, "text/plain"));
            assert_eq!(
                api.call(form).await.0,
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "{path}"
            );
        }
    }
}

#[actix_web::test]
async fn with_a_token_nothing_but_a_probe_comes_in_without_it() {
    let mut api = Api::start().await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    std::fs::write(&path, "0123456789abcdef\n").unwrap();
    let hosts = Hosts::of(OURS.parse().unwrap(), "localhost");
    let token = Some(Token::read(&path).unwrap());
    api.door = Data::new(Door { hosts, token });
    for path in [
        "/api/v1/status",
        "/api/v1/events",
        "/",
        "/healthz/../api/v1/count",
    ] {
        assert_eq!(api.get(path).await.0, StatusCode::UNAUTHORIZED, "{path}");
    }
    let (status, answer) = api.post("/api/v1/freeze", "{\"all\":true}").await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert!(
        answer["error"].as_str().unwrap().contains("--token-file"),
        "{answer}"
    );
    for path in ["/healthz", "/readyz"] {
        assert_eq!(api.get(path).await.0, StatusCode::OK, "{path}");
    }
    let request = TestRequest::get()
        .uri("/api/v1/count")
        .insert_header((HOST, OURS))
        .insert_header(("authorization", "bearer 0123456789abcdef"));
    assert_eq!(api.call(request).await.0, StatusCode::OK);
}

#[actix_web::test]
async fn requests_that_say_nothing_or_nonsense_are_refused() {
    let api = Api::start().await;
    for operation in ["freeze", "send", "remove", "recover", "purge"] {
        let path = format!("/api/v1/{operation}");
        for body in [
            "",
            "{}",
            "[]",
            r#"{"all":false}"#,
            r#"{"al":true}"#,
            r#"{"all":true,"frozen":true}"#,
            r#"{"ids":["../../x"],"older":"1s"}"#,
            r#"{"sender":"(","older":"1s"}"#,
        ] {
            let (status, answer) = api.post(&path, body).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{operation} {body}");
            assert!(answer["error"].is_string(), "{answer}");
        }
        let (status, answer) = api.post(&path, &" ".repeat(MAX_REQUEST + 1)).await;
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{operation}");
        assert!(answer["error"].is_string(), "{answer}");
        assert_eq!(
            api.get(&path).await.0,
            StatusCode::NOT_FOUND,
            "only POST does something"
        );
    }
    for path in [
        "/api/v1/messages/nonsense",
        "/api/v1/messages/nonsense/body",
        "/api/v1/messages/..%2F..%2Fetc%2Fpasswd/body",
        "/api/v1/messages/01m86g2vq3zck4m6b0s0a98kxb/explain",
        "/api/v1/events?since=soon",
        "/api/v1/events?sinse=1",
        "/api/v1/status?colour=red",
        "/api/v1/count?older=old",
        "/api/v1/count?queue=removed&queue=frozen",
    ] {
        let (status, body) = api.get(path).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path}");
        let answer: Value = serde_json::from_slice(&body).unwrap();
        assert!(answer["error"].is_string(), "{path}: {answer}");
    }
}

#[actix_web::test]
async fn listings_and_counts_select_the_same() {
    let api = Api::start().await;
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(api.frozen("ada@example.org", &format!("{n}@x.example")).await);
    }
    let other = api.frozen("eve@example.org", "z@y.example").await;
    let two = format!("?id={}&id={}", ids[3], ids[1]);
    let none = format!("?id={}", MessageId::from_u128(7));
    for (query, expected) in [
        ("", 6),
        ("?all=true", 6),
        ("?frozen=true", 6),
        ("?queue=active", 0),
        ("?queue=removed", 0),
        ("?sender=^ADA@", 5),
        ("?recipient=y%5C.example$", 1),
        ("?next_hop=mx", 6),
        ("?older=1h", 0),
        ("?younger=1h&sender=eve", 1),
        (&two, 2),
        (&none, 0),
    ] {
        assert_eq!(api.count(query).await, expected, "{query}");
        let (status, body) = api.get(&format!("/api/v1/status{query}")).await;
        assert_eq!(status, StatusCode::OK, "{query}");
        let lines = String::from_utf8(body).unwrap();
        assert_eq!(lines.lines().count() as u64, expected, "{query}");
    }
    let (_, body) = api.get("/api/v1/status").await;
    let text = String::from_utf8(body).unwrap();
    let listed: Vec<String> = text
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["id"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    ids.push(other);
    assert_eq!(listed, ids, "in the order of their arrival");
}

#[actix_web::test]
async fn a_listing_may_be_longer_than_a_page() {
    let api = Api::start().await;
    let envelope = Envelope::new(ReversePath::Null, ["bob@example.net".parse().unwrap()]);
    let section = Section {
        envelope,
        next_hops: ["mx.example.net:25".parse().unwrap()].into(),
        origin: RouteOrigin::Named,
        retry: RetryPolicy::default(),
    };
    let mut ids = Vec::new();
    for _ in 0..25 {
        let add = Add::sections(vec![section.clone(); 100], "x\n").frozen();
        ids.extend(api.state.relay.spool.send(add).await.unwrap().unwrap());
    }
    ids.sort_unstable();
    assert_eq!(api.count("?older=0s").await, 2500);
    let (_, body) = api.get("/api/v1/status?recipient=bob").await;
    let listed: Vec<MessageId> = String::from_utf8(body)
        .unwrap()
        .lines()
        .map(|line| {
            serde_json::from_str::<spool_core::MessageSummary>(line)
                .unwrap()
                .id
        })
        .collect();
    assert_eq!(listed, ids);
    let report = api.dry_run("send", json!({"all": true})).await;
    assert_eq!(report.ids.unwrap(), ids);
}

#[actix_web::test]
async fn a_dry_run_tells_and_does_nothing() {
    let api = Api::start().await;
    let id = api.frozen("ada@example.org", "bob@example.net").await;
    let missing = MessageId::from_u128(7).to_string();
    let report = api.dry_run("freeze", json!({"sender": "ada"})).await;
    assert_eq!((report.matched, report.done), (1, 0));
    assert_eq!(report.ids.unwrap()[0].to_string(), id);
    let report = api.dry_run("remove", json!({"ids": [id, missing]})).await;
    assert_eq!((report.matched, report.ids.unwrap().len()), (2, 1));
    assert_eq!(report.errors[0].code, "no_such_message");
    assert!(
        api.dry_run("send", json!({"ids": [missing]}))
            .await
            .found_nothing()
    );
    for (operation, request) in [
        ("recover", json!({"all": true})),
        ("purge", json!({"older": "0s"})),
        ("purge", json!({"older": "0s", "sender": "ada"})),
    ] {
        let report = api.dry_run(operation, request).await;
        assert_eq!((report.matched, report.ids.unwrap().len()), (0, 0), "{operation}");
    }
    assert_eq!(api.count("?frozen=true").await, 1);
}

#[actix_web::test]
async fn destinations_and_connections_are_told() {
    let api = Api::start().await;
    let (status, text) = api.get("/api/v1/destinations").await;
    assert_eq!((status, text.as_slice()), (StatusCode::OK, b"".as_slice()));
    api.frozen("ada@example.org", "bob@example.net").await;
    let (_, text) = api.get("/api/v1/destinations").await;
    let state: DestinationState = serde_json::from_slice(&text).unwrap();
    assert_eq!((state.messages, state.waiting, state.running), (1, 0, 0));
    assert_eq!(state.next_hops[0].to_string(), "mx.example.net:25");
    let (status, pool) = api.get("/api/v1/connections").await;
    let pool: PoolSnapshot = serde_json::from_slice(&pool).unwrap();
    assert_eq!((status, pool.open), (StatusCode::OK, 0));
    assert_eq!(pool.limit, SmtpConfig::default().connections);
}

#[actix_web::test]
async fn submissions_check_their_name() {
    let api = Api::start().await;
    let request = |key: &str| {
        json!({"from": "a@example.org", "to": ["b@example.net"], "body": "x", "frozen": true, "idempotency_key": key})
            .to_string()
    };
    for key in ["", &"k".repeat(256)] {
        let (status, answer) = api.post("/api/v1/messages", &request(key)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(
            answer["error"].as_str().unwrap().starts_with("idempotency_key"),
            "{answer}"
        );
    }
    let (status, _) = api.post("/api/v1/messages", &request(&"k".repeat(255))).await;
    assert_eq!(status, StatusCode::CREATED);
    let (status, answer) = api
        .post("/api/v1/messages", &" ".repeat(10_000 * 2 + BODY_SLACK))
        .await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{answer}");
}

#[actix_web::test]
async fn only_so_many_follow_the_events() {
    let api = Api::start().await;
    let app = App::new()
        .app_data(api.door.clone())
        .wrap(from_fn(guard))
        .configure(|config| routes(config, &api.state));
    let app = init_service(app).await;
    let request = || {
        TestRequest::get()
            .uri("/api/v1/events")
            .insert_header((HOST, OURS))
    };
    let mut following = Vec::new();
    for _ in 0..events::MAX_FOLLOWERS {
        let response = call_service(&app, request().to_request()).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers().get(CONTENT_TYPE).unwrap(), "text/event-stream");
        following.push(response);
    }
    let refused = call_service(&app, request().to_request()).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    following.pop();
    let response = call_service(&app, request().to_request()).await;
    assert_eq!(response.status(), StatusCode::OK, "a place was given back");
}
