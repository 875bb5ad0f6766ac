//! How much each client and user sends, and the lifting of their limits.

use super::answer::ndjson;
use super::audit::{Subject, log};
use super::caller::Caller;
use super::error::{HandlerResult, error};
use super::state::State;
use crate::operation::Report;
use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::{Data, Path};
use spool_core::harmless;
use std::net::IpAddr;

/// Every client and user, one a line: those that are limited first, then those that sent the most.
pub(super) async fn clients(state: Data<State>) -> HandlerResult {
    ndjson(&state, &state.relay.clients.states())
}

/// Forgets what a client or user did.
pub(super) async fn lift(state: Data<State>, by: Caller, client: Path<String>) -> HandlerResult {
    let lifted = state.relay.clients.lift(&client);
    let report = Report {
        matched: lifted.into(),
        done: lifted.into(),
        ..Report::default()
    };
    log("lift", by, subject(&client), Ok(&report));
    if !lifted {
        let client = harmless(&client);
        let text = format!("{client}: no such client or user has done anything lately");
        return Err(error(StatusCode::NOT_FOUND, text));
    }
    Ok(HttpResponse::Ok().json(serde_json::json!({ "lifted": *client })))
}

/// A client as the log names it: an address, a network or a `uid:N` as it is; anything else may be the name of a user.
fn subject(client: &str) -> Subject {
    let address = client.split('/').next().unwrap_or_default();
    let uid = client
        .strip_prefix("uid:")
        .is_some_and(|uid| uid.parse::<u32>().is_ok());
    match uid || address.parse::<IpAddr>().is_ok() {
        true => (format!("client={client}"), None),
        false => (String::new(), Some(client.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_no_addresses_are_logged_as_users() {
        for (client, expected) in [
            ("192.0.2.1", true),
            ("2001:db8::/64", true),
            ("uid:1000", true),
            ("ada", false),
            ("ada@example.org", false),
            ("uid:ada", false),
        ] {
            let (selector, user) = match expected {
                true => (format!("client={client}"), None),
                false => (String::new(), Some(client.to_owned())),
            };
            assert_eq!(subject(client), (selector, user), "{client}");
        }
    }
}
