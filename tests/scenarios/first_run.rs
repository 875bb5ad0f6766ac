//! The first run: no config, no next hop, a message from an ordinary mail client.

use spool_tests::process::{Running, until};
use spool_tests::raw::RawClient;

#[test]
fn a_message_reaches_the_built_in_sink_and_the_log_tells_its_story() {
    let dir = tempfile::tempdir().unwrap();
    let spool = dir.path().join("spool");
    let spool = spool.to_str().unwrap();
    let running = Running::start(&[
        "serve",
        "--spool",
        spool,
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
    ]);
    assert_eq!(running.field("spool"), spool);
    until("the built-in sink in the log", || {
        running.log().contains("built-in sink").then_some(())
    });
    let mut client = RawClient::hello(running.smtp());
    let (code, text) = client
        .transaction(
            "ada@example.org",
            &["bob@example.net"],
            b"Subject: x\r\n\r\nhello\r\n",
        )
        .unwrap();
    assert_eq!(code, 250, "{text}");
    let id = text.split_whitespace().last().unwrap().to_owned();

    let delivered = until("delivery in the log", || {
        let log = running.log();
        log.lines()
            .find(|line| line.contains(&id) && line.contains(" delivered "))
            .map(str::to_owned)
    });
    let log = running.log();
    let accepted = log.lines().find(|line| line.contains(&id)).unwrap();
    let flows = |line: &str| -> Vec<String> {
        let words = line.split(|c: char| !c.is_ascii_alphanumeric());
        words
            .filter(|word| word.len() == 26 && *word != id)
            .map(str::to_owned)
            .collect()
    };
    let shared: Vec<_> = flows(accepted)
        .into_iter()
        .filter(|flow| flows(&delivered).contains(flow))
        .collect();
    assert!(
        !shared.is_empty(),
        "one flow id from the door to the delivery:\n{accepted}\n{delivered}"
    );
    assert!(running.terminate().success());
}
