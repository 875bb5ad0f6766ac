//! The way of a mail from a listener, the admin API or the drop directory to the spool.

use crate::address_route::AddressRoute;
use crate::config::Config;
use crate::routes::Routes;
use crate::submissions::Submissions;
use actix::Addr;
use spool_actors::{Add, Gate, OpenSpool, SpoolActor};
use spool_core::log::{Accepted, Record};
use spool_core::{
    AddError, Address, Admission, BoxFuture, Envelope, Fingerprint, Halt, Intake, Mail, MessageId, NextHop,
    Routing, Section, Submission,
};
use spool_smtp::server::{Clients, Logins, Users};

/// Takes mail, completes and signs it, routes it and adds it to the spool. Clones share their parts.
#[derive(Clone)]
pub(crate) struct Relay {
    pub(crate) spool: Addr<SpoolActor>,
    pub(crate) gate: Gate,
    pub(crate) routes: Routes,
    /// Completes and signs the mail of submitters.
    pub(crate) submissions: Submissions,
    /// Set when the service stops.
    pub(crate) stopping: Halt,
    /// Recent activity of clients and users.
    pub(crate) clients: Clients,
    /// Who may log in.
    pub(crate) logins: Logins,
}

impl Relay {
    /// Adds to `spool` and routes by `routes`.
    pub(crate) fn new(spool: &OpenSpool, routes: Routes, submissions: Submissions) -> Self {
        let clients = Clients::default();
        Self {
            logins: Logins::new(clients.clone()),
            clients,
            spool: spool.addr.clone(),
            gate: spool.gate.clone(),
            routes,
            submissions,
            stopping: Halt::default(),
        }
    }

    /// Replaces the users who may log in, and the limits of clients and users.
    pub(crate) fn admit(&self, users: Option<Users>, config: &Config) {
        self.logins.set_users(users);
        self.clients.set_limits(config.rates);
    }

    /// Whether a configuration routes mail, not the built-in sink.
    pub(crate) fn has_configuration(&self) -> bool {
        matches!(self.routes.routing(), Routing::ByRules(_))
    }

    /// The sections of a mail, by the routes or, when there are any, to `next_hops`; and the routing that they are from.
    pub(crate) fn sections(&self, envelope: Envelope, next_hops: &[NextHop]) -> (Vec<Section>, Routing) {
        self.routes.sections(envelope, next_hops)
    }

    /// Where mail for `address` goes, and why.
    pub(crate) fn route_of(&self, address: &Address) -> AddressRoute {
        self.routes.route_of(address)
    }

    /// Adds a submission of a program of this machine, or of a client of the admin API. Its sections are from `routing`. It
    /// returns when the message is durable.
    pub(crate) async fn submit(
        &self,
        mut submission: Submission,
        routing: Routing,
    ) -> Result<Vec<MessageId>, AddError> {
        let (mut fingerprint, mut _held) = (None, None);
        if self.submissions.concern(&Admission::Network) {
            // Of the submitted text: what is added to it differs each time.
            fingerprint = submission
                .key
                .is_some()
                .then(|| Fingerprint::of(&submission.sections, &submission.body));
            let body = std::mem::take(&mut submission.body);
            let finished = self
                .submissions
                .finish(&Admission::Network, body, submission.flows.last());
            let (body, held) = finished.await?;
            (submission.body, _held) = (body, Some(held));
        }
        self.spool
            .send(
                Add::submission(submission)
                    .routed_by(routing)
                    .fingerprint(fingerprint),
            )
            .await
            .unwrap_or(Err(AddError::Killed))
    }
}

impl Intake for Relay {
    fn accept(&self, mail: Mail) -> BoxFuture<Result<Vec<MessageId>, AddError>> {
        if !self.submissions.concern(&mail.source.admission) {
            return Box::pin(self.spool_mail(mail));
        }
        let relay = self.clone();
        // A task of its own: a caller that stops waiting does not cancel it.
        let finished = tokio::spawn(async move {
            let id = mail.flows.last();
            let finished = relay
                .submissions
                .finish(&mail.source.admission, mail.body, id)
                .await;
            let (body, _held) = finished?;
            relay.spool_mail(Mail { body, ..mail }).await
        });
        Box::pin(async move { finished.await.unwrap_or(Err(AddError::Killed)) })
    }

    fn admit(&self, size: u64) -> Result<(), AddError> {
        self.gate.admit(size)
    }
}

impl Relay {
    /// Adds `mail` as it is. The request is sent before the future is polled.
    fn spool_mail(
        &self,
        mail: Mail,
    ) -> impl Future<Output = Result<Vec<MessageId>, AddError>> + Send + use<> {
        let Mail {
            envelope,
            body,
            flows,
            source,
        } = mail;
        let via = if source.client.is_some() { "smtp" } else { "local" };
        let accepted =
            Record::wanted().then(|| Accepted::new(via, source.clone(), &envelope, body.len(), &flows));
        let (sections, routing) = self.sections(envelope, &[]);
        let submission = Submission {
            flows,
            ..Submission::new(sections, body)
        };
        let mut add = Add::submission(submission).routed_by(routing);
        if !source.admission.is_submission() {
            add = add.of_unknown_submitter();
        }
        let request = self.spool.send(add);
        async move {
            let answer = request.await.unwrap_or(Err(AddError::Killed));
            if let (Some(accepted), Ok(ids)) = (accepted, &answer) {
                accepted.emit(ids);
            }
            answer
        }
    }
}
