//! Mail for the spool: [`Add`] and [`Quarantine`], with the errors that are known before the spool is asked.

use actix::Message;
use bytes::Bytes;
use spool_core::{
    AddError, Envelope, FlowId, MessageId, NextHop, Refusal, RetryPolicy, RouteOrigin, Routing, Section,
    Submission,
};

fn nul(at: usize) -> AddError {
    AddError::Invalid(format!("the body has a NUL at byte {at}"))
}

/// Spools mail. Replies with one id for each section, once all of them are durable.
///
/// A value that is not valid, such as a next hop without a port, is the reply to the message. [`Add::checked`] reports it
/// earlier, where the add is built.
///
/// # Errors
/// Every [`AddError`]; nothing of the add is on the spool then.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Vec<MessageId>, AddError>")]
pub struct Add(pub(crate) Result<Submission, AddError>);

impl Add {
    /// One envelope and a body. Line ends become CRLF. It needs at least one next hop: see [`Add::next_hop`] and
    /// [`Add::next_hops`].
    pub fn new(envelope: Envelope, body: impl Into<Bytes>) -> Self {
        let section = Section {
            envelope,
            next_hops: [].into(),
            origin: RouteOrigin::Named,
            retry: RetryPolicy::default(),
        };
        Self::sections(vec![section], body)
    }

    /// Several sections that share a body: all of them are spooled, or none.
    pub fn sections(sections: Vec<Section>, body: impl Into<Bytes>) -> Self {
        let submission = spool_core::crlf(body.into()).map(|body| Submission::new(sections, body));
        Self(submission.map_err(nul))
    }

    /// A submission as it is. The body must hold only lines that end with CRLF; any other body fails the add. A next hop that takes a
    /// bare LF for a line end could read the rest of such a body as commands.
    pub fn submission(submission: Submission) -> Self {
        Self(match spool_core::has_whole_lines(&submission.body) {
            Ok(true) => Ok(submission),
            Ok(false) => Err(AddError::Invalid(
                "a body must hold only lines ended by CRLF".to_owned(),
            )),
            Err(at) => Err(nul(at)),
        })
    }

    /// Reports now what the spool would refuse in any state: a body with a NUL, a text that is not a next hop, no recipient, no next hop,
    /// an idempotency key that is too long.
    ///
    /// ```
    /// use spool_actors::prelude::*;
    ///
    /// let envelope = Envelope::new("ada@example.org", ["bob@example.net"])?;
    /// let mail = Add::new(envelope, "Subject: hello\n\nhello\n");
    /// assert!(mail.clone().next_hop("mx.example.net").checked().is_err()); // no port
    /// let mail = mail.next_hop("mx.example.net:25").checked()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`AddError::Invalid`].
    pub fn checked(self) -> Result<Self, AddError> {
        let submission = self.0?;
        submission.check(usize::MAX)?;
        Ok(Self(Ok(submission)))
    }

    /// The routing that gave the sections their next hops: see [`Submission::routing`].
    #[must_use]
    pub fn routed_by(self, routing: Routing) -> Self {
        self.with(|submission| submission.routing = Some(routing))
    }

    /// Marks the reverse-path as not authenticated: see [`Submission::unknown_submitter`].
    #[must_use]
    pub fn of_unknown_submitter(self) -> Self {
        self.with(|submission| submission.unknown_submitter = true)
    }

    /// Appends `host:port`, or `mx:domain:port`, to the next hops of every section. A text of another form fails the add.
    #[must_use]
    pub fn next_hop(self, next_hop: &str) -> Self {
        match next_hop.parse::<NextHop>() {
            Ok(hop) => self.next_hops([hop]),
            Err(error) => Self(
                self.0
                    .and(Err(AddError::Invalid(format!("{next_hop:?}: {error}")))),
            ),
        }
    }

    /// Appends next hops to those of every section. The first one that answers is used.
    #[must_use]
    pub fn next_hops(self, next_hops: impl IntoIterator<Item = NextHop>) -> Self {
        let added: Vec<NextHop> = next_hops.into_iter().collect();
        self.with(|submission| {
            for section in &mut submission.sections {
                section.next_hops = section.next_hops.iter().chain(&added).cloned().collect();
            }
        })
    }

    /// Sets the retry policy of every section.
    #[must_use]
    pub fn retry(self, retry: &RetryPolicy) -> Self {
        self.with(|submission| {
            for section in &mut submission.sections {
                section.retry = retry.clone();
            }
        })
    }

    /// Spools the mail frozen: it is not sent until [`SendNow`](crate::SendNow).
    #[must_use]
    pub fn frozen(self) -> Self {
        self.with(|submission| submission.frozen = true)
    }

    /// Connects the messages with `flow`.
    #[must_use]
    pub fn flow(self, flow: FlowId) -> Self {
        self.with(|submission| submission.flows.push(flow))
    }

    /// Connects the messages with other messages on the spool.
    #[must_use]
    pub fn related(self, ids: &[MessageId]) -> Self {
        self.with(|submission| submission.related.extend_from_slice(ids))
    }

    /// Sets the idempotency key, of 1 to 255 bytes. When an add with the same key comes again within the window, it is answered with the
    /// ids of the first add, and nothing is spooled.
    #[must_use]
    pub fn idempotency_key(self, key: impl Into<String>) -> Self {
        self.with(|submission| submission.key = Some(key.into()))
    }

    fn with(mut self, change: impl FnOnce(&mut Submission)) -> Self {
        if let Ok(submission) = &mut self.0 {
            change(submission);
        }
        self
    }
}

/// Puts mail into quarantine, where an operator can inspect it as plain files. It is not in listings of active mail, and it is sent only
/// after [`Recover`](crate::Recover) and [`SendNow`](crate::SendNow). Replies with one id for each section, once all are durable.
///
/// # Errors
/// Every [`AddError`].
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Vec<MessageId>, AddError>")]
pub struct Quarantine {
    /// The reason, for the operator.
    pub reason: String,
    /// The mail.
    pub mail: Add,
}

impl Quarantine {
    /// A copy of a refused message for the recipients that `refusal` is about. The reason is the reply that refused it; `body` is the
    /// reply to [`GetBody`](crate::GetBody). For an on_error hook, which then answers `Done`.
    #[must_use]
    pub fn refused(refusal: &Refusal, body: Bytes) -> Self {
        let message = &refusal.message;
        let mut envelope = Envelope::clone(&message.envelope);
        if let Some(index) = refusal.recipient {
            let at = usize::try_from(index).unwrap_or(usize::MAX);
            envelope.recipients = envelope.recipients.get(at).cloned().into_iter().collect();
        } else {
            let remaining = message.state.remaining.iter();
            let recipient = |index: &u32| envelope.recipients.get(usize::try_from(*index).ok()?).cloned();
            envelope.recipients = remaining.filter_map(recipient).collect();
        }
        let reply = refusal.reply.as_ref().map(ToString::to_string);
        let mut mail = Add::new(envelope, body)
            .next_hops(message.next_hops.iter().cloned())
            .frozen();
        if let Ok(submission) = &mut mail.0 {
            submission.flows.clone_from(&message.flows);
            submission.parent = Some(message.id);
        }
        Self {
            reason: reply.unwrap_or_else(|| "refused".to_owned()),
            mail,
        }
    }
}
