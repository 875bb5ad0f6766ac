//! How much each client and user sends, and the lifting of their limits.

use super::answer::in_memory;
use super::caller::Caller;
use super::operate::{About, log};
use super::queue::{NDJSON, lines};
use super::{State, error};
use crate::operation::Report;
use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::{Data, Path};
use spool_core::harmless;
use std::net::IpAddr;

/// Every client and user, one a line: who is limited first, then who sent the most.
pub(super) async fn clients(state: Data<State>) -> HttpResponse {
    match lines(&state.relay.clients.states()) {
        Ok(text) => in_memory(&state, StatusCode::OK, NDJSON, text),
        Err(why) => error(StatusCode::INTERNAL_SERVER_ERROR, &why.to_string()),
    }
}

/// Forgets what one of them did.
pub(super) async fn lift(state: Data<State>, by: Caller, client: Path<String>) -> HttpResponse {
    let lifted = state.relay.clients.lift(&client);
    let report = Report {
        matched: lifted.into(),
        done: lifted.into(),
        ..Report::default()
    };
    log("lift", by, about(&client), Ok(&report));
    match lifted {
        true => HttpResponse::Ok().json(serde_json::json!({ "lifted": *client })),
        false => error(
            StatusCode::NOT_FOUND,
            &format!(
                "{}: no such client or user has done anything lately",
                harmless(&client)
            ),
        ),
    }
}

/// What the log says of a client: an address, a network or a `uid:N` as it is; everything else may be the name of a user.
fn about(client: &str) -> About {
    let address = client.split('/').next().unwrap_or_default();
    let uid = client
        .strip_prefix("uid:")
        .is_some_and(|uid| uid.parse::<u32>().is_ok());
    match uid || address.parse::<IpAddr>().is_ok() {
        true => About::Selector(format!("client={client}")),
        false => About::User(client.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_address_is_logged_as_a_user() {
        for (client, expected) in [
            ("192.0.2.1", true),
            ("2001:db8::/64", true),
            ("uid:1000", true),
            ("ada", false),
            ("ada@example.org", false),
            ("uid:ada", false),
        ] {
            let selector =
                matches!(about(client), About::Selector(text) if text == format!("client={client}"));
            assert_eq!(selector, expected, "{client}");
        }
    }
}
