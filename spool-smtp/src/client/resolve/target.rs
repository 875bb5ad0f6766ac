//! A host that an attempt can try.

use crate::client::dane::Dane;
use spool_core::{NextHop, TlsPolicy};
use std::net::IpAddr;
use std::sync::Arc;

/// A host that an attempt can try.
#[derive(Debug, Clone)]
pub(in crate::client) struct Target {
    /// Its name or address, and the port; never `mx:`.
    pub(in crate::client) hop: NextHop,
    /// Its addresses; `None`: they are looked up when a connection is made.
    pub(in crate::client) addresses: Option<Vec<IpAddr>>,
    /// The lowest security that its domain requires.
    pub(in crate::client) tls: TlsPolicy,
    /// The certificates that its TLSA records require.
    pub(in crate::client) dane: Option<Arc<Dane>>,
}

impl Target {
    /// A host of the configuration, before any lookup.
    pub(in crate::client) fn configured(hop: &NextHop) -> Self {
        Self {
            hop: hop.clone(),
            addresses: None,
            tls: TlsPolicy::None,
            dane: None,
        }
    }
}
