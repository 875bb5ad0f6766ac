//! The checkup, on spools that services have left behind.

use serde_json::{Value, json};
use spool_tests::process::{run, serve};
use spool_tests::raw::RawClient;
use std::process::Output;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn fsck_is_clean_after_a_kill_and_a_restart_and_names_a_flipped_byte() {
    let dir = tempfile::tempdir().unwrap();
    let spool = dir.path().join("spool");
    let fsck =
        |more: &[&str]| -> Output { run(&[&["fsck", "--spool", spool.to_str().unwrap()], more].concat()) };
    let service = serve(&spool, &["127.0.0.1:9"], &[]);
    let body = b"Subject: find me\r\n\r\nneedle in the journal\r\n";
    for n in 0..20 {
        let mut client = RawClient::hello(service.smtp());
        let to = format!("{n}@example.net");
        assert_eq!(client.transaction("a@example.org", &[&to], body).unwrap().0, 250);
    }
    let held = fsck(&[]);
    assert_eq!(held.status.code(), Some(3), "{}", text(&held.stderr));
    service.kill();
    let again = serve(&spool, &["127.0.0.1:9"], &[]);
    assert!(again.terminate().success());
    let clean = fsck(&[]);
    assert_eq!(
        clean.status.code(),
        Some(0),
        "{}{}",
        text(&clean.stdout),
        text(&clean.stderr)
    );
    assert!(
        text(&clean.stdout).starts_with("20 messages "),
        "{}",
        text(&clean.stdout)
    );

    let log = spool.join("journal/0000000001.log");
    let mut bytes = std::fs::read(&log).unwrap();
    let at = bytes.windows(6).position(|window| window == b"needle").unwrap();
    bytes[at] ^= 1;
    std::fs::write(&log, &bytes).unwrap();
    let found = fsck(&[]);
    assert_eq!(found.status.code(), Some(1));
    // Which of the two says so depends on whether the second service has written anything.
    let why = ["fails its checksum", "body is damaged"];
    assert!(
        text(&found.stdout).contains("journal/0000000001.log")
            && why.iter().any(|why| text(&found.stdout).contains(why)),
        "{}",
        text(&found.stdout)
    );
    assert!(
        text(&found.stdout).contains("19 messages "),
        "{}",
        text(&found.stdout)
    );
    assert_eq!(std::fs::read(&log).unwrap(), bytes, "a look changes nothing");

    let lines = |output: &Output| -> Vec<Value> {
        let text = text(&output.stdout);
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let repaired = fsck(&["--repair", "--format", "json"]);
    assert_eq!(repaired.status.code(), Some(1), "{}", text(&repaired.stderr));
    let [finding, done, counts] = lines(&repaired).try_into().unwrap();
    assert_eq!(
        (&finding["ailment"], &finding["mendable"]),
        (&json!("damaged"), &json!(true))
    );
    assert_eq!(
        counts,
        json!({"whole": 19, "shelved": 0, "problems": 1, "mended": 1})
    );
    let kept = std::fs::read(spool.join(done["kept_as"].as_str().unwrap())).unwrap();
    assert!(bytes.windows(kept.len()).any(|window| window == kept));
    let report = std::fs::read_to_string(spool.join("corrupt/repairs.jsonl")).unwrap();
    let written: Value = serde_json::from_str(report.lines().last().unwrap()).unwrap();
    assert_eq!((&written["what"], &written["at"]), (&done["what"], &done["at"]));
    let clean = fsck(&["--format", "json"]);
    assert_eq!(clean.status.code(), Some(0));
    assert_eq!(
        lines(&clean),
        [json!({"whole": 19, "shelved": 0, "problems": 0, "mended": 0})]
    );
}

#[test]
fn fsck_of_what_is_no_spool_fails_and_leaves_it_alone() {
    let dir = tempfile::tempdir().unwrap();
    let output = run(&["fsck", "--repair", "--spool", dir.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}
