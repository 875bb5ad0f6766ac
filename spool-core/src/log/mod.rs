//! The mail log: one line for each message accepted, for each result of a recipient, for each operation, and for each
//! message that is given up.
//!
//! A [`Record`] is cheap to create and is passed through `tracing` as a whole. A subscriber that knows it (see
//! [`Record::of`]) formats it later, with numbers as numbers and lists as lists; for any other subscriber it is a text.
//! It decides nothing about mail, and contains no message text.

mod attempt;
mod line;

pub use attempt::AttemptRecord;
pub use line::{Line, Redact, Value};

use crate::agent::{Admission, Source, TlsSession};
use crate::clock::millis;
use crate::envelope::{Envelope, Recipient};
use crate::frozen::{Frozen, FrozenReason};
use crate::id::{FlowId, MessageId};
use crate::message::Message;
use derive_more::Display;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use tracing::Level;

/// The `tracing` target of records: `SPOOL_LOG=info,mail=off` turns them off.
pub const TARGET: &str = "mail";
/// Recipients listed in a line; of more, only the number is given.
pub const MAX_NAMED: usize = 20;
/// Ids listed in a line.
const MAX_IDS: usize = 20;

/// A message that was accepted.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// The entry: `smtp`, `http`, `local`.
    pub via: &'static str,
    /// The client, its TLS session and its user.
    pub source: Source,
    /// The reverse-path, empty when null.
    pub sender: Box<str>,
    /// The first recipients.
    pub recipients: Vec<Box<str>>,
    /// How many there are.
    pub count: usize,
    /// Bytes.
    pub size: usize,
    /// Its flows.
    pub flows: Vec<FlowId>,
    /// The ids of its messages.
    pub ids: Vec<MessageId>,
}

impl Accepted {
    /// A message with this envelope; its ids are known later.
    #[must_use]
    pub fn new(
        via: &'static str,
        source: Source,
        envelope: &Envelope,
        size: usize,
        flows: &[FlowId],
    ) -> Self {
        let address = |recipient: &Recipient| recipient.address.as_str().into();
        Self {
            via,
            source,
            sender: envelope.reverse_path.as_str().into(),
            recipients: envelope.recipients.iter().take(MAX_NAMED).map(address).collect(),
            count: envelope.recipients.len(),
            size,
            flows: flows.to_vec(),
            ids: Vec::new(),
        }
    }

    /// Logs it, once it is durable under `ids`.
    pub fn emit(mut self, ids: &[MessageId]) {
        self.ids = ids.to_vec();
        Record::Accepted(self).emit();
    }

    fn line(&self) -> Line<'_> {
        let mut line = Line::new("accepted", Level::INFO);
        line.list("id", self.ids.iter().copied().take(MAX_IDS).map(Value::Id));
        line.list("flow", self.flows.iter().copied().map(Value::flow));
        line.word("via", self.via);
        if let Some(client) = self.source.client {
            line.shown("client", client);
        }
        if let Some(uid) = self.source.uid {
            line.add("uid", Value::Number(uid.into()));
        }
        if let Some(TlsSession { version, cipher }) = &self.source.tls {
            line.word("tls", version);
            line.word("cipher", cipher);
        }
        match &self.source.admission {
            Admission::User(user) => line.add("user", Value::User(user.as_ref().into())),
            Admission::Network => line.word("admission", "network"),
            Admission::Domain => line.word("admission", "domain"),
        }
        line.add("sender", Value::address(&self.sender));
        line.list(
            "recipients",
            self.recipients.iter().map(|address| Value::address(address)),
        );
        line.number("recipient_count", self.count);
        line.number("size", self.size);
        line
    }
}

/// An operation that an operator or a program requested.
#[derive(Debug, Clone)]
pub struct Operation {
    /// Its name, as a command has it: `freeze`.
    pub name: &'static str,
    /// Who asked: the address of a client, or the name of its token.
    pub by: String,
    /// The selected messages, as conditions: `recipient=@example\.net$`.
    pub selector: String,
    /// The user who has logged in, when it is about one: then there is no selector.
    pub user: Option<String>,
    /// Messages that were selected.
    pub matched: u64,
    /// Messages that were changed.
    pub done: u64,
    /// Messages that were not changed.
    pub failed: u64,
    /// The error, if the whole operation failed.
    pub error: Option<String>,
}

impl Operation {
    fn line(&self) -> Line<'_> {
        let mut line = Line::new("operation", Level::INFO);
        line.word("name", self.name);
        line.word("by", &self.by);
        match &self.user {
            Some(user) => line.add("user", Value::User(user.as_str().into())),
            None => line.text("selector", &self.selector),
        }
        for (key, count) in [
            ("matched", self.matched),
            ("done", self.done),
            ("failed", self.failed),
        ] {
            line.add(key, Value::Number(count));
        }
        if let Some(error) = &self.error {
            line.text("error", error);
        }
        line
    }
}

/// A message that the spool gives up: it is not tried again unless an operator acts. Such messages are rare, so the
/// line is made at once.
#[derive(Debug, Clone)]
pub struct GivenUp(Line<'static>);

impl GivenUp {
    /// `message`, in the state in which it stays, and why; `then` says what it is now (`frozen`).
    #[must_use]
    pub fn new(message: &Message, why: &Frozen, then: &'static str) -> Self {
        let state = &message.state;
        let reason = match (&why.why, state.failed.last()) {
            (FrozenReason::Expired, Some(failed)) => format!("{}: {}", why.why, failed.reason),
            (why, _) => why.to_string(),
        };
        let delay = why.at.map_or(0, |at| millis(at.since(message.spooled_at)));
        let sender = message.envelope.reverse_path.as_str().to_owned();
        let mut line = Line::new("given_up", Level::WARN);
        line.add("id", Value::Id(message.id));
        line.list("flow", message.flows.iter().copied().map(Value::flow));
        line.add("sender", Value::Address(sender.into()));
        line.shown("why", why.why.kind());
        line.word("then", then);
        line.add("reason", Value::Text(reason.into()));
        line.number("recipients_failed", state.failed.len());
        line.number("recipients_remaining", state.remaining.len());
        line.add("attempts", Value::Number(state.attempts.total()));
        line.add("delay", Value::Seconds(delay));
        Self(line)
    }

    /// What happened to it. If it is kept although a notice was due, also why no notice was returned.
    #[must_use]
    pub fn then(mut self, then: &'static str, kept: Option<&Frozen>) -> Self {
        self.0.replace("then", Value::Word(then.into()));
        if let Some(kept) = kept.filter(|kept| matches!(kept.why, FrozenReason::Unreturned { .. })) {
            self.0.replace("reason", Value::Text(kept.why.to_string().into()));
        }
        self
    }
}

/// A record of the mail log.
#[derive(Debug, Clone)]
#[non_exhaustive]
#[allow(clippy::large_enum_variant, reason = "it is on its way behind one Arc")]
pub enum Record {
    /// Taken in.
    Accepted(Accepted),
    /// An attempt has ended: what came of each recipient, and which hosts were passed over.
    Attempt(AttemptRecord),
    /// Nothing more is tried.
    GivenUp(GivenUp),
    /// Asked for by a person.
    Operation(Operation),
}

/// A record passed through `tracing` as an error, the only kind of value that subscribers get unchanged.
#[derive(Debug, Display)]
struct Carried(Arc<Record>);

impl Error for Carried {}

impl Record {
    /// Whether a subscriber wants records of this level.
    #[must_use]
    pub fn wanted() -> bool {
        tracing::enabled!(target: TARGET, Level::WARN)
    }

    /// Logs it.
    pub fn emit(self) {
        let warns = matches!(self, Self::GivenUp(_));
        let carried = Carried(Arc::new(self));
        let record: &(dyn Error + 'static) = &carried;
        if warns {
            tracing::warn!(target: TARGET, record);
        } else {
            tracing::info!(target: TARGET, record);
        }
    }

    /// The record that a value of a `tracing` event is, if it is one.
    #[must_use]
    pub fn of(value: &(dyn Error + 'static)) -> Option<Arc<Self>> {
        value
            .downcast_ref::<Carried>()
            .map(|carried| Arc::clone(&carried.0))
    }

    /// Its lines, in order.
    pub fn lines(&self, each: &mut dyn FnMut(Line<'_>)) {
        match self {
            Self::Accepted(accepted) => each(accepted.line()),
            Self::Attempt(attempt) => attempt.lines(each),
            Self::GivenUp(GivenUp(line)) => each(line.clone()),
            Self::Operation(operation) => each(operation.line()),
        }
    }

    /// Bytes that it holds in memory while it waits to be written, estimated from above.
    #[must_use]
    pub fn footprint(&self) -> usize {
        const BASE: usize = 512;
        BASE + match self {
            Self::Accepted(accepted) => {
                let named: usize = accepted.recipients.iter().map(|address| address.len() + 32).sum();
                named + 16 * (accepted.ids.len() + accepted.flows.len()) + accepted.sender.len()
            }
            Self::Attempt(attempt) => attempt.footprint(),
            Self::GivenUp(GivenUp(line)) => line.footprint(),
            Self::Operation(operation) => {
                let user = operation.user.as_ref().map_or(0, String::len);
                operation.selector.len() + operation.by.len() + user
            }
        }
    }
}

/// Its lines as text, without times, separated by line breaks.
impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut first, mut result) = (true, Ok(()));
        self.lines(&mut |line| {
            let separator = if std::mem::take(&mut first) { "" } else { "\n" };
            if result.is_ok() {
                result = write!(f, "{separator}{line}");
            }
        });
        result
    }
}
