//! Which messages are meant: the one selector of every command and of the HTTP API. All that is given must match.

use crate::config::parse_span;
use regex::{Regex, RegexBuilder};
use spool_core::{MessageId, MessageSummary, Queue, Timestamp};
use std::time::Duration;

/// A selection. The empty one matches every message.
#[derive(Debug, Default)]
pub(crate) struct Selector {
    ids: Vec<MessageId>,
    queue: Option<Queue>,
    sender: Option<Regex>,
    recipient: Option<Regex>,
    next_hop: Option<Regex>,
    older: Option<Duration>,
    younger: Option<Duration>,
}

impl Selector {
    /// Adds one condition, by the name it has in a query.
    ///
    /// # Errors
    /// What is wrong with the name or the value.
    pub(crate) fn add(&mut self, name: &str, value: &str) -> Result<(), String> {
        let bad = |error: &dyn std::fmt::Display| format!("{name}: {error}");
        let pattern = || {
            let regex = RegexBuilder::new(value)
                .case_insensitive(true)
                .size_limit(1 << 20)
                .build();
            regex.map(Some).map_err(|error| bad(&error))
        };
        match name {
            "id" => self
                .ids
                .push(value.parse().map_err(|error| bad(&format!("{value}: {error}")))?),
            "queue" => self.queue = Some(value.parse().map_err(|error: String| bad(&error))?),
            "sender" => self.sender = pattern()?,
            "recipient" => self.recipient = pattern()?,
            "next_hop" => self.next_hop = pattern()?,
            "older" => self.older = Some(parse_span(value).map_err(|error| bad(&error))?),
            "younger" => self.younger = Some(parse_span(value).map_err(|error| bad(&error))?),
            _ => return Err(format!("{name}: no such filter")),
        }
        Ok(())
    }

    /// Whether senders or recipients must be known to answer.
    pub(crate) const fn needs_envelope(&self) -> bool {
        self.sender.is_some() || self.recipient.is_some()
    }

    /// Whether `message` is meant, at `now`.
    pub(crate) fn matches(&self, message: &MessageSummary, now: Timestamp) -> bool {
        let age = now.since(message.spooled_at);
        let envelope = message.envelope.as_ref();
        let sender = |regex: &Regex| envelope.is_some_and(|envelope| regex.is_match(&envelope.sender));
        let recipient = |regex: &Regex| {
            envelope.is_some_and(|envelope| envelope.recipients.iter().any(|r| regex.is_match(r)))
        };
        let next_hop = |regex: &Regex| {
            message
                .next_hops
                .iter()
                .any(|hop| regex.is_match(&hop.to_string()))
        };
        (self.ids.is_empty() || self.ids.contains(&message.id))
            && self.queue.is_none_or(|queue| queue == message.queue)
            && self.older.is_none_or(|span| age >= span)
            && self.younger.is_none_or(|span| age < span)
            && self.next_hop.as_ref().is_none_or(next_hop)
            && self.sender.as_ref().is_none_or(sender)
            && self.recipient.as_ref().is_none_or(recipient)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spool_core::{EnvelopeSummary, ShownStatus};

    fn message() -> MessageSummary {
        MessageSummary {
            id: MessageId::from_u128(7),
            queue: Queue::Active,
            status: ShownStatus::SendNow,
            spooled_at: Timestamp(0),
            next_hops: ["mx.example.net:25".parse().unwrap()].into(),
            envelope: Some(EnvelopeSummary {
                sender: "ada@example.org".into(),
                recipients: vec!["bob@x.example".into()],
                size: 3,
            }),
        }
    }

    fn matches(conditions: &[(&str, &str)]) -> bool {
        let mut selector = Selector::default();
        for (name, value) in conditions {
            selector.add(name, value).unwrap();
        }
        selector.matches(&message(), Timestamp(60_000))
    }

    #[test]
    fn every_condition_must_hold() {
        assert!(matches(&[]));
        assert!(matches(&[
            ("sender", "^ADA@"),
            ("recipient", "x\\.example$"),
            ("next_hop", ":25"),
            ("queue", "active")
        ]));
        assert!(matches(&[("older", "1m")]) && !matches(&[("older", "61s")]));
        assert!(matches(&[("younger", "61s")]) && !matches(&[("younger", "1m")]));
        assert!(!matches(&[("sender", "ada"), ("queue", "frozen")]));
        assert!(matches(&[
            ("id", &MessageId::from_u128(9).to_string()),
            ("id", &MessageId::from_u128(7).to_string())
        ]));
        assert!(!matches(&[("id", &MessageId::from_u128(9).to_string())]));
    }

    #[test]
    fn wrong_conditions_are_told() {
        for (name, value) in [
            ("sender", "("),
            ("older", "old"),
            ("queue", "slow"),
            ("id", "../x"),
            ("colour", "red"),
            ("sender", "(a{1000}){1000}"),
        ] {
            assert!(
                Selector::default()
                    .add(name, value)
                    .unwrap_err()
                    .starts_with(name),
                "{name}"
            );
        }
    }
}
