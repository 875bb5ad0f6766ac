//! The log, as an operator reads it: what happened to a message is found by its id, and addresses can be hidden.

use serde_json::Value;
use spool_tests::capture::Capture;
use spool_tests::http;
use spool_tests::process::{Running, run, serve, until};
use spool_tests::raw::RawClient;

/// The lines about mail of one kind.
fn events(server: &Running, event: &str) -> Vec<Value> {
    let log = server.log();
    let lines = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|_| panic!("{line}")));
    lines.filter(|line| line["event"] == event).collect()
}

#[test]
fn each_message_operation_and_outcome_has_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let capture = Capture::start();
    let hop = capture.next_hop();
    let server = serve(&dir.path().join("spool"), &[&hop], &["--log-format", "json"]);
    let mut client = RawClient::hello(server.smtp());
    let (code, text) = client
        .transaction(
            "ada@example.org",
            &["bob@example.net", "eve@example.net"],
            b"Subject: x\r\n\r\nhello\r\n",
        )
        .unwrap();
    assert_eq!(code, 250, "{text}");
    let id = text.split_whitespace().last().unwrap().to_owned();
    let delivered = until("both deliveries", || {
        let delivered = events(&server, "delivered");
        (delivered.len() == 2).then_some(delivered)
    });
    for (line, recipient) in delivered.iter().zip(["bob@example.net", "eve@example.net"]) {
        assert_eq!(
            (&line["id"], &line["recipient"]),
            (&id.clone().into(), &recipient.into())
        );
        assert_eq!(
            (&line["sender"], &line["reply"]),
            (&"ada@example.org".into(), &250.into())
        );
        assert_eq!(
            (&line["relay"], &line["attempt"]),
            (&hop.clone().into(), &1.into())
        );
        let delays: Vec<f64> = line["delays"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_f64)
            .collect();
        let sum: f64 = delays.iter().sum();
        assert!(
            delays.len() == 4 && (sum - line["delay"].as_f64().unwrap()).abs() < 0.0005,
            "{line}"
        );
        assert_eq!(line["tls"], "none");
    }
    let accepted = events(&server, "accepted");
    assert_eq!(accepted.len(), 1, "{accepted:?}");
    assert_eq!(accepted[0]["id"], serde_json::json!([id]));
    assert_eq!(
        (&accepted[0]["via"], &accepted[0]["client"]),
        (&"smtp".into(), &"127.0.0.1".into())
    );
    assert_eq!(
        (&accepted[0]["recipient_count"], &accepted[0]["admission"]),
        (&2.into(), &"network".into())
    );
    assert_eq!(accepted[0]["flow"], delivered[0]["flow"]);
    // Over HTTP, with an operation on it.
    let admin = server.field("admin");
    let frozen = r#"{"from":"ada@example.org","to":["x@example.net"],"body":"x","frozen":true}"#;
    assert_eq!(http::ask(admin, "POST", "/api/v1/messages", frozen).0, 201);
    let url = format!("http://{admin}");
    assert!(
        run(&["send", "--frozen", "--sender", "ada", "--admin", &url])
            .status
            .success()
    );
    let operation = until("the operation", || events(&server, "operation").pop());
    assert_eq!(
        (&operation["name"], &operation["by"]),
        (&"send".into(), &"127.0.0.1".into())
    );
    assert_eq!(
        (&operation["matched"], &operation["done"], &operation["failed"]),
        (&1.into(), &1.into(), &0.into())
    );
    assert_eq!(operation["selector"], "frozen=true sender=ada");
    assert_eq!(events(&server, "accepted")[1]["via"], "http");
    until("its delivery", || {
        (events(&server, "delivered").len() == 3).then_some(())
    });
    assert!(!server.log().contains("accepted: 250"), "one word for one thing");
}

#[test]
fn a_message_that_is_given_up_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let refusing = Capture::refusing("550 5.7.1 not from you");
    let server = serve(
        &dir.path().join("spool"),
        &[&refusing.next_hop()],
        &["--log-format", "json"],
    );
    let (code, _) = RawClient::hello(server.smtp())
        .transaction("ada@example.org", &["bob@example.net"], b"x\r\n")
        .unwrap();
    assert_eq!(code, 250);
    // The first: its notice is refused and given up as well, soon after.
    let given_up = until("the message is given up", || {
        events(&server, "given_up").into_iter().next()
    });
    assert_eq!(
        (&given_up["why"], &given_up["then"]),
        (&"failed".into(), &"bounced".into())
    );
    assert!(
        given_up["reason"]
            .as_str()
            .unwrap()
            .contains("550 5.7.1 not from you"),
        "{given_up}"
    );
    assert_eq!(
        (&given_up["recipients_failed"], &given_up["attempts"]),
        (&1.into(), &1.into())
    );
    let failed = &events(&server, "failed")[0];
    assert_eq!(
        (&failed["reply"], &failed["enhanced"]),
        (&550.into(), &"5.7.1".into())
    );
    assert_eq!(
        (&failed["text"], &failed["id"]),
        (&"not from you".into(), &given_up["id"])
    );
}

#[test]
fn a_redacted_log_has_no_mail_address() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("spool.toml");
    std::fs::write(&config, "[log]\nredact = true\n").unwrap();
    let capture = Capture::start();
    let more = ["--config", config.to_str().unwrap()];
    let server = serve(&dir.path().join("spool"), &[&capture.next_hop()], &more);
    let mut client = RawClient::hello(server.smtp());
    let (code, _) = client
        .transaction(
            "planted@example.org",
            &["planted@example.net"],
            b"Subject: x\r\n\r\nhello\r\n",
        )
        .unwrap();
    assert_eq!(code, 250);
    let url = format!("http://{}", server.field("admin"));
    let _ = run(&["freeze", "--recipient", "planted@example.net", "--admin", &url]);
    until("the delivery", || {
        server.log().contains(" delivered ").then_some(())
    });
    until("the operation", || {
        server.log().contains(" operation ").then_some(())
    });
    let log = server.log();
    assert!(!log.contains("planted"), "{log}");
    let hash = |line: &str, key: &str| {
        line.split(key)
            .nth(1)
            .unwrap()
            .split([' ', ']'])
            .next()
            .unwrap()
            .to_owned()
    };
    let line = |event: &str| log.lines().find(|line| line.contains(event)).unwrap().to_owned();
    assert_eq!(
        hash(&line(" accepted "), "recipients=["),
        hash(&line(" delivered "), "recipient=")
    );
    assert_ne!(
        hash(&line(" accepted "), "sender="),
        hash(&line(" accepted "), "recipients=[")
    );
}
