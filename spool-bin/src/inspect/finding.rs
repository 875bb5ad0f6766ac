//! What an inspection finds.

use crate::config::{Places, is_key};
use crate::files::{OTHERS, OTHERS_THAN_READERS, open_to};
use derive_more::Display;
use std::path::Path;

/// An error or a warning.
#[derive(Debug, Clone, PartialEq, Eq, Display)]
#[display("{}{key}: {text}", if *is_error { "" } else { "warning: " })]
pub(crate) struct ConfigFinding {
    /// The service would not start, or not do what is configured; otherwise it works, but is probably not intended.
    pub(crate) is_error: bool,
    /// Which key, as in `client.tls_roots`.
    pub(crate) key: String,
    /// Where the file sets it; `None` for a default or an option of the command line.
    pub(crate) line: Option<usize>,
    pub(crate) text: String,
}

impl ConfigFinding {
    /// In one line, as found in `file`.
    pub(crate) fn at(&self, file: Option<&Path>) -> String {
        format!("{}{self}", self.place(file))
    }

    /// The same without its gravity, for a line of the log with a level of its own.
    pub(crate) fn logged(&self, file: Option<&Path>) -> String {
        format!("{}{}: {}", self.place(file), self.key, self.text)
    }

    fn place(&self, file: Option<&Path>) -> String {
        match (file, self.line) {
            (Some(file), Some(line)) => format!("{}:{line}: ", file.display()),
            (Some(_) | None, _) => String::new(),
        }
    }
}

/// Collects findings.
pub(super) struct Findings<'p> {
    pub(super) places: &'p Places,
    pub(super) all: Vec<ConfigFinding>,
}

impl Findings<'_> {
    fn add(&mut self, is_error: bool, place: &str, text: String) {
        // Without the number of its table: the line says which.
        let (table, rest) = place.split_once('[').unwrap_or((place, "]"));
        let key = format!("{table}{}", rest.split_once(']').map_or("", |(_, key)| key));
        debug_assert!(is_key(&key), "{key} is no key");
        self.all.push(ConfigFinding {
            is_error,
            key,
            line: self.places.line(place),
            text,
        });
    }

    pub(super) fn error(&mut self, place: &str, text: String) {
        self.add(true, place, text);
    }

    /// An error about the file `path`.
    pub(super) fn error_at(&mut self, place: &str, path: &Path, why: impl std::fmt::Display) {
        self.error(place, format!("{}: {why}", path.display()));
    }

    pub(super) fn warn(&mut self, place: &str, text: String) {
        self.add(false, place, text);
    }

    /// What was read of the file `path` with a secret, or an error; and a warning when others than its owner can read it.
    pub(super) fn secret_read<T>(&mut self, place: &str, path: &Path, read: Result<T, String>) -> Option<T> {
        match &read {
            Ok(_) => self.secret(place, path),
            Err(why) => self.error(place, why.clone()),
        }
        read.ok()
    }

    /// Warns when others than its owner can read a file with a secret.
    pub(super) fn secret(&mut self, place: &str, path: &Path) {
        self.open_to(OTHERS, place, path, "its owner may", "chmod 600");
    }

    /// Warns when others than its owner and its group can read the token of the admin API. The group runs commands.
    pub(super) fn token(&mut self, place: &str, path: &Path) {
        self.open_to(
            OTHERS_THAN_READERS,
            place,
            path,
            "its owner and its group may",
            "chmod 640",
        );
    }

    /// Warns when `path` has any of the permissions `others`, which only those `who` may have.
    fn open_to(&mut self, others: u32, place: &str, path: &Path, who: &str, closes: &str) {
        if let Some(mode) = open_to(others, path) {
            let path = path.display();
            let text = format!("{path}: others than {who} use it (mode {mode:04o}); {closes} closes it");
            self.warn(place, text);
        }
    }
}
