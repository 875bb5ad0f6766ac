//! What was there at the start comes in while mail is taken: read by a thread of its own, handed over bit by bit.
//!
//! What needs all of it, a listing, an operation on messages or a look at one that has not come, waits; it is never told
//! that a message does not exist that is still to come. Nothing of the disk is touched here.

use super::messages::{Loaded, WhenLoaded};
use super::{Outside, SpoolActor};
use crate::engine::Input;
use crate::supervision::Sentinel;
use actix::{Addr, Context, Handler, Message, ResponseFuture, WeakAddr};
use spool_core::SpoolError;
use spool_core::store::Store;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use tokio::sync::watch;

/// What was there, once it is loaded; told to everyone who waits. That it never will be is an end of the spool.
pub(super) type LoadState = watch::Sender<Option<Arc<Loaded>>>;

/// Some of what was on disk at the start, or that all of it has come.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Chunk {
    input: Input<Outside>,
    taken: SyncSender<()>,
}

/// Starts the thread that reads. It ends with the reading, and does not keep the spool open.
pub(crate) fn start(store: Arc<Store>, spool: WeakAddr<SpoolActor>, sentinel: Sentinel) -> io::Result<()> {
    let read = move || {
        let hand_over = |input| {
            let Some(address) = spool.upgrade() else { return };
            let (taken, wait) = sync_channel(1);
            address.do_send(Chunk { input, taken });
            drop(address);
            // One at a time: adds and deliveries go on in between. When the spool is gone, so is the other end.
            let _ = wait.recv();
        };
        let over = catch_unwind(AssertUnwindSafe(|| {
            sentinel.failpoint();
            store.load_all(&mut |messages| hand_over(Input::Recovered(messages)))
        }));
        let recovery = match over {
            Ok(Ok(recovery)) => Some(recovery),
            // The spool has ended: the store has reported why.
            Ok(Err(error)) => {
                tracing::debug!(%error, "loading was not finished");
                None
            }
            Err(_) => {
                sentinel.panicked();
                store.abandon("the loader thread panicked");
                None
            }
        };
        sentinel.done();
        // Before the spool hears of it: it may be waiting to let its lock go.
        drop(store);
        hand_over(Input::LoadingOver(recovery));
    };
    std::thread::Builder::new()
        .name("spool-loader".into())
        .spawn(read)
        .map(drop)
}

impl SpoolActor {
    /// Whether messages of an earlier process may be missing.
    pub(super) fn is_loading(&self) -> bool {
        self.loaded.borrow().is_none()
    }

    /// Asks again once everything is loaded.
    pub(super) fn once_loaded<M, T>(
        &self,
        message: M,
        own: Addr<Self>,
    ) -> ResponseFuture<Result<T, SpoolError>>
    where
        M: Message<Result = Result<T, SpoolError>> + Send + 'static,
        T: Send + 'static,
        Self: Handler<M>,
    {
        let over = self.over();
        Box::pin(async move {
            over.await?;
            // While its own handlers run, the mailbox is there.
            own.send(message).await.unwrap_or(Err(SpoolError::Killed))
        })
    }

    fn over(&self) -> impl Future<Output = Result<Arc<Loaded>, SpoolError>> + use<> {
        let mut state = self.loaded.subscribe();
        // Listings show what was loaded, even after the disk has failed.
        let (readable, ended) = (self.readable(), self.supervision.ended());
        async move {
            let loaded = async move {
                match state.wait_for(Option::is_some).await.map(|loaded| loaded.clone()) {
                    Ok(Some(loaded)) => loaded,
                    Ok(None) | Err(_) => std::future::pending().await,
                }
            };
            readable?;
            tokio::select! {
                biased;
                loaded = loaded => Ok(loaded),
                ending = ended => Err(ending.spool_error()),
            }
        }
    }
}

impl Handler<Chunk> for SpoolActor {
    type Result = ();

    fn handle(&mut self, chunk: Chunk, ctx: &mut Context<Self>) {
        let is_over = matches!(chunk.input, Input::LoadingOver(_));
        self.feed(chunk.input, ctx);
        self.turn(ctx);
        if is_over {
            self.gate.loading_is_over();
        }
        // The thread that waits is there, or it has no use for an answer.
        let _ = chunk.taken.send(());
    }
}

impl SpoolActor {
    /// Loading is over: answers the callers that wait for it.
    pub(super) fn tell_loaded(&self, loaded: Loaded) {
        for damage in &loaded.damage {
            tracing::error!(
                file = damage.file,
                offset = damage.offset,
                length = damage.length,
                kept_as = damage.kept_as,
                "damaged, set aside: {}",
                damage.reason
            );
        }
        tracing::info!(
            messages = loaded.messages,
            torn_bytes = loaded.torn_bytes,
            damaged = loaded.damage.len(),
            "all that was on the spool is loaded"
        );
        self.loaded.send_replace(Some(Arc::new(loaded)));
    }
}

impl Handler<WhenLoaded> for SpoolActor {
    type Result = ResponseFuture<Result<Loaded, SpoolError>>;

    fn handle(&mut self, _: WhenLoaded, _: &mut Context<Self>) -> Self::Result {
        let over = self.over();
        Box::pin(async move { over.await.map(|loaded| Loaded::clone(&loaded)) })
    }
}
