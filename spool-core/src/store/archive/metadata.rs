//! The metadata of an archived message: the file `<id>.json` beside `<id>.eml`, to be read and written by people.
//!
//! Only the sender, the recipients and the next hops are required; an unknown field is an error that names it. It never
//! contains the message's text. Metadata written by the spool carry a checksum: two CRC-32C as `xxxxxxxx-xxxxxxxx`, of
//! the metadata and of the text. A pair that does not match is not what was written. Metadata without a checksum were
//! written or edited by a person, and are accepted as they are.

use super::recipient::{ArchivedRecipient, check_parameter, recipients_of};
use crate::archive::Archived;
use crate::attempt::Attempt;
use crate::attempts::Attempts;
use crate::bounce::Notices;
use crate::clock::Timestamp;
use crate::envelope::{Envelope, MailParameters, ReversePath};
use crate::frozen::Frozen;
use crate::id::{FlowId, MessageId};
use crate::message::{Message, MessageState, RouteOrigin, Status};
use crate::next_hop::NextHop;
use crate::retry::{RetryPolicy, Schedule};
use crate::store::layout::{METADATA, TEXT};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What is wrong with a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) enum PairError {
    /// It cannot be read as a message.
    Unreadable(String),
    /// It can be read, but is not what was written, or has another id than its name.
    Mismatched(String),
}

impl PairError {
    pub(in crate::store) fn reason(self) -> String {
        match self {
            Self::Unreadable(reason) | Self::Mismatched(reason) => reason,
        }
    }
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Metadata {
    /// First, so that its line can be removed and the rest is still JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checksum: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<MessageId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(rename = "shelved_at", default, skip_serializing_if = "Option::is_none")]
    archived_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    spooled_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    sender: String,
    recipients: Vec<ArchivedRecipient>,
    next_hops: Vec<NextHop>,
    /// Where the next hops come from. If it is missing (format 1, or written by a person), the next hops stay.
    #[serde(default, skip_serializing_if = "is_named")]
    route: RouteOrigin,
    /// Since when and why it was frozen before it was archived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    frozen: Option<Box<Frozen>>,
    #[serde(default)]
    parameters: MailParameters,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry: Option<Schedule>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    flows: Vec<FlowId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parent: Option<MessageId>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    related: Vec<MessageId>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    attempts: Vec<Attempt>,
    /// Attempts after the first one that are not listed.
    #[serde(default, skip_serializing_if = "is_zero")]
    attempts_left_out: u64,
    /// Notices about the message.
    #[serde(default, skip_serializing_if = "Notices::is_empty")]
    notices: Notices,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_named(origin: &RouteOrigin) -> bool {
    *origin == RouteOrigin::Named
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Metadata {
    /// The metadata of a pair with this text, with the checksum.
    pub(super) fn of(archived: &Archived, text: &[u8]) -> Result<Self, serde_json::Error> {
        let mut metadata = Self::unsealed(archived);
        let own = metadata.own_checksum(text.len() as u64)?;
        metadata.checksum = Some(format!("{own}{}", text_checksum(text)));
        Ok(metadata)
    }

    /// The checksum of all other fields, as JSON without white space in the order in which they are written, and of the
    /// length of the text in decimal. A listing can check it without reading texts.
    fn own_checksum(&self, length: u64) -> Result<String, serde_json::Error> {
        let bare = Self {
            checksum: None,
            ..self.clone()
        };
        let crc = crc32c::crc32c(&serde_json::to_vec(&bare)?);
        let crc = crc32c::crc32c_append(crc, length.to_string().as_bytes());
        Ok(format!("{crc:08x}-"))
    }

    /// Checks that these are the metadata that were written, for a text of `length` bytes.
    pub(super) fn check(&self, id: MessageId, length: u64) -> Result<(), PairError> {
        let is_own = |checksum: &str| {
            let own = self.own_checksum(length);
            own.is_ok_and(|own| checksum.starts_with(&own))
        };
        self.check_by(id, METADATA, is_own)
    }

    /// Checks that `text`, the content of its file, is what was written.
    pub(super) fn check_text(&self, id: MessageId, text: &[u8]) -> Result<(), PairError> {
        self.check_by(id, TEXT, |checksum| {
            let of_text = checksum.get(9..);
            of_text.is_some_and(|there| there == text_checksum(text))
        })
    }

    /// Metadata without a checksum are accepted.
    fn check_by(&self, id: MessageId, kind: &str, is_right: impl Fn(&str) -> bool) -> Result<(), PairError> {
        if self.checksum.as_deref().is_none_or(is_right) {
            return Ok(());
        }
        Err(PairError::Mismatched(format!(
            "{id}.{kind}: not what the spool wrote, by its checksum. Edited? Remove the line with \"checksum\" from {id}.{METADATA}"
        )))
    }

    fn unsealed(archived: &Archived) -> Self {
        let message = &archived.message;
        let state = &message.state;
        Self {
            checksum: None,
            id: Some(message.id),
            reason: archived.reason.clone(),
            archived_at: Some(archived.at),
            spooled_at: Some(message.spooled_at),
            expires_at: state.expires_at,
            sender: message.envelope.reverse_path.as_str().to_owned(),
            recipients: recipients_of(message),
            next_hops: message.next_hops.to_vec(),
            route: message.origin,
            frozen: state.frozen.clone(),
            parameters: message.envelope.parameters.clone(),
            retry: Some(state.schedule.clone()),
            flows: message.flows.clone(),
            parent: message.parent,
            related: message.related.to_vec(),
            attempts: state.attempts.to_vec(),
            attempts_left_out: state.attempts.left_out(),
            notices: state.notices.clone(),
        }
    }

    /// The message, or what is wrong with the metadata. `body_size` is that of the text with the line ends of mail.
    pub(super) fn message(self, id: MessageId, body_size: u64) -> Result<Archived, PairError> {
        if let Some(other) = self.id.filter(|other| *other != id) {
            return Err(PairError::Mismatched(format!(
                "{id}.{METADATA}: it says it is {other}: a copy needs its own id in its name and in \"id\""
            )));
        }
        let archived = self.archived(id, body_size);
        archived.map_err(|reason| PairError::Unreadable(format!("{id}.{METADATA}: {reason}")))
    }

    fn archived(self, id: MessageId, body_size: u64) -> Result<Archived, String> {
        if self.next_hops.is_empty() {
            return Err("\"next_hops\" is empty".to_owned());
        }
        let spooled_at = self.spooled_at.unwrap_or_else(|| id.made_at());
        let by_default = || {
            let policy = RetryPolicy::default();
            let by_policy = policy.expire_after.map(|span| spooled_at.after(span));
            (Schedule::new(&policy), self.expires_at.or(by_policy))
        };
        let given = self.retry.map(|schedule| (schedule, self.expires_at));
        let (schedule, expires_at) = given.unwrap_or_else(by_default);
        let mut state = MessageState {
            status: Status::Frozen,
            frozen: self.frozen,
            in_flight: None,
            remaining: Vec::new(),
            failed: Vec::new(),
            schedule,
            expires_at,
            attempts: Attempts::of(self.attempts, self.attempts_left_out),
            notices: self.notices,
        };
        let mut recipients = Vec::with_capacity(self.recipients.len());
        for (index, addressee) in (0..).zip(self.recipients) {
            recipients.push(addressee.recipient(index, &mut state)?);
        }
        if state.remaining.is_empty() && state.failed.is_empty() {
            return Err("\"recipients\" has no recipient that is not done".to_owned());
        }
        check_parameter("envid", self.parameters.envid.as_deref())?;
        let reverse_path = ReversePath::parse(&self.sender)
            .map_err(|error| format!("\"sender\": {:?}: {error}", self.sender))?;
        let envelope = Envelope {
            reverse_path,
            recipients,
            parameters: self.parameters,
        };
        let message = Message {
            id,
            parent: self.parent,
            related: self.related.into(),
            flows: self.flows,
            spooled_at,
            next_hops: self.next_hops.into(),
            origin: self.route,
            envelope: Arc::new(envelope),
            body_size,
            state,
        };
        Ok(Archived {
            message,
            at: self.archived_at.unwrap_or(spooled_at),
            reason: self.reason,
        })
    }
}

fn text_checksum(text: &[u8]) -> String {
    format!("{:08x}", crc32c::crc32c(text))
}
