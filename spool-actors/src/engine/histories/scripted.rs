//! Single histories that are too rare to be met at random.

mod memory;

use super::answers::{Asked, Operated};
use super::sessions::{Session, Stage};
use super::settings::{hops, routing};
use super::world::{Life, Room};
use super::{Chance, Tally};
use crate::engine::{DiskJob, Input, ReadFor, Work};
use crate::outcome::NewRoute;
use bytes::Bytes;
use spool_core::store::Change;
use spool_core::{
    Envelope, Held, MessageId, RetryPolicy, ReversePath, RouteOrigin, Router, Routing, Section, Status,
    Submission,
};
use std::sync::Arc;
use std::time::Duration;

/// A life without hooks that is as `wanted`, and what it needs.
fn life_with(wanted: impl Fn(&Life) -> bool) -> (Life, Chance, Tally) {
    let mut tally = Tally::default();
    for seed in 1.. {
        let mut chance = Chance::new(seed);
        let life = Life::begin(&mut chance, None, &mut tally);
        let asks = life.presend || life.engine.on_error;
        if !asks && !life.slow_lookups && wanted(&life) {
            return (life, chance, tally);
        }
    }
    unreachable!("seeds do not end")
}

fn life() -> (Life, Chance, Tally) {
    life_with(|_| true)
}

/// Its routing is the one of this number.
fn life_by_rules(number: usize) -> (Life, Chance, Tally) {
    let (mut life, chance, mut tally) = life_with(|life| matches!(life.routing, Routing::ByRules(_)));
    life.set_routing(routing(number));
    life.turn_out(&mut tally);
    life.run(|_| true, &mut tally);
    (life, chance, tally)
}

/// Rules by which nobody has a route.
fn routing_to_nowhere() -> Routing {
    Routing::ByRules(Arc::new(Router::new(Vec::new(), Arc::new([]), 0)))
}

impl Life {
    /// Mail to one recipient, by a route that is named.
    fn spool(&mut self, frozen: bool) {
        self.spool_to(0, frozen);
    }

    fn spool_to(&mut self, hop: usize, frozen: bool) {
        let to = [self.disk.ledger.address(0).parse().unwrap()];
        let section = Section {
            envelope: Envelope::of(ReversePath::parse("a@d1.example").unwrap(), to),
            next_hops: hops(hop),
            origin: RouteOrigin::Named,
            retry: RetryPolicy::default(),
        };
        self.submit(vec![section], frozen);
    }

    /// Mail to a recipient in each of these domains, by the current routing.
    fn spool_by_rules(&mut self, domains: &[usize], expire_after: Option<Duration>) {
        let mut address = |domain: &usize| self.disk.ledger.address(*domain).parse().unwrap();
        let to: Vec<_> = domains.iter().map(&mut address).collect();
        let envelope = Envelope::of(ReversePath::parse("a@d1.example").unwrap(), to);
        let retry = RetryPolicy {
            expire_after,
            ..RetryPolicy::default()
        };
        let Routing::ByRules(router) = self.routing.clone() else {
            unreachable!("it has rules")
        };
        self.submit(router.split(envelope, &retry), false);
    }

    /// Finishes all work except sessions, which start.
    fn go(&mut self, chance: &mut Chance, tally: &mut Tally) {
        for _ in 0..10 {
            self.turn_out(tally);
            self.write_all(chance, tally);
            self.feed();
            self.run(|_| true, tally);
            for place in 0..self.sessions.len() {
                if self.sessions[place].stage == Stage::Opening {
                    self.ask_to_begin(place);
                }
            }
        }
    }

    /// Memory of which nothing is left.
    fn take_all_memory(&self) -> Held {
        let mut all = self.budget.hold(0).unwrap();
        all.resize(self.budget.limit());
        all
    }

    fn submit(&mut self, sections: Vec<Section>, frozen: bool) {
        let submission = Submission {
            frozen,
            ..Submission::new(sections, Bytes::from_static(b"x"))
        };
        let asked = Asked::Add {
            key: None,
            fingerprint: None,
        };
        let reply = self.reply(asked);
        self.inputs.push_back(Input::Add(Box::new(submission), reply));
    }

    fn ask(&mut self, work: Work, ids: Vec<MessageId>) {
        let operated = Operated::new(&work, &ids, self.operations());
        let reply = self.reply(Asked::Operation(operated));
        self.inputs.push_back(Input::Operate(work, ids, reply));
    }

    /// Writes all that waits for the disk, and brings the answers.
    fn write_all(&mut self, chance: &mut Chance, tally: &mut Tally) {
        while !self.unwritten.is_empty() {
            self.write(chance, tally);
        }
        self.turn_out(tally);
    }

    /// Every attempt gets a session, starts if it may, and succeeds.
    fn end_sessions(&mut self, mut note: impl FnMut(&Session), chance: &mut Chance, tally: &mut Tally) {
        for place in 0..self.sessions.len() {
            if self.sessions[place].stage == Stage::Opening {
                self.ask_to_begin(place);
            }
        }
        self.turn_out(tally);
        self.write_all(chance, tally);
        for place in (0..self.sessions.len()).rev() {
            note(&self.sessions[place]);
            self.go_on_with(place, super::steps::WELL, chance);
        }
    }

    /// Does the work of this kind.
    fn run(&mut self, wanted: impl Fn(&DiskJob<super::Paper>) -> bool, tally: &mut Tally) -> usize {
        let (now, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.jobs).into_iter().partition(wanted);
        self.jobs = later;
        let count = now.len();
        for job in now {
            let done = self.disk.run(&self.budget, job);
            self.inputs.push_back(Input::Done(done));
        }
        self.turn_out(tally);
        count
    }
}

#[test]
fn a_remove_after_one_that_failed_keeps_its_files_in_the_archive() {
    let (mut life, mut chance, mut tally) = life();
    life.spool(true);
    life.turn(&mut tally);
    life.write_all(&mut chance, &mut tally);
    let ids = life.disk.ids();
    assert_eq!(ids.len(), 1);
    let reads = |job: &DiskJob<_>| matches!(job, DiskJob::Read(ReadFor::Work { .. }, _));
    for room in [Room::None, Room::Plenty] {
        life.room = room;
        life.ask(Work::Remove, ids.clone());
        life.turn(&mut tally);
        life.feed();
        life.turn_out(&mut tally);
        // What is to be removed from the archive waits as long as it can.
        let laid = life.run(reads, &mut tally);
        assert_eq!(
            laid,
            usize::from(room == Room::None),
            "the second one waits for the files of the first"
        );
        life.write_all(&mut chance, &mut tally);
    }
    life.finish(&mut tally);
    assert_eq!((life.disk.ids(), life.disk.removed()), (Vec::new(), ids));
}

#[test]
fn an_add_that_has_a_permit_starts_no_session_beyond_a_new_maximum() {
    let (mut life, mut chance, mut tally) = life();
    // A session that has ended leaves its permit for the next add.
    for _ in 0..2 {
        life.spool(false);
        life.turn_out(&mut tally);
        life.write_all(&mut chance, &mut tally);
        life.end_sessions(|_| {}, &mut chance, &mut tally);
        life.turn_out(&mut tally);
        life.write_all(&mut chance, &mut tally);
    }
    let before = life.permits();
    life.spool(false);
    life.turn_out(&mut tally);
    life.set_max(1);
    life.turn_out(&mut tally);
    life.write_all(&mut chance, &mut tally);
    assert!(life.permits().iter().all(|permit| !before.contains(permit)));
    life.finish(&mut tally);
}

#[test]
fn what_is_given_up_in_line_is_not_in_doubt() {
    let (mut life, mut chance, mut tally) = life_with(|life| !life.notices);
    life.spool(true);
    life.turn(&mut tally);
    life.write_all(&mut chance, &mut tally);
    let id = life.disk.ids().pop().unwrap();
    // The start of an attempt was written, and there was no room to take it back.
    let mut message = life.disk.message(id).unwrap().clone();
    message.state.in_flight = Some(life.now.wall);
    life.engine.give_up(message, Bytes::new(), "no answer");
    life.inputs.push_back(Input::Tick);
    life.turn_out(&mut tally);
    life.write_all(&mut chance, &mut tally);
    assert_eq!(life.disk.in_flight().count(), 0);
}

#[test]
fn a_destination_gives_its_permit_to_others_that_wait() {
    let (mut life, mut chance, mut tally) = life_with(|life| life.budget.limit() > 100_000);
    life.set_max(1);
    for hop in [0, 0, 0, 1, 1, 1] {
        life.spool_to(hop, false);
    }
    let mut order = Vec::new();
    for _ in 0..100 {
        life.turn_out(&mut tally);
        life.write_all(&mut chance, &mut tally);
        life.feed();
        life.run(|_| true, &mut tally);
        let note = |session: &Session| order.push(session.job.next_hops[0].to_string());
        life.end_sessions(note, &mut chance, &mut tally);
    }
    assert_eq!(order, ["hop0:25", "hop1:25"].repeat(3));
    life.finish(&mut tally);
}

/// Lets the one session that runs go, as if it still ran, while `meanwhile` happens; then it ends in this way.
fn during_a_session(
    (life, chance, tally): &mut (Life, Chance, Tally),
    meanwhile: impl FnOnce(&mut Life, MessageId),
    how: usize,
) -> MessageId {
    life.go(chance, tally);
    let id = life.sessions[0].job.message;
    meanwhile(life, id);
    life.go(chance, tally);
    let session = life.sessions.pop().unwrap();
    life.end_session(session, how, chance);
    life.go(chance, tally);
    id
}

#[test]
fn a_freeze_that_is_being_written_is_not_undone_by_the_start_of_another_attempt() {
    let (mut life, mut chance, mut tally) = life();
    life.spool(false);
    life.turn_out(&mut tally);
    life.write_all(&mut chance, &mut tally);
    let id = life.sessions[0].job.message;
    life.ask(Work::Freeze, vec![id]);
    life.turn_out(&mut tally);
    for _ in 0..2 {
        if !life.sessions.is_empty() {
            life.ask_to_begin(0);
        }
        life.turn_out(&mut tally);
        if let Some(session) = life.sessions.pop_if(|session| session.stage == Stage::Refused) {
            life.end_session(session, super::steps::NOT_BEGUN, &mut chance);
        }
        life.turn_out(&mut tally);
        life.feed();
        life.run(|_| true, &mut tally);
    }
    assert!(life.sessions.is_empty(), "it waits until the freeze is on disk");
    life.go(&mut chance, &mut tally);
    assert_eq!(life.disk.message(id).unwrap().state.status, Status::Frozen);
}

#[test]
fn an_attempt_that_ends_while_its_route_is_written_is_not_begun_afterwards() {
    let (mut life, mut chance, mut tally) = life_by_rules(1);
    life.set_max(0);
    life.spool_by_rules(&[0], None);
    life.go(&mut chance, &mut tally);
    // Its next hops on disk are those of the former routing.
    life.set_routing(routing(0));
    life.set_max(1);
    life.turn_out(&mut tally);
    life.run(|_| true, &mut tally);
    life.feed();
    while life.sessions.is_empty() {
        life.turn_out(&mut tally);
        life.run(|_| true, &mut tally);
    }
    life.ask_to_begin(0);
    life.turn_out(&mut tally);
    let route = life.unwritten.back().map(|(change, _)| change);
    assert!(matches!(route, Some(Change::Route { .. })), "{route:?}");
    // Whoever makes the attempt waits no longer for its start.
    let session = life.sessions.pop().unwrap();
    let id = session.job.message;
    life.end_session(session, 1, &mut chance);
    life.turn_out(&mut tally);
    // The route, and what follows from it.
    for _ in 0..2 {
        life.write_all(&mut chance, &mut tally);
    }
    assert_eq!(life.disk.message(id).unwrap().state.in_flight, None);
}

#[test]
fn a_route_that_was_named_during_a_session_holds_for_the_next_one() {
    let mut world = life();
    world.0.spool(false);
    let reroute = |life: &mut Life, id| life.ask(Work::Reroute(NewRoute::To(hops(1))), vec![id]);
    let id = during_a_session(&mut world, reroute, 0);
    let route = world.0.engine.queue.route_of(id).map(|route| route.next_hops);
    assert_eq!(route, Some(hops(1)));
    world.0.finish(&mut world.2);
}

#[test]
fn a_message_whose_time_was_over_when_it_was_not_begun_is_given_up() {
    let mut world = life_by_rules(0);
    world.0.spool_by_rules(&[0], Some(Duration::from_secs(600)));
    let wait = |life: &mut Life, _| life.pass(Duration::from_secs(3600));
    let id = during_a_session(&mut world, wait, 2);
    let status = world.0.disk.message(id).map(|message| message.state.status);
    assert!(status.is_none_or(|status| status == Status::Frozen), "{status:?}");
    world.0.finish(&mut world.2);
}

#[test]
fn recipients_that_had_failed_are_sent_by_their_own_route() {
    let mut world = life_with(|life| matches!(life.routing, Routing::ByRules(_)) && !life.notices);
    let (life, _, tally) = &mut world;
    life.set_routing(routing(1));
    life.turn_out(tally);
    life.run(|_| true, tally);
    life.spool_by_rules(&[0, 2], None);
    // The first one fails for good, the other one may be tried again, and then they have different routes.
    let id = during_a_session(&mut world, |_, _| (), super::steps::PARTLY);
    let (life, chance, tally) = &mut world;
    let state = life.disk.message(id).unwrap().state.clone();
    assert_eq!(
        (state.remaining.as_slice(), state.failed.len()),
        ([1].as_slice(), 1)
    );
    life.set_routing(routing(2));
    life.go(chance, tally);
    life.ask(Work::SendNow([].into()), vec![id]);
    // Each session is compared with the routes.
    life.go(chance, tally);
    assert_eq!(life.disk.ids().len(), 2, "it was divided");
    life.finish(tally);
}

#[test]
fn a_message_that_stays_frozen_while_its_release_is_written_is_told_frozen_again() {
    for outcome in [1, super::steps::NOT_BEGUN] {
        let (mut life, mut chance, mut tally) = life();
        life.spool(false);
        life.go(&mut chance, &mut tally);
        let id = life.sessions[0].job.message;
        life.ask(Work::Freeze, vec![id]);
        life.go(&mut chance, &mut tally);
        life.ask(Work::SendNow([].into()), vec![id]);
        life.disk.held.remove(&id);
        // The release is given to the disk, which has not answered when the session ends.
        life.turn_out(&mut tally);
        let session = life.sessions.pop().expect("a session");
        life.end_session(session, outcome, &mut chance);
        // The disk compares each event with the state.
        life.go(&mut chance, &mut tally);
        life.finish(&mut tally);
    }
}
