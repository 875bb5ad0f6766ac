//! Log lines in both formats, redaction, and the bounds of the queue.

use super::fields::listed;
use super::writer::append;
use super::*;
use samples::{accepted, attempt, lift, local, message, operation, samples};
use spool_core::log::{MAX_NAMED, Record, Redact};
use spool_core::{Admission, FlowId, MessageId, Timestamp};
use std::borrow::Cow;

mod page;
mod samples;

fn written(record: Record, format: LogFormat, redactor: Option<Redactor>) -> Vec<String> {
    let mut writer = Writer {
        format,
        redactor: redactor.map(Arc::new),
        line: String::new(),
        batch: Vec::new(),
    };
    writer.entry(&LogEntry {
        at: Timestamp(0),
        level: Level::INFO,
        event: EventFields {
            record: Some(Arc::new(record)),
            ..EventFields::default()
        },
    });
    let text = String::from_utf8(writer.batch).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_line_of_the_log_is_one_visible_line() {
    let mut batch = Vec::new();
    append(
        &mut batch,
        "INFO reply=550 a\nERROR forged \u{1b}[31m\u{2060}\u{e0041}".as_bytes(),
    );
    append(&mut batch, b"next");
    assert_eq!(
        String::from_utf8(batch).unwrap(),
        "INFO reply=550 a\\nERROR forged \\u001b[31m\\u2060\\udb40\\udc41\nnext\n"
    );
}

#[test]
fn each_recipient_of_an_attempt_has_one_line() {
    let lines = written(attempt(), LogFormat::Text, None);
    let (id, flow) = (MessageId::from_u128(1), [2, 3].map(FlowId::from_u128));
    let begin = format!("id={id} flow=[{},{}] sender=Bob@example.org", flow[0], flow[1]);
    let session = FlowId::from_u128(4);
    let tls = format!("session={session} tls=TLSv1.3 verified=true attempt=1");
    let time = "1970-01-01T00:00:00.000Z INFO";
    let expected = [
        format!(
            "{time} tried {begin} relay=mx1.example.net:25 reply=421 enhanced=4.3.2 text=\"not now\" stage=connect \
             seconds=0.012 tls=none tls_failure=\"plaintext, because TLS failed: no\" attempt=1"
        ),
        format!(
            "{time} delivered {begin} recipient=ada@example.net relay=mx2.example.net[192.0.2.7]:25 reply=250 \
             enhanced=2.0.0 text=\"taken as 7\" delay=1.6 delays=1/0.5/0.06/0.04 {tls}"
        ),
        format!(
            "{time} failed {begin} recipient=\"\\\"b c\\\"@example.net\" relay=mx2.example.net[192.0.2.7]:25 reply=550 \
             enhanced=5.1.1 text=\"<\\\"b c\\\"@example.net>: no user bob@example.org, ADA@example.net\" delay=1.6 \
             delays=1/0.5/0.06/0.04 {tls}"
        ),
        format!(
            "{time} deferred {begin} recipient=eve@example.net relay=mx2.example.net[192.0.2.7]:25 reply=450 \
             enhanced=4.2.1 text=later delay=1.6 delays=1/0.5/0.06/0.04 {tls} next=1970-01-01T00:01:00.000Z"
        ),
    ];
    assert_eq!(lines, expected);
}

#[test]
fn json_has_numbers_flags_and_lists() {
    let lines = written(attempt(), LogFormat::Json, None);
    let json: serde_json::Value = serde_json::from_str(&lines[2]).unwrap();
    assert_eq!(json["event"], "failed");
    assert_eq!((&json["reply"], &json["attempt"]), (&550.into(), &1.into()));
    assert_eq!(json["delays"], serde_json::json!([1, 0.5, 0.06, 0.04]));
    assert_eq!((&json["verified"], &json["delay"]), (&true.into(), &1.6.into()));
    assert_eq!(json["recipient"], "\"b c\"@example.net");
    assert_eq!(json["flow"].as_array().unwrap().len(), 2);
    let many = written(accepted(Admission::Network, 1000), LogFormat::Json, None);
    let json: serde_json::Value = serde_json::from_str(&many[0]).unwrap();
    assert_eq!(json["recipients"].as_array().unwrap().len(), MAX_NAMED);
    assert_eq!(
        (&json["recipient_count"], &json["size"]),
        (&1000.into(), &2180.into())
    );
    assert_eq!(json["sender"], "");
}

#[test]
fn a_local_submission_names_its_uid_also_when_redacted() {
    for redactor in [None, Some(Redactor::new(None).unwrap())] {
        let lines = written(local(), LogFormat::Text, redactor);
        assert!(
            lines[0].contains(" via=local uid=1000 admission=network "),
            "{lines:?}"
        );
    }
    let lines = written(local(), LogFormat::Json, None);
    let json: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!((&json["uid"], json.get("client")), (&1000.into(), None));
}

#[test]
fn an_operation_on_a_user_hides_the_name_when_redacted() {
    let line = written(lift(), LogFormat::Text, None);
    let told = "operation name=lift by=127.0.0.1 user=ada matched=1 done=1 failed=0";
    assert!(line[0].ends_with(told), "{line:?}");
    let line = written(lift(), LogFormat::Text, Some(Redactor::new(None).unwrap()));
    assert!(
        line[0].contains(" by=127.0.0.1 user=~") && !line[0].contains("ada"),
        "{line:?}"
    );
}

#[test]
fn fields_of_other_lines_keep_their_types() {
    assert_eq!(listed("[a, b]".to_owned()), {
        let text = |text: &'static str| Value::Text(text.into());
        Value::List(vec![text("a"), text("b")])
    });
    assert_eq!(listed("[\"a, b\"]".to_owned()), Value::Text("[\"a, b\"]".into()));
    let (queue, jobs) = sync_channel(4);
    let layer = QueueLayer {
        queue,
        counts: Arc::default(),
    };
    tracing::subscriber::with_default(registry().with(layer), || {
        tracing::warn!(count = 3_u64, flag = true, ids = ?[1, 2], who = "x@example.org y", user = "login-name", "it happened");
        operation().emit();
    });
    let mut writer = Writer {
        format: LogFormat::Json,
        redactor: Some(Arc::new(Redactor::new(None).unwrap())),
        line: String::new(),
        batch: Vec::new(),
    };
    for job in jobs.try_iter() {
        match job {
            WriterJob::Write(entry) => writer.entry(&entry),
            WriterJob::Flush(_) => {}
        }
    }
    let text = String::from_utf8(writer.batch).unwrap();
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        (&lines[0]["message"], &lines[0]["level"]),
        (&"it happened".into(), &"WARN".into())
    );
    assert_eq!((&lines[0]["count"], &lines[0]["flag"]), (&3.into(), &true.into()));
    assert_eq!(lines[0]["ids"].as_array().unwrap().len(), 2);
    assert!(
        !text.contains("x@example.org") && !text.contains("login-name"),
        "{text}"
    );
    assert_eq!(
        (&lines[1]["event"], &lines[1]["done"]),
        (&"operation".into(), &2.into())
    );
}

#[test]
fn redacted_lines_have_stable_hashes_in_place_of_addresses() {
    for record in samples() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let text = written(record.clone(), format, Some(Redactor::new(None).unwrap())).join("\n");
            for word in [
                "bob@",
                "Bob@",
                "ada@",
                "ADA@",
                "eve@",
                "b c",
                "r0@",
                "user=ada",
                "\"user\":\"ada\"",
            ] {
                assert!(!text.contains(word), "{word} in {text}");
            }
        }
    }
    let redactor = Redactor::new(None).unwrap();
    let one = redactor.address("Bob@Example.org");
    assert_eq!(one.to_lowercase(), redactor.address("bob@example.org"));
    assert!(one.starts_with('~') && one.ends_with("@Example.org"), "{one}");
    assert_ne!(
        redactor.address("bob@example.org"),
        redactor.address("eve@example.org")
    );
    assert_ne!(
        redactor.address("bob@example.org"),
        Redactor::new(None).unwrap().address("bob@example.org")
    );
    let text = redactor.text("550 <bob@example.org>: no; 12 @ 5, a@, \"x y\"@[192.0.2.1] b\u{fc}@x.example.");
    assert!(
        !["bob@", "x y", "b\u{fc}"].iter().any(|word| text.contains(word)) && text.contains("12 @ 5, a@, ~"),
        "{text}"
    );
    assert_eq!(redactor.text(&text), text, "once is enough");
    assert!(matches!(redactor.text("nobody here"), Cow::Borrowed(_)));
    let (message, _) = message();
    assert!(message.envelope.recipients[1].address.as_str().contains("b c"));
}

#[test]
fn the_key_of_the_hashes_can_be_kept_in_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("key");
    std::fs::write(&file, "0123456789abcdef0123456789abcdef\n").unwrap();
    let hash = || Redactor::new(Some(&file)).unwrap().address("a@b.example");
    assert_eq!(hash(), hash());
    std::fs::write(&file, "short\n").unwrap();
    assert!(Redactor::new(Some(&file)).unwrap_err().contains("32 characters"));
}

#[test]
fn unread_lines_beyond_the_bound_are_dropped_and_counted() {
    let (queue, jobs) = sync_channel(QUEUE);
    let layer = QueueLayer {
        queue,
        counts: Arc::default(),
    };
    let counts = Arc::clone(&layer.counts);
    tracing::subscriber::with_default(registry().with(layer), || {
        (0..8192 + 3).for_each(|_| tracing::info!("x"));
    });
    assert_eq!(counts.dropped.load(Ordering::Relaxed), 3);
    assert_eq!(jobs.try_iter().count(), 8192);
}

#[test]
fn the_queue_is_bounded_in_bytes() {
    let (queue, jobs) = sync_channel(QUEUE);
    let counts = Arc::new(Counts::default());
    let layer = QueueLayer {
        queue,
        counts: Arc::clone(&counts),
    };
    let entry = |bytes| LogEntry {
        at: Timestamp(0),
        level: Level::INFO,
        event: EventFields {
            bytes,
            ..EventFields::default()
        },
    };
    (0..20).for_each(|_| layer.give(entry(1 << 20)));
    assert_eq!(counts.waiting.load(Ordering::Relaxed), QUEUE_BYTES);
    assert_eq!(counts.dropped.load(Ordering::Relaxed), 12);
    assert_eq!(jobs.try_iter().count(), 8);
    // One that is larger than all is written when nothing waits.
    counts.waiting.store(0, Ordering::Relaxed);
    layer.give(entry(QUEUE_BYTES * 2));
    assert_eq!(jobs.try_iter().count(), 1);
    assert!(attempt().footprint() > accepted(Admission::Network, 1).footprint());
}
