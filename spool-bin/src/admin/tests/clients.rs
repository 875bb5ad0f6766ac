//! Who sends how much, and the lifting of limits.

use super::*;
use spool_smtp::server::ClientState;

#[actix_web::test]
async fn clients_are_listed_and_only_known_ones_lifted() {
    let api = Api::start().await;
    let (status, body) = api.get("/api/v1/clients").await;
    assert_eq!((status, body.as_slice()), (StatusCode::OK, &b""[..]));
    drop(api.state.relay.clients.connect("2001:db8::1".parse().unwrap()));
    let (_, body) = api.get("/api/v1/clients").await;
    let state: ClientState = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        (state.client.as_str(), state.new_connections.count),
        ("2001:db8::/64", 1)
    );
    for unknown in ["192.0.2.1", "ada", "%1b", "2001:db8:1::%2f64"] {
        let (status, answer) = api
            .ask(&Method::DELETE, &format!("/api/v1/clients/{unknown}"), "{}")
            .await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{unknown}: {answer}");
        assert!(!answer["error"].as_str().unwrap().contains('\u{1b}'), "{answer}");
    }
    let (status, answer) = api
        .ask(&Method::DELETE, "/api/v1/clients/2001:db8::%2f64", "{}")
        .await;
    assert_eq!(
        (status, answer["lifted"].as_str()),
        (StatusCode::OK, Some("2001:db8::/64"))
    );
    let (_, body) = api.get("/api/v1/clients").await;
    assert_eq!(body, b"");
    // As every other change: not for a page of another origin, nor a form.
    let request = TestRequest::delete()
        .uri("/api/v1/clients/ada")
        .insert_header((HOST, OURS));
    assert_eq!(api.call(request).await.0, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let request = TestRequest::delete()
        .uri("/api/v1/clients/ada")
        .insert_header((HOST, OURS))
        .insert_header((CONTENT_TYPE, "application/json"))
        .insert_header((ORIGIN, "http://evil.example"));
    assert_eq!(api.call(request).await.0, StatusCode::FORBIDDEN);
}
