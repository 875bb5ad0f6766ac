//! The keys of the configuration: for each its kind of value, its default, when a change takes effect, and one sentence.
//!
//! [`KEYS`] is the only place that states them. The reader takes defaults from it, `spool config` and a reload its order,
//! `--help` its sentences; `docs/spool.example.toml` and `docs/configuration.md` are generated from it. Tests compare it
//! with the keys and the kinds that the reader takes.

mod key;
mod table;

#[cfg(test)]
mod tests;

#[cfg(test)]
use key::Kind;
pub(crate) use key::TakesEffect;
#[cfg(test)]
use key::Value;
pub(super) use key::{Key, Table};
pub(super) use table::KEYS;

use toml::Spanned;
use toml::de::DeValue;

/// All keys, in their order.
fn all() -> impl Iterator<Item = &'static Key> {
    KEYS.iter().flat_map(|table| table.keys)
}

/// Whether there is a key with this path.
pub(crate) fn is_key(path: &str) -> bool {
    all().any(|key| key.path == path)
}

/// The keys of one table.
pub(super) fn of_table(name: &str) -> &'static [Key] {
    KEYS.iter()
        .find(|table| table.name == name)
        .map_or(&[], |table| table.keys)
}

/// The key with a path.
fn key(path: &str) -> &'static Key {
    let key = all().find(|key| key.path == path);
    key.unwrap_or_else(|| unreachable!("{path} is not in config/keys"))
}

/// The default of a key, for the reader; `None`: without the key there is no value.
pub(super) fn default(path: &str) -> Option<Spanned<DeValue<'static>>> {
    key(path).default().and_then(|text| DeValue::parse(text).ok())
}

/// The help of a command line option that overrides a key.
pub(crate) fn option_help(path: &str) -> String {
    let key = key(path);
    let mut help = key.sentence.trim_end_matches('.').replace('`', "");
    let default = match key.value.text().parse() {
        Ok(toml::Value::Array(items)) => {
            help += "; may be given several times";
            let items: Vec<&str> = items.iter().filter_map(toml::Value::as_str).collect();
            items.join(",")
        }
        Ok(toml::Value::String(text)) => text,
        Ok(_) | Err(_) => key.value.text().to_owned(),
    };
    if !default.is_empty() {
        help += &format!(" [default: {default}]");
    }
    help
}
