//! The operations on messages as they are requested and answered, the same for the command line and for HTTP.
//!
//! It reads and checks. It never asks a spool: the admin API does, and the command line asks the admin API.

mod kind;
mod report;
mod request;

pub(crate) use kind::Operation;
pub(crate) use report::{Report, Trouble};
pub(crate) use request::{Order, Request, intervals};
