//! A presend hook that sends no more than four messages a second to one next hop. `cargo run -p spool-actors --example rate_limit`
//!
//! Nothing sleeps: the hook answers `SendAt` for a message that is too early. That takes no retry interval and is kept over a restart.
//! Each message gets its time once, so the hook is called at most twice for each message, however many wait.
//! `SpoolConfig::policies` limits rates without a hook; this example shows what a hook can do.

use spool_actors::prelude::*;
use spool_actors::spool_smtp::sink::{Sink, SinkConfig};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const INTERVAL: Duration = Duration::from_millis(250);
const MESSAGES: usize = 8;

/// The next free time at each next hop, and the times that were given to messages.
#[derive(Default)]
struct Times {
    free: HashMap<NextHop, Timestamp>,
    given: HashMap<MessageId, Timestamp>,
}

impl Times {
    fn decide(&mut self, message: &Message, now: Timestamp) -> Presend {
        let Some(hop) = message.next_hops.first() else {
            return Presend::SendNow;
        };
        let free = self.free.entry(hop.clone()).or_default();
        let time = *self.given.entry(message.id).or_insert_with(|| {
            let time = (*free).max(now);
            *free = time.after(INTERVAL);
            time
        });
        if time > now {
            return Presend::SendAt(time);
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

    let times = Mutex::new(Times::default());
    let dir = tempfile::tempdir()?;
    let mut config = SpoolConfig::new(dir.path().join("spool"));
    config.hooks.presend(move |message| {
        let mut times = times.lock().unwrap_or_else(PoisonError::into_inner);
        std::future::ready(times.decide(&message, SystemClock.now()))
    });
    let spool = Spool::open(config, SmtpAgent::new(SmtpConfig::default())).await?;
    let mut events = Spool::subscribe(&spool).await?;
    for number in 0..MESSAGES {
        let envelope = Envelope::new("ada@example.org", [format!("{number}@example.net")])?;
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
