//! Requests that are refused, by the guard or for what they say.

use super::*;

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
    api.guard = guard(Some(Token::read(&path).unwrap()));
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
async fn only_objects_are_taken_where_objects_are_asked_for() {
    let api = Api::start().await;
    let submission = r#"["a@example.org",["b@example.net"],"x",null,[],[],true,null]"#;
    let operation =
        r#"[["01M86G2VQ3ZCK4M6B0S0A98KXB"],true,false,null,null,null,null,null,null,false,[],null]"#;
    let paths = [
        (Method::PUT, "jobs", "[7]"),
        (Method::POST, "messages", submission),
        (Method::POST, "freeze", operation),
        (Method::POST, "send", operation),
        (Method::POST, "remove", operation),
        (Method::POST, "recover", operation),
        (Method::POST, "purge", operation),
    ];
    for (method, path, array) in paths {
        for body in [array, "7", "null", "\"x\"", "true", ""] {
            let path = format!("/api/v1/{path}");
            let (status, answer) = api.ask(&method, &path, body).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{path} {body}: {answer}");
        }
    }
    let (status, answer) = api.ask(&Method::PUT, "/api/v1/jobs", r#" {"max":0}"#).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
}
