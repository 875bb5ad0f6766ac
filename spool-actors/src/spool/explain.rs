//! Why a message waits. Each answer comes from the machine that decides: the store, the engine, the throttle.

use super::SpoolActor;
use super::messages::Explain;
use actix::{AsyncContext, Context, Handler, ResponseFuture};
use spool_core::{AddError, Hold, SpoolError};

impl Handler<Explain> for SpoolActor {
    type Result = ResponseFuture<Result<Vec<Hold>, SpoolError>>;

    fn handle(&mut self, explain: Explain, ctx: &mut Context<Self>) -> Self::Result {
        self.catch_up(ctx);
        let now = self.now();
        if self.is_loading() && self.engine.queue.status(explain.0, now).is_none() {
            return self.once_loaded(explain, ctx.address());
        }
        let explained = self.readable().and_then(|()| {
            let explained = self.engine.explain(explain.0, now);
            explained.ok_or(SpoolError::NoSuchMessage(explain.0))
        });
        let mut explained = match explained {
            Ok(explained) => explained,
            Err(error) => return Box::pin(std::future::ready(Err(error))),
        };
        let no_room = matches!(explained.holds.as_slice(), [Hold::NoRoom { .. }]);
        if let Err(AddError::Disk(error) | AddError::Ended(error)) = self.gate.admit(0)
            && !no_room
        {
            explained.holds.insert(0, Hold::Disk { error });
        }
        let asked = explained.destination.map(|(destination, next_hops, ahead)| {
            self.ask_limits(now, move |limits| {
                limits.holds((destination, &next_hops), ahead, now)
            })
        });
        Box::pin(async move {
            let mut holds = explained.holds;
            if let Some(asked) = asked {
                holds.extend(asked.await?);
            }
            Ok(holds)
        })
    }
}
