//! A presend hook that sends no more than four messages a second to one next hop. `cargo run -p spool-actors --example rate_limit`
//!
//! Nothing sleeps: a message that is too early is put off with `SendAt`, which takes no retry interval and outlives a
//! restart. Each one is given its place in time once, so that a long line is asked twice for each message, not again and
//! again.

use spool_actors::{Add, KillAndFlush, Spool};
use spool_core::{
    Clock, Envelope, EventKind, Message, MessageId, NextHop, Presend, ReversePath, SpoolConfig, SystemClock,
    Timestamp,
};
use spool_smtp::client::{SmtpAgent, SmtpConfig};
use spool_smtp::sink::{Sink, SinkConfig};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const INTERVAL: Duration = Duration::from_millis(250);
const MESSAGES: usize = 8;

/// The next free place at each next hop, and the places that were given out.
#[derive(Default)]
struct Pace {
    free: HashMap<NextHop, Timestamp>,
    given: HashMap<MessageId, Timestamp>,
}

impl Pace {
    fn decide(&mut self, message: &Message, now: Timestamp) -> Presend {
        let Some(hop) = message.next_hops.first() else {
            return Presend::SendNow;
        };
        let free = self.free.entry(hop.clone()).or_default();
        let place = *self.given.entry(message.id).or_insert_with(|| {
            let place = (*free).max(now);
            *free = place.after(INTERVAL);
            place
        });
        if place > now {
            return Presend::SendAt(place);
        }
        self.given.remove(&message.id);
        Presend::SendNow
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let sink = Sink::bind("127.0.0.1:0".parse()?, SinkConfig::default()).await?;
    let next_hop = sink.local_addr()?.to_string();
    let (_stop, stopped) = tokio::sync::watch::channel(false);
    tokio::spawn(sink.run(stopped));

    let pace = Mutex::new(Pace::default());
    let dir = tempfile::tempdir()?;
    let mut config = SpoolConfig::new(dir.path().join("spool"));
    config.hooks.presend(move |message| {
        let mut pace = pace.lock().unwrap_or_else(PoisonError::into_inner);
        std::future::ready(pace.decide(&message, SystemClock.now()))
    });
    let spool = Spool::open(config, SmtpAgent::new(SmtpConfig::default())).await?;
    let mut events = Spool::subscribe(&spool).await?;
    for number in 0..MESSAGES {
        let to = format!("{number}@example.net").parse()?;
        let envelope = Envelope::new(ReversePath::parse("ada@example.org")?, [to]);
        spool
            .send(Add::new(envelope, "Subject: one of many\n\n").next_hop(&next_hop))
            .await??;
    }
    let (mut delivered, begin) = (0, SystemClock.now());
    while let Some(event) = events.next().await {
        if event.kind == EventKind::Delivered {
            delivered += 1;
            println!(
                "{delivered} delivered after {} ms",
                event.at.since(begin).as_millis()
            );
        }
        if delivered == MESSAGES {
            break;
        }
    }
    spool.send(KillAndFlush { timeout: None }).await?;
    Ok(())
}
