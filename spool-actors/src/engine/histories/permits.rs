//! The throttle of a life: its own limits, asked as the actor asks them.

use super::settings::hops;
use super::world::Life;
use crate::engine::testing::Paper;
use crate::engine::{Input, News, Told, World};
use crate::pace::Signal;
use crate::throttle::Output;
use std::sync::Arc;

impl Life {
    pub(super) fn release(&mut self, permit: u64, signal: Option<Signal>) {
        self.permits.remove(&permit).expect("a permit comes back once");
        let told = Told::Returned(Paper::name(&permit), signal);
        self.throttle.hear(told, self.now);
    }

    /// What the throttle has to say.
    pub(super) fn grant(&mut self) {
        loop {
            let outputs = self.throttle.settle(self.now);
            if outputs.is_empty() {
                return;
            }
            for output in outputs {
                let input = match output {
                    Output::LookUp(destination, hops) => {
                        self.lookups.push((destination, hops));
                        if !self.slow_lookups {
                            self.look_up(0);
                        }
                        continue;
                    }
                    Output::Granted(destination, granted) => {
                        let permit = granted.epoch << 32 | granted.id;
                        self.permits.insert(permit, (destination, granted.epoch));
                        Input::Granted(destination, permit)
                    }
                    Output::News(news) => {
                        if let News::Opens(at) = &news {
                            self.opens = *at;
                        }
                        Input::News(news)
                    }
                };
                self.inputs.push_back(input);
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
            self.throttle.looked_up(destination, &hops, self.now);
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
