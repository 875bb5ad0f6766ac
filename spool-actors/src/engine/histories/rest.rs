//! How a life comes to rest, and to its end.

use super::disk::Disk;
use super::settings::routing;
use super::steps::{WELL, said};
use super::world::{Life, Room};
use super::{Chance, Tally};
use crate::engine::Input;
use crate::supervision::Ending;
use spool_core::{Presend, Status};
use std::time::Duration;

/// Turns in which everything must come to rest.
const PATIENCE: usize = 2_000;

impl Life {
    /// Everything goes well from now on, for as long as it takes: nothing is left to do, and everyone is answered.
    pub(super) fn finish(&mut self, tally: &mut Tally) {
        let mut chance = Chance::new(1);
        self.room = Room::Plenty;
        self.set_max(3);
        // With a route for everybody.
        self.set_routing(routing(0));
        for turns in 0.. {
            assert!(turns < PATIENCE, "it never comes to rest: {self:#?}");
            self.settle(&mut chance, tally);
            let all = self.disk.messages.values();
            let waits = all
                .filter(|(message, _)| message.state.status != Status::Frozen)
                .count()
                > 0;
            if !waits && self.is_quiet() && self.lookups.is_empty() && self.waiting.is_empty() {
                break;
            }
            // Time passes, the faster the longer nothing happens: the clock of another life may have been ahead.
            self.pass(Duration::from_secs(60 * (1 + turns as u64 * turns as u64)));
            self.inputs.push_back(Input::Tick);
            self.turn(tally);
        }
        // The second one tells the ledger of what the first one has let go.
        for _ in 0..2 {
            self.inputs.push_back(Input::Tick);
            self.settle(&mut chance, tally);
        }
        assert_eq!(format!("{:?}", self.replies), "{}", "questions without an answer");
        self.is_at_rest();
    }

    /// Whatever was counted is zero, and all memory and all permits were given back.
    fn is_at_rest(&mut self) {
        let engine = &self.engine;
        let counts = [
            engine.queue.counts.waiting(),
            engine.queue.counts.running,
            engine.pending,
            engine.working,
        ];
        assert_eq!(counts, [0; 4]);
        engine.queue.check(true);
        assert_eq!(engine.queue.len(), self.disk.ids().len());
        assert_eq!(
            self.budget.used(),
            engine.queue.standing(),
            "memory that nothing needs"
        );
        assert_eq!(
            self.permits(),
            [0_u64; 0],
            "permits that nothing needs: {:#?}",
            (&engine.queue, &self.throttle)
        );
        assert!(self.throttle.is_at_rest(), "{:#?}", self.throttle);
        self.disk.balance();
    }

    /// Everything that is under way comes to its end.
    fn settle(&mut self, chance: &mut Chance, tally: &mut Tally) {
        for turns in 0.. {
            assert!(
                turns < PATIENCE,
                "it never settles: {:#?}",
                (
                    &self.inputs,
                    &self.unwritten,
                    &self.jobs,
                    &self.sessions,
                    &self.questions,
                    &self.engine
                )
            );
            self.write(chance, tally);
            for job in std::mem::take(&mut self.jobs) {
                let done = self.disk.run(&self.budget, job);
                self.inputs.push_back(Input::Done(done));
            }
            for question in std::mem::take(&mut self.questions) {
                self.inputs.push_back(said(question, Some(Presend::SendNow)));
            }
            for place in (0..self.lookups.len()).rev() {
                self.look_up(place);
            }
            for place in (0..self.sessions.len()).rev() {
                self.go_on_with(place, WELL, chance);
            }
            self.feed();
            self.turn(tally);
            if self.is_quiet() && self.inputs.is_empty() && self.lookups.is_empty() {
                return;
            }
        }
    }

    /// The end of this life, by a crash or in order. Gives the disk.
    pub(super) fn end(mut self, crash: bool, tally: &mut Tally) -> Disk {
        if crash {
            return self.disk;
        }
        self.room = Room::Plenty;
        self.ended = Some(Ending::Killed);
        self.inputs.push_back(Input::Close);
        self.turn(tally);
        let mut chance = Chance::new(2);
        while !self.closed {
            self.settle(&mut chance, tally);
        }
        let in_doubt: Vec<_> = self
            .disk
            .in_flight()
            .filter(|id| !self.inherited.contains(id))
            .collect();
        assert!(in_doubt.is_empty(), "in doubt after an orderly end: {in_doubt:?}");
        for id in &self.disk.held {
            let status = self.disk.message(*id).map(|message| message.state.status);
            let is_frozen = status.is_none_or(|status| status == Status::Frozen);
            assert!(is_frozen, "{id} was to be frozen: {status:?}");
        }
        // Permits that were on their way.
        self.turn_out(tally);
        assert!(self.sessions.is_empty());
        assert_eq!(self.permits(), [0_u64; 0], "permits that did not come back");
        self.disk
    }
}
