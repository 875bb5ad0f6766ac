//! The address of the client of a request, for the log.

use actix_web::dev::PeerAddr;
use spool_core::{Admission, Source};
use std::net::IpAddr;

/// The client of a request, if it is known.
pub(super) type Caller = Option<PeerAddr>;

pub(super) fn address(caller: Caller) -> Option<IpAddr> {
    caller.map(|PeerAddr(address)| address.ip().to_canonical())
}

/// The client as a submitter: clients of the API may send to any recipient.
pub(super) fn source(caller: Caller) -> Source {
    Source {
        admission: Admission::Network,
        client: address(caller),
        uid: None,
        tls: None,
    }
}
