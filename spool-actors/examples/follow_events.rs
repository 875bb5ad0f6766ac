//! A follower that misses no event through restarts and crashes, its own and the spool's.
//! `cargo run -p spool-actors --example follow_events DIR`, any number of times.
//!
//! It writes the number of the last event that it has handled to `DIR/seen`, and asks for the events after that number. An event whose
//! number could not be written comes again: each event is seen at least once.

use spool_actors::prelude::*;
use spool_actors::spool_smtp::sink::{Sink, SinkConfig};
use std::path::{Path, PathBuf};

/// The number in `file`; 0, which is before all events, when there is none.
fn seen(file: &Path) -> Result<u64, Box<dyn std::error::Error>> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(text.trim().parse()?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// Replaces the file by a rename: a crash leaves the old number or the new one.
fn keep(file: &Path, seq: u64) -> std::io::Result<()> {
    let draft = file.with_extension("tmp");
    std::fs::write(&draft, seq.to_string())?;
    std::fs::rename(draft, file)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = PathBuf::from(std::env::args().nth(1).unwrap_or("example-events".into()));
    let sink = Sink::bind("127.0.0.1:0".parse()?, SinkConfig::default()).await?;
    let next_hop = sink.local_addr()?.to_string();
    let (_stop, stopped) = tokio::sync::watch::channel(false);
    tokio::spawn(sink.run(stopped));

    let spool = Spool::open(
        SpoolConfig::new(dir.join("spool")),
        SmtpAgent::new(SmtpConfig::default()),
    )
    .await?;
    let envelope = Envelope::new("ada@example.org", ["bob@example.net"])?;
    let id = spool
        .send(Add::new(envelope, "Subject: x\n\n").next_hop(&next_hop))
        .await??
        .pop();

    let file = dir.join("seen");
    let since = seen(&file)?;
    println!("events after {since}:");
    let mut events = Spool::subscribe_since(&spool, since).await?;
    while let Some(event) = events.next().await {
        if event.kind == EventKind::Ping {
            continue;
        }
        // A `Gap` counts the events that are no longer in the log.
        println!("{} {:?}", event.seq, event.kind);
        keep(&file, event.seq)?;
        if event.id == id && event.kind == EventKind::Delivered {
            break;
        }
    }
    spool.send(KillAndFlush { timeout: None }).await?;
    Ok(())
}
