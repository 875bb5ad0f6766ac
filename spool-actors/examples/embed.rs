//! A program with a spool in it: it adds one message and prints its events. `cargo run -p spool-actors --example embed [NEXT_HOP]`; for a
//! next hop to try it with, `spool sink --listen 127.0.0.1:2526`.

use spool_actors::prelude::*;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let next_hop = std::env::args().nth(1).unwrap_or("127.0.0.1:2526".into());
    let agent = SmtpAgent::new(SmtpConfig::default());
    let spool = Spool::open(SpoolConfig::new("example-spool"), agent).await?;
    let mut events = Spool::subscribe(&spool).await?;

    let envelope = Envelope::new("ada@example.org", ["bob@example.net"])?;
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
