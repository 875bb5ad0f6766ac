//! The selector of messages of all commands and of the HTTP API. All conditions must match.
//!
//! It reads conditions and matches one message at a time. It never asks a spool. Operations refuse an empty selection by
//! [`Selector::check`].

use crate::config::parse_span;
use regex::{Regex, RegexBuilder};
use spool_core::store::Archive;
use spool_core::{FrozenKind, IdError, MessageId, MessageSummary, Queue, Timestamp, harmless};
use std::collections::BTreeSet;
use std::time::Duration;

/// A selection. The empty one matches every message.
#[derive(Debug, Default)]
pub(crate) struct Selector {
    all: bool,
    ids: BTreeSet<MessageId>,
    frozen: bool,
    failed: bool,
    pub(crate) queue: Option<Queue>,
    sender: Option<Regex>,
    recipient: Option<Regex>,
    next_hop: Option<Regex>,
    older: Option<Duration>,
    younger: Option<Duration>,
}

impl Selector {
    /// Reads conditions, by the names they have in a query.
    ///
    /// # Errors
    /// What is wrong, beginning with the name of the condition.
    pub(crate) fn read<'c>(conditions: impl IntoIterator<Item = (&'c str, &'c str)>) -> Result<Self, String> {
        let mut selector = Self::default();
        for (name, value) in conditions {
            selector
                .add(name, value)
                .map_err(|error| format!("{name}: {error}"))?;
        }
        if selector.all && selector.filters() {
            return Err("all: goes with no other selection".to_owned());
        }
        Ok(selector)
    }

    fn add(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "id" => drop(self.ids.insert(read_id(value)?)),
            "all" => self.all |= switch(value)?,
            "frozen" => self.frozen |= switch(value)?,
            "failed" => self.failed |= switch(value)?,
            "queue" => once(&mut self.queue, value.parse()?)?,
            "sender" => once(&mut self.sender, pattern(value)?)?,
            "recipient" => once(&mut self.recipient, pattern(value)?)?,
            "next_hop" => once(&mut self.next_hop, pattern(value)?)?,
            "older" => once(&mut self.older, parse_span(value)?)?,
            "younger" => once(&mut self.younger, parse_span(value)?)?,
            _ => {
                return Err(
                    "no such filter; there are id, all, frozen, failed, queue, sender, recipient, next_hop, older, younger"
                        .to_owned(),
                );
            }
        }
        Ok(())
    }

    fn filters(&self) -> bool {
        !self.ids.is_empty() || self.filters_beside_ids()
    }

    fn filters_beside_ids(&self) -> bool {
        self.frozen || self.queue.is_some() || self.filters_beside_queue()
    }

    fn filters_beside_queue(&self) -> bool {
        self.needs_envelope() || self.next_hop.is_some() || self.older.is_some() || self.younger.is_some()
    }

    /// Refuses the empty selection: all messages must be selected explicitly.
    ///
    /// # Errors
    /// How to select messages.
    pub(crate) fn check(&self) -> Result<(), String> {
        match self.all || self.filters() {
            true => Ok(()),
            false => Err("no message is selected: give ids, a filter such as `older`, or `all`".to_owned()),
        }
    }

    /// Whether it has no condition: it selects all messages on the spool.
    pub(crate) fn is_everything(&self) -> bool {
        !self.filters()
    }

    /// Whether it selects exactly the frozen messages.
    pub(crate) fn is_frozen_only(&self) -> bool {
        let queue = match self.queue {
            None => self.frozen,
            Some(queue) => queue == Queue::Frozen,
        };
        queue && self.ids.is_empty() && !self.filters_beside_queue()
    }

    /// The ids named, if any.
    pub(crate) fn ids(&self) -> Option<&BTreeSet<MessageId>> {
        (!self.ids.is_empty()).then_some(&self.ids)
    }

    /// The ids named, when there is no other condition.
    pub(crate) fn only_ids(&self) -> Option<&BTreeSet<MessageId>> {
        self.ids().filter(|_| !self.filters_beside_ids())
    }

    /// The queue selected, when it is an archive.
    pub(crate) fn archive(&self) -> Option<Archive> {
        self.queue.and_then(Archive::of_queue)
    }

    /// Whether it needs data from disk: senders, recipients, or why a message is frozen.
    pub(crate) const fn needs_envelope(&self) -> bool {
        self.sender.is_some() || self.recipient.is_some() || self.failed
    }

    /// Whether it selects `message` at `now`.
    pub(crate) fn matches(&self, message: &MessageSummary, now: Timestamp) -> bool {
        let age = now.since(message.spooled_at);
        let envelope = message.envelope.as_ref();
        let sender = |regex: &Regex| envelope.is_some_and(|envelope| regex.is_match(&envelope.sender));
        let recipient = |regex: &Regex| {
            envelope.is_some_and(|envelope| envelope.recipients.iter().any(|r| regex.is_match(r)))
        };
        let mut hops = message.next_hops.iter();
        let next_hop = |regex: &Regex| hops.any(|hop| regex.is_match(&hop.to_string()));
        (self.ids.is_empty() || self.ids.contains(&message.id))
            && (!self.frozen || message.queue == Queue::Frozen)
            && (!self.failed || matches!(message.frozen, Some(FrozenKind::Failed | FrozenKind::Expired)))
            && self.queue.is_none_or(|queue| queue == message.queue)
            && self.older.is_none_or(|span| age >= span)
            && self.younger.is_none_or(|span| age < span)
            && self.next_hop.as_ref().is_none_or(next_hop)
            && self.sender.as_ref().is_none_or(sender)
            && self.recipient.as_ref().is_none_or(recipient)
    }
}

fn once<T>(slot: &mut Option<T>, value: T) -> Result<(), String> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err("given twice".to_owned()),
    }
}

fn switch(value: &str) -> Result<bool, String> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        other => Err(format!("{other:?} is neither true nor false")),
    }
}

/// Reads an id from outside, before anything else is done with it.
pub(crate) fn read_id(text: &str) -> Result<MessageId, String> {
    let told = |error: IdError| format!("{}: {error}", harmless(text));
    text.parse().map_err(told)
}

/// A regular expression, bounded in size so that a pattern from outside cannot use excessive memory or time.
fn pattern(value: &str) -> Result<Regex, String> {
    let regex = RegexBuilder::new(value)
        .case_insensitive(true)
        .size_limit(1 << 20)
        .build();
    regex.map_err(|error| error.to_string())
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
            origin: spool_core::RouteOrigin::Configured,
            envelope: Some(EnvelopeSummary {
                sender: "ada@example.org".into(),
                recipients: vec!["bob@x.example".into()],
                size: 3,
            }),
            reason: None,
            frozen: None,
            unreadable: false,
        }
    }

    fn matches(conditions: &[(&str, &str)]) -> bool {
        let selector = Selector::read(conditions.iter().copied()).unwrap();
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
    fn failed_messages_are_distinguished_from_held_ones() {
        let failed = |kind| {
            let selector = Selector::read([("failed", "true")]).unwrap();
            let message = MessageSummary {
                queue: Queue::Frozen,
                status: ShownStatus::Frozen,
                frozen: kind,
                ..message()
            };
            selector.matches(&message, Timestamp(0))
        };
        assert!(failed(Some(FrozenKind::Failed)) && failed(Some(FrozenKind::Expired)));
        assert!(!failed(Some(FrozenKind::Held)) && !failed(None));
        assert!(selector(&[("failed", "true")]).needs_envelope());
    }

    #[test]
    fn wrong_conditions_are_refused() {
        for (name, value) in [
            ("sender", "("),
            ("older", "old"),
            ("queue", "slow"),
            ("id", "../x"),
            ("colour", "red"),
            ("sender", "(a{1000}){1000}"),
            ("all", "yes"),
        ] {
            assert!(
                Selector::read([(name, value)]).unwrap_err().starts_with(name),
                "{name}"
            );
        }
        let twice = Selector::read([("sender", "a"), ("sender", "b")]);
        assert_eq!(twice.unwrap_err(), "sender: given twice");
        let both = Selector::read([("all", "true"), ("frozen", "true")]);
        assert!(both.unwrap_err().starts_with("all: "));
    }

    fn selector(conditions: &[(&str, &str)]) -> Selector {
        Selector::read(conditions.iter().copied()).unwrap()
    }

    #[test]
    fn frozen_and_a_queue_must_both_hold() {
        assert!(!matches(&[("frozen", "true")]));
        assert!(!matches(&[("frozen", "true"), ("queue", "active")]));
        assert!(matches(&[("frozen", "false"), ("queue", "active")]));
    }

    #[test]
    fn an_empty_selection_needs_all() {
        assert!(selector(&[]).check().unwrap_err().contains("`all`"));
        assert!(selector(&[("all", "false")]).check().is_err());
        for given in [("all", "true"), ("frozen", "true"), ("older", "0s")] {
            assert!(selector(&[given]).check().is_ok(), "{given:?}");
        }
    }

    #[test]
    fn the_kind_of_selection_is_known() {
        let id = MessageId::from_u128(7).to_string();
        let id = ("id", id.as_str());
        assert!(selector(&[id]).only_ids().is_some() && selector(&[id]).check().is_ok());
        assert!(selector(&[id, ("older", "1s")]).only_ids().is_none());
        assert!(selector(&[("frozen", "true")]).is_frozen_only());
        assert!(selector(&[("queue", "frozen"), ("frozen", "true")]).is_frozen_only());
        assert!(!selector(&[("queue", "active"), ("frozen", "true")]).is_frozen_only());
        assert!(!selector(&[("frozen", "true"), ("younger", "1d")]).is_frozen_only());
        assert!(!selector(&[]).is_frozen_only() && selector(&[("all", "true")]).is_everything());
        assert_eq!(
            selector(&[("queue", "removed")]).archive(),
            Some(Archive::Removed)
        );
        assert_eq!(selector(&[("queue", "frozen")]).archive(), None);
    }
}
