//! Errors of the API: all have the same JSON form.

use actix_web::error::InternalError;
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderValue, RETRY_AFTER};
use actix_web::{Error, HttpResponse};
use spool_core::SpoolError;
use std::fmt::Display;

/// The result of a handler.
pub(super) type HandlerResult = Result<HttpResponse, Error>;

/// The response to a request that fails with `text`.
pub(super) fn response(status: StatusCode, text: impl Display) -> HttpResponse {
    HttpResponse::build(status).json(serde_json::json!({ "error": text.to_string() }))
}

/// An error with its response.
pub(super) fn with_response(response: HttpResponse) -> Error {
    InternalError::from_response(response.status(), response).into()
}

pub(super) fn error(status: StatusCode, text: impl Display) -> Error {
    with_response(response(status, text))
}

pub(super) fn bad_request(text: impl Display) -> Error {
    error(StatusCode::BAD_REQUEST, text)
}

pub(super) fn internal(why: impl Display) -> Error {
    error(StatusCode::INTERNAL_SERVER_ERROR, why)
}

/// The response to a request that may succeed when it is repeated.
pub(super) fn busy_response(text: impl Display) -> HttpResponse {
    let mut response = response(StatusCode::SERVICE_UNAVAILABLE, text);
    let soon = HeaderValue::from_static("1");
    response.headers_mut().insert(RETRY_AFTER, soon);
    response
}

pub(super) fn busy(text: impl Display) -> Error {
    with_response(busy_response(text))
}

/// An error of the spool.
pub(super) fn refused(why: SpoolError) -> Error {
    let status = match why {
        SpoolError::NoSuchMessage(_) => StatusCode::NOT_FOUND,
        SpoolError::NotFrozen(_)
        | SpoolError::NoRoute(_)
        | SpoolError::OnSpool(_)
        | SpoolError::NoConfiguration => StatusCode::CONFLICT,
        SpoolError::Unreadable { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        SpoolError::Full(_) => StatusCode::INSUFFICIENT_STORAGE,
        SpoolError::Busy => return busy(why),
        SpoolError::Disk(_) | SpoolError::Killed | _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    error(status, why)
}
