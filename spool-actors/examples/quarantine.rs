//! An on_error hook that puts mail into quarantine when the next hop refuses it as spam. `cargo run -p spool-actors --example quarantine`
//!
//! The hook copies the message to `quarantine/`, where a person finds it as two plain files, and answers `Done`: the spool does not try
//! that recipient again. If the copy fails, the recipient fails, as it would without the hook. Nothing is lost in either case.

use spool_actors::prelude::*;
use spool_actors::spool_smtp::sink::{Sink, SinkConfig};

/// Whether the next hop called it spam: 5.7.1 of RFC 3463 is a refusal by policy.
fn is_spam(refusal: &Refusal) -> bool {
    let enhanced = refusal.reply.as_ref().and_then(|reply| reply.enhanced);
    enhanced.is_some_and(|code| code.to_string() == "5.7.1")
}

/// Copies the message, for the refused recipient alone, into quarantine.
async fn copy(
    spool: &WeakAddr<SpoolActor>,
    refusal: &Refusal,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let spool = spool.upgrade().ok_or("the spool has ended")?;
    let body = spool.send(GetBody(refusal.message.id)).await??;
    spool.send(Quarantine::refused(refusal, body)).await??;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut sink = SinkConfig::default();
    sink.script = "rcpt to=*@strict.example reply 550 5.7.1 looks like spam".parse()?;
    let sink = Sink::bind("127.0.0.1:0".parse()?, sink).await?;
    let next_hop = sink.local_addr()?.to_string();
    let (_stop, stopped) = tokio::sync::watch::channel(false);
    tokio::spawn(sink.run(stopped));

    let dir = tempfile::tempdir()?;
    let config = SpoolConfig::new(dir.path().join("spool"));
    let agent = SmtpAgent::new(SmtpConfig::default());
    let spool = Spool::open_with(config, agent, |spool, hooks| {
        hooks.on_error(move |refusal| {
            let spool = spool.clone();
            async move {
                if !is_spam(&refusal) {
                    return refusal.default;
                }
                match copy(&spool, &refusal).await {
                    Ok(()) => OnError::Done,
                    Err(error) => {
                        eprintln!("not copied to quarantine: {error}");
                        refusal.default
                    }
                }
            }
        });
    })
    .await?;
    // Quarantine waits until the spool knows which messages exist already.
    spool.send(WhenLoaded).await??;
    let mut events = Spool::subscribe(&spool).await?;
    let envelope = Envelope::new("ada@example.org", ["bob@example.net", "eve@strict.example"])?;
    spool
        .send(Add::new(envelope, "Subject: buy\n\nnow\n").next_hop(&next_hop))
        .await??;
    while let Some(event) = events.next().await {
        println!("{:?}", event.kind);
        if matches!(event.kind, EventKind::Delivered | EventKind::Frozen) {
            break;
        }
    }
    for entry in std::fs::read_dir(dir.path().join("spool/quarantine"))? {
        println!("in quarantine: {}", entry?.file_name().display());
    }
    spool.send(KillAndFlush { timeout: None }).await?;
    Ok(())
}
