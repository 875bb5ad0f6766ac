//! Logins: who a client is. AUTH PLAIN and LOGIN, under TLS alone (RFC 4954), against a file of users.
//!
//! The [exchanges](sasl) know no passwords, the [users](users) no sockets, and the [pool](logins) decides nothing but when a
//! password is held against its hash. A password is in no log, no error and no Debug output.

mod hash_slots;
mod logins;
mod password;
mod recent_logins;
mod sasl;
mod tag;
mod users;

pub use logins::Logins;
pub use password::{HashError, MAX_PASSWORD, PasswordHash};
pub use users::{User, Users, check_user_name};

pub(super) use logins::LoginResult;
pub(super) use sasl::{Exchange, InitialResponse, LoginAttempt, SaslStep};
pub(super) use tag::Tag;
