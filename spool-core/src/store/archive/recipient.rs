//! The recipients in an archived message's metadata: addresses, and what became of each.

use crate::attempt::RecipientIndex;
use crate::envelope::{Notify, Recipient};
use crate::message::{FailedRecipient, Message, MessageState};
use crate::reply::{Reply, harmless};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
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

/// The recipients of a message, and what became of each.
pub(super) fn recipients_of(message: &Message) -> Vec<ArchivedRecipient> {
    let recipients = message.envelope.recipients.iter();
    let mut all: Vec<_> = recipients.map(ArchivedRecipient::done).collect();
    let mut set = |index: RecipientIndex, fate, why, reply| {
        let at = usize::try_from(index).ok().and_then(|index| all.get_mut(index));
        if let Some(ArchivedRecipient(fields)) = at {
            (fields.fate, fields.why, fields.reply) = (fate, why, reply);
        }
    };
    for index in &message.state.remaining {
        set(*index, RecipientFate::Remaining, None, None);
    }
    for failed in &message.state.failed {
        let why = Some(failed.reason.clone());
        set(failed.recipient, RecipientFate::Failed, why, failed.reply.clone());
    }
    all
}

impl ArchivedRecipient {
    fn done(recipient: &Recipient) -> Self {
        Self(Fields {
            address: recipient.address.to_string(),
            fate: RecipientFate::Done,
            notify: recipient.notify,
            orcpt: recipient.orcpt.clone(),
            ..Fields::default()
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
