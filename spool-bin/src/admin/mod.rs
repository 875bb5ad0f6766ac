//! The admin API: HTTP on loopback, by actix-web. Handlers ask the spool; the guard checks every request first.

mod answer;
mod audit;
mod caller;
mod clients;
mod connection;
mod connections;
mod error;
mod events;
mod guard;
mod head_end;
mod jobs;
mod message;
mod messages;
mod operate;
mod probes;
mod queue;
mod read;
mod route;
mod routes;
mod select;
mod server;
mod slots;
mod state;
mod stream;
#[cfg(test)]
mod tests;
mod token;
mod tracked;
mod write_timing;

pub(crate) use server::{MAX_CONNECTIONS, serve};
pub(crate) use state::State;
pub(crate) use token::Token;
