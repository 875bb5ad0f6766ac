//! Dividing a message whose recipients now have different routes: some of them continue in messages of their own.
//!
//! Pure. No recipient is lost: a recipient that remains or has failed is afterwards in exactly one message.

use crate::attempt::{Attempt, AttemptReport, RecipientIndex, RefusedRecipient};
use crate::attempts::Attempts;
use crate::bounce::{Action, Notice, Notices};
use crate::envelope::Envelope;
use crate::message::{FailedRecipient, Message, MessageState};
use std::collections::{HashMap, HashSet};

/// A part of a message: an envelope and a state.
pub type Part = (Envelope, MessageState);

/// An envelope and a state for each of `groups` of the recipients of `message`: their remaining and failed recipients,
/// the first and the last attempt, and the number of attempts. Recipients are renumbered. The parts take up to `most`
/// bytes of memory together, plus at most one part; groups that do not fit are left out at the end.
#[must_use]
pub fn parts_for(message: &Message, groups: &[&[RecipientIndex]], most: u64) -> Vec<Part> {
    let state = &message.state;
    // By recipient, so that the cost is that of one pass however many groups there are.
    let remaining: HashSet<RecipientIndex> = state.remaining.iter().copied().collect();
    let failed = by_recipient(&state.failed, |failed| failed.recipient);
    let attempts = first_and_last(&state.attempts);
    let refused = attempts.iter().map(|attempt| &attempt.report.refused);
    let refused: Vec<_> = refused
        .map(|refused| by_recipient(refused, |refused| refused.recipient))
        .collect();
    let left_out = state.attempts.total().saturating_sub(attempts.len() as u64);
    let (mut parts, mut bytes) = (Vec::new(), 0_u64);
    for recipients in groups {
        if bytes >= most {
            break;
        }
        let attempt = |(attempt, refused): (&&Attempt, &HashMap<_, _>)| {
            let mut attempt = without_refusals(attempt);
            attempt.report.refused = of_group(recipients, refused, |refused: &mut RefusedRecipient| {
                &mut refused.recipient
            });
            attempt
        };
        let places = (0..).zip(recipients.iter());
        let state = MessageState {
            status: state.status,
            frozen: state.frozen.clone(),
            in_flight: None,
            remaining: places
                .filter_map(|(place, recipient)| remaining.contains(recipient).then_some(place))
                .collect(),
            failed: of_group(recipients, &failed, |failed: &mut FailedRecipient| {
                &mut failed.recipient
            }),
            schedule: state.schedule.clone(),
            expires_at: state.expires_at,
            attempts: Attempts::of(attempts.iter().zip(&refused).map(attempt).collect(), left_out),
            notices: without_recipients(&state.notices),
        };
        let part = (envelope_for(message, recipients), state);
        bytes = bytes.saturating_add(part.0.footprint() + part.1.footprint());
        parts.push(part);
    }
    parts
}

/// Items by their recipients, each with its place in the list.
fn by_recipient<T>(
    all: &[T],
    recipient: impl Fn(&T) -> RecipientIndex,
) -> HashMap<RecipientIndex, (usize, &T)> {
    let all = all.iter().enumerate();
    all.map(|(nth, one)| (recipient(one), (nth, one))).collect()
}

/// The items of a group of recipients, renumbered, in the order of their list.
fn of_group<T: Clone>(
    recipients: &[RecipientIndex],
    all: &HashMap<RecipientIndex, (usize, &T)>,
    index: impl Fn(&mut T) -> &mut RecipientIndex,
) -> Vec<T> {
    let places = (0..).zip(recipients);
    let mut found: Vec<(usize, RecipientIndex, &T)> = places
        .filter_map(|(place, recipient)| all.get(recipient).map(|(nth, one)| (*nth, place, *one)))
        .collect();
    found.sort_unstable_by_key(|(nth, ..)| *nth);
    let renumbered = found.into_iter().map(|(_, place, one)| {
        let mut one = one.clone();
        *index(&mut one) = place;
        one
    });
    renumbered.collect()
}

fn envelope_for(message: &Message, recipients: &[RecipientIndex]) -> Envelope {
    let recipient = |index: &RecipientIndex| message.envelope.recipient(*index).cloned();
    Envelope {
        reverse_path: message.envelope.reverse_path.clone(),
        recipients: recipients.iter().filter_map(recipient).collect(),
        parameters: message.envelope.parameters.clone(),
    }
}

/// The notices that concern every part: a message is reported late once.
fn without_recipients(notices: &Notices) -> Notices {
    let delayed = notices
        .given
        .iter()
        .filter(|notice| notice.action == Action::Delayed);
    Notices {
        unknown_submitter: notices.unknown_submitter,
        given: delayed
            .map(|notice| Notice {
                recipients: Vec::new(),
                ..notice.clone()
            })
            .collect(),
    }
}

fn first_and_last(attempts: &Attempts) -> Vec<&Attempt> {
    let first = attempts.first();
    let last = attempts.last().filter(|_| attempts.len() > 1);
    first.into_iter().chain(last).collect()
}

fn without_refusals(attempt: &Attempt) -> Attempt {
    let report = &attempt.report;
    Attempt {
        at: attempt.at,
        duration_ms: attempt.duration_ms,
        report: AttemptReport {
            peer: report.peer.clone(),
            session: report.session,
            tls: report.tls.clone(),
            ..AttemptReport::new(report.result.clone())
        },
    }
}

/// The state of `message` without `recipients`, which continue in other messages.
#[must_use]
pub fn state_without(message: &Message, recipients: &[RecipientIndex]) -> MessageState {
    let gone: HashSet<RecipientIndex> = recipients.iter().copied().collect();
    let mut state = message.state.clone();
    state.remaining.retain(|index| !gone.contains(index));
    state.failed.retain(|failed| !gone.contains(&failed.recipient));
    state.in_flight = None;
    state
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attempt::AttemptResult;
    use crate::clock::Timestamp;
    use crate::envelope::ReversePath;
    use crate::id::MessageId;
    use crate::message::{RouteOrigin, Section, Status};
    use crate::reply::Reply;
    use crate::retry::RetryPolicy;
    use std::sync::Arc;

    const NOW: Timestamp = Timestamp(1_000);

    /// A message with these recipients left, and these given up, of `count`.
    fn message(count: u32, remaining: &[u32], failed: &[u32]) -> Message {
        let to = (0..count).map(|n| format!("{n}@example.net").parse().unwrap());
        let section = Section {
            envelope: Envelope::of(ReversePath::Null, to),
            next_hops: ["a:25".parse().unwrap()].into(),
            origin: RouteOrigin::Configured,
            retry: RetryPolicy::default(),
        };
        let mut state = MessageState::new(&section, Status::SendAt(NOW), NOW);
        state.remaining = remaining.to_vec();
        let given_up = |recipient: &u32| FailedRecipient {
            recipient: *recipient,
            reply: None,
            reason: "no".into(),
        };
        state.failed = failed.iter().map(given_up).collect();
        state.in_flight = Some(NOW);
        let mut report = AttemptReport::new(AttemptResult::AllRefused);
        report.refused = (0..count)
            .map(|recipient| RefusedRecipient {
                recipient,
                reply: Reply::new(450, &format!("4.2.0 not {recipient} now")),
            })
            .collect();
        state.attempts.push(Attempt {
            at: NOW,
            duration_ms: 1,
            report,
        });
        Message {
            id: MessageId::from_u128(1),
            parent: None,
            related: vec![].into(),
            flows: vec![],
            spooled_at: NOW,
            next_hops: section.next_hops,
            origin: section.origin,
            envelope: Arc::new(section.envelope),
            body_size: 1,
            state,
        }
    }

    fn part_for(message: &Message, recipients: &[RecipientIndex]) -> Part {
        parts_for(message, &[recipients], u64::MAX).remove(0)
    }

    #[test]
    fn parts_have_the_first_and_last_attempt_and_the_total() {
        let mut whole = message(4, &[0, 1, 2, 3], &[]);
        let mut again = whole.state.attempts.last().unwrap().clone();
        for at in 2_000..2_009 {
            again.at = Timestamp(at);
            whole.state.attempts.push(again.clone());
        }
        let parts = parts_for(&whole, &[&[0, 1], &[3]], u64::MAX);
        assert_eq!(parts.len(), 2);
        for ((envelope, state), count) in parts.iter().zip([2, 1]) {
            let times: Vec<_> = state.attempts.iter().map(|attempt| attempt.at.0).collect();
            assert_eq!((times, state.attempts.total()), (vec![1_000, 2_008], 10));
            let mut attempts = state.attempts.iter();
            assert!(attempts.all(|attempt| attempt.report.refused.len() == count));
            assert_eq!(envelope.recipients.len(), count);
        }
    }

    #[test]
    fn a_message_is_divided_into_parts_of_bounded_memory() {
        let all: Vec<u32> = (0..1000).collect();
        let whole = message(1000, &all, &[]);
        let groups: Vec<&[u32]> = all.chunks(1).collect();
        let parts = parts_for(&whole, &groups, 1 << 20);
        let bytes = parts
            .iter()
            .map(|(envelope, state)| envelope.footprint() + state.footprint());
        let bytes: u64 = bytes.sum();
        assert!((1 << 20..(1 << 20) + 10_000).contains(&bytes), "{bytes}");
        assert!((100..500).contains(&parts.len()), "{}", parts.len());
    }

    fn addresses(envelope: &Envelope, indices: &[u32]) -> Vec<String> {
        let address = |index: &u32| {
            envelope.recipients[usize::try_from(*index).unwrap()]
                .address
                .to_string()
        };
        indices.iter().map(address).collect()
    }

    #[test]
    fn a_part_has_the_history_of_its_own_recipients() {
        let whole = message(5, &[4, 1, 3], &[0]);
        let (envelope, state) = part_for(&whole, &[4, 1]);
        assert_eq!(
            addresses(&envelope, &state.remaining),
            ["4@example.net", "1@example.net"]
        );
        assert_eq!(
            (envelope.recipients.len(), state.failed.len(), state.in_flight),
            (2, 0, None)
        );
        let refused = &state.attempts.last().unwrap().report.refused;
        let told: Vec<_> = refused
            .iter()
            .map(|refused| {
                (
                    addresses(&envelope, &[refused.recipient]).remove(0),
                    refused.reply.text.clone(),
                )
            })
            .collect();
        let expected = ["1", "4"].map(|n| (format!("{n}@example.net"), format!("4.2.0 not {n} now")));
        assert_eq!(told.len(), 2);
        for ((address, text), (expected, words)) in told.iter().zip(&expected) {
            assert_eq!(address, expected);
            assert!(words.ends_with(text.as_str()), "{text}");
        }
        assert_eq!(state.schedule, whole.state.schedule);
        let rest = state_without(&whole, &[4, 1]);
        assert_eq!(
            (rest.remaining, rest.failed.len(), rest.in_flight),
            (vec![3], 1, None)
        );
    }

    proptest::proptest! {
        #[test]
        fn every_recipient_is_in_exactly_one_part(fates in proptest::collection::vec(0..4_u8, 1..40)) {
            let of = |fate: u8| -> Vec<u32> {
                (0..).zip(&fates).filter(|(_, other)| **other == fate).map(|(index, _)| index).collect()
            };
            // 0 and 1 are left, 2 is given up, 3 is done.
            let (stay, go) = (of(0), of(1));
            let remaining: Vec<u32> = stay.iter().chain(&go).copied().collect();
            let whole = message(u32::try_from(fates.len()).unwrap(), &remaining, &of(2));
            let (envelope, part) = part_for(&whole, &go);
            let rest = state_without(&whole, &go);
            let mut all = addresses(&whole.envelope, &rest.remaining);
            all.extend(addresses(&envelope, &part.remaining));
            all.extend(rest.failed.iter().flat_map(|failed| addresses(&whole.envelope, &[failed.recipient])));
            let (count, mut expected) = (all.len(), addresses(&whole.envelope, &remaining));
            expected.extend(addresses(&whole.envelope, &of(2)));
            all.sort();
            all.dedup();
            expected.sort();
            proptest::prop_assert_eq!(all.len(), count, "nobody twice");
            proptest::prop_assert_eq!(all, expected);
            proptest::prop_assert_eq!(envelope.recipients.len(), go.len());
        }
    }
}
