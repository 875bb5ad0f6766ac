//! Attempts: how far each has come, and that nothing is sent but what the disk says is being sent.

use super::Tally;
use super::answers::Asked;
use super::world::Life;
use crate::engine::Input;
use spool_core::{MessageId, RouteOrigin, Routing};

/// An attempt that is made.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) job: spool_core::Job,
    pub(super) permit: u64,
    pub(super) stage: Stage,
}

/// How far an attempt has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// It looks for a session.
    Opening,
    /// It has one and asks whether it may start.
    Asking,
    Begun,
    Refused,
}

impl Life {
    pub(super) fn start(&mut self, job: spool_core::Job, permit: u64, recorded: bool, tally: &mut Tally) {
        tally.sessions += 1;
        assert_eq!(self.ended, None, "nothing starts once the spool has ended");
        let id = job.message;
        assert!(
            self.sessions.iter().all(|session| session.job.message != id),
            "{id} twice at a time"
        );
        let (_, epoch) = self.permits.get(&permit).expect("a permit that was granted");
        assert_eq!(
            *epoch, self.epoch,
            "a permit of a former maximum starts no session"
        );
        assert!(self.under_max.insert(permit), "one session for each permit");
        let stage = match recorded {
            true => Stage::Begun,
            false => Stage::Opening,
        };
        if recorded {
            self.begins(&job);
        }
        self.sessions.push(Session { job, permit, stage });
    }

    /// An attempt has found a session.
    pub(super) fn ask_to_begin(&mut self, place: usize) {
        self.sessions[place].stage = Stage::Asking;
        let id = self.sessions[place].job.message;
        let reply = self.reply(Asked::Begin(id));
        self.inputs.push_back(Input::MayBegin(id, reply));
    }

    /// The engine has answered.
    pub(super) fn begun(&mut self, id: MessageId, may: bool) {
        let place = self.sessions.iter().position(|session| session.job.message == id);
        let Some(place) = place else {
            return assert!(!may, "an attempt at {id} begins that has ended");
        };
        assert_eq!(self.sessions[place].stage, Stage::Asking);
        self.sessions[place].stage = match may {
            true => Stage::Begun,
            false => Stage::Refused,
        };
        if may {
            let job = self.sessions[place].job.clone();
            self.begins(&job);
        }
    }

    /// Nothing is sent but what the disk says is being sent, to where it says, and once at a time.
    fn begins(&self, job: &spool_core::Job) {
        assert_eq!(self.ended, None, "nothing begins once the spool has ended");
        let id = job.message;
        let message = self.disk.message(id).expect("what is sent is on disk");
        let state = &message.state;
        assert!(state.in_flight.is_some(), "the start of {id} is not on disk");
        assert_ne!(state.status, spool_core::Status::Frozen, "{id} is frozen");
        assert!(!self.disk.held.contains(&id), "somebody wants {id} frozen");
        if let Some(named) = self.disk.routed.get(&id) {
            assert_eq!(*named, job.next_hops, "somebody gave {id} another route");
        }
        assert!(!self.over.contains(&id), "the time of {id} is over");
        assert_eq!(message.next_hops, job.next_hops, "{id} goes elsewhere");
        assert_eq!(state.remaining, job.recipients);
        assert!(!job.recipients.is_empty());
        if let (RouteOrigin::Configured, Routing::ByRules(router)) = (message.origin, &self.routing) {
            for recipient in &job.recipients {
                let address = &job.envelope.recipients[*recipient as usize].address;
                assert_eq!(
                    router.next_hops(address),
                    job.next_hops,
                    "{address} by another route"
                );
            }
        }
    }
}
