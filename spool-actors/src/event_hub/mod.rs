//! EventHub: tells every subscriber what happened, in order.
//!
//! It never waits for a subscriber and never grows beyond each one's ring: a subscriber that falls behind learns how much it
//! missed.

mod follower;
pub(crate) mod messages;
mod ring;
mod subscription;

pub(crate) use follower::{Follower, READERS};
pub use subscription::Subscription;

use crate::supervision::{Part, Supervision};
use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler};
use messages::{Close, Enroll, Publish};
use ring::Ring;
use spool_core::{Clock, Event, EventKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The actor that fans events out.
#[derive(Debug)]
pub struct EventHub {
    rings: Vec<Arc<Ring>>,
    listening: Arc<AtomicUsize>,
    buffer: usize,
    ping: Duration,
    clock: Arc<dyn Clock>,
    last: u64,
    supervision: Supervision,
}

impl EventHub {
    /// Starts one. The counter shows how many listen: with nobody there, events need not be built.
    pub(crate) fn start(
        supervision: &Supervision,
        buffer: usize,
        ping: Duration,
        clock: Arc<dyn Clock>,
        last: u64,
    ) -> (Addr<Self>, Arc<AtomicUsize>) {
        let listening = Arc::new(AtomicUsize::new(0));
        let hub = Self {
            rings: Vec::new(),
            listening: Arc::clone(&listening),
            buffer: buffer.max(1),
            ping,
            clock,
            last,
            supervision: supervision.clone(),
        };
        (supervision.run(Part::EventHub, Context::new(), hub), listening)
    }

    fn tell(&mut self, event: &Event) {
        let share = ring::share(self.rings.len());
        self.rings.retain(|ring| ring.push(event, share));
        self.listening.store(self.rings.len(), Ordering::Release);
    }
}

impl Actor for EventHub {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(self.ping, |hub, _| {
            let (seq, at) = (hub.last, hub.clock.now());
            hub.tell(&Event::new(seq, at, EventKind::Ping));
        });
    }
}

impl Drop for EventHub {
    /// Subscribers see the end of the stream.
    fn drop(&mut self) {
        for ring in &self.rings {
            ring.close();
        }
    }
}

impl Handler<Close> for EventHub {
    type Result = ();
    fn handle(&mut self, _: Close, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

impl Handler<Publish> for EventHub {
    type Result = ();
    fn handle(&mut self, publish: Publish, _: &mut Self::Context) {
        self.supervision.failpoint(Part::EventHub);
        for event in publish.0 {
            self.last = event.seq;
            self.tell(&event);
        }
    }
}

impl Handler<Enroll> for EventHub {
    type Result = ();
    fn handle(&mut self, enroll: Enroll, _: &mut Self::Context) {
        let ring = Ring::new(self.buffer);
        let subscription = Subscription::live(Arc::clone(&ring));
        self.rings.push(ring);
        self.listening.store(self.rings.len(), Ordering::Release);
        if enroll.reply.send(subscription).is_err() {
            tracing::debug!("a subscriber left before it was told");
        }
    }
}
