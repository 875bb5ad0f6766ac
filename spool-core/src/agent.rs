//! The two interfaces between the spool and the network: [`DeliveryAgent`] sends mail, [`Intake`] accepts it.
//! spool-actors implements one side and spool-smtp the other; neither depends on the other.

use crate::attempt::{AttemptReport, RecipientIndex};
use crate::envelope::Envelope;
use crate::error::AddError;
use crate::future::BoxFuture;
use crate::id::{FlowId, MessageId};
use crate::next_hop::NextHop;
use bytes::Bytes;
use derive_more::Debug;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

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

/// Records the start of an attempt, right before its first MAIL. Cloning shares it.
///
/// The agent opens its session first: an attempt that finds no session leaves nothing on disk but its result. Once the start is on
/// disk, a crash leaves the message in doubt.
#[derive(Debug, Clone, Default)]
#[debug("Begin {{ recorded: {} }}", self.is_recorded())]
pub struct Begin(Option<Arc<Asking>>);

#[derive(Default)]
struct Asking {
    ask: Mutex<Option<BoxFuture<bool>>>,
    recorded: AtomicBool,
}

/// The attempt must not begin: the spool has ended or is shutting down, the message was given another route, or the disk has no
/// room for the start. It is reported as [`NotBegun`](crate::AttemptResult::NotBegun).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Withdrawn;

impl Begin {
    /// The start of an attempt that is on disk already.
    #[must_use]
    pub fn recorded() -> Self {
        Self(None)
    }

    /// A start that `ask` records when it is polled; it gives whether the attempt may begin.
    #[must_use]
    pub fn asking(ask: impl Future<Output = bool> + Send + 'static) -> Self {
        Self(Some(Arc::new(Asking {
            ask: Mutex::new(Some(Box::pin(ask))),
            recorded: AtomicBool::new(false),
        })))
    }

    fn is_recorded(&self) -> bool {
        let asking = self.0.as_ref();
        asking.is_none_or(|asking| asking.recorded.load(Ordering::Acquire))
    }

    /// Waits until the start of the attempt is on disk; once it is, every further call returns at once.
    ///
    /// # Errors
    /// [`Withdrawn`]: nothing may be sent, now or later in this attempt. Also when an earlier call was given up before it returned.
    pub async fn record(&self) -> Result<(), Withdrawn> {
        let Some(asking) = self.0.as_ref().filter(|_| !self.is_recorded()) else {
            return Ok(());
        };
        let ask = asking.ask.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(ask) = ask else { return Err(Withdrawn) };
        if !ask.await {
            return Err(Withdrawn);
        }
        asking.recorded.store(true, Ordering::Release);
        Ok(())
    }
}

/// Where mail for a list of next hops goes: the hosts by which its limits are counted. Lists with the same path share the
/// limits of sessions and rate, and what was learned.
#[derive(Debug)]
pub enum PathLookup {
    /// It is known without a lookup.
    Known(Arc<[NextHop]>),
    /// It takes a lookup, within the agent's own time limits.
    #[debug("Lookup")]
    Lookup(BoxFuture<Arc<[NextHop]>>),
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
    /// The path whose limits allow the attempt a session: as [`DeliveryAgent::path`] gave it for the next hops.
    pub path: Arc<[NextHop]>,
    /// Sender, all recipients, parameters.
    pub envelope: Arc<Envelope>,
    /// The recipients to try now, never empty.
    pub recipients: Vec<RecipientIndex>,
    /// Lines ended by CRLF, not dot-stuffed; empty, or ending in CRLF.
    pub body: Bytes,
    /// To be recorded once a session is there, right before the first MAIL. An attempt whose start is refused is
    /// [`NotBegun`](crate::AttemptResult::NotBegun).
    pub begin: Begin,
    /// To be looked at right before each MAIL. When it is set, no transaction may begin.
    pub halt: Halt,
}

/// Relays messages to their next hops.
pub trait DeliveryAgent: Send + Sync + 'static {
    /// Makes one attempt. The future ends within the agent's own time limits and reports what happened; when it is
    /// dropped, the session is closed.
    fn deliver(&self, job: Job) -> BoxFuture<AttemptReport>;

    /// The path that mail for `next_hops` takes. The spool allows a path as many attempts at once, and as many in a time, as its policy
    /// says and its hosts accept; an attempt holds one session at a time. Asked again now and then, because DNS changes. By default each
    /// list of next hops is a path of its own.
    fn path(&self, next_hops: &Arc<[NextHop]>) -> PathLookup {
        PathLookup::Known(Arc::clone(next_hops))
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::{Context, Poll, Waker};

    fn poll<T>(future: impl Future<Output = T>) -> Poll<T> {
        std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_start_is_asked_for_once_and_stays_recorded() {
        assert_eq!(poll(Begin::recorded().record()), Poll::Ready(Ok(())));
        let begin = Begin::asking(std::future::ready(true));
        let shared = begin.clone();
        assert_eq!(poll(begin.record()), Poll::Ready(Ok(())));
        assert_eq!(poll(shared.record()), Poll::Ready(Ok(())));
    }

    #[test]
    fn a_start_that_was_refused_or_given_up_stays_withdrawn() {
        let refused = Begin::asking(std::future::ready(false));
        assert_eq!(poll(refused.record()), Poll::Ready(Err(Withdrawn)));
        assert_eq!(poll(refused.record()), Poll::Ready(Err(Withdrawn)));
        let given_up = Begin::asking(std::future::pending());
        assert_eq!(poll(given_up.record()), Poll::Pending);
        assert_eq!(poll(given_up.record()), Poll::Ready(Err(Withdrawn)));
    }
}
