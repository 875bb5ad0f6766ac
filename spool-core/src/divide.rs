//! Dividing a message whose recipients have come to belong to different routes: some of them go on in a message of their own.
//!
//! Pure. Nobody is lost: a recipient that is to be tried, or was given up, is afterwards in exactly one of the two.

use crate::attempt::{Attempt, RecipientIndex};
use crate::attempts::Attempts;
use crate::envelope::Envelope;
use crate::message::{FailedRecipient, Message, MessageState};
use std::collections::{HashMap, HashSet};

/// The envelope and the state of a message for `recipients` of `message` alone: what is still to be done for them, and what was
/// tried for them so far. They have new places.
#[must_use]
pub fn part_for(message: &Message, recipients: &[RecipientIndex]) -> (Envelope, MessageState) {
    let places: HashMap<RecipientIndex, RecipientIndex> = recipients.iter().copied().zip(0..).collect();
    let place = |index: RecipientIndex| places.get(&index).copied();
    let recipient = |index: &RecipientIndex| {
        let index = usize::try_from(*index).ok()?;
        message.envelope.recipients.get(index).cloned()
    };
    let envelope = Envelope {
        reverse_path: message.envelope.reverse_path.clone(),
        recipients: recipients.iter().filter_map(recipient).collect(),
        parameters: message.envelope.parameters.clone(),
    };
    let failed = |failed: &FailedRecipient| {
        let recipient = place(failed.recipient)?;
        Some(FailedRecipient {
            recipient,
            ..failed.clone()
        })
    };
    let tried = |attempt: &Attempt| {
        let mut attempt = attempt.clone();
        let refused = std::mem::take(&mut attempt.report.refused).into_iter();
        attempt.report.refused = refused
            .filter_map(|mut refused| {
                refused.recipient = place(refused.recipient)?;
                Some(refused)
            })
            .collect();
        attempt
    };
    let state = &message.state;
    let mut remaining: Vec<_> = state.remaining.iter().copied().filter_map(place).collect();
    remaining.sort_unstable();
    let state = MessageState {
        remaining,
        failed: state.failed.iter().filter_map(failed).collect(),
        attempts: Attempts::of(
            state.attempts.iter().map(tried).collect(),
            state.attempts.left_out(),
        ),
        in_flight: None,
        ..state.clone()
    };
    (envelope, state)
}

/// The state of `message` once `recipients` go on in other messages.
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
    use crate::attempt::{AttemptReport, AttemptResult, RefusedRecipient};
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
            envelope: Envelope::new(ReversePath::Null, to),
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

    fn addresses(envelope: &Envelope, indices: &[u32]) -> Vec<String> {
        let address = |index: &u32| {
            envelope.recipients[usize::try_from(*index).unwrap()]
                .address
                .to_string()
        };
        indices.iter().map(address).collect()
    }

    #[test]
    fn a_part_has_what_was_tried_for_its_recipients_and_nothing_of_the_others() {
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
