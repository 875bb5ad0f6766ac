//! The keys of the configuration: for each its kind of value, its default, when a change takes effect, and one sentence.
//!
//! [`KEYS`] is the only place that states them. The reader takes defaults from it, `spool config` and a reload its order,
//! `--help` its sentences; `docs/spool.example.toml` and `docs/configuration.md` are generated from it. Tests compare it
//! with the keys and the kinds that the reader takes.

mod table;

#[cfg(test)]
mod tests;

pub(super) use table::KEYS;

use toml::Spanned;
use toml::de::DeValue;

/// When a changed value takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TakesEffect {
    /// With SIGHUP.
    Reload,
    /// With the next start.
    Restart,
}

/// Which values a key takes.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Flag,
    /// A whole number from 0.
    Number,
    /// A whole number from 1.
    Count,
    /// A number from 0 to 1.
    Share,
    /// Any span.
    Span,
    /// A span above 0.
    Timeout,
    Size,
    Rate,
    Text,
    /// A date or a time in UTC.
    Date,
    List,
}

/// The value of a key that the file does not set, in TOML; in a `[[table]]` perhaps only an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    Default(&'static str),
    /// Without the key there is no value.
    Example(&'static str),
    /// The key must be set.
    Required(&'static str),
}

impl Value {
    pub(super) fn text(self) -> &'static str {
        let (Self::Default(text) | Self::Example(text) | Self::Required(text)) = self;
        text
    }
}

/// A key.
#[derive(Debug)]
pub(super) struct Key {
    /// Without the name of its table.
    pub(super) name: &'static str,
    /// `client.tls`; a key of a `[[table]]` has the name of the table before it, without a number.
    pub(super) path: &'static str,
    #[cfg(test)]
    kind: Kind,
    pub(super) value: Value,
    pub(super) takes_effect: TakesEffect,
    sentence: &'static str,
}

impl Key {
    pub(super) fn is_required(&self) -> bool {
        matches!(self.value, Value::Required(_))
    }

    /// The default; `None`: without the key there is no value.
    pub(super) fn default(&self) -> Option<&'static str> {
        match self.value {
            Value::Default(text) => Some(text),
            Value::Example(_) | Value::Required(_) => None,
        }
    }
}

/// A table of the file.
#[derive(Debug)]
pub(super) struct Table {
    /// `client`; empty for the keys before the first table.
    pub(super) name: &'static str,
    /// Whether there may be many of it, written `[[name]]`.
    pub(super) is_list: bool,
    #[cfg(test)]
    sentence: &'static str,
    pub(super) keys: &'static [Key],
}

/// All keys, in their order.
fn all() -> impl Iterator<Item = &'static Key> {
    KEYS.iter().flat_map(|table| table.keys)
}

/// Whether there is a key with this path.
pub(super) fn is_key(path: &str) -> bool {
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

/// Writes [`KEYS`] as a configuration file would have them: `name: Kind = default, TakesEffect;`, with `~` before an example
/// and `!` before the example of a key that must be set.
macro_rules! keys {
    ($(
        $(#[doc = $about:literal])*
        table $head:tt {
            $($(#[doc = $sentence:literal])+ $name:ident: $kind:ident $sign:tt $value:tt, $takes_effect:ident;)+
        }
    )+) => {
        &[$(Table {
            name: keys!(@table $head),
            is_list: keys!(@list $head),
            #[cfg(test)]
            sentence: concat!($($about),*).trim_ascii(),
            keys: &[$(Key {
                name: stringify!($name),
                path: keys!(@path $head $name),
                #[cfg(test)]
                kind: Kind::$kind,
                value: keys!(@value $sign $value),
                takes_effect: TakesEffect::$takes_effect,
                sentence: concat!($($sentence),+).trim_ascii(),
            }),+],
        }),+]
    };
    (@table []) => { "" };
    (@table [[$table:literal]]) => { $table };
    (@table [$table:literal]) => { $table };
    (@list [[$table:literal]]) => { true };
    (@list $head:tt) => { false };
    (@path [] $name:ident) => { stringify!($name) };
    (@path [[$table:literal]] $name:ident) => { concat!($table, ".", stringify!($name)) };
    (@path [$table:literal] $name:ident) => { concat!($table, ".", stringify!($name)) };
    (@value = $value:tt) => { Value::Default(stringify!($value)) };
    (@value ~ $value:tt) => { Value::Example(stringify!($value)) };
    (@value ! $value:tt) => { Value::Required(stringify!($value)) };
}
use keys;
