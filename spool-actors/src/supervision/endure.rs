//! An actor that outlives its own panics.
//!
//! A panic in an actor would close its mailbox: whoever asks would get a mailbox error, and a reply that another part was
//! about to give would never come. So the panic is caught, the spool ends, and the actor goes on to answer: every handler
//! looks at the ending first. The reply of the one message whose handler panicked is lost, which its sender sees.

use super::Sentinel;
use actix::{Actor, Context as ActorContext};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

/// After so many panics the actor is no longer asked to go on by itself: it goes on with the next message.
const PATIENCE: u32 = 16;

/// See the module.
pub(super) struct Endure<A: Actor<Context = ActorContext<A>>> {
    actor: Pin<Box<actix::dev::ContextFut<A, ActorContext<A>>>>,
    sentinel: Option<Sentinel>,
    panics: u32,
}

impl<A: Actor<Context = ActorContext<A>>> Endure<A> {
    pub(super) fn new(actor: actix::dev::ContextFut<A, ActorContext<A>>, sentinel: Sentinel) -> Self {
        Self {
            actor: Box::pin(actor),
            sentinel: Some(sentinel),
            panics: 0,
        }
    }
}

impl<A: Actor<Context = ActorContext<A>>> Future for Endure<A> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let actor = self.actor.as_mut();
        match catch_unwind(AssertUnwindSafe(|| actor.poll(context))) {
            Ok(Poll::Ready(())) => {
                if let Some(sentinel) = self.sentinel.take() {
                    sentinel.done();
                }
                Poll::Ready(())
            }
            Ok(Poll::Pending) => Poll::Pending,
            Err(_) => {
                if let Some(sentinel) = &self.sentinel {
                    sentinel.panicked();
                }
                self.panics = self.panics.saturating_add(1);
                if self.panics < PATIENCE {
                    // What else was in the mailbox has no other wake-up.
                    context.waker().wake_by_ref();
                }
                Poll::Pending
            }
        }
    }
}
