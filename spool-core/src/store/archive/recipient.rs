//! The recipients in an archived message's metadata: addresses, and what became of each.

use crate::attempt::RecipientIndex;
use crate::envelope::{Notify, Recipient};
use crate::message::{FailedRecipient, MessageState};
use crate::reply::{Reply, harmless};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::{HashMap, HashSet};
use std::fmt;

/// What became of a recipient.
#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RecipientFate {
    #[default]
    Remaining,
    Failed,
    /// A next hop accepted it, or another message handles it.
    Done,
}

/// A recipient: an address alone, or an object with its parameters and what became of it.
#[derive(Clone, Serialize)]
#[serde(transparent)]
pub(super) struct ArchivedRecipient(Fields);

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    address: String,
    #[serde(default)]
    fate: RecipientFate,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reply: Option<Reply>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    notify: Option<Notify>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    orcpt: Option<String>,
}

impl<'de> Deserialize<'de> for ArchivedRecipient {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ArchivedRecipientVisitor)
    }
}

struct ArchivedRecipientVisitor;

impl<'de> Visitor<'de> for ArchivedRecipientVisitor {
    type Value = ArchivedRecipient;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an address, or an object with one")
    }

    fn visit_str<E>(self, address: &str) -> Result<ArchivedRecipient, E> {
        Ok(ArchivedRecipient(Fields {
            address: address.to_owned(),
            ..Fields::default()
        }))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ArchivedRecipient, A::Error> {
        Fields::deserialize(MapAccessDeserializer::new(map)).map(ArchivedRecipient)
    }
}

/// What became of each recipient of a message.
pub(super) struct Fates<'a> {
    failed: HashMap<RecipientIndex, &'a FailedRecipient>,
    remaining: HashSet<RecipientIndex>,
}

impl<'a> Fates<'a> {
    pub(super) fn of(state: &'a MessageState) -> Self {
        let failed = state.failed.iter();
        Self {
            failed: failed.map(|failed| (failed.recipient, failed)).collect(),
            remaining: state.remaining.iter().copied().collect(),
        }
    }

    pub(super) fn take(&mut self, index: RecipientIndex) -> (RecipientFate, Option<&'a FailedRecipient>) {
        match self.failed.remove(&index) {
            Some(failed) => (RecipientFate::Failed, Some(failed)),
            None if self.remaining.remove(&index) => (RecipientFate::Remaining, None),
            None => (RecipientFate::Done, None),
        }
    }
}

impl ArchivedRecipient {
    pub(super) fn of(
        recipient: &Recipient,
        (fate, failed): (RecipientFate, Option<&FailedRecipient>),
    ) -> Self {
        Self(Fields {
            address: recipient.address.to_string(),
            fate,
            why: failed.map(|failed| failed.reason.clone()),
            reply: failed.and_then(|failed| failed.reply.clone()),
            notify: recipient.notify,
            orcpt: recipient.orcpt.clone(),
        })
    }

    pub(super) fn recipient(
        self,
        index: RecipientIndex,
        state: &mut MessageState,
    ) -> Result<Recipient, String> {
        let fields = self.0;
        let address = fields.address.parse();
        let address = address.map_err(|error| format!("\"recipients\": {:?}: {error}", fields.address))?;
        check_parameter("orcpt", fields.orcpt.as_deref())?;
        match fields.fate {
            RecipientFate::Done => {}
            RecipientFate::Remaining => state.remaining.push(index),
            RecipientFate::Failed => state.failed.push(FailedRecipient {
                recipient: index,
                // A person may have written the text; it goes into logs like the text of a peer.
                reply: fields.reply.map(|reply| Reply {
                    text: harmless(&reply.text),
                    ..reply
                }),
                reason: harmless(&fields.why.unwrap_or_default()),
            }),
        }
        Ok(Recipient {
            address,
            notify: fields.notify,
            orcpt: fields.orcpt,
        })
    }
}

/// Checks a value that is sent as xtext: printable ASCII (RFC 3461 section 4).
pub(super) fn check_parameter(name: &str, value: Option<&str>) -> Result<(), String> {
    match value {
        Some(text) if text.is_empty() || !text.bytes().all(|b| (b' '..=b'~').contains(&b)) => {
            Err(format!("\"{name}\": {text:?}: only printable ASCII"))
        }
        Some(_) | None => Ok(()),
    }
}
