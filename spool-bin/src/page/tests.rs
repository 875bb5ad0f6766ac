//! Pages of messages.

use super::make::recipients;
use super::*;
use spool_core::{
    Address, Attempt, AttemptReport, AttemptResult, Envelope, FailedRecipient, MessageState, Notify,
    RefusedRecipient, RetryInterval, RetryPolicy, ReversePath, Section, Status,
};
use std::time::Duration;

fn reply(text: &str) -> Reply {
    Reply::new(550, text)
}

/// One that was accepted for two of three recipients, and one that broke off.
fn attempts(now: Timestamp) -> [Attempt; 2] {
    let mut taken = AttemptReport::new(AttemptResult::Accepted(Reply::new(250, "2.0.0 taken")));
    taken.peer = Some("mx.example.net:25".parse().unwrap());
    taken.tls = Some("TLSv1.3 TLS_AES_256_GCM_SHA384".into());
    taken.refused = vec![RefusedRecipient {
        recipient: 1,
        reply: reply("5.1.1 nobody"),
    }];
    let broken = AttemptReport::new(AttemptResult::Broken {
        stage: Stage::FinalReply,
        error: "timed out".into(),
        in_doubt: true,
    });
    let attempt = |at, report| Attempt {
        at,
        duration_ms: 1234,
        report,
    };
    let later = now.after(Duration::from_secs(60));
    [attempt(now, taken), attempt(later, broken)]
}

/// A message with one recipient done, one failed and one remaining, after two attempts.
pub(crate) fn message() -> Message {
    let to = ["done@x.example", "failed@x.example", "late@x.example"];
    let mut envelope = Envelope::of(
        ReversePath::parse("ada@example.org").unwrap(),
        to.map(|to| to.parse().unwrap()),
    );
    envelope.parameters.envid = Some("e-1".into());
    envelope.recipients[2].notify = Some(Notify {
        success: false,
        failure: true,
        delay: true,
    });
    let section = Section {
        envelope,
        next_hops: ["mx.example.net:25".parse().unwrap()].into(),
        origin: RouteOrigin::Configured,
        retry: RetryPolicy {
            intervals: vec![RetryInterval::with_jitter(Duration::from_secs(300), 0.2)],
            ..RetryPolicy::default()
        },
    };
    let now = Timestamp(1_795_491_552_042);
    let mut state = MessageState::new(&section, Status::SendAt(now.after(Duration::from_secs(90))), now);
    state.remaining = vec![2];
    state.failed = vec![FailedRecipient {
        recipient: 1,
        reply: Some(reply("5.1.1 nobody\u{1b}[31m here")),
        reason: "refused".into(),
    }];
    state.attempts = attempts(now).into_iter().collect();
    Message {
        id: MessageId::from_u128(7),
        parent: None,
        related: vec![MessageId::from_u128(8)].into(),
        flows: vec![FlowId::from_u128(9)],
        spooled_at: now,
        next_hops: section.next_hops,
        origin: section.origin,
        envelope: Arc::new(section.envelope),
        body_size: 2970,
        state,
    }
}

pub(crate) fn page() -> Page {
    let message = message();
    let status = ShownStatus::at(message.state.status, message.spooled_at);
    Page::of(&message, Queue::Active, status, None)
}

#[test]
fn a_recipient_moved_to_another_message_is_not_shown_delivered() {
    let mut message = message();
    // The first attempt left the third one out, and then it went on in another message.
    message.state.remaining.clear();
    let (first, rest) = message.state.attempts.split_first().unwrap();
    let (mut first, rest) = (first.clone(), rest.to_vec());
    first.report.refused.push(RefusedRecipient {
        recipient: 2,
        reply: Reply::new(450, "4.2.0 later"),
    });
    message.state.attempts = std::iter::once(first).chain(rest.clone()).collect();
    let fates = |message: &Message| -> Vec<RecipientFate> {
        let page = recipients(message);
        page.iter().map(|recipient| recipient.fate).collect()
    };
    assert_eq!(
        fates(&message),
        [
            RecipientFate::Done,
            RecipientFate::Failed,
            RecipientFate::Elsewhere
        ]
    );
    // Nothing was ever accepted.
    message.state.attempts = rest.into_iter().collect();
    assert_eq!(
        fates(&message),
        [
            RecipientFate::Elsewhere,
            RecipientFate::Failed,
            RecipientFate::Elsewhere
        ]
    );
}

#[test]
fn a_recipient_of_another_part_is_not_shown_as_delivered_by_an_attempt_for_the_others() {
    let mut page = page();
    let part = MessageId::from_u128(9);
    let addresses = page.recipients.iter().map(|one| one.address.parse().unwrap());
    let all: Vec<Address> = addresses.collect();
    page.divide(vec![part], &[]);
    assert_eq!(page.recipients[0].fate, RecipientFate::Done);
    page.divide(vec![part], &all);
    let fates: Vec<RecipientFate> = page.recipients.iter().map(|one| one.fate).collect();
    use RecipientFate::{Elsewhere, Failed, Remaining};
    assert_eq!(fates, [Elsewhere, Failed, Remaining]);
    assert_eq!(page.parts, [part]);
}

#[test]
fn a_page_has_the_fate_of_all_recipients_and_reads_back() {
    let page = page();
    let fates: Vec<RecipientFate> = page.recipients.iter().map(|recipient| recipient.fate).collect();
    assert_eq!(
        fates,
        [
            RecipientFate::Done,
            RecipientFate::Failed,
            RecipientFate::Remaining
        ]
    );
    assert_eq!(page.recipients[2].parameters, ["NOTIFY=FAILURE,DELAY"]);
    assert_eq!(page.parameters, ["ENVID=e-1"]);
    assert_eq!(page.attempts[0].enhanced.as_deref(), Some("2.0.0"));
    assert_eq!(page.attempts[0].refused[0].address, "failed@x.example");
    assert!(page.attempts[1].in_doubt && page.attempts[1].stage == Some(Stage::FinalReply));
    let json = serde_json::to_string(&page).unwrap();
    assert!(!json.contains('\u{1b}') && json.contains("\"next_attempt\":\"2026-11-24T03:40:42.042Z\""));
    assert_eq!(serde_json::from_str::<Page>(&json).unwrap(), page);
}

#[test]
fn a_message_in_an_archive_has_no_next_attempt() {
    let message = message();
    let status = ShownStatus::at(message.state.status, message.spooled_at);
    let page = Page::of(&message, Queue::Removed, status, Some("a\nb".into()));
    assert_eq!((page.next_attempt, page.reason.as_deref()), (None, Some("a\\nb")));
}
