//! Digests of the files that a reload reads again, so that changes of their contents can be logged.

use crate::config::{Config, Secret};
use crate::files;
use crate::users::MAX_USERS;
use ring::digest::{SHA256, digest};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Digests by key and file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Contents(BTreeMap<(&'static str, PathBuf), Vec<u8>>);

impl Contents {
    /// Digests of the files that `config` names, without those that cannot be read: reading them reports the error.
    pub(crate) fn of(config: &Config) -> Self {
        let users = config.users_file.iter().map(|path| ("relay.users_file", path));
        let keys = config.dkim.keys.iter().map(|key| ("dkim.key.file", &key.key));
        let secrets = config.client.logins.iter().map(|login| match &login.secret {
            Secret::Password(path) => ("client.login.password_file", path),
            Secret::Token(path) => ("client.login.token_file", path),
        });
        let redaction = config.log.redact_key_file.iter().filter(|_| config.log.redact);
        let redaction = redaction.map(|path| ("log.redact_key_file", path));
        let all = users.chain(keys).chain(secrets).chain(redaction);
        let read = all.filter_map(|(key, path)| {
            // The file of users is the largest of them.
            let bytes = files::read(path, MAX_USERS).ok()?;
            Some(((key, path.clone()), digest(&SHA256, &bytes).as_ref().to_vec()))
        });
        Self(read.collect())
    }

    /// The files that `before` has with the same key and another digest.
    pub(crate) fn changed_since<'c>(
        &'c self,
        before: &'c Self,
    ) -> impl Iterator<Item = (&'static str, &'c Path)> {
        let all = self.0.iter();
        let changed = all.filter(|(file, now)| before.0.get(file).is_some_and(|before| before != *now));
        changed.map(|((key, path), _)| (*key, path.as_path()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_changed_contents_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for name in ["users", "key", "password"] {
            std::fs::write(path(name), name).unwrap();
        }
        let text = |users: &str| {
            format!(
                "[relay]\nusers_file = {:?}\n[[dkim.key]]\ndomain = \"a.example\"\nselector = \"s\"\nfile = {:?}\n\
                 [[client.login]]\nnext_hop = \"h:587\"\nuser = \"u\"\npassword_file = {:?}\n",
                path(users),
                path("key"),
                path("password")
            )
        };
        let of = |users| Contents::of(&Config::parse(&text(users)).unwrap());
        let before = of("users");
        assert_eq!(of("users"), before);
        assert_eq!(before.0.len(), 3);
        std::fs::write(path("users"), "others").unwrap();
        std::fs::write(path("password"), "another").unwrap();
        let after = of("users");
        let changed: Vec<_> = after.changed_since(&before).collect();
        assert_eq!(
            changed,
            [
                ("client.login.password_file", path("password").as_path()),
                ("relay.users_file", path("users").as_path())
            ]
        );
        // Another name has a line of its own, as a changed key.
        std::fs::write(path("more"), "users").unwrap();
        assert_eq!(of("more").changed_since(&after).count(), 0);
        std::fs::remove_file(path("key")).unwrap();
        assert_eq!(of("users").changed_since(&after).count(), 0);
    }
}
