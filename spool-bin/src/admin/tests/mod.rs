//! The routes, through actix-web's own test service, over a spool on disk whose mail is all frozen.

use super::guard::Guard;
use super::read::MAX_REQUEST;
use super::routes::{BODY_SLACK, routes};
use super::server::pass;
use super::slots::MAX_FOLLOWERS;
use super::{State, Token};
use crate::config::Config;
use crate::operation::Report;
use crate::relay::Relay;
use crate::submissions::Submissions;
use actix_web::App;
use actix_web::http::header::{CONTENT_TYPE, HOST, ORIGIN};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::from_fn;
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use actix_web::web::Data;
use serde_json::{Value, json};
use spool_actors::{Add, DestinationState, Spool, WhenLoaded};
use spool_core::{
    Budget, Envelope, MessageId, NoDice, RetryPolicy, ReversePath, RouteOrigin, Section, SpoolConfig,
    SystemClock,
};
use spool_smtp::client::{PoolSnapshot, SmtpAgent, SmtpConfig};
use spool_smtp::dkim::Rules;
use std::sync::Arc;

mod clients;
mod limits;
mod queries;
mod refusals;

const OURS: &str = "127.0.0.1:8525";

struct Api {
    state: Data<State>,
    guard: Data<Guard>,
    memory: Budget,
    _dir: tempfile::TempDir,
}

type Answer = (StatusCode, Vec<u8>);

fn guard(token: Option<Token>) -> Data<Guard> {
    let (address, name) = (OURS.parse().unwrap(), "localhost".to_owned());
    Data::new(Guard { address, name, token })
}

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
        service.spool = config;
        let memory = Budget::new(8 << 20);
        service.server.memory = memory.clone();
        (service.server.message_size, service.server.recipients) = (10_000, 3);
        let relay = Relay::new(
            &spool,
            crate::routes::Routes::of(&service),
            Submissions::new(&service, Rules::default(), &memory),
        );
        let state = State::new(relay, agent, &service);
        Self {
            state: Data::new(state),
            memory,
            guard: guard(None),
            _dir: dir,
        }
    }

    async fn call(&self, request: TestRequest) -> Answer {
        let app = App::new()
            .app_data(self.guard.clone())
            .wrap(from_fn(pass))
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
        self.ask(&Method::POST, path, body).await
    }

    async fn ask(&self, method: &Method, path: &str, body: &str) -> (StatusCode, Value) {
        let request = TestRequest::default()
            .method(method.clone())
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
