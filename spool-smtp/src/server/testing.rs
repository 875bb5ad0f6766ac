//! An intake in memory for tests. Never used outside them.

use spool_core::{AddError, BoxFuture, Intake, Mail, MessageId};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Keeps what it was given.
#[derive(Debug, Default)]
pub(super) struct MemoryIntake {
    pub(super) mails: Arc<Mutex<Vec<Mail>>>,
    /// Said to every MAIL and DATA.
    pub(super) admits: Option<AddError>,
    /// Said to every message.
    pub(super) accepts: Option<AddError>,
    /// How long a message takes.
    pub(super) delay: Duration,
}

impl MemoryIntake {
    pub(super) fn mails(&self) -> Vec<Mail> {
        self.mails.lock().unwrap().clone()
    }
}

impl Intake for MemoryIntake {
    fn accept(&self, mail: Mail) -> BoxFuture<Result<Vec<MessageId>, AddError>> {
        let (mails, delay, refusal) = (Arc::clone(&self.mails), self.delay, self.accepts.clone());
        Box::pin(async move {
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            if let Some(refusal) = refusal {
                return Err(refusal);
            }
            let mut mails = mails.lock().unwrap();
            mails.push(mail);
            Ok(vec![MessageId::from_u128(mails.len() as u128)])
        })
    }

    fn admit(&self, _size: u64) -> Result<(), AddError> {
        self.admits.clone().map_or(Ok(()), Err)
    }
}
