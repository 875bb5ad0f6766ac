//! Senders get notices about their mail: over real sockets, and read by the parser of another author.

use serde_json::Value;
use spool_smtp::sink::{Sink, SinkConfig};
use spool_tests::capture::{Capture, Captured};
use spool_tests::process::{Running, run, serve, signal, until};
use spool_tests::raw::RawClient;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use tokio::sync::watch;

/// A sink that does what a script says.
struct Scripted {
    address: String,
    _stop: watch::Sender<bool>,
    _runtime: tokio::runtime::Runtime,
}

impl Scripted {
    fn start(script: &str) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let mut config = SinkConfig::default();
        config.script = script.parse().unwrap();
        let sink = runtime
            .block_on(Sink::bind("127.0.0.1:0".parse().unwrap(), config))
            .unwrap();
        let (stop, stopped) = watch::channel(false);
        let address = sink.local_addr().unwrap().to_string();
        runtime.spawn(sink.run(stopped));
        Self {
            address,
            _stop: stop,
            _runtime: runtime,
        }
    }
}

/// A service whose mail goes to `next_hop`, and what is for senders in example.org to `back`.
fn service(dir: &Path, next_hop: &str, back: &Capture, more: &str) -> Running {
    let file = dir.join("spool.toml");
    let text = format!(
        "hostname = \"mta.example.org\"\n{more}\n[[route.rule]]\ndomain = \"example.org\"\nnext_hops = [\"{}\"]\n",
        back.next_hop()
    );
    std::fs::write(&file, text).unwrap();
    serve(
        &dir.join("spool"),
        &[next_hop],
        &["--config", file.to_str().unwrap()],
    )
}

/// Hands a mail in, with these parameters of MAIL and these words of RCPT; gives its id.
fn send(client: &mut RawClient, mail: &str, rcpt: &[&str], body: &[u8]) -> String {
    let (code, text) = client.command(&format!("MAIL FROM:<sender@example.org>{mail}"));
    assert_eq!(code, 250, "{text}");
    for rcpt in rcpt {
        let (code, text) = client.command(&format!("RCPT TO:{rcpt}"));
        assert_eq!(code, 250, "{text}");
    }
    assert_eq!(client.command("DATA").0, 354);
    client.send(body).unwrap();
    client.send(b".\r\n").unwrap();
    let (code, text) = client.reply().unwrap();
    assert_eq!(code, 250, "{text}");
    text.split_whitespace().last().unwrap().to_owned()
}

/// What Python's `email` finds in a notice.
const READER: &str = r#"
import email, email.policy, json, sys
notice = email.message_from_binary_file(sys.stdin.buffer, policy=email.policy.default)
parts = list(notice.iter_parts())
blocks = [dict(block.items()) for block in parts[1].get_payload()]
third = parts[2] if len(parts) > 2 else None
original = None
if third is not None and third.get_content_type() == "message/rfc822":
    original = third.get_payload(0).get_payload()
elif third is not None:
    original = third.get_content()
json.dump({
    "type": notice.get_content_type(), "report": notice.get_param("report-type"),
    "header": {name.lower(): value for name, value in notice.items()},
    "types": [part.get_content_type() for part in parts], "blocks": blocks, "original": original,
    "defects": [str(defect) for part in notice.walk() for defect in part.defects],
}, sys.stdout)
"#;

/// `None`: there is no Python here.
fn read(notice: &Captured) -> Option<Value> {
    let python = Command::new("python3")
        .args(["-c", READER])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut python) = python else {
        println!("skipped: python3 is not installed, so no other parser reads the notice");
        return None;
    };
    python.stdin.take().unwrap().write_all(&notice.body).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

fn status(server: &Running, args: &[&str]) -> String {
    let admin = format!("http://{}", server.field("admin"));
    let output = run(&[args, &["--admin", &admin]].concat());
    assert!(
        output.status.success(),
        "{args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_sender_of_refused_mail_is_told_so_and_python_reads_the_notice() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Scripted::start(
        "rcpt to=gone@* reply 550 5.1.1 no such user\\n550 5.1.1 --=_boundary--\nrcpt to=odd@* reply 554 gr\u{fc}\u{df}e\n",
    );
    let back = Capture::start();
    let server = service(dir.path(), &sink.address, &back, "");
    let mut client = RawClient::hello(server.smtp());
    let rcpt = [
        "<gone@example.net> NOTIFY=FAILURE ORCPT=rfc822;first+2Bone@example.com",
        "<odd@example.net>",
        "<quiet@example.net> NOTIFY=NEVER",
        "<fine@example.net>",
    ];
    let body = b"Message-ID: <m1@example.org>\r\nSubject: hello\r\n\r\nThe text.\r\n";
    let id = send(&mut client, " RET=FULL ENVID=q+2B1", &rcpt, body);
    let notice = back.message();
    assert!(notice.mail.starts_with("MAIL FROM:<>"), "{}", notice.mail);
    assert_eq!(notice.rcpt, ["RCPT TO:<sender@example.org>"]);
    let Some(read) = read(&notice) else { return };
    assert_eq!(
        (&read["type"], &read["report"]),
        (&"multipart/report".into(), &"delivery-status".into())
    );
    assert_eq!(read["defects"], Value::from(Vec::<String>::new()));
    assert_eq!(
        read["types"],
        serde_json::json!(["text/plain", "message/delivery-status", "message/rfc822"])
    );
    let header = &read["header"];
    assert_eq!(header["to"], "sender@example.org");
    assert_eq!(
        header["from"],
        "Mail Delivery System <MAILER-DAEMON@mta.example.org>"
    );
    assert_eq!(header["auto-submitted"], "auto-replied");
    assert_eq!(header["references"], "<m1@example.org>");
    let blocks = read["blocks"].as_array().unwrap();
    assert_eq!(blocks[0]["Reporting-MTA"], "dns; mta.example.org");
    assert_eq!(blocks[0]["Original-Envelope-Id"], "q+1");
    let told: Vec<_> = blocks[1..]
        .iter()
        .map(|block| {
            ["Final-Recipient", "Action", "Status", "Diagnostic-Code"]
                .map(|name| block[name].as_str().unwrap())
        })
        .collect();
    let [gone, odd] = told.as_slice() else {
        panic!("{told:?}")
    };
    assert_eq!(gone[..3], ["rfc822; gone@example.net", "failed", "5.1.1"]);
    assert!(
        gone[3].starts_with("smtp; 550 5.1.1 no such user") && gone[3].contains("--=_boundary--"),
        "{gone:?}"
    );
    assert_eq!(odd[..3], ["rfc822; odd@example.net", "failed", "5.0.0"]);
    assert!(odd[3].is_ascii(), "{odd:?}");
    assert_eq!(blocks[1]["Original-Recipient"], "rfc822; first+one@example.com");
    assert!(blocks[2]["Original-Recipient"].is_null());
    assert_eq!(read["original"], "The text.\r\n".replace("\r\n", "\n"));
    until("the end of the message", || {
        let count = status(&server, &["count"]);
        count.trim().starts_with('0').then_some(())
    });
    let log = server.log();
    assert!(log.contains("a notice is returned") && log.contains(&id), "{log}");
}

#[test]
fn mail_of_an_unknown_submitter_is_kept_and_can_be_bounced_by_hand() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Scripted::start("rcpt reply 550 5.7.1 looks like spam");
    let back = Capture::start();
    let relay = "[relay]\nallow_networks = [\"192.0.2.0/24\"]\nallow_domains = [\"example.net\"]";
    let server = service(dir.path(), &sink.address, &back, relay);
    let mut client = RawClient::hello(server.smtp());
    let id = send(&mut client, "", &["<b@example.net>"], b"x\r\n");
    let frozen = until("the frozen message", || {
        let listed = status(&server, &["status", "--failed", "--format", "json"]);
        (!listed.trim().is_empty()).then_some(listed)
    });
    let listed: Value = serde_json::from_str(frozen.trim()).unwrap();
    assert_eq!(
        (listed["id"].as_str(), listed["frozen"].as_str()),
        (Some(id.as_str()), Some("failed"))
    );
    let reason = listed["reason"].as_str().unwrap();
    assert!(
        reason.contains("550 5.7.1 looks like spam") && reason.contains("the submitter is not known"),
        "{reason}"
    );
    assert!(
        status(&server, &["explain", &id]).contains("no notice was returned: the submitter is not known")
    );
    assert!(status(&server, &["show", &id]).contains("submitter:    not known"));
    assert!(back.try_message().is_none());
    assert_eq!(status(&server, &["bounce", "--failed", "--dry-run"]).trim(), id);
    assert_eq!(
        status(&server, &["bounce", "--failed", "--reason", "not wanted"]).trim(),
        "1 bounced"
    );
    let text = String::from_utf8(back.message().body).unwrap();
    assert!(text.contains("550 5.7.1 looks like spam"), "{text}");
}

#[test]
fn relayed_and_delayed_notices_go_out_and_show_refers_to_them() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Scripted::start("ehlo hide DSN\nrcpt to=late@* reply 450 4.2.0 not now\n");
    let back = Capture::start();
    let retry = "[retry]\nintervals = [\"200ms\", \"1h\"]\njitter = 0\ndelay_warning_after = \"100ms\"\nexpire_after = \"2d\"";
    let server = service(dir.path(), &sink.address, &back, retry);
    let mut client = RawClient::hello(server.smtp());
    let rcpt = [
        "<taken@example.net> NOTIFY=SUCCESS",
        "<late@example.net> NOTIFY=DELAY,FAILURE",
    ];
    let id = send(&mut client, "", &rcpt, b"Subject: s\r\n\r\nbody\r\n");
    let relayed = String::from_utf8(back.message().body).unwrap();
    assert!(
        relayed.contains("taken@example.net\r\nAction: relayed\r\nStatus: 2."),
        "{relayed}"
    );
    let delayed = String::from_utf8(back.message().body).unwrap();
    assert!(
        delayed.contains("late@example.net\r\nAction: delayed\r\nStatus: 4.2.0\r\n"),
        "{delayed}"
    );
    assert!(
        delayed.contains("Will-Retry-Until: ") && !delayed.contains("body\r\n"),
        "{delayed}"
    );
    let page = status(&server, &["show", &id]);
    assert!(
        page.contains("relayed: a notice was returned as") && page.contains("delayed: a notice"),
        "{page}"
    );
    assert!(status(&server, &["explain", &id]).contains("delayed: a notice was returned as"));
    let expired = status(&server, &["expire", &id]);
    assert_eq!(expired.trim(), "1 expired");
    let failed = String::from_utf8(back.message().body).unwrap();
    assert!(
        failed.contains("Status: 5.4.7\r\n") && failed.contains("smtp; 450 4.2.0 not now"),
        "{failed}"
    );
}

#[test]
fn a_reload_changes_what_becomes_of_failures() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Scripted::start("rcpt reply 550 5.1.1 no such user");
    let back = Capture::start();
    let server = service(
        dir.path(),
        &sink.address,
        &back,
        "[retry]\non_failure = \"freeze\"",
    );
    let mut client = RawClient::hello(server.smtp());
    let kept = send(&mut client, "", &["<b@example.net>"], b"x\r\n");
    until("the frozen message", || {
        status(&server, &["status", "--failed", "--format", "id"])
            .contains(&kept)
            .then_some(())
    });
    let file = dir.path().join("spool.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let text = text.replace("on_failure = \"freeze\"", "bounce_from = \"post@example.org\"");
    std::fs::write(&file, text).unwrap();
    signal(server.pid(), "HUP");
    until("the reload", || {
        server.log().contains("configuration read again").then_some(())
    });
    send(&mut client, "", &["<b@example.net>"], b"x\r\n");
    let notice = String::from_utf8(back.message().body).unwrap();
    assert!(
        notice.starts_with("From: Mail Delivery System <post@example.org>\r\n"),
        "{notice}"
    );
    assert!(
        status(&server, &["status", "--format", "id"]).contains(&kept),
        "it waits for a person"
    );
}

/// The message that a notice is about, by the text in it, and the Message-ID of the notice.
fn about(notice: &Captured) -> (String, String) {
    let text = String::from_utf8(notice.body.clone()).unwrap();
    let field = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        line.unwrap_or_else(|| panic!("{name}: {text}"))[name.len()..]
            .trim()
            .to_owned()
    };
    (field("Subject: number"), field("Message-ID:"))
}

#[test]
fn a_service_that_is_killed_again_and_again_tells_of_each_failure_once() {
    const MAILS: usize = 60;
    let dir = tempfile::tempdir().unwrap();
    let sink = Scripted::start("rcpt reply 550 5.1.1 no such user");
    let back = Capture::start();
    // More than a life may tell of in an hour, if the mail of several lives comes to its end in one.
    let retry = "[retry]\nintervals = [\"100ms\"]\nbounces_per_hour = 0";
    let mut server = service(dir.path(), &sink.address, &back, retry);
    let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut note = |notice: &Captured| {
        let (number, id) = about(notice);
        told.entry(number).or_default().insert(id);
        told.len()
    };
    for round in 0..4 {
        let mut client = RawClient::hello(server.smtp());
        for nth in 0..MAILS / 4 {
            let body = format!("Subject: number {}\r\n\r\nx\r\n", round * (MAILS / 4) + nth);
            send(&mut client, "", &["<b@example.net>"], body.as_bytes());
        }
        drop(client);
        if round < 3 {
            server.kill();
            server = service(dir.path(), &sink.address, &back, retry);
        }
    }
    let mut count = 0;
    while count < MAILS {
        count = note(&back.message());
    }
    until("the end of all mail", || {
        let count = status(&server, &["count"]);
        count.trim().starts_with('0').then_some(())
    });
    while let Some(notice) = back.try_message() {
        note(&notice);
    }
    // A notice may arrive twice, as any mail may; there are never two notices.
    assert_eq!(told.len(), MAILS);
    assert!(told.values().all(|ids| ids.len() == 1), "{told:?}");
}
