//! All connections of the admin API, and which of them is closed when there are too many.

use super::connection::Connection;
use spool_core::Budget;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;

/// All connections. At the limit, the one that has waited longest for a head is closed for a new one, so that a client that
/// sends a request immediately is answered however many others only connect.
#[derive(Debug)]
pub(super) struct Connections {
    most: usize,
    /// For large heads.
    pub(super) memory: Budget,
    open: Mutex<Vec<Arc<Connection>>>,
}

impl Connections {
    pub(super) fn new(most: usize, memory: Budget) -> Self {
        Self {
            most,
            memory,
            open: Mutex::default(),
        }
    }

    pub(super) fn open(&self) -> MutexGuard<'_, Vec<Arc<Connection>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new connection; `None` when requests are being answered on all open ones.
    pub(super) fn add(&self, now: Instant) -> Option<Arc<Connection>> {
        let mut open = self.open();
        if open.len() >= self.most {
            let waiting = open.iter().enumerate();
            let waiting = waiting.filter_map(|(index, connection)| Some((connection.waits_since()?, index)));
            let (_, longest) = waiting.min()?;
            open.swap_remove(longest).give_up();
        }
        let connection = Arc::new(Connection::new(now));
        open.push(Arc::clone(&connection));
        Some(connection)
    }

    pub(super) fn remove(&self, connection: &Arc<Connection>) {
        self.open().retain(|other| !Arc::ptr_eq(other, connection));
    }
}
