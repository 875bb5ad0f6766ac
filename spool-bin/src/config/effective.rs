//! The configuration in force: each key with its value and where the value comes from, and what a reload changes.
//!
//! Values are printed as they are written in a file, so that they can be read back. Secrets are in files: only paths are printed.

use super::keys::{KEYS, Key, Table, TakesEffect};
use super::reader::{Origin, join};
use super::settings::Config;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use toml::Value;

/// A key and its value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct KeyEntry {
    /// `listen.smtp`, `route.rule[0].domain`.
    pub(crate) key: String,
    pub(crate) value: Value,
    pub(crate) origin: Origin,
    pub(crate) takes_effect: TakesEffect,
}

impl KeyEntry {
    /// `key` of the table at `place`; `None` when it has no value.
    fn of(config: &Config, table: &Table, place: &str, key: &Key) -> Option<Self> {
        let path = join(place, key.name);
        let (mut value, mut origin) = match (config.places.get(&path), key.default()) {
            (Some(set), _) => set.clone(),
            // A table that may be written several times shows what is written.
            (None, Some(default)) if !table.is_list => (default.parse().ok()?, Origin::Default),
            (None, _) => return None,
        };
        if key.path == "hostname" && value.as_str() == Some("") {
            (value, origin) = (config.hostname.as_str().into(), Origin::Machine);
        }
        Some(Self {
            key: path,
            value,
            origin,
            takes_effect: key.takes_effect,
        })
    }

    /// Where the value comes from, in words.
    pub(crate) fn source(&self, file: Option<&Path>) -> String {
        match (self.origin, file) {
            (Origin::Default, _) => "default".to_owned(),
            (Origin::Machine, _) => "the machine's name".to_owned(),
            (Origin::CommandLine, _) => "command line".to_owned(),
            (Origin::File(line), Some(file)) => format!("{}:{line}", file.display()),
            (Origin::File(line), None) => format!("line {line}"),
        }
    }
}

/// All keys, in the order of the documentation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Effective(pub(crate) Vec<KeyEntry>);

/// One changed key.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct KeyChange {
    pub(crate) key: String,
    /// `None`: not set.
    pub(crate) from: Option<Value>,
    pub(crate) to: Option<Value>,
    pub(crate) takes_effect: TakesEffect,
}

impl Effective {
    /// The values in force by `config`.
    pub(crate) fn of(config: &Config) -> Self {
        let mut entries = Vec::new();
        for table in KEYS {
            let places: Vec<String> = match table.is_list {
                true => config.places.tables(table.name).collect(),
                false => vec![table.name.to_owned()],
            };
            for place in places {
                entries.extend(
                    table
                        .keys
                        .iter()
                        .filter_map(|key| KeyEntry::of(config, table, &place, key)),
                );
            }
        }
        Self(entries)
    }

    fn values(&self) -> BTreeMap<&str, &KeyEntry> {
        self.0.iter().map(|entry| (entry.key.as_str(), entry)).collect()
    }

    /// What differs in `after`, in the order of the documentation.
    pub(crate) fn changes(&self, after: &Self) -> Vec<KeyChange> {
        let (old, new) = (self.values(), after.values());
        let gone = self
            .0
            .iter()
            .filter(|entry| !new.contains_key(entry.key.as_str()));
        let change = |entry: &KeyEntry| {
            let value = |all: &BTreeMap<&str, &KeyEntry>| {
                all.get(entry.key.as_str()).map(|entry| entry.value.clone())
            };
            let (from, to) = (value(&old), value(&new));
            (from != to).then(|| KeyChange {
                key: entry.key.clone(),
                from,
                to,
                takes_effect: entry.takes_effect,
            })
        };
        after.0.iter().chain(gone).filter_map(change).collect()
    }

    /// A file, in which a comment states where each value comes from.
    pub(crate) fn to_toml(&self, file: Option<&Path>) -> String {
        let (mut out, mut table) = (String::new(), String::new());
        for entry in &self.0 {
            let (section, name) = entry.key.rsplit_once('.').unwrap_or(("", entry.key.as_str()));
            if section != table {
                let heading = match section.split_once('[') {
                    Some((list, _)) => format!("[[{list}]]"),
                    None => format!("[{section}]"),
                };
                // Writing to a String cannot fail.
                let _ = writeln!(out, "\n{heading}");
                section.clone_into(&mut table);
            }
            let _ = writeln!(
                out,
                "{:<40} # {}",
                format!("{name} = {}", entry.value),
                entry.source(file)
            );
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_reads_back_as_the_same_configuration() {
        let text = "hostname = \"mx.example\"\n[route]\nnext_hops = [\"a:25\"]\n\
                    [[route.rule]]\ndomain = \"b.example\"\nrate = \"1/1s\"\n[[route.rule]]\ndomain = \"a.example\"\n\
                    [[client.login]]\nnext_hop = \"c:25\"\nuser = \"u\"\npassword_file = \"/p\"\n";
        let config = Config::parse(text).unwrap();
        let shown = Effective::of(&config).to_toml(Some(Path::new("/etc/spool.toml")));
        let again = Config::parse(&shown).unwrap_or_else(|problems| panic!("{shown}\n{problems:?}"));
        assert_eq!(format!("{config:?}"), format!("{again:?}"));
        for (value, source) in [
            ("hostname = \"mx.example\" ", "# /etc/spool.toml:1"),
            ("rate = \"1/1s\" ", "# /etc/spool.toml:6"),
            ("max_concurrent_jobs = 200 ", "# default"),
        ] {
            let line = shown.lines().find(|line| line.starts_with(value));
            assert!(
                line.is_some_and(|line| line.ends_with(source)),
                "{value}\n{shown}"
            );
        }
    }

    #[test]
    fn a_change_names_old_and_new_values_and_when_they_take_effect() {
        let of = |text: &str| Effective::of(&Config::parse(text).unwrap());
        let before = of("max_concurrent_jobs = 7\n[[route.rule]]\ndomain = \"a.example\"\nrate = \"1/1s\"\n");
        let after = of("threads = 3\nmax_concurrent_jobs = 7\n[[route.rule]]\ndomain = \"b.example\"\n");
        let text = |value: Option<Value>| value.map_or("-".to_owned(), |value| value.to_string());
        let changes: Vec<_> = before
            .changes(&after)
            .into_iter()
            .map(|change| {
                (
                    change.key,
                    text(change.from),
                    text(change.to),
                    change.takes_effect,
                )
            })
            .collect();
        let row =
            |key: &str, from: &str, to: &str, takes| (key.to_owned(), from.to_owned(), to.to_owned(), takes);
        assert_eq!(
            changes,
            [
                row("threads", "0", "3", TakesEffect::Restart),
                row(
                    "route.rule[0].domain",
                    "\"a.example\"",
                    "\"b.example\"",
                    TakesEffect::Reload
                ),
                row("route.rule[0].rate", "\"1/1s\"", "-", TakesEffect::Reload),
            ]
        );
        assert_eq!(before.changes(&before), []);
    }

    #[test]
    fn the_tenth_table_is_shown_after_the_ninth() {
        let rules: String = (0..12)
            .map(|n| format!("[[route.rule]]\ndomain = \"d{n}.example\"\n"))
            .collect();
        let all = Effective::of(&Config::parse(&rules).unwrap());
        let shown = all.to_toml(None);
        let order: Vec<_> = (0..12)
            .map(|n| shown.find(&format!("d{n}.example")).unwrap())
            .collect();
        assert!(order.is_sorted(), "{shown}");
    }
}
