//! A program with a spool in it: one message in, its story out. `cargo run -p spool-actors --example embed [NEXT_HOP]`; for a next hop to
//! play with, `spool sink --listen 127.0.0.1:2526`.

use spool_actors::{Add, KillAndFlush, Spool};
use spool_core::{Envelope, EventKind, ReversePath, SpoolConfig};
use spool_smtp::client::{SmtpAgent, SmtpConfig};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let next_hop = std::env::args().nth(1).unwrap_or("127.0.0.1:2526".into());
    let agent = SmtpAgent::new(SmtpConfig::default());
    let spool = Spool::open(SpoolConfig::new("example-spool"), agent).await?;
    let mut events = Spool::subscribe(&spool).await?;

    let envelope = Envelope::new(
        ReversePath::parse("ada@example.org")?,
        ["bob@example.net".parse()?],
    );
    let mail = Add::new(envelope, "Subject: hello\n\nfrom a program\n").next_hop(&next_hop);
    let ids = spool.send(mail).await??;
    println!("on disk, synced: {ids:?}");
    while let Some(event) = events.next().await {
        println!("{} {:?}", event.at, event.kind);
        if matches!(event.kind, EventKind::Delivered | EventKind::Delayed(_)) {
            break;
        }
    }
    spool.send(KillAndFlush { timeout: None }).await?;
    Ok(())
}
