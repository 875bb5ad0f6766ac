//! An on_error hook that puts mail into quarantine when the next hop takes it for spam. `cargo run -p spool-actors --example quarantine`
//!
//! The hook copies the message to `quarantine/`, where a person finds it as two plain files, and answers `Done`: for the
//! spool that recipient is taken care of. If the copy fails, the recipient fails, as it would without the hook; nothing
//! is lost either way.

use actix::WeakAddr;
use spool_actors::{Add, GetBody, KillAndFlush, Quarantine, Spool, SpoolActor, WhenLoaded};
use spool_core::{
    Envelope, EventKind, InitialStatus, OnError, Refusal, RetryPolicy, ReversePath, RouteOrigin, Section,
    SpoolConfig, Submission,
};
use spool_smtp::client::{SmtpAgent, SmtpConfig};
use spool_smtp::sink::{Sink, SinkConfig};
use std::sync::{Arc, OnceLock};

/// Whether the next hop called it spam: RFC 3463 has 5.7.1 for what policy refuses.
fn is_spam(refusal: &Refusal) -> bool {
    let enhanced = refusal.reply.as_ref().and_then(|reply| reply.enhanced);
    enhanced.is_some_and(|code| code.to_string() == "5.7.1")
}

/// Copies the message, for the refused recipients alone, into quarantine.
async fn set_aside(
    spool: &WeakAddr<SpoolActor>,
    refusal: &Refusal,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let spool = spool.upgrade().ok_or("the spool has ended")?;
    let message = &refusal.message;
    let body = spool.send(GetBody(message.id)).await??;
    let mut envelope = Envelope::clone(&message.envelope);
    if let Some(index) = refusal.recipient {
        let recipient = envelope.recipients.get(usize::try_from(index)?).cloned();
        envelope.recipients = recipient.into_iter().collect();
    }
    let section = Section {
        envelope,
        next_hops: Arc::clone(&message.next_hops),
        origin: RouteOrigin::Named,
        retry: RetryPolicy::default(),
    };
    let submission = Submission {
        sections: vec![section],
        body,
        initial: InitialStatus::Frozen,
        flows: message.flows.clone(),
        parent: Some(message.id),
        related: Vec::new(),
        key: None,
    };
    let reason = refusal
        .reply
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default();
    let mail = Add::submission(submission);
    spool.send(Quarantine { reason, mail }).await??;
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

    // The hook needs the address, which there is only once the spool is open; and weak, or the spool would never end.
    let address = Arc::new(OnceLock::<WeakAddr<SpoolActor>>::new());
    let dir = tempfile::tempdir()?;
    let mut config = SpoolConfig::new(dir.path().join("spool"));
    let known = Arc::clone(&address);
    config.hooks.on_error(move |refusal: Refusal| {
        let spool = known.get().cloned();
        async move {
            if !is_spam(&refusal) {
                return refusal.default;
            }
            let Some(spool) = spool else {
                return OnError::TryLater;
            };
            match set_aside(&spool, &refusal).await {
                Ok(()) => OnError::Done,
                Err(error) => {
                    eprintln!("not set aside: {error}");
                    refusal.default
                }
            }
        }
    });
    let spool = Spool::open(config, SmtpAgent::new(SmtpConfig::default())).await?;
    let _ = address.set(spool.downgrade());
    // Quarantine needs to know what is there already.
    spool.send(WhenLoaded).await??;
    let mut events = Spool::subscribe(&spool).await?;
    let to = ["bob@example.net".parse()?, "eve@strict.example".parse()?];
    let envelope = Envelope::new(ReversePath::parse("ada@example.org")?, to);
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
