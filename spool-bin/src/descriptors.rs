//! File descriptors: a service with all the connections that its limits allow needs more of them than a login gives it.

use crate::admin::MAX_CONNECTIONS;
use crate::config::Config;

/// What the service needs beside its connections: segments, logs, listeners, threads.
const OWN: usize = 256;

/// Raises this process's own limit to what `config` may come to need, as far as the system lets it.
pub(crate) fn raise(config: &Config) {
    let needed = config.limits.connections + config.client.connections + MAX_CONNECTIONS + OWN;
    let needed = u64::try_from(needed).unwrap_or(u64::MAX);
    match rlimit::increase_nofile_limit(needed) {
        Ok(limit) if limit >= needed => {}
        Ok(limit) => tracing::warn!(
            limit,
            needed,
            "too few file descriptors for limits.connections and client.connections: who comes beyond them waits"
        ),
        Err(error) => tracing::warn!(%error, needed, "cannot raise the limit of file descriptors"),
    }
}
