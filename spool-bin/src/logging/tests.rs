//! What the log says of mail, in both formats, and that `docs/logs.md` lists exactly what the code logs.

use super::*;
use spool_core::log::{Accepted, AttemptRecord, GivenUp, MAX_NAMED, Operation};
use spool_core::{
    Address, Admission, Attempt, AttemptReport, AttemptResult, Envelope, FlowId, Frozen, FrozenReason,
    HostReport, Message, MessageId, MessageState, NextHop, RefusedRecipient, Related, Reply, RetryPolicy,
    ReversePath, RouteOrigin, Section, Source, Stage, Status, TlsSession,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A message for three, whose first host could not be reached; the second one took it for one, and refused two.
fn message() -> (Message, Attempt) {
    let to = ["ada@example.net", "\"b c\"@example.net", "eve@example.net"];
    let to = to.map(|address| address.parse::<Address>().unwrap());
    let envelope = Envelope::of(ReversePath::parse("Bob@example.org").unwrap(), to);
    let section = Section {
        envelope: envelope.clone(),
        next_hops: ["mx:example.net:25".parse::<NextHop>().unwrap()].into(),
        origin: RouteOrigin::Configured,
        retry: RetryPolicy::default(),
    };
    let message = Message {
        id: MessageId::from_u128(1),
        parent: None,
        related: Related::default(),
        flows: vec![FlowId::from_u128(2), FlowId::from_u128(3)],
        spooled_at: Timestamp(0),
        next_hops: section.next_hops.clone(),
        origin: section.origin,
        envelope: Arc::new(envelope),
        body_size: 10,
        state: MessageState::new(&section, Status::SendAt(Timestamp(1000)), Timestamp(0)),
    };
    let mut before = AttemptReport::new(AttemptResult::Refused {
        stage: Stage::Connect,
        reply: Reply::new(421, "4.3.2 not now"),
    });
    before.peer = Some("mx1.example.net:25".parse().unwrap());
    before.tls = Some("plaintext, because TLS failed: no".to_owned());
    let mut report = AttemptReport::new(AttemptResult::Accepted(Reply::new(250, "2.0.0 taken as 7")));
    report.peer = Some("mx2.example.net:25".parse().unwrap());
    report.address = Some([192, 0, 2, 7].into());
    report.transmission = Some(Duration::from_millis(40));
    report.session = Some(FlowId::from_u128(4));
    report.tls = Some("TLSv1.3 TLS_AES_256_GCM_SHA384, sha256:00, verified".to_owned());
    let refused = |recipient, code, text| RefusedRecipient {
        recipient,
        reply: Reply::new(code, text),
    };
    report.refused = vec![
        refused(
            1,
            550,
            "5.1.1 <\"b c\"@example.net>: no user bob@example.org, ADA@example.net",
        ),
        refused(2, 450, "4.2.1 later"),
    ];
    report.before = vec![HostReport {
        number: 0,
        after: Duration::ZERO,
        took: Duration::from_millis(12),
        report: before,
    }];
    let attempt = Attempt {
        at: Timestamp(1500),
        duration_ms: 100,
        report,
    };
    (message, attempt)
}

fn attempt() -> Record {
    let (message, attempt) = message();
    let mut record = AttemptRecord::new(&message, &attempt);
    let mut state = message.state;
    state.remaining = vec![2];
    state.failed = vec![spool_core::FailedRecipient {
        recipient: 1,
        reply: None,
        reason: String::new(),
    }];
    state.status = Status::SendAt(Timestamp(60_000));
    record.settled(&state);
    Record::Attempt(record)
}

/// An attempt whose session broke off in plaintext.
fn broken() -> Record {
    let (message, mut attempt) = message();
    attempt.report = AttemptReport::new(AttemptResult::Broken {
        stage: Stage::Data,
        error: "timed out".to_owned(),
        in_doubt: false,
    });
    attempt.report.tls = Some("plaintext, because TLS failed: no".to_owned());
    let mut record = AttemptRecord::new(&message, &attempt);
    record.settled(&message.state);
    Record::Attempt(record)
}

fn accepted(admission: Admission, recipients: usize) -> Record {
    let to = (0..recipients).map(|n| format!("r{n}@example.net").parse().unwrap());
    let envelope = Envelope::of(ReversePath::Null, to);
    let source = Source {
        admission,
        client: Some([192, 0, 2, 1].into()),
        uid: None,
        tls: Some(TlsSession {
            version: "TLSv1.3",
            cipher: "TLS_AES_128_GCM_SHA256",
        }),
    };
    let mut accepted = Accepted::new("smtp", source, &envelope, 2180, &[FlowId::from_u128(2)]);
    accepted.ids = vec![MessageId::from_u128(1)];
    Record::Accepted(accepted)
}

fn given_up(why: FrozenReason) -> Record {
    let frozen = Frozen::new(Timestamp(2000), why);
    Record::GivenUp(GivenUp::new(&message().0, &frozen, "frozen"))
}

fn operation() -> Record {
    Record::Operation(Operation {
        name: "freeze",
        by: "127.0.0.1".to_owned(),
        selector: "recipient=bob@example.org older=1d".to_owned(),
        user: None,
        matched: 3,
        done: 2,
        failed: 1,
        error: Some("the disk failed".to_owned()),
    })
}

/// Over the Unix socket.
fn local() -> Record {
    let envelope = Envelope::of(ReversePath::Null, ["b@example.net".parse().unwrap()]);
    let source = Source {
        admission: Admission::Network,
        client: None,
        uid: Some(1000),
        tls: None,
    };
    Record::Accepted(Accepted::new("local", source, &envelope, 10, &[]))
}

fn lift() -> Record {
    Record::Operation(Operation {
        name: "lift",
        by: "127.0.0.1".to_owned(),
        selector: String::new(),
        user: Some("ada".to_owned()),
        matched: 1,
        done: 1,
        failed: 0,
        error: None,
    })
}

/// One of each kind, with every field that there is.
fn samples() -> Vec<Record> {
    vec![
        accepted(Admission::User("ada".into()), 2),
        accepted(Admission::Domain, 2),
        attempt(),
        broken(),
        given_up(FrozenReason::Expired),
        operation(),
        local(),
        lift(),
    ]
}

fn written(record: Record, format: LogFormat, redactor: Option<Redactor>) -> Vec<String> {
    let mut writer = Writer {
        format,
        redactor: redactor.map(Arc::new),
        line: String::new(),
        batch: Vec::new(),
    };
    writer.entry(&Entry {
        at: Timestamp(0),
        level: Level::INFO,
        what: What::Record(Arc::new(record)),
        bytes: 0,
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
fn each_recipient_of_an_attempt_has_one_line_with_what_came_of_it() {
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
fn a_submission_of_this_machine_names_its_user_also_when_redacted() {
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
fn what_others_log_keeps_its_kinds() {
    assert_eq!(listed("[a, b]".to_owned()), {
        let text = |text: &'static str| Value::Text(text.into());
        Value::List(vec![text("a"), text("b")])
    });
    assert_eq!(listed("[\"a, b\"]".to_owned()), Value::Text("[\"a, b\"]".into()));
    let (queue, jobs) = sync_channel(4);
    let hand = Hand {
        queue,
        counts: Arc::default(),
    };
    tracing::subscriber::with_default(registry().with(hand), || {
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
            Job::Write(entry) => writer.entry(&entry),
            Job::Flush => {}
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
fn redacted_lines_have_no_address_and_the_same_hash_for_the_same_one() {
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
fn lines_that_nobody_reads_are_dropped_and_counted_beyond_the_bound() {
    let (queue, jobs) = sync_channel(QUEUE);
    let hand = Hand {
        queue,
        counts: Arc::default(),
    };
    let counts = Arc::clone(&hand.counts);
    tracing::subscriber::with_default(registry().with(hand), || {
        (0..8192 + 3).for_each(|_| tracing::info!("x"));
    });
    assert_eq!(counts.dropped.load(Ordering::Relaxed), 3);
    assert_eq!(jobs.try_iter().count(), 8192);
}

#[test]
fn what_waits_for_a_reader_is_bounded_in_bytes() {
    let (queue, jobs) = sync_channel(QUEUE);
    let counts = Arc::new(Counts::default());
    let hand = Hand {
        queue,
        counts: Arc::clone(&counts),
    };
    let entry = |bytes| Entry {
        at: Timestamp(0),
        level: Level::INFO,
        what: What::Other {
            message: String::new(),
            fields: Vec::new(),
        },
        bytes,
    };
    (0..20).for_each(|_| hand.give(entry(1 << 20)));
    assert_eq!(counts.waiting.load(Ordering::Relaxed), QUEUE_BYTES);
    assert_eq!(counts.dropped.load(Ordering::Relaxed), 12);
    assert_eq!(jobs.try_iter().count(), 8);
    // One that is larger than all is written when nothing waits.
    counts.waiting.store(0, Ordering::Relaxed);
    hand.give(entry(QUEUE_BYTES * 2));
    assert_eq!(jobs.try_iter().count(), 1);
    assert!(attempt().footprint() > accepted(Admission::Network, 1).footprint());
}

/// The rows of the tables under each heading of the page: the words in backticks of the first column, and the rest.
fn page() -> BTreeMap<String, Vec<Vec<String>>> {
    let text = include_str!("../../../docs/logs.md");
    let (mut heading, mut rows) = (String::new(), BTreeMap::<_, Vec<_>>::new());
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ").or_else(|| line.strip_prefix("### ")) {
            title.trim_matches('`').clone_into(&mut heading);
        } else if let Some(row) = line.strip_prefix("| `") {
            let cells = row
                .trim_end_matches(" |")
                .split(" | ")
                .map(|cell| cell.trim_matches('`').trim().to_owned());
            rows.entry(heading.clone()).or_default().push(cells.collect());
        }
    }
    rows
}

#[test]
fn the_page_lists_the_fields_of_every_line_about_mail() {
    let mut emitted: BTreeMap<&'static str, BTreeSet<&'static str>> = BTreeMap::new();
    for record in samples() {
        record.lines(&mut |line| {
            let fields = line.fields.iter().map(|(key, _)| *key);
            emitted.entry(line.event).or_default().extend(fields);
        });
    }
    let page = page();
    for (event, fields) in &emitted {
        // The outcomes of a recipient share one table.
        let heading = match *event {
            "delivered" | "deferred" | "failed" => "delivered`, `deferred`, `failed`, `discharged",
            other => other,
        };
        let rows = page
            .get(heading)
            .unwrap_or_else(|| panic!("no heading for {event}"));
        let listed: BTreeSet<&str> = rows.iter().map(|row| row[0].as_str()).collect();
        let missing: Vec<_> = fields.iter().filter(|field| !listed.contains(**field)).collect();
        assert!(missing.is_empty(), "{event}: not on the page: {missing:?}");
        let of_heading = emitted.iter().filter(|(other, _)| {
            let outcome = |event: &str| ["delivered", "deferred", "failed"].contains(&event);
            *other == event || (outcome(other) && outcome(event))
        });
        let all: BTreeSet<&str> = of_heading.flat_map(|(_, fields)| fields).copied().collect();
        let gone: Vec<_> = listed.iter().filter(|field| !all.contains(**field)).collect();
        assert!(
            gone.is_empty(),
            "{event}: on the page, and never written: {gone:?}"
        );
    }
}

#[test]
fn the_page_lists_every_other_line_with_its_fields() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut files = Vec::new();
    for name in ["spool-core", "spool-smtp", "spool-actors", "spool-bin"] {
        sources(&root.join(name).join("src"), &mut files);
    }
    let mut emitted = BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        emitted.extend(lines_in(code));
    }
    let rows = page().remove("Other lines").unwrap();
    let listed: BTreeSet<String> = rows.into_iter().map(|row| row[..3].join(" | ")).collect();
    let missing: Vec<_> = emitted.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&emitted).collect();
    assert!(
        missing.is_empty(),
        "not in docs/logs.md:\n{missing:#?}\nlisted there, and gone:\n{gone:#?}"
    );
    assert!(gone.is_empty(), "in docs/logs.md, and never logged: {gone:#?}");
    assert!(listed.len() > 50, "{}", listed.len());
}

fn sources(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name == "tests" || name == "tests.rs" || name.ends_with("_tests.rs") {
            continue;
        } else if path.is_dir() {
            sources(&path, files);
        } else if name.ends_with(".rs") {
            files.push(path);
        }
    }
}

/// Each line that `code` logs at INFO or above: `message | LEVEL | fields`.
fn lines_in(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for level in ["info", "warn", "error"] {
        for (at, name) in code.match_indices(&format!("{level}!(")) {
            let before = code[..at].chars().next_back().unwrap_or(' ');
            if before.is_alphanumeric()
                || before == '_'
                || code[..at].rsplit('\n').next().unwrap().contains("//")
            {
                continue;
            }
            let (mut message, mut fields) = (None, Vec::new());
            for argument in arguments(&code[at + name.len()..]) {
                let argument = argument.trim();
                if message.is_some() || argument.starts_with("target:") {
                    continue;
                } else if let Some(text) = argument.strip_prefix('"') {
                    message = Some(text.strip_suffix('"').unwrap().replace("\\\"", "\""));
                } else {
                    let name = argument
                        .split('=')
                        .next()
                        .unwrap()
                        .trim()
                        .trim_start_matches(['%', '?']);
                    fields.push(name.to_owned());
                }
            }
            // A record has no message, and tables of its own.
            if let Some(message) = message {
                found.push(format!(
                    "{message} | {} | {}",
                    level.to_uppercase(),
                    fields.join(", ")
                ));
            }
        }
    }
    found
}

/// What stands between the commas up to the closing parenthesis.
fn arguments(code: &str) -> Vec<String> {
    let (mut depth, mut text, mut escaped) = (0, false, false);
    let (mut all, mut one) = (Vec::new(), String::new());
    for c in code.chars() {
        match c {
            '"' if !escaped => text = !text,
            '(' | '[' | '{' if !text => depth += 1,
            ')' | ']' | '}' if !text => depth -= 1,
            ',' if !text && depth == 0 => {
                all.push(std::mem::take(&mut one));
                continue;
            }
            _ => {}
        }
        if depth < 0 {
            break;
        }
        escaped = text && c == '\\' && !escaped;
        one.push(c);
    }
    all.push(one);
    all.retain(|argument| !argument.trim().is_empty());
    all
}
