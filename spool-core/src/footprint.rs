//! The memory that a message takes, without its body: what the budget ([`crate::Budget`]) charges for it. An upper
//! estimate, from the real sizes of its parts.

use crate::attempt::AttemptResult;
use crate::envelope::{Envelope, Recipient, ReversePath};
use crate::event::Event;
use crate::message::{Message, MessageState};
use crate::summary::EnvelopeSummary;

/// The overhead of an allocation.
const ALLOCATION: usize = 16;
/// The fixed cost of a message: its state, its places in queues, the change that records it.
const BASE: usize = 2048;

const fn text(length: usize) -> usize {
    if length == 0 { 0 } else { length + ALLOCATION }
}

fn bytes(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

impl Recipient {
    /// Bytes it takes in memory, in its place in a list.
    #[must_use]
    pub fn footprint(&self) -> u64 {
        let orcpt = self.orcpt.as_ref().map_or(0, |orcpt| text(orcpt.len()));
        // Lists grow by doubling.
        bytes(2 * size_of::<Self>() + text(self.address.as_str().len()) + orcpt)
    }
}

impl Envelope {
    /// Memory of a message with this envelope, without what it shares with others of its add, the body and the list of ids: the
    /// envelope, the summary in its events, and the notes of an attempt about each recipient.
    #[must_use]
    pub fn footprint(&self) -> u64 {
        let sender = match &self.reverse_path {
            ReversePath::Null => 0,
            ReversePath::Mailbox(address) => text(address.as_str().len()),
        };
        let envid = self
            .parameters
            .envid
            .as_ref()
            .map_or(0, |envid| text(envid.len()));
        let one = |recipient: &Recipient| {
            let summary = size_of::<String>() + text(recipient.address.as_str().len());
            let indices = 2 * size_of::<u32>();
            recipient.footprint() + bytes(summary + indices)
        };
        let recipients: u64 = self.recipients.iter().map(one).sum();
        bytes(BASE + 2 * sender + envid) + recipients
    }
}

impl EnvelopeSummary {
    /// Bytes it takes in memory.
    #[must_use]
    pub fn footprint(&self) -> usize {
        let recipients = self.recipients.iter();
        let recipients = recipients.map(|recipient| size_of::<String>() + text(recipient.len()));
        size_of::<Self>() + text(self.sender.len()) + recipients.sum::<usize>()
    }
}

impl Event {
    /// Memory of the event, including its envelope, which may be shared.
    #[must_use]
    pub fn footprint(&self) -> usize {
        let flows = self.flows.len() * size_of::<crate::FlowId>();
        let envelope = self.envelope.as_ref().map_or(0, |envelope| envelope.footprint());
        let reason = self.reason.as_ref().map_or(0, |reason| text(reason.len()));
        size_of::<Self>() + flows + envelope + reason
    }
}

impl AttemptResult {
    fn footprint(&self) -> usize {
        match self {
            Self::Accepted(reply) | Self::Refused { reply, .. } => text(reply.text.len()),
            Self::NoConnection { error: why }
            | Self::Broken { error: why, .. }
            | Self::Panicked { text: why }
            | Self::NotBegun { reason: why } => text(why.len()),
            Self::AllRefused | Self::Interrupted => 0,
        }
    }
}

impl MessageState {
    /// Memory of the history of a message: failed recipients and attempts, with their replies. The rest of the state is
    /// part of [`Envelope::footprint`].
    #[must_use]
    pub fn footprint(&self) -> u64 {
        let failed = self.failed.iter().map(|failed| {
            let reply = failed.reply.as_ref().map_or(0, |reply| text(reply.text.len()));
            size_of_val(failed) + text(failed.reason.len()) + reply
        });
        let attempts = self.attempts.iter().map(|attempt| {
            let refused = attempt.report.refused.iter();
            let replies: usize = refused
                .map(|refused| size_of_val(refused) + text(refused.reply.text.len()))
                .sum();
            size_of_val(attempt) + attempt.report.result.footprint() + replies
        });
        let notices = self.notices.given.iter().map(|notice| {
            // Lists grow by doubling.
            2 * size_of_val(notice) + size_of_val(notice.recipients.as_slice()) + ALLOCATION
        });
        bytes(failed.sum::<usize>() + attempts.sum::<usize>() + notices.sum::<usize>())
    }
}

impl Message {
    /// Memory of the message without its body.
    #[must_use]
    pub fn footprint(&self) -> u64 {
        self.envelope.footprint()
            + bytes(self.related.shared_len() * size_of::<crate::MessageId>())
            + self.state.footprint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;

    #[test]
    fn an_envelope_is_charged_by_its_real_size() {
        let recipients = |count: usize| {
            let address =
                |number| Address::parse(&format!("recipient-{number}@destination.example")).unwrap();
            Envelope::of(ReversePath::Null, (0..count).map(address))
        };
        let (one, thousand) = (recipients(1).footprint(), recipients(1000).footprint());
        assert!((2_000..3_000).contains(&one), "{one}");
        assert!((200_000..400_000).contains(&thousand), "{thousand}");
        let long = Address::parse(&format!("a@{}", "d".repeat(60))).unwrap();
        assert!(Envelope::of(ReversePath::Null, [long]).footprint() > one);
    }
}
