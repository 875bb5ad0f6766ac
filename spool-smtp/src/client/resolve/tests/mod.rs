//! Finding the way: by a script, and by a name server on a real socket.

mod dns;
mod name_server;
mod names;
mod route;

pub(in crate::client) use names::Names;
