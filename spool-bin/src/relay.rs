//! The way of a mail from a listener, the admin API or the drop directory to the spool.

use crate::config::Config;
use crate::routes::Routes;
use crate::submissions::Submissions;
use actix::Addr;
use spool_actors::{Add, Gate, OpenSpool, SpoolActor};
use spool_core::log::{Accepted, Record};
use spool_core::{
    AddError, Admission, BoxFuture, Halt, Intake, Mail, MessageId, NextHop, RetryInterval, Submission,
};
use spool_smtp::server::{Clients, Logins, Users};

/// What a submitter may ask for beside its mail.
#[derive(Debug, Default)]
pub(crate) struct SubmitOptions {
    /// Empty: by the routes.
    pub(crate) next_hops: Vec<NextHop>,
    /// Come before those of the configuration.
    pub(crate) retry_intervals: Vec<RetryInterval>,
    pub(crate) frozen: bool,
    pub(crate) key: Option<String>,
}

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

    /// Adds mail of a program of this machine, or of a client of the admin API, that came in by `via`. It returns when the
    /// message is durable.
    pub(crate) async fn submit(
        &self,
        via: &'static str,
        mail: Mail,
        options: SubmitOptions,
    ) -> Result<Vec<MessageId>, AddError> {
        let accepted = accepted(via, &mail);
        let mut submission = self.submission(mail, options);
        let mut _held = None;
        if self.submissions.concern(&Admission::Network) {
            // Of the submitted text: what is added to it differs each time.
            submission.fingerprint = submission.add_key().and_then(|key| key.fingerprint);
            let body = std::mem::take(&mut submission.body);
            let finished = self
                .submissions
                .finish(&Admission::Network, body, submission.flows.last());
            let (body, held) = finished.await?;
            (submission.body, _held) = (body, Some(held));
        }
        self.add(submission, accepted).await
    }

    /// The submission of `mail`, by the routes or to the next hops that `options` name.
    fn submission(&self, mail: Mail, options: SubmitOptions) -> Submission {
        let (mut sections, routing) = self.routes.sections(mail.envelope, &options.next_hops);
        for section in &mut sections {
            let intervals = options.retry_intervals.iter().copied();
            section.retry.intervals.splice(0..0, intervals);
        }
        Submission {
            frozen: options.frozen,
            flows: mail.flows,
            key: options.key,
            routing: Some(routing),
            unknown_submitter: !mail.source.admission.is_submission(),
            ..Submission::new(sections, mail.body)
        }
    }

    /// Adds `mail` as it is. The request is sent before the future is polled.
    fn spool_mail(
        &self,
        mail: Mail,
    ) -> impl Future<Output = Result<Vec<MessageId>, AddError>> + Send + use<> {
        let via = if mail.source.client.is_some() {
            "smtp"
        } else {
            "local"
        };
        let accepted = accepted(via, &mail);
        self.add(self.submission(mail, SubmitOptions::default()), accepted)
    }

    fn add(
        &self,
        submission: Submission,
        accepted: Option<Accepted>,
    ) -> impl Future<Output = Result<Vec<MessageId>, AddError>> + Send + use<> {
        let request = self.spool.send(Add::submission(submission));
        async move {
            let answer = request.await.unwrap_or(Err(AddError::Killed));
            if let (Some(accepted), Ok(ids)) = (accepted, &answer) {
                accepted.emit(ids);
            }
            answer
        }
    }
}

/// The log record of `mail`, if it is wanted.
fn accepted(via: &'static str, mail: &Mail) -> Option<Accepted> {
    let source = || mail.source.clone();
    Record::wanted().then(|| Accepted::new(via, source(), &mail.envelope, mail.body.len(), &mail.flows))
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
