//! Records with every field that there is.

use spool_core::log::{Accepted, AttemptRecord, GivenUp, Operation, Record};
use spool_core::{
    Address, Admission, Attempt, AttemptReport, AttemptResult, Envelope, FlowId, Frozen, FrozenReason,
    HostReport, Message, MessageId, MessageState, NextHop, RefusedRecipient, Related, Reply, RetryPolicy,
    ReversePath, RouteOrigin, Section, Source, Stage, Status, Timestamp, TlsSession,
};
use std::sync::Arc;
use std::time::Duration;

/// A message for three, whose first host could not be reached; the second one took it for one, and refused two.
pub(super) fn message() -> (Message, Attempt) {
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

pub(super) fn attempt() -> Record {
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

pub(super) fn accepted(admission: Admission, recipients: usize) -> Record {
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

pub(super) fn operation() -> Record {
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
pub(super) fn local() -> Record {
    let envelope = Envelope::of(ReversePath::Null, ["b@example.net".parse().unwrap()]);
    let source = Source {
        admission: Admission::Network,
        client: None,
        uid: Some(1000),
        tls: None,
    };
    Record::Accepted(Accepted::new("local", source, &envelope, 10, &[]))
}

pub(super) fn lift() -> Record {
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
pub(super) fn samples() -> Vec<Record> {
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
