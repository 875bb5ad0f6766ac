//! The address of the client of a request, for the log.

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use spool_core::{Admission, Source};
use std::convert::Infallible;
use std::fmt;
use std::future::{Ready, ready};
use std::net::IpAddr;

/// The client of a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller(Option<IpAddr>);

impl Caller {
    /// The client as a submitter: clients of the API may send to any recipient.
    pub(super) fn source(self) -> Source {
        Source {
            admission: Admission::Network,
            client: self.0,
            uid: None,
            tls: None,
        }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("unknown"),
        }
    }
}

impl FromRequest for Caller {
    type Error = Infallible;
    type Future = Ready<Result<Self, Infallible>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self(
            request.peer_addr().map(|address| address.ip().to_canonical()),
        )))
    }
}
