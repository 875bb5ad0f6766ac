//! Notifications to the service manager (sd_notify(3)): ready, reloading, stopping, alive. Without a manager it does nothing.
//!
//! The watchdog is notified only while the spool makes progress: the manager kills and restarts a service that hangs, and a
//! start is recovery.

use crate::shutdown::GRACE;
use actix::Addr;
use sd_notify::NotifyState;
use spool_actors::{GetPulse, Progress, SpoolActor};
use std::future::Future;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// How often more time is requested while the spool opens.
const OPENING: Duration = Duration::from_secs(10);
/// The shortest time between two checks of the spool.
const LEAST_CHECK: Duration = Duration::from_millis(10);

/// A failure is logged: it does not affect mail.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be notified");
    }
}

fn micros(span: Duration) -> u32 {
    u32::try_from(span.as_micros()).unwrap_or(u32::MAX)
}

/// The service is ready.
pub(crate) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The configuration is being read again; [`ready`] ends it.
pub(crate) fn reloading() {
    // With Type=notify-reload the manager needs the time to distinguish this reload from an earlier one.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "the service manager cannot be notified"),
    }
}

/// The service ends, and may take `within`.
pub(crate) fn stopping(within: Duration) {
    let within = within.saturating_add(2 * GRACE);
    tell(&[
        NotifyState::Stopping,
        NotifyState::Status("ending: waiting for running sessions"),
        NotifyState::ExtendTimeoutUsec(micros(within)),
    ]);
}

/// Waits for work that may take longer than the manager expects, and requests more time while it runs.
pub(crate) async fn while_working<T>(work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    let mut ticks = interval(OPENING);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            _ = ticks.tick() => tell(&[
                NotifyState::Status("opening the spool"),
                NotifyState::ExtendTimeoutUsec(micros(3 * OPENING)),
            ]),
        }
    }
}

/// Notifies the watchdog four times in each of its periods, as long as the spool answers and its writer thread is idle or
/// answers. It never returns; without a watchdog it does nothing.
pub(crate) async fn watch(spool: Addr<SpoolActor>) {
    match sd_notify::watchdog_enabled() {
        Some(period) => feed(spool, period, || tell(&[NotifyState::Watchdog])).await,
        None => std::future::pending().await,
    }
}

async fn feed(spool: Addr<SpoolActor>, period: Duration, alive: impl Fn()) {
    let check = (period / 4).max(LEAST_CHECK);
    let mut ticks = interval(check);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut progress, mut missed) = (Progress::default(), false);
    loop {
        ticks.tick().await;
        let pulse = timeout(check, spool.send(GetPulse)).await;
        if progress.made(pulse.ok().and_then(Result::ok)) {
            missed = false;
            alive();
        } else if !std::mem::replace(&mut missed, true) {
            tracing::warn!("no progress on disk: the watchdog of the service manager is not notified");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spool_actors::{Add, KillAndFlush, Spool};
    use spool_core::store::fs::SimFs;
    use spool_core::{AttemptReport, AttemptResult, BoxFuture, DeliveryAgent, Envelope, Job, ReversePath};
    use spool_core::{RandomDice, SpoolConfig, SystemClock};
    use std::cell::Cell;
    use std::sync::Arc;

    struct Nowhere;

    impl DeliveryAgent for Nowhere {
        fn deliver(&self, _: Job) -> BoxFuture<AttemptReport> {
            Box::pin(std::future::ready(AttemptReport::new(AttemptResult::AllRefused)))
        }
    }

    #[actix::test]
    async fn the_watchdog_is_not_fed_while_the_disk_hangs() {
        let fs = SimFs::new();
        let config = SpoolConfig::new("/spool");
        let (agent, clock) = (Arc::new(Nowhere), Arc::new(SystemClock));
        let disk = Arc::new(fs.clone());
        let spool = Spool::start_on(disk, config, agent, clock, Arc::new(RandomDice))
            .await
            .unwrap();
        let fed = Cell::new(0);
        let mut feeding =
            std::pin::pin!(feed(spool.addr.clone(), LEAST_CHECK * 8, || fed.set(fed.get() + 1)));
        let mut during = async |span: Duration| {
            fed.set(0);
            let _ = timeout(span, feeding.as_mut()).await;
            fed.get()
        };
        assert!(during(Duration::from_millis(300)).await >= 3);
        let stall = fs.stall();
        let envelope = Envelope::of(ReversePath::Null, ["b@example.net".parse().unwrap()]);
        let add = Add::new(envelope, b"x\r\n".as_slice()).frozen();
        let stuck = spool.addr.send(add.next_hop("h:25"));
        let stuck = actix::spawn(stuck);
        let _ = during(Duration::from_millis(100)).await;
        assert_eq!(during(Duration::from_millis(300)).await, 0, "nothing moves");
        drop(stall);
        stuck.await.unwrap().unwrap().unwrap();
        assert!(during(Duration::from_millis(300)).await >= 3, "it goes on");
        spool.addr.send(KillAndFlush { timeout: None }).await.unwrap();
    }
}
