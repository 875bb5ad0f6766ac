//! One timer for a whole session. It is set again only when it has to ring earlier, or when it rang too early:
//! moving a deadline back, which every command does, costs nothing.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use tokio::time::{Duration, Instant, Sleep, sleep_until};

/// A deadline that can be moved.
#[derive(Debug)]
pub(crate) struct Deadline {
    at: Instant,
    sleep: Pin<Box<Sleep>>,
}

impl Deadline {
    /// A deadline `span` from now.
    pub(crate) fn after(span: Duration) -> Self {
        Self::at(from_now(span))
    }

    /// A deadline at `at`.
    pub(crate) fn at(at: Instant) -> Self {
        Self {
            at,
            sleep: Box::pin(sleep_until(at)),
        }
    }

    /// When it is.
    pub(crate) const fn end(&self) -> Instant {
        self.at
    }

    /// Moves it to `span` from now.
    pub(crate) fn restart(&mut self, span: Duration) {
        self.move_to(from_now(span));
    }

    /// Moves it to `at`.
    pub(crate) fn move_to(&mut self, at: Instant) {
        self.at = at;
        if at < self.sleep.deadline() {
            self.sleep.as_mut().reset(at);
        }
    }

    /// Whether it has passed; otherwise the task is woken when it does.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while self.sleep.as_mut().poll(context).is_ready() {
            if self.sleep.deadline() >= self.at {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(self.at);
        }
        Poll::Pending
    }

    /// Waits for `work`, but not beyond the deadline; `None` when it passed. The work is dropped then.
    pub(crate) async fn bound<F: Future>(&mut self, work: F) -> Option<F::Output> {
        let mut work = pin!(work);
        poll_fn(|context| {
            if let Poll::Ready(output) = work.as_mut().poll(context) {
                return Poll::Ready(Some(output));
            }
            self.poll(context).map(|()| None)
        })
        .await
    }

    /// Waits for `work`, but not longer than `span`.
    ///
    /// # Errors
    /// Those of `work`, and of kind `TimedOut`.
    pub(crate) async fn limit<T>(
        &mut self,
        span: Duration,
        work: impl Future<Output = io::Result<T>>,
    ) -> io::Result<T> {
        self.restart(span);
        let late = || Err(io::ErrorKind::TimedOut.into());
        self.bound(work).await.unwrap_or_else(late)
    }
}

/// The time after `span`. Spans too long for the clock are as good as a year.
pub(crate) fn from_now(span: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    Instant::now() + span.min(YEAR)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;

    #[tokio::test(start_paused = true)]
    async fn rings_at_the_last_time_set() {
        let start = Instant::now();
        let mut deadline = Deadline::after(Duration::from_secs(10));
        tokio::time::advance(Duration::from_secs(6)).await;
        deadline.restart(Duration::from_secs(10));
        assert_eq!(deadline.bound(pending::<()>()).await, None);
        assert_eq!(start.elapsed().as_secs(), 16);
        deadline.restart(Duration::from_secs(100));
        assert_eq!(deadline.bound(async { 7 }).await, Some(7));
        deadline.restart(Duration::from_secs(5));
        assert_eq!(deadline.bound(pending::<()>()).await, None);
        assert_eq!(start.elapsed().as_secs(), 21);
    }
}
