//! A follower that misses no event through restarts and crashes, its own and the spool's.
//! `cargo run -p spool-actors --example follow_events DIR`, as often as you like.
//!
//! It keeps the number of the last event it has dealt with in `DIR/seen`, and asks for what came after. An event whose
//! number could not be kept comes again: whoever counts on these numbers sees each event at least once.

use spool_actors::{Add, KillAndFlush, Spool, Subscribe};
use spool_core::{Envelope, EventKind, ReversePath, SpoolConfig};
use spool_smtp::client::{SmtpAgent, SmtpConfig};
use spool_smtp::sink::{Sink, SinkConfig};
use std::path::{Path, PathBuf};

/// The number in `file`; 0, which is before all events, when there is none.
fn seen(file: &Path) -> Result<u64, Box<dyn std::error::Error>> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(text.trim().parse()?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// Whole or not at all: a crash leaves the old number.
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
    let envelope = Envelope::new(
        ReversePath::parse("ada@example.org")?,
        ["bob@example.net".parse()?],
    );
    let id = spool
        .send(Add::new(envelope, "Subject: x\n\n").next_hop(&next_hop))
        .await??
        .pop();

    let file = dir.join("seen");
    let since = seen(&file)?;
    println!("events after {since}:");
    let mut events = spool.send(Subscribe { since: Some(since) }).await??;
    while let Some(event) = events.next().await {
        if event.kind == EventKind::Ping {
            continue;
        }
        // A `Gap` among them says that the log no longer reaches back so far: told, never silent.
        println!("{} {:?}", event.seq, event.kind);
        keep(&file, event.seq)?;
        if event.id == id && event.kind == EventKind::Delivered {
            break;
        }
    }
    spool.send(KillAndFlush { timeout: None }).await?;
    Ok(())
}
