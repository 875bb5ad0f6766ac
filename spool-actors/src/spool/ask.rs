//! Questions to Throttle, which owns the limits.

use super::SpoolActor;
use crate::engine::Now;
use crate::throttle::Limits;
use crate::throttle::messages::Ask;
use spool_core::SpoolError;
use tokio::sync::oneshot;

impl SpoolActor {
    /// Asks the throttle. It is asked even if the answer is not waited for.
    pub(super) fn ask_limits<T, A>(
        &self,
        now: Now,
        ask: A,
    ) -> impl Future<Output = Result<T, SpoolError>> + use<T, A>
    where
        T: Send + 'static,
        A: FnOnce(&mut Limits) -> T + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        if let Some(throttle) = &self.throttle {
            let ask = move |limits: &mut Limits| drop(answer.send(ask(limits)));
            throttle.do_send(Ask(Box::new(ask), now));
        }
        let supervision = self.supervision.clone();
        async move { answered.await.map_err(|_| supervision.error()) }
    }
}
