//! A request that is being answered: its connection and its slot know when it ends.

use super::connection::Connection;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::ServiceRequest;
use bytes::Bytes;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::OwnedSemaphorePermit;

/// Marks the connection as busy until it is dropped.
pub(super) struct ActiveRequest(Option<Arc<Connection>>);

impl ActiveRequest {
    /// Begins after the answer before is sent.
    pub(super) async fn begin(request: &ServiceRequest, with_body: bool) -> Self {
        let connection = request.conn_data::<Arc<Connection>>().cloned();
        if let Some(connection) = &connection {
            poll_fn(|cx| connection.poll_sent(cx)).await;
            connection.begins(with_body);
        }
        Self(connection)
    }

    /// Closes the connection after this request.
    pub(super) fn is_last(&self) {
        if let Some(connection) = &self.0 {
            connection.closes();
        }
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        if let Some(connection) = &self.0 {
            connection.ends();
        }
    }
}

/// The body of every answer. When it ends or is dropped, the slot is free and the connection waits for the next request.
pub(super) struct TrackedBody {
    /// `None` for HEAD: only the size of the body is sent.
    body: Option<BoxBody>,
    size: BodySize,
    _request: ActiveRequest,
    _slot: Option<OwnedSemaphorePermit>,
}

impl TrackedBody {
    pub(super) fn new(
        body: BoxBody,
        is_head: bool,
        request: ActiveRequest,
        slot: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Self {
            size: body.size(),
            body: (!is_head).then_some(body),
            _request: request,
            _slot: slot,
        }
    }
}

impl MessageBody for TrackedBody {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.size
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        match &mut self.get_mut().body {
            Some(body) => Pin::new(body).poll_next(cx),
            None => Poll::Ready(None),
        }
    }
}
