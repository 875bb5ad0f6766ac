//! The two seams between the spool and the network: [`DeliveryAgent`] sends mail on, [`Intake`] takes it in.
//!
//! spool-actors calls the one and spool-smtp the other; neither knows the other's crate.

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

/// Says that nothing may be begun any more: the spool has ended, and could not write down what comes of it. Cloning shares
/// it; once set it stays so.
#[derive(Debug, Clone, Default)]
pub struct Halt(Arc<AtomicBool>);

impl Halt {
    /// From now on nothing may be begun.
    pub fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether nothing may be begun. One atomic read.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// One attempt to be made.
#[derive(Debug, Clone)]
pub struct Job {
    /// Which message, for the log.
    pub message: MessageId,
    /// What it is tied to, for the log.
    pub flows: Vec<FlowId>,
    /// Next hops in order; one whose connection fails is passed over.
    pub next_hops: Arc<[NextHop]>,
    /// Sender, all recipients, parameters.
    pub envelope: Arc<Envelope>,
    /// The recipients to try now, never empty.
    pub recipients: Vec<RecipientIndex>,
    /// Lines ended by CRLF, not dot-stuffed; empty, or ending in CRLF.
    pub body: Bytes,
    /// To be looked at right before each MAIL. When it is set, no transaction may begin: an attempt of which nothing was sent
    /// is [`NotBegun`](crate::AttemptResult::NotBegun).
    pub halt: Halt,
}

/// Takes the word of an agent that a connection to a host may be had again. `false`: nobody listens any more.
pub type TellRoom = Arc<dyn Fn(&NextHop) -> bool + Send + Sync>;

/// Relays messages to their next hops.
pub trait DeliveryAgent: Send + Sync + 'static {
    /// Makes one attempt. The future ends within the agent's own time limits and reports what happened; when it is
    /// dropped, the session is closed.
    fn deliver(&self, job: Job) -> BoxFuture<AttemptReport>;

    /// From now on calls `tell` with a host each time a connection to it may be had again for which an attempt was
    /// [not begun](crate::AttemptResult::NotBegun): the host is the `peer` of its report. Once for each connection, from any thread. Whoever
    /// listens asks again after a while in any case: an agent need not tell, and a word may be lost.
    fn on_room(&self, tell: TellRoom) {
        drop(tell);
    }

    /// Closes idle sessions politely, within a few seconds. Called once no attempt runs any more.
    fn close(&self) -> BoxFuture<()> {
        Box::pin(std::future::ready(()))
    }
}

/// On whose authority a message was taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// The client authenticated itself as this user.
    User(Arc<str>),
    /// The client is in a network that may send anywhere, or is a program of this machine.
    Network,
    /// Neither; every recipient is in a domain that is accepted from anyone.
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

/// Where a message came from. It is not stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// On whose authority it was taken in.
    pub admission: Admission,
    /// The client's address; `None` for a local program.
    pub client: Option<IpAddr>,
    /// The user of this machine whose program handed it in, as the kernel knows it; `None` for what came over a network.
    pub uid: Option<u32>,
    /// The TLS session, if there was one.
    pub tls: Option<TlsSession>,
}

/// A mail as the ingress received it.
#[derive(Debug, Clone)]
pub struct Mail {
    /// Who handed it in.
    pub source: Source,
    /// Sender, recipients, parameters.
    pub envelope: Envelope,
    /// Lines ended by CRLF, not dot-stuffed, trace header included.
    pub body: Bytes,
    /// The inbound session and the inbound envelope.
    pub flows: Vec<FlowId>,
}

/// Takes mail in.
pub trait Intake: Send + Sync + 'static {
    /// Spools `mail`; the ids are given only when it is durable. Dropping the future gives up the wait, not the mail.
    fn accept(&self, mail: Mail) -> BoxFuture<Result<Vec<MessageId>, AddError>>;

    /// Whether a mail of `size` bytes would be taken now. Cheap; asked at MAIL and again at DATA.
    ///
    /// # Errors
    /// What [`Intake::accept`] would answer.
    fn admit(&self, size: u64) -> Result<(), AddError>;
}
