//! The recipients of a history: what became of each of them. It outlives the lives of the engine.

use bytes::Bytes;
use spool_core::{Message, RecipientIndex};
use std::collections::{BTreeMap, BTreeSet};

/// A recipient: its address, which no other has; that of a notice with the notice's id.
pub(super) type Who = String;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Whose mail was ever on disk.
    born: BTreeSet<Who>,
    /// How often a next hop took mail for them.
    taken: BTreeMap<Who, usize>,
    /// Of whom a notice on disk says that they failed.
    told: BTreeSet<Who>,
    /// Those whose attempt a crash left in doubt: a second delivery of their mail is in order.
    doubtful: BTreeSet<Who>,
    last: usize,
}

/// The recipients of a message with these places.
pub(super) fn who<'a>(
    message: &'a Message,
    places: impl IntoIterator<Item = RecipientIndex> + 'a,
) -> impl Iterator<Item = Who> + 'a {
    places.into_iter().map(|place| {
        let address = &message.envelope.recipients[place as usize].address;
        match message.envelope.reverse_path.is_null() {
            true => format!("{address} of {}", message.id),
            false => address.to_string(),
        }
    })
}

/// Those that a message is still there for.
pub(super) fn open(message: &Message) -> impl Iterator<Item = Who> + '_ {
    let failed = message.state.failed.iter().map(|failed| failed.recipient);
    who(message, message.state.remaining.iter().copied().chain(failed))
}

impl Ledger {
    /// An address that is new.
    pub(super) fn address(&mut self, domain: usize) -> String {
        self.last += 1;
        format!("r{}@d{domain}.example", self.last)
    }

    /// A message is on disk.
    pub(super) fn written(&mut self, message: &Message) {
        self.born.extend(open(message));
    }

    /// A message is in doubt at a start.
    pub(super) fn doubt(&mut self, message: &Message) {
        self.doubtful.extend(open(message));
    }

    /// A next hop has taken a message for these recipients.
    pub(super) fn take(&mut self, message: &Message, places: &[RecipientIndex]) {
        for who in who(message, places.iter().copied()) {
            let times = self.taken.entry(who.clone()).or_default();
            *times += 1;
            let may = *times == 1 || self.doubtful.contains(&who);
            assert!(may, "{who} was sent the same mail twice, and was never in doubt");
        }
    }

    /// A notice is on disk: no recipient is reported as failed twice.
    pub(super) fn tell(&mut self, notice: &Bytes) {
        let text = String::from_utf8_lossy(notice);
        for about in text.split("Final-Recipient: rfc822; ").skip(1) {
            let who = about.lines().next().unwrap_or_default().trim().to_owned();
            if about.contains("Action: failed") {
                assert!(self.born.contains(&who), "a notice about nobody: {who}");
                assert!(self.told.insert(who.clone()), "{who} is reported twice");
            }
        }
    }

    pub(super) fn told(&self) -> usize {
        self.told.len()
    }

    /// At rest each recipient is in exactly one place: taken, told of as failed, or in one of these messages.
    pub(super) fn balance<'a>(&self, messages: impl Iterator<Item = &'a Message>) {
        let mut open_in: BTreeMap<Who, Vec<spool_core::MessageId>> = BTreeMap::new();
        for message in messages {
            for who in open(message) {
                open_in.entry(who).or_default().push(message.id);
            }
        }
        for who in &self.born {
            let messages = open_in.get(who).map_or(0, Vec::len);
            let (taken, told) = (self.taken.contains_key(who), self.told.contains(who));
            let places = messages + usize::from(taken) + usize::from(told);
            assert!(places > 0, "{who} was lost");
            assert!(messages <= 1, "{who} is in {:?}", open_in.get(who));
            assert!(
                places == 1 || self.doubtful.contains(who),
                "{who}: taken {taken}, told of {told}, in {messages} messages"
            );
        }
    }
}
