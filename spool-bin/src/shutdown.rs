//! The end of a service: the signals that request it, and the order in which its parts end.

use crate::failure::Failure;
use anyhow::Context;
use spool_actors::{Flushed, KillAndFlush, OpenSpool, Part, Sentinel};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How long the admin API may take to answer its last requests, and the spool to close when the sessions of clients have used
/// all of `shutdown_timeout`.
pub(crate) const GRACE: Duration = Duration::from_secs(5);
/// How long a service whose spool has ended continues to answer, so that clients are answered 451 and a health check reports the
/// reason. At most half of `shutdown_timeout`.
pub(crate) const FAILED_SERVICE: Duration = Duration::from_secs(5);

/// Waits for the sessions of clients, then for those with next hops, until `deadline`.
pub(crate) async fn close(
    spool: &OpenSpool,
    listeners: Vec<JoinHandle<()>>,
    admin: Option<actix_web::dev::ServerHandle>,
    deadline: Instant,
    failed: bool,
) {
    let clients = async {
        for listener in listeners {
            // A panic has been reported already.
            let _ = listener.await;
        }
    };
    // Once the spool has failed no mail can be accepted: sessions with next hops are waited for at the same time.
    let patience = if failed { Instant::now() + GRACE } else { deadline };
    let clients = async {
        if tokio::time::timeout_at(patience.min(deadline), clients)
            .await
            .is_err()
        {
            tracing::warn!("some clients had not ended their transactions");
        }
    };
    let flush = |within: Duration| {
        spool.addr.send(KillAndFlush {
            timeout: Some(within),
        })
    };
    let left = || deadline.saturating_duration_since(Instant::now());
    let flushed = if failed {
        tokio::join!(clients, flush(left())).1
    } else {
        clients.await;
        flush(left().max(GRACE)).await
    };
    match flushed.unwrap_or(Flushed::Finished) {
        Flushed::Finished => tracing::info!("all sessions ended; the spool is closed"),
        Flushed::Timeout => tracing::warn!("some sessions were still running; their messages are in doubt"),
    }
    if let Some(admin) = admin {
        let patience = if failed { left().min(GRACE) } else { GRACE };
        let _ = tokio::time::timeout(patience, admin.stop(true)).await;
    }
}

/// A part of the service that ends when the service stops, or when its task is dropped after that. If it ends earlier, or
/// panics, the spool ends with it.
struct Stoppable {
    sentinel: Option<Sentinel>,
    stopped: watch::Receiver<bool>,
}

/// Runs a part of the service until `stopped` becomes true.
pub(crate) fn run_part(
    spool: &OpenSpool,
    part: Part,
    stopped: &watch::Receiver<bool>,
    running: impl Future<Output = ()> + 'static,
) -> JoinHandle<()> {
    let part = Stoppable {
        sentinel: Some(spool.sentinel(part)),
        stopped: stopped.clone(),
    };
    actix::spawn(async move {
        running.await;
        drop(part);
    })
}

impl Drop for Stoppable {
    fn drop(&mut self) {
        if *self.stopped.borrow()
            && !std::thread::panicking()
            && let Some(sentinel) = self.sentinel.take()
        {
            sentinel.done();
        }
    }
}

/// What a signal requests.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Reload,
    End,
}

pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    pub(crate) fn new() -> Result<Self, Failure> {
        let of = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            terminate: of(SignalKind::terminate())?,
            interrupt: of(SignalKind::interrupt())?,
            hangup: of(SignalKind::hangup())?,
        })
    }

    pub(crate) async fn next(&mut self) -> Wanted {
        tokio::select! {
            _ = self.terminate.recv() => Wanted::End,
            _ = self.interrupt.recv() => Wanted::End,
            _ = self.hangup.recv() => Wanted::Reload,
        }
    }

    /// Waits for the second signal that requests the end. When a service ends by itself, no first signal was sent.
    pub(crate) async fn at_once(&mut self, by_itself: bool) {
        for _ in 0..1 + usize::from(by_itself) {
            while self.next().await == Wanted::Reload {}
        }
    }
}
