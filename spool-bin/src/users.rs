//! Reads the file of users who may log in.

use crate::config::Config;
use crate::failure::Failure;
use crate::files;
use spool_smtp::server::Users;
use std::path::Path;

/// The largest file of users.
pub(crate) const MAX_USERS: u64 = 16 << 20;

/// The text of a file of users, and the users.
///
/// # Errors
/// Every error in the file, with its name and line, and without the hashes.
pub(crate) fn text(path: &Path) -> Result<(String, Users), Vec<String>> {
    let at = path.display();
    let text = files::read_text(path, MAX_USERS).map_err(|why| vec![format!("{at}: {why}")])?;
    let users = Users::parse(&text).map_err(|problems| {
        let told = problems.iter();
        told.map(|problem| format!("{at}:{}: {}", problem.line, problem.text))
            .collect::<Vec<_>>()
    })?;
    Ok((text, users))
}

/// Reads a file of users. An empty one is refused: it is more likely being written than meant to lock out everybody.
///
/// # Errors
/// As [`text`].
pub(crate) fn read(path: &Path) -> Result<Users, Vec<String>> {
    let (_, users) = text(path)?;
    match users.is_empty() {
        true => Err(vec![format!("{}: has no users", path.display())]),
        false => Ok(users),
    }
}

/// The users of `config`; `None`: no file is configured.
///
/// # Errors
/// As [`read`].
pub(crate) fn of(config: &Config) -> Result<Option<Users>, Failure> {
    let users = config.users_file.as_deref().map(read).transpose();
    users.map_err(|problems| {
        let lines = problems
            .iter()
            .map(|problem| format!("relay.users_file: {problem}"));
        Failure::Usage(lines.collect::<Vec<_>>().join("\n"))
    })
}
