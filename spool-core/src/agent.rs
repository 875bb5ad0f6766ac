//! The two interfaces between the spool and the network: [`DeliveryAgent`] sends mail, [`Intake`] accepts it.
//! spool-actors implements one side and spool-smtp the other; neither depends on the other.

use crate::attempt::{AttemptReport, RecipientIndex};
use crate::envelope::Envelope;
use crate::error::AddError;
use crate::future::BoxFuture;
use crate::id::{FlowId, MessageId};
use crate::next_hop::NextHop;
use bytes::Bytes;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A flag that no attempt may start any more, because the spool has ended and cannot record the result. Clones share
/// it; once set it stays set.
#[derive(Debug, Clone, Default)]
pub struct Halt(Arc<AtomicBool>);

impl Halt {
    /// Sets the flag.
    pub fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether the flag is set. One atomic read.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// One attempt to make.
#[derive(Debug, Clone)]
pub struct Job {
    /// The message, for the log.
    pub message: MessageId,
    /// The flows of the message, for the log.
    pub flows: Vec<FlowId>,
    /// Next hops in order; one whose connection fails is passed over.
    pub next_hops: Arc<[NextHop]>,
    /// Sender, all recipients, parameters.
    pub envelope: Arc<Envelope>,
    /// The recipients to try now, never empty.
    pub recipients: Vec<RecipientIndex>,
    /// Lines ended by CRLF, not dot-stuffed; empty, or ending in CRLF.
    pub body: Bytes,
    /// To be checked before each MAIL command. When it is set, no transaction may start: an attempt that sent nothing
    /// is [`NotBegun`](crate::AttemptResult::NotBegun).
    pub halt: Halt,
}

/// Receives the name of a host that has a free connection again. Returns `false` when nobody listens any more.
pub type TellRoom = Arc<dyn Fn(&NextHop) -> bool + Send + Sync>;

/// Relays messages to their next hops.
pub trait DeliveryAgent: Send + Sync + 'static {
    /// Makes one attempt. The future ends within the agent's own time limits and reports what happened; when it is
    /// dropped, the session is closed.
    fn deliver(&self, job: Job) -> BoxFuture<AttemptReport>;

    /// Calls `tell` with a host whenever a connection becomes free to a host for which an attempt was [not
    /// begun](crate::AttemptResult::NotBegun); that host was the `peer` of its report. Once for each connection, from
    /// any thread. The call is a hint: the spool also retries after a while.
    fn on_room(&self, tell: TellRoom) {
        drop(tell);
    }

    /// Closes idle sessions, within a few seconds. Called once no attempt is running.
    fn close(&self) -> BoxFuture<()> {
        Box::pin(std::future::ready(()))
    }
}

/// Why a message was admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// The client authenticated itself as this user.
    User(Arc<str>),
    /// The client is in a network that may send to any domain, or is a program on this machine.
    Network,
    /// Neither; every recipient is in a domain for which mail is accepted from anyone.
    Domain,
}

impl Admission {
    /// Whether the submitter is known: the message may be completed and signed, and notices about it may be returned.
    #[must_use]
    pub fn is_submission(&self) -> bool {
        !matches!(self, Self::Domain)
    }
}

/// The TLS session over which a message came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSession {
    /// The protocol version as Received headers and logs write it, `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite, as IANA names it.
    pub cipher: &'static str,
}

/// Where a message came from. It is not recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Why it was admitted.
    pub admission: Admission,
    /// The client's address; `None` for a local program.
    pub client: Option<IpAddr>,
    /// The user of this machine whose program submitted it, as reported by the kernel; `None` for mail from a network.
    pub uid: Option<u32>,
    /// The TLS session, if there was one.
    pub tls: Option<TlsSession>,
}

/// A message as the ingress received it.
#[derive(Debug, Clone)]
pub struct Mail {
    /// Who submitted it.
    pub source: Source,
    /// Sender, recipients, parameters.
    pub envelope: Envelope,
    /// Lines ended by CRLF, not dot-stuffed, trace header included.
    pub body: Bytes,
    /// The inbound session and the inbound envelope.
    pub flows: Vec<FlowId>,
}

/// Accepts mail.
pub trait Intake: Send + Sync + 'static {
    /// Spools `mail`; returns the ids once it is durable. Dropping the future does not cancel the mail.
    fn accept(&self, mail: Mail) -> BoxFuture<Result<Vec<MessageId>, AddError>>;

    /// Whether a message of `size` bytes would be accepted now. Cheap; called at MAIL and again at DATA.
    ///
    /// # Errors
    /// What [`Intake::accept`] would return.
    fn admit(&self, size: u64) -> Result<(), AddError>;
}
