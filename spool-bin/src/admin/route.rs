//! Where mail for an address would go now, and why.

use super::answer::ndjson;
use super::error::{HandlerResult, bad_request};
use super::state::State;
use crate::address_route::{AddressRoute, MAX_ADDRESSES, MAX_LOOKUPS};
use actix_web::web::{Data, Query};
use futures_util::future::join_all;
use spool_core::{Address, harmless};

/// `address=`, once for each; with `lookup=true` the hosts are looked up as well. One object a line.
pub(super) async fn route(state: Data<State>, query: Query<Vec<(String, String)>>) -> HandlerResult {
    let (addresses, lookup) = read(&query).map_err(bad_request)?;
    let mut found: Vec<AddressRoute> = addresses
        .iter()
        .map(|address| state.relay.routes.route_of(address))
        .collect();
    if lookup {
        join_all(found.iter_mut().map(|route| route.look_up(&state.agent))).await;
    }
    ndjson(&state, &found)
}

fn read(query: &[(String, String)]) -> Result<(Vec<Address>, bool), String> {
    let (mut addresses, mut lookup) = (Vec::new(), false);
    for (name, value) in query {
        match name.as_str() {
            "address" => addresses.push(address(value)?),
            "lookup" => {
                lookup = value
                    .parse()
                    .map_err(|_| format!("lookup: {}: neither true nor false", harmless(value)))?;
            }
            other => {
                return Err(format!(
                    "{}: unknown; address and lookup are known",
                    harmless(other)
                ));
            }
        }
    }
    let at_once = if lookup { MAX_LOOKUPS } else { MAX_ADDRESSES };
    match addresses.len() {
        0 => Err("address: is missing".to_owned()),
        some if some <= at_once => Ok((addresses, lookup)),
        _ => Err(format!("address: at most {at_once} at once")),
    }
}

fn address(text: &str) -> Result<Address, String> {
    text.parse()
        .map_err(|error| format!("address: {}: {error}", harmless(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_names_addresses_and_nothing_unknown() {
        let ask = |pairs: &[(&str, &str)]| {
            let pairs: Vec<_> = pairs
                .iter()
                .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
                .collect();
            read(&pairs).map(|(addresses, lookup)| (addresses.len(), lookup))
        };
        assert_eq!(
            ask(&[("address", "a@b"), ("address", "c@d"), ("lookup", "true")]),
            Ok((2, true))
        );
        for (pairs, word) in [
            (vec![], "address"),
            (vec![("address", "nobody\u{1b}")], "address: nobody\\u001b"),
            (vec![("address", "a@b"), ("lookup", "yes")], "lookup"),
            (vec![("address", "a@b"), ("colour", "red")], "colour"),
            (vec![("address", "a@b"); MAX_ADDRESSES + 1], "at most 100"),
        ] {
            let error = ask(&pairs).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }
}
