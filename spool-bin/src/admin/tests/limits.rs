//! What a request may cost: memory, recipients, places, sizes.

use super::*;

#[actix_web::test]
async fn bodies_and_answers_without_memory_are_answered_503() {
    let api = Api::start().await;
    let id = api.frozen("ada@example.org", "bob@example.net").await;
    assert_eq!(api.memory.used(), 0, "all is given back");
    let others = api.memory.hold_first(1 << 40).unwrap();
    let request = |method: Method, path: &str| {
        let json = (CONTENT_TYPE, "application/json");
        let request = TestRequest::default()
            .method(method)
            .uri(path)
            .insert_header((HOST, OURS));
        request.insert_header(json)
    };
    let body = format!("/api/v1/messages/{id}/body");
    for request in [
        request(Method::POST, "/api/v1/messages").set_payload(" ".repeat(8000)),
        request(Method::POST, "/api/v1/freeze").set_payload(" ".repeat(8000)),
        request(Method::GET, &body),
    ] {
        let app = App::new()
            .app_data(api.guard.clone())
            .wrap(from_fn(pass))
            .configure(|config| routes(config, &api.state));
        let response = call_service(&init_service(app).await, request.to_request()).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(response.headers().contains_key("retry-after"));
    }
    drop(others);
    assert_eq!(api.get(&body).await.0, StatusCode::OK);
    assert_eq!(api.memory.used(), 0, "all is given back");
}

#[actix_web::test]
async fn a_submission_has_no_more_recipients_than_over_smtp() {
    let api = Api::start().await;
    let submit = |count: usize| {
        let to: Vec<String> = (0..count).map(|n| format!("{n}@x.example")).collect();
        json!({"from": "a@example.org", "to": to, "body": "x", "frozen": true}).to_string()
    };
    let (status, answer) = api.post("/api/v1/messages", &submit(4)).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let expected = "to: 4 recipients are more than the 3 that one submission may have";
    assert_eq!(answer["error"], expected);
    let (status, answer) = api.post("/api/v1/messages", &submit(3)).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
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
        .app_data(api.guard.clone())
        .wrap(from_fn(pass))
        .configure(|config| routes(config, &api.state));
    let app = init_service(app).await;
    let request = || {
        TestRequest::get()
            .uri("/api/v1/events")
            .insert_header((HOST, OURS))
    };
    let mut following = Vec::new();
    for _ in 0..MAX_FOLLOWERS {
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

#[actix_web::test]
async fn a_body_that_takes_too_long_is_answered_408() {
    let api = Api::start().await;
    let request = TestRequest::default()
        .app_data(api.state.clone())
        .to_http_request();
    // A byte each 10 s, without end.
    let drip = futures_util::stream::unfold((), |()| async {
        tokio::time::sleep(std::time::Duration::from_secs(10)).await;
        Some((Ok::<_, actix_web::error::PayloadError>("x".into()), ()))
    });
    let payload: futures_util::stream::LocalBoxStream<'static, _> = Box::pin(drip);
    let mut payload = actix_web::dev::Payload::Stream { payload };
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    let body = <super::super::read::Body as actix_web::FromRequest>::from_request(&request, &mut payload);
    let refusal = body.await.unwrap_err();
    let took = begun.elapsed();
    tokio::time::resume();
    assert_eq!(
        refusal.as_response_error().status_code(),
        StatusCode::REQUEST_TIMEOUT
    );
    assert!((15..17).contains(&took.as_secs()), "{took:?}");
    assert_eq!(api.memory.used(), 0, "what had come is given back");
}
