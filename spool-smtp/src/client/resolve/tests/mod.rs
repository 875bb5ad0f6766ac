//! Tests of routes, with scripted lookups and with a name server on a real socket.

mod dane;
mod dns;
#[path = "../../../../../tests/src/name_server.rs"]
#[expect(unreachable_pub, reason = "written for another crate, too")]
mod name_server;
mod names;
mod path;
mod route;
mod signed;
#[path = "../../../../../tests/src/signed_zones.rs"]
#[expect(unreachable_pub, reason = "written for another crate, too")]
mod signed_zones;

pub(in crate::client) use names::Names;
