//! The queue commands and their HTTP counterparts, against a running service and against its directory.

use serde_json::Value;
use spool_core::Timestamp;
use spool_tests::capture::Capture;
use spool_tests::process::{Running, run, serve, until};
use spool_tests::raw::RawClient;
use std::path::PathBuf;
use std::process::Output;

/// A service whose delivery is paused, or not, and its directory.
pub(crate) struct Service {
    running: Running,
    spool: PathBuf,
    _dir: tempfile::TempDir,
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

impl Service {
    pub(crate) fn start(next_hop: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let spool = dir.path().join("spool");
        let running = serve(&spool, &[next_hop], &[]);
        Self {
            running,
            spool,
            _dir: dir,
        }
    }

    pub(crate) fn paused(next_hop: &str) -> Self {
        let service = Self::start(next_hop);
        service.ok(&["jobs", "0"]);
        service
    }

    pub(crate) fn admin(&self) -> String {
        format!("http://{}", self.running.field("admin"))
    }

    fn ask(&self, args: &[&str]) -> Output {
        run(&[args, &["--admin", &self.admin()]].concat())
    }

    /// Its standard output; the exit status must be 0.
    fn ok(&self, args: &[&str]) -> String {
        let output = self.ask(args);
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Its standard error; the exit status must be `code`.
    fn fails(&self, code: i32, args: &[&str]) -> String {
        let output = self.ask(args);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{args:?}: {}",
            text(&output.stderr)
        );
        text(&output.stderr)
    }

    /// The same from the directory.
    fn directory(&self, args: &[&str]) -> String {
        let output = run(&[args, &["--spool", self.spool.to_str().unwrap()]].concat());
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    pub(crate) fn mail(&self, from: &str, to: &str, body: &[u8]) -> String {
        let mut client = RawClient::hello(self.running.smtp());
        let (code, reply) = client.transaction(from, &[to], body).unwrap();
        assert_eq!(code, 250, "{reply}");
        reply.split_whitespace().last().unwrap().to_owned()
    }

    fn show(&self, id: &str) -> Value {
        serde_json::from_str(&self.ok(&["show", id, "--format", "json"])).unwrap()
    }

    fn http(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        spool_tests::http::ask(self.running.field("admin"), method, path, body)
    }
}

#[test]
fn a_message_goes_through_every_queue_and_arrives() {
    let capture = Capture::start();
    let service = Service::paused(&capture.next_hop());
    let id = service.mail(
        "ada@example.org",
        "bob@example.net",
        b"Subject: x\r\n\r\nhello\r\n",
    );
    assert!(service.ok(&["explain", &id]).contains("paused"));

    assert_eq!(service.ok(&["freeze", &id]), "1 frozen\n");
    assert_eq!(service.ok(&["count", "--frozen"]), "1\n");
    assert!(service.ok(&["explain", &id]).contains("frozen"));

    assert_eq!(service.ok(&["remove", "--all"]), "1 removed\n");
    assert_eq!(service.ok(&["count"]), "0\n");
    assert_eq!(service.ok(&["count", "--queue", "removed"]), "1\n");
    assert_eq!(service.directory(&["count", "--queue", "removed"]), "1\n");
    let listed = service.ok(&["status", "--queue", "removed", "--format", "json"]);
    let listed: Value = serde_json::from_str(listed.trim()).unwrap();
    assert_eq!(
        (listed["id"].as_str(), listed["queue"].as_str()),
        (Some(&*id), Some("removed"))
    );
    assert_eq!(service.show(&id)["queue"], "removed");

    assert_eq!(service.ok(&["recover", &id]), "1 recovered\n");
    assert_eq!(service.ok(&["count", "--queue", "removed"]), "0\n");
    assert_eq!(service.show(&id)["queue"], "frozen");
    service.ok(&["jobs", "10"]);
    assert_eq!(service.ok(&["count"]), "1\n", "recovered mail waits for a person");
    assert_eq!(capture.try_message(), None);

    assert!(service.ok(&["send", "--frozen"]).starts_with("1 "));
    assert_eq!(capture.message().without_trace(), b"Subject: x\r\n\r\nhello\r\n");
    until("an empty spool", || {
        (service.ok(&["count"]) == "0\n").then_some(())
    });
    assert!(
        service.fails(4, &["show", &id]).contains(&id),
        "delivered mail is gone"
    );
}

#[test]
fn purge_deletes_what_was_removed_long_enough_ago_and_nothing_else() {
    let service = Service::paused("127.0.0.1:9");
    let ids: Vec<String> = (0..3)
        .map(|n| service.mail("ada@example.org", &format!("{n}@x.example"), b"x\r\n"))
        .collect();
    service.ok(&["freeze", "--all"]);
    assert_eq!(service.ok(&["remove", &ids[0], &ids[1]]), "2 removed\n");
    assert_eq!(service.ok(&["purge", "--older", "1d"]), "0 purged\n");
    let dry = service.ok(&["purge", "--older", "0s", "--recipient", "^0@", "--dry-run"]);
    assert_eq!(dry, format!("{}\n", ids[0]));
    assert_eq!(
        service.ok(&["purge", "--older", "0s", "--recipient", "^0@"]),
        "1 purged\n"
    );
    assert_eq!(service.ok(&["count", "--queue", "removed"]), "1\n");
    assert_eq!(service.ok(&["purge", "--older", "0s"]), "1 purged\n");
    service.fails(4, &["recover", &ids[0]]);
    assert_eq!(service.ok(&["count"]), "1\n", "what is on the spool stays");
    service.fails(2, &["purge"]);
}

#[test]
fn what_cannot_be_done_is_told_with_its_exit_status_and_its_http_status() {
    let service = Service::paused("127.0.0.1:9");
    let id = service.mail("ada@example.org", "bob@example.net", b"x\r\n");
    let missing = "00000000000000000000000007";
    for verb in ["freeze", "send", "remove", "recover"] {
        service.fails(2, &[verb]);
        service.fails(2, &[verb, "nonsense"]);
        assert!(service.fails(4, &[verb, missing]).contains(missing), "{verb}");
        let path = format!("/api/v1/{verb}");
        assert_eq!(service.http("POST", &path, "{}").0, 400, "{verb}");
        assert_eq!(
            service
                .http("POST", &path, &format!("{{\"ids\":[\"{missing}\"]}}"))
                .0,
            404,
            "{verb}"
        );
    }
    assert!(service.fails(1, &["remove", &id]).contains("frozen"));
    assert_eq!(
        service
            .http("POST", "/api/v1/remove", &format!("{{\"ids\":[\"{id}\"]}}"))
            .0,
        409
    );
    // One of two fails: the other is done, and the failure is reported.
    let output = service.ask(&["freeze", &id, missing]);
    assert_eq!(
        (output.status.code(), text(&output.stdout)),
        (Some(1), "1 frozen\n".to_owned())
    );
    assert!(text(&output.stderr).contains(missing));
    service.fails(4, &["show", missing]);
    service.fails(4, &["explain", missing]);
    assert_eq!(
        service.http("GET", &format!("/api/v1/messages/{missing}"), "").0,
        404
    );
    assert_eq!(
        service
            .http("GET", "/api/v1/messages/..%2f..%2fetc%2fpasswd/body", "")
            .0,
        400
    );
}

#[test]
fn show_tells_every_attempt_and_gives_the_body_byte_for_byte() {
    let capture = Capture::refusing("550 5.1.1 nobody here");
    let service = Service::start(&capture.next_hop());
    let body = b"Subject: x\r\n\r\n.dots\r\n..\r\n\xc3\xa4\r\n".as_slice();
    // Without a sender to notify, it is kept.
    let id = service.mail("", "bob@example.net", body);
    let page = until("frozen", || {
        let page = service.show(&id);
        (page["queue"] == "frozen").then_some(page)
    });
    assert_eq!(page["recipients"][0]["fate"], "failed");
    let attempt = &page["attempts"][0];
    assert_eq!(attempt["peer"], capture.next_hop());
    assert_eq!(attempt["refused"][0]["enhanced"], "5.1.1");
    let text = service.ok(&["show", &id]);
    assert!(
        text.contains("<bob@example.net> failed") && text.contains("550 5.1.1 nobody here"),
        "{text}"
    );
    let output = service.ask(&["show", &id, "--body"]);
    assert!(output.stdout.ends_with(body) && output.stdout.starts_with(b"Received: "));
    // The directory says the same.
    let from_disk: Value =
        serde_json::from_str(&service.directory(&["show", &id, "--format", "json"])).unwrap();
    assert_eq!(from_disk["attempts"], page["attempts"]);
    assert_eq!(from_disk["recipients"], page["recipients"]);
    // And so does the archive.
    service.ok(&["remove", &id]);
    assert!(service.directory(&["show", &id]).contains("removed"));
    assert_eq!(service.ask(&["show", &id, "--body"]).stdout, output.stdout);
    let from_archive = || run(&["show", &id, "--body", "--spool", service.spool.to_str().unwrap()]);
    assert_eq!(from_archive().stdout, output.stdout);
    // Whoever may write there must not make us read something else.
    let text = service.spool.join(format!("removed/{id}.eml"));
    std::fs::remove_file(&text).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", &text).unwrap();
    let linked = from_archive();
    assert_eq!(
        (linked.status.code(), linked.stdout.as_slice()),
        (Some(1), &b""[..])
    );
}

#[test]
fn exported_mail_is_whole_and_can_be_brought_to_another_spool() {
    let capture = Capture::start();
    let service = Service::paused(&capture.next_hop());
    let id = service.mail(
        "ada@example.org",
        "bob@example.net",
        b"Subject: x\r\n\r\nhello\r\n",
    );
    let other = service.mail("eve@example.org", "bob@example.net", b"Subject: y\r\n\r\n");
    let to = service.spool.join("../mail");
    let export = |more: &[&str]| {
        let base = ["export", "--to", to.to_str().unwrap()];
        service.directory(&[&base, more].concat())
    };
    assert_eq!(export(&["--sender", "^ada"]), "1 exported\n");
    let body = std::fs::read(to.join(format!("{id}.eml"))).unwrap();
    assert_eq!(body, service.ask(&["show", &id, "--body"]).stdout);
    assert_eq!(service.directory(&["show", &id, "--body"]).as_bytes(), body);
    assert_eq!(
        std::fs::read_dir(&to).unwrap().count(),
        2,
        "a text and its metadata"
    );
    service.ok(&["freeze", &other]);
    service.ok(&["remove", &other]);
    assert_eq!(export(&["--queue", "removed"]), "1 exported\n");
    assert!(to.join(format!("{other}.json")).exists());

    let elsewhere = Service::start(&capture.next_hop());
    let archive = elsewhere.spool.join("removed");
    std::fs::create_dir(&archive).unwrap();
    for kind in ["eml", "json"] {
        let name = format!("{id}.{kind}");
        std::fs::copy(to.join(&name), archive.join(&name)).unwrap();
    }
    assert_eq!(elsewhere.ok(&["recover", &id]), "1 recovered\n");
    elsewhere.ok(&["send", &id]);
    assert_eq!(capture.message().without_trace(), b"Subject: x\r\n\r\nhello\r\n");
    let into_a_spool = run(&[
        "export",
        "--spool",
        service.spool.to_str().unwrap(),
        "--to",
        archive.join("..").to_str().unwrap(),
    ]);
    assert_eq!(into_a_spool.status.code(), Some(2));
}

#[test]
fn extra_retry_intervals_come_first() {
    let service = Service::paused("127.0.0.1:9");
    let id = service.mail("ada@example.org", "bob@example.net", b"x\r\n");
    service.ok(&["freeze", &id]);
    service.ok(&["send", &id, "--retry-interval", "7h", "11h"]);
    service.ok(&["jobs", "10"]);
    let page = until("an attempt", || {
        let page = service.show(&id);
        (page["attempts"].as_array().unwrap().len() == 1 && page["next_attempt"].is_string()).then_some(page)
    });
    let time = |value: &Value| value.as_str().unwrap().parse::<Timestamp>().unwrap();
    let wait = time(&page["next_attempt"]).since(time(&page["attempts"][0]["at"]));
    assert_eq!(wait.as_secs() / 60, 7 * 60, "{wait:?}");
    assert_eq!(page["retry_intervals"][0]["span_ms"], 11 * 3_600_000);
    assert!(service.ok(&["explain", &id]).contains("next attempt"));
}

#[test]
fn operations_and_listings_reach_beyond_one_page() {
    let service = Service::paused("127.0.0.1:9");
    let to = service.running.smtp().to_string();
    let load = run(&["load", "--to", &to, "--messages", "2500", "--size", "300"]);
    assert!(load.status.success(), "{}", text(&load.stderr));
    assert_eq!(service.ok(&["count", "--older", "0s"]), "2500\n");
    let ids = service.ok(&["status", "--format", "id"]);
    let mut unique: Vec<&str> = ids.lines().collect();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), 2500);
    assert_eq!(
        service
            .ok(&["freeze", "--older", "0s", "--dry-run"])
            .lines()
            .count(),
        2500
    );
    assert_eq!(service.ok(&["freeze", "--all"]), "2500 frozen\n");
    assert_eq!(service.ok(&["remove", "--frozen"]), "2500 removed\n");
    assert_eq!(
        service.ok(&["count", "--queue", "removed", "--sender", "@"]),
        "2500\n"
    );
    assert_eq!(service.ok(&["recover", "--all"]), "2500 recovered\n");
    assert_eq!(service.directory(&["count", "--frozen"]), "2500\n");
}

#[test]
fn a_named_submission_is_spooled_once() {
    let service = Service::paused("127.0.0.1:9");
    let file = service.spool.join("../mail.eml");
    std::fs::write(&file, "Subject: x\n\nhello\n").unwrap();
    let submit = |key: &str| {
        let file = file.to_str().unwrap();
        let args = [
            "submit",
            "--from",
            "a@example.org",
            "--to",
            "b@example.net",
            "--idempotency-key",
            key,
            file,
        ];
        service.ok(&args)
    };
    let first = submit("invoice-1");
    assert_eq!(submit("invoice-1"), first);
    assert_ne!(submit("invoice-2"), first);
    assert_eq!(service.ok(&["count"]), "2\n");
    // Something else under the same key is refused, and the first message named.
    std::fs::write(&file, "Subject: x\n\nanother text\n").unwrap();
    let to = ["--from", "a@example.org", "--to", "b@example.net"];
    let key = ["submit", "--idempotency-key", "invoice-1", file.to_str().unwrap()];
    let said = service.fails(1, &[&key[..], &to[..]].concat());
    assert!(said.contains("422") && said.contains("idempotency key"), "{said}");
    assert_eq!(service.ok(&["count"]), "2\n");
}

#[test]
fn a_damaged_pair_in_an_archive_is_listed_as_unreadable() {
    let service = Service::paused("127.0.0.1:9");
    let id = service.mail("a@example.org", "b@example.net", b"Subject: x\r\n\r\nhello\r\n");
    service.ok(&["freeze", &id]);
    service.ok(&["remove", &id]);
    let metadata = service.spool.join(format!("removed/{id}.json"));
    let text = std::fs::read_to_string(&metadata)
        .unwrap()
        .replace("b@example.net", "c@example.net");
    std::fs::write(&metadata, text).unwrap();
    let list = |format: &'static str| ["status", "--queue", "removed", "--format", format];
    for told in [
        service.ok(&list("table")),
        service.ok(&list("exim")),
        service.directory(&list("table")),
    ] {
        assert!(told.contains(&id) && told.contains("unreadable"), "{told}");
    }
    for told in [service.ok(&list("json")), service.directory(&list("json"))] {
        let line: serde_json::Value = serde_json::from_str(told.trim()).unwrap();
        assert_eq!(
            (&line["id"], &line["unreadable"]),
            (&id.as_str().into(), &true.into())
        );
        assert!(line["reason"].as_str().unwrap().contains("checksum"), "{told}");
    }
}
