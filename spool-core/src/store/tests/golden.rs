//! The changes whose bytes the golden files hold.

use super::*;
use crate::attempt::RefusedRecipient;
use crate::attempts::Attempts;
use crate::bounce::{Action, Notice, Notices, Unreturned};
use crate::envelope::{BodyKind, MailParameters, Notify, Ret};
use crate::frozen::FrozenReason;
use crate::hooks::Presend;
use crate::id::FlowId;
use crate::message::FailedRecipient;
use crate::retry::{RetryInterval, Schedule};

pub(super) fn simple_add() -> Change {
    let section = Section {
        envelope: Envelope::of(ReversePath::Null, [Address::parse("b@c").unwrap()]),
        next_hops: ["h:25".parse().unwrap()].into(),
        origin: RouteOrigin::Named,
        retry: RetryPolicy {
            intervals: vec![RetryInterval::new(Duration::from_secs(1), Duration::ZERO)],
            repeat_last: false,
            expire_after: None,
        },
    };
    Change::Add(Addition {
        messages: vec![NewMessage {
            id: id(1),
            section,
            status: Status::SendAt(Timestamp(5)),
            frozen: None,
            in_flight: None,
            state: None,
        }],
        body: Bytes::from_static(b"hi\r\n"),
        flows: vec![],
        parent: None,
        related: vec![],
        key: None,
        conclusion: None,
        events: vec![],
        spooled_at: Timestamp(5),
    })
}

pub(super) fn rich_add() -> Change {
    let mut section = section(1);
    section.envelope.parameters = MailParameters {
        body: BodyKind::EightBitMime,
        smtputf8: true,
        requiretls: true,
        ret: Some(Ret::Headers),
        envid: Some("e".to_owned()),
    };
    let recipient = &mut section.envelope.recipients[0];
    recipient.notify = Some(Notify {
        success: true,
        failure: false,
        delay: true,
    });
    recipient.orcpt = Some("rfc822;o@p".to_owned());
    section.retry.intervals.truncate(1);
    let message = |number, status| NewMessage {
        id: id(number),
        section: section.clone(),
        status,
        frozen: None,
        in_flight: Some(Timestamp(-1)),
        state: (number == 2).then(|| Box::new(rich_state())),
    };
    let told = |number: u64, kind| Event {
        seq: 300 + number,
        ..event(u128::from(number), kind)
    };
    Change::Add(Addition {
        messages: vec![
            message(1, Status::Frozen),
            message(2, Status::SendAt(Timestamp(9))),
        ],
        body: Bytes::new(),
        flows: vec![FlowId::from_u128(3)],
        parent: Some(id(4)),
        related: vec![id(6)],
        key: Some(AddKey {
            key: "k".to_owned(),
            fingerprint: Some(Fingerprint::of(&[], b"")),
        }),
        conclusion: None,
        events: vec![
            told(1, EventKind::Spooled),
            told(2, EventKind::Recovered(crate::message::Queue::Removed)),
        ],
        spooled_at: Timestamp(5),
    })
}

/// A state with every kind of attempt.
pub(super) fn rich_state() -> MessageState {
    let reply = || Reply::new(450, "4.2.0 x");
    let results = [
        AttemptResult::Accepted(reply()),
        AttemptResult::AllRefused,
        AttemptResult::Refused {
            stage: Stage::FinalReply,
            reply: reply(),
        },
        AttemptResult::NoConnection {
            error: "n".to_owned(),
        },
        AttemptResult::Broken {
            stage: Stage::Connect,
            error: "b".to_owned(),
            in_doubt: true,
        },
        AttemptResult::Interrupted,
        AttemptResult::Panicked { text: "p".to_owned() },
    ];
    let attempt = |result| Attempt {
        at: Timestamp(1),
        duration_ms: 2,
        report: AttemptReport {
            peer: Some("h:25".parse().unwrap()),
            session: Some(FlowId::from_u128(1)),
            tls: Some("t".to_owned()),
            result,
            refused: vec![RefusedRecipient {
                recipient: 1,
                reply: Reply::new(550, ""),
            }],
            without_dsn: Vec::new(),
            before: Vec::new(),
            own: None,
            address: None,
            transmission: None,
        },
    };
    MessageState {
        status: Status::Frozen,
        frozen: Some(Box::new(Frozen::new(
            Timestamp(7),
            FrozenReason::Failed {
                stage: Some(Stage::Rcpt),
                host: Some("h:25".parse().unwrap()),
                reply: Some(reply()),
                text: "t".to_owned(),
            },
        ))),
        in_flight: None,
        remaining: vec![0, 300],
        failed: vec![FailedRecipient {
            recipient: 2,
            reply: None,
            reason: "r".to_owned(),
        }],
        schedule: Schedule {
            intervals: vec![],
            repeat_last: true,
        },
        expires_at: Some(Timestamp(100)),
        attempts: Attempts::of(results.into_iter().map(attempt).collect(), 300),
        notices: Notices {
            unknown_submitter: true,
            given: vec![
                Notice {
                    at: Timestamp(8),
                    action: Action::Failed,
                    recipients: vec![0, 300],
                    id: Some(id(9)),
                },
                Notice {
                    at: Timestamp(8),
                    action: Action::Delayed,
                    recipients: vec![],
                    id: None,
                },
            ],
        },
    }
}

pub(super) fn hops() -> Arc<[crate::next_hop::NextHop]> {
    ["h:25", "i:26"].map(|hop| hop.parse().unwrap()).into()
}

/// An add that says what becomes of message 7.
pub(super) fn concluding(outcome: Outcome) -> Change {
    let Change::Add(addition) = simple_add() else {
        panic!();
    };
    let conclusion = Some(Conclusion { id: id(7), outcome });
    let events = vec![event(1, EventKind::Spooled), event(7, EventKind::Bounced)];
    Change::Add(Addition {
        conclusion,
        events,
        ..addition
    })
}

pub(super) fn hold(why: FrozenReason) -> Change {
    Change::Mark {
        id: id(1),
        status: Status::Frozen,
        frozen: Some(Box::new(Frozen::new(Timestamp(8), why))),
        in_flight: None,
        events: vec![],
    }
}

pub(super) fn held() -> FrozenReason {
    let by = Some("ada".to_owned());
    FrozenReason::Held { by }
}

pub(super) fn unreadable() -> FrozenReason {
    let what = "w".to_owned();
    FrozenReason::Unreadable { what }
}

pub(super) fn unreturned() -> FrozenReason {
    FrozenReason::Unreturned {
        failure: Box::new(FrozenReason::Expired),
        why: Unreturned::UnknownSubmitter,
    }
}

/// Every kind of event, in the order of its number on disk.
pub(super) fn kinds() -> Vec<EventKind> {
    let at = Timestamp(1);
    vec![
        EventKind::Spooled,
        EventKind::Delivered,
        EventKind::Frozen,
        EventKind::Removed,
        EventKind::Unfrozen,
        EventKind::Recovered(crate::message::Queue::Quarantine),
        EventKind::Quarantined("q".to_owned()),
        EventKind::Delayed(at),
        EventKind::DelayedRateLimited(at),
        EventKind::Bounced,
        EventKind::Expired,
        EventKind::InDoubt,
        EventKind::Ping,
        EventKind::Gap(1),
        EventKind::Presend(Presend::SendNow),
        EventKind::Presend(Presend::SendAt(at)),
        EventKind::Presend(Presend::Freeze),
        EventKind::Presend(Presend::Remove),
        EventKind::Notice {
            action: Action::Relayed,
            id: Some(id(9)),
        },
    ]
}
