//! Listings, counts, dry runs, destinations and connections.

use super::*;

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
    let envelope = Envelope::of(ReversePath::Null, ["bob@example.net".parse().unwrap()]);
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
    let path = |destination: &str| format!("/api/v1/destinations/{destination}");
    let reset = async |destination| api.ask(&Method::DELETE, &path(destination), "{}").await;
    let (status, answer) = reset("mx.example.net:25").await;
    let before: DestinationState = serde_json::from_value(answer["reset"].clone()).unwrap();
    assert_eq!((status, before), (StatusCode::OK, state));
    for (destination, expected) in [
        ("mx.example.net:26", StatusCode::NOT_FOUND),
        ("mx.example.net:25,b.example:25", StatusCode::NOT_FOUND),
        ("mx.example.net", StatusCode::BAD_REQUEST),
        ("mx.example.net:25,", StatusCode::BAD_REQUEST),
        ("%1b", StatusCode::BAD_REQUEST),
    ] {
        let (status, answer) = reset(destination).await;
        assert_eq!(status, expected, "{destination}: {answer}");
        assert!(!answer["error"].as_str().unwrap().contains('\u{1b}'), "{answer}");
    }
    let (status, pool) = api.get("/api/v1/connections").await;
    let pool: PoolSnapshot = serde_json::from_slice(&pool).unwrap();
    assert_eq!((status, pool.open), (StatusCode::OK, 0));
    assert_eq!(pool.limit, SmtpConfig::default().connections);
}
