//! What happens to a message after an attempt. Pure: the state before, the report and the time give the state after.
//!
//! No recipient is lost: a recipient that the next hop did not accept is afterwards remaining or failed, or was
//! declared done by the on_error hook.

pub use crate::decisions::{Decisions, refusals};
pub use crate::on_error::{OnError, default_decision};

use crate::attempt::{Attempt, AttemptReport, AttemptResult, RecipientIndex};
use crate::clock::Timestamp;
use crate::decisions::message_reply;
use crate::message::{FailedRecipient, MessageState, Status};
use crate::reply::Reply;
use crate::retry::Dice;
use std::collections::HashMap;

/// What happens to the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// No recipient remains and none failed.
    Delivered,
    /// To be tried again.
    Delayed {
        /// When.
        until: Timestamp,
        /// Whether the peer asked for it.
        rate_limited: bool,
    },
    /// No recipient remains and some failed: to be bounced or frozen.
    Failed {
        /// Whether the message expired.
        expired: bool,
    },
}

/// The state after `attempt`, and what happens to the message.
#[must_use]
pub fn dispose(
    mut state: MessageState,
    attempt: Attempt,
    decisions: &Decisions,
    now: Timestamp,
    dice: &dyn Dice,
) -> (MessageState, Fate) {
    let (later, rate_limited) = settle(&mut state, &attempt.report, decisions);
    state.remaining = later;
    state.in_flight = None;
    for attempt in attempt.by_host() {
        state.attempts.push(attempt);
    }
    let fate = fate(&mut state, rate_limited, now, dice);
    if let Fate::Delayed { until, .. } = fate {
        state.set_status(Status::SendAt(until), None);
    }
    (state, fate)
}

/// The state of a message that expired while waiting for a next hop that cannot be reached, for `reason`. There was no
/// attempt.
#[must_use]
pub fn expire(state: MessageState, reason: &str) -> (MessageState, Fate) {
    let reason = format!("no attempt was possible before its time ran out: {reason}");
    (given_up(state, &reason), Fate::Failed { expired: true })
}

/// The state of a message that a person ended, for `reason`: no recipient remains.
#[must_use]
pub fn given_up(mut state: MessageState, reason: &str) -> MessageState {
    // The start of an attempt that did not take place may still be on disk.
    state.in_flight = None;
    state.fail_remaining(reason);
    state
}

/// Settles every tried recipient; returns those to be tried later, and whether a rate limit is the reason.
fn settle(
    state: &mut MessageState,
    report: &AttemptReport,
    decisions: &Decisions,
) -> (Vec<RecipientIndex>, bool) {
    let taken = matches!(report.result, AttemptResult::Accepted(_));
    let refusals: HashMap<_, _> = report
        .refused
        .iter()
        .zip(&decisions.recipients)
        .map(|(refused, decision)| (refused.recipient, (&refused.reply, *decision)))
        .collect();
    let mut later = Vec::new();
    let mut rate_limited = false;
    for recipient in std::mem::take(&mut state.remaining) {
        let (decision, reply) = match refusals.get(&recipient) {
            Some((reply, decision)) => (*decision, Some(*reply)),
            None if taken => continue,
            None => (decisions.message, message_reply(&report.result)),
        };
        match decision {
            OnError::Done => {}
            OnError::FailPermanently => {
                let reason = reply.map_or_else(|| report.result.to_string(), Reply::to_string);
                state.failed.push(FailedRecipient {
                    recipient,
                    reply: reply.cloned(),
                    reason,
                });
            }
            OnError::TryLater => later.push(recipient),
            OnError::TryLaterRateLimited => {
                rate_limited = true;
                later.push(recipient);
            }
        }
    }
    (later, rate_limited)
}

fn fate(state: &mut MessageState, rate_limited: bool, now: Timestamp, dice: &dyn Dice) -> Fate {
    if state.remaining.is_empty() {
        return if state.failed.is_empty() {
            Fate::Delivered
        } else {
            Fate::Failed { expired: false }
        };
    }
    let expired = state.expires_at.is_some_and(|end| end <= now);
    match state.schedule.next(dice) {
        Some(wait) if !expired => Fate::Delayed {
            until: now.after(wait),
            rate_limited,
        },
        Some(_) | None => {
            state.fail_remaining(if expired {
                "expired: it was tried for as long as allowed"
            } else {
                "no retry interval is left"
            });
            Fate::Failed { expired }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attempt::{RefusedRecipient, Stage};
    use crate::attempts::Attempts;
    use crate::retry::{NoDice, RetryInterval, Schedule};
    use std::time::Duration;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn state(recipients: u32, intervals: usize) -> MessageState {
        let interval = RetryInterval::new(Duration::from_secs(60), Duration::ZERO);
        MessageState {
            status: Status::SendAt(NOW),
            frozen: None,
            in_flight: Some(NOW),
            remaining: (0..recipients).collect(),
            failed: Vec::new(),
            schedule: Schedule {
                intervals: vec![interval; intervals],
                repeat_last: false,
            },
            expires_at: None,
            attempts: Attempts::default(),
            notices: crate::bounce::Notices::default(),
        }
    }

    fn report(result: AttemptResult, refused: &[(u32, u16)]) -> AttemptReport {
        let refused = refused.iter().map(|(recipient, code)| RefusedRecipient {
            recipient: *recipient,
            reply: Reply::new(*code, ""),
        });
        AttemptReport {
            refused: refused.collect(),
            ..AttemptReport::new(result)
        }
    }

    fn after(state: MessageState, report: AttemptReport) -> (MessageState, Fate) {
        let decisions = Decisions::by_default(&report);
        dispose(
            state,
            Attempt {
                at: NOW,
                duration_ms: 1,
                report,
            },
            &decisions,
            NOW,
            &NoDice,
        )
    }

    fn accepted() -> AttemptResult {
        AttemptResult::Accepted(Reply::new(250, ""))
    }

    #[test]
    fn a_hundred_thousand_recipients_are_decided_in_a_moment() {
        const MANY: u32 = 100_000;
        let refused: Vec<_> = (0..MANY).rev().map(|n| (n, 450)).collect();
        let report = report(AttemptResult::AllRefused, &refused);
        let begun = std::time::Instant::now();
        let (state, _) = after(state(MANY, 1), report);
        assert_eq!(state.remaining.len(), refused.len());
        // Each against each other one, it took a hundred seconds.
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    }

    #[test]
    fn all_accepted_is_delivered() {
        let (state, fate) = after(state(3, 1), report(accepted(), &[]));
        assert_eq!(fate, Fate::Delivered);
        assert_eq!(state.in_flight, None);
    }

    #[test]
    fn a_failed_recipient_is_kept_when_others_are_delivered() {
        let (state, fate) = after(state(3, 2), report(accepted(), &[(0, 550), (1, 450)]));
        assert_eq!(
            fate,
            Fate::Delayed {
                until: NOW.after(Duration::from_secs(60)),
                rate_limited: false
            }
        );
        assert_eq!(state.remaining, [1]);
        let (state, fate) = after(state, report(accepted(), &[]));
        assert_eq!(fate, Fate::Failed { expired: false });
        assert_eq!(state.failed.iter().map(|f| f.recipient).collect::<Vec<_>>(), [0]);
        assert_eq!(state.attempts.total(), 2);
    }

    #[test]
    fn a_refused_body_is_decided_once() {
        let result = AttemptResult::Refused {
            stage: Stage::FinalReply,
            reply: Reply::new(554, "5.7.1 spam"),
        };
        let (state, fate) = after(state(2, 1), report(result, &[(1, 450)]));
        assert!(matches!(fate, Fate::Delayed { .. }));
        assert_eq!((state.remaining.clone(), state.failed[0].recipient), (vec![1], 0));
    }

    #[test]
    fn a_session_refused_for_good_is_tried_again() {
        let result = AttemptResult::Refused {
            stage: Stage::Connect,
            reply: Reply::new(554, "no service"),
        };
        assert!(matches!(
            after(state(1, 1), report(result, &[])).1,
            Fate::Delayed { .. }
        ));
    }

    #[test]
    fn a_missing_domain_fails_and_an_unknown_one_is_tried_later() {
        let route = |code, text| AttemptResult::Refused {
            stage: Stage::Route,
            reply: Reply::new(code, text),
        };
        let (state_after, fate) = after(state(2, 1), report(route(550, "5.1.2 no such domain"), &[]));
        assert_eq!(fate, Fate::Failed { expired: false });
        assert_eq!(state_after.failed[0].reason, "550 5.1.2 no such domain");
        assert!(matches!(
            after(state(2, 1), report(route(451, "4.4.3 no answer"), &[])).1,
            Fate::Delayed {
                rate_limited: false,
                ..
            }
        ));
    }

    #[test]
    fn the_end_of_the_intervals_and_of_the_time_is_failure() {
        let broken = || AttemptResult::NoConnection {
            error: "refused".into(),
        };
        assert_eq!(
            after(state(1, 0), report(broken(), &[])).1,
            Fate::Failed { expired: false }
        );
        let mut old = state(1, 5);
        old.expires_at = Some(NOW);
        let (old, fate) = after(old, report(broken(), &[]));
        assert_eq!(fate, Fate::Failed { expired: true });
        assert!(old.remaining.is_empty() && old.failed.len() == 1);
    }

    #[test]
    fn what_expires_while_it_waits_fails_for_all_who_remain() {
        let mut waiting = state(3, 2);
        waiting.remaining = vec![0, 2];
        let (after, fate) = expire(waiting, "refused");
        assert_eq!(fate, Fate::Failed { expired: true });
        assert_eq!(
            after.failed.iter().map(|f| f.recipient).collect::<Vec<_>>(),
            [0, 2]
        );
        assert!(after.remaining.is_empty() && after.attempts.is_empty());
        assert_eq!(after.in_flight, None);
        assert!(after.failed[0].reason.ends_with("ran out: refused"));
    }

    proptest::proptest! {
        #[test]
        fn every_recipient_has_exactly_one_fate(n in 1_u32..6, codes in proptest::collection::vec((0_u32..6, 400_u16..600), 0..6), end in 0..4, left in 0_usize..3) {
            let mut refused: Vec<(u32, u16)> = codes.into_iter().filter(|(r, _)| *r < n).collect();
            refused.sort_unstable();
            refused.dedup_by_key(|(r, _)| *r);
            let result = match end {
                0 => accepted(),
                1 => AttemptResult::Refused { stage: Stage::Mail, reply: Reply::new(451, "") },
                2 => AttemptResult::Refused { stage: Stage::FinalReply, reply: Reply::new(552, "") },
                _ => AttemptResult::Broken { stage: Stage::Body, error: "reset".into(), in_doubt: false },
            };
            let taken = end == 0;
            let (state, fate) = after(state(n, left), report(result, &refused));
            for recipient in 0..n {
                let delivered = taken && !refused.iter().any(|(r, _)| *r == recipient);
                let places = usize::from(delivered)
                    + state.remaining.iter().filter(|r| **r == recipient).count()
                    + state.failed.iter().filter(|f| f.recipient == recipient).count();
                proptest::prop_assert_eq!(places, 1);
            }
            proptest::prop_assert_eq!(fate == Fate::Delivered, state.remaining.is_empty() && state.failed.is_empty());
        }
    }
}
