//! Limits of clients in a time, as `spool clients` shows and lifts them.

use crate::logins::Relay;
use crate::queue_commands::text;
use serde_json::Value;
use spool_tests::process::{run, until};
use spool_tests::raw::RawClient;

fn clients(relay: &Relay) -> Vec<Value> {
    let output = run(&["clients", "--format", "json", "--admin", &admin(relay)]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn admin(relay: &Relay) -> String {
    format!("http://{}", relay.server.field("admin"))
}

fn send(client: &mut RawClient) -> String {
    client
        .transaction("a@example.org", &["b@example.net"], b"x\r\n")
        .unwrap()
        .1
}

#[test]
fn who_sends_too_much_is_told_when_to_come_back_listed_and_lifted() {
    let relay = Relay::start(
        "[listen.limits]\nmessages_per_client = \"2/1h\"\nconnections_per_client_rate = \"3/1h\"",
    );
    let mut client = RawClient::hello(relay.server.smtp());
    assert!(send(&mut client).starts_with("250") && send(&mut client).starts_with("250"));
    let refused = send(&mut client);
    assert!(
        refused.starts_with("450 4.7.1 Too many messages, try again in 3"),
        "{refused}"
    );
    let mut second = RawClient::hello(relay.server.smtp());
    assert!(
        second.command("MAIL FROM:<>").1.starts_with("450 4.7.1"),
        "the same client"
    );
    let _third = RawClient::hello(relay.server.smtp());
    let mut fourth = RawClient::connect_silently(relay.server.smtp());
    let (code, greeting) = fourth.reply().unwrap();
    assert!(
        code == 421 && greeting.contains("Too many new connections, try again in 3"),
        "{greeting}"
    );

    let all = clients(&relay);
    let one = &all[0];
    assert_eq!(
        (all.len(), one["client"].as_str(), one["connections"].as_u64()),
        (1, Some("127.0.0.1"), Some(3))
    );
    assert_eq!(
        (&one["messages"]["count"], &one["messages"]["limit"]),
        (&2.into(), &2.into())
    );
    assert_eq!(one["recipients"]["count"], 2, "{one}");
    let reasons: Vec<_> = one["limited"]
        .as_array()
        .unwrap()
        .iter()
        .map(|limited| limited["reason"].as_str().unwrap())
        .collect();
    assert_eq!(
        reasons,
        ["connections_per_client_rate: 3/1h", "messages_per_client: 2/1h"]
    );
    let table = text(&run(&["clients", "--admin", &admin(&relay)]).stdout);
    assert!(
        table
            .lines()
            .nth(2)
            .unwrap()
            .starts_with("127.0.0.1  3     2 in 1h"),
        "{table}"
    );

    let unknown = run(&["clients", "--lift", "192.0.2.1", "--admin", &admin(&relay)]);
    assert_eq!(unknown.status.code(), Some(4));
    let lifted = run(&["clients", "--lift", "127.0.0.1", "--admin", &admin(&relay)]);
    assert_eq!(text(&lifted.stdout), "127.0.0.1: lifted\n");
    let told = "operation name=lift by=127.0.0.1 selector=\"client=127.0.0.1\" matched=1 done=1 failed=0";
    until("the line of the log", || {
        relay.server.log().contains(told).then_some(())
    });
    assert!(send(&mut client).starts_with("250"));

    // Other limits hold at once, for sessions that are open too.
    let config = std::fs::read_to_string(&relay.config).unwrap();
    std::fs::write(&relay.config, config.replace("\"2/1h\"", "\"1/1h\"")).unwrap();
    relay.reload();
    assert!(send(&mut client).starts_with("450 4.7.1"));
    std::fs::write(&relay.config, config.replace("\"2/1h\"", "\"\"")).unwrap();
    relay.reload();
    for _ in 0..5 {
        assert!(send(&mut client).starts_with("250"));
    }
}
