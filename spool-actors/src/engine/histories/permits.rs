//! The throttle of a life: its own limits, asked as the actor asks them.

use super::settings::hops;
use super::world::Life;
use crate::engine::{Input, Told};
use crate::pace::Signal;
use crate::throttle::Output;
use std::sync::Arc;

impl Life {
    /// The session with this permit has ended. Whether another one may start with it.
    pub(super) fn session_ends(&mut self, permit: u64) -> bool {
        self.under_max.remove(&permit);
        let permit = self.permits.get(&permit);
        permit.is_some_and(|(_, epoch)| *epoch == self.epoch)
    }

    pub(super) fn release(&mut self, permit: u64, signal: Option<Signal>) {
        self.permits.remove(&permit).expect("a permit comes back once");
        self.throttle.hear(Told::Returned(permit, signal), self.now);
    }

    /// What the throttle has to say.
    pub(super) fn grant(&mut self) {
        loop {
            let outputs = self.throttle.settle(self.now);
            if outputs.is_empty() {
                return;
            }
            for output in outputs {
                let mut granted = None;
                if let Output::Granted {
                    destination,
                    permit,
                    epoch,
                    ..
                } = &output
                {
                    self.permits.insert(*permit, (*destination, *epoch));
                    granted = Some(*permit);
                } else if let Output::LookUp(destination, hops) = &output {
                    self.lookups.push((*destination, Arc::clone(hops)));
                    if !self.slow_lookups {
                        self.look_up(0);
                    }
                } else if let Output::Opens(at) = &output {
                    self.opens = *at;
                }
                self.inputs.extend(output.into_input(granted));
            }
        }
    }

    /// A path is found: two of the three next hops share theirs.
    pub(super) fn look_up(&mut self, place: usize) {
        if place < self.lookups.len() {
            let (destination, asked) = self.lookups.remove(place);
            let hops = match asked == hops(1) {
                true => hops(0),
                false => Arc::clone(&asked),
            };
            self.throttle.looked_up(destination, &asked, &hops, self.now);
        }
    }

    pub(super) fn set_max(&mut self, max: usize) {
        self.max = max;
        self.epoch += 1;
        self.under_max.clear();
        self.throttle.set_max_jobs(max);
        self.inputs.push_back(Input::SetMaxJobs(max));
        self.grant();
    }
}
