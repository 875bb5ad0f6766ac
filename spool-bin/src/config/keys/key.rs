//! What is stated of a key, and the notation of the table of keys.

use serde::Serialize;

/// When a changed value takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TakesEffect {
    /// With SIGHUP.
    Reload,
    /// With the next start.
    Restart,
}

/// Which values a key takes.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum Kind {
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
pub(in crate::config) enum Value {
    Default(&'static str),
    /// Without the key there is no value.
    Example(&'static str),
    /// The key must be set.
    Required(&'static str),
}

impl Value {
    pub(in crate::config) fn text(self) -> &'static str {
        let (Self::Default(text) | Self::Example(text) | Self::Required(text)) = self;
        text
    }
}

/// A key.
#[derive(Debug)]
pub(in crate::config) struct Key {
    /// Without the name of its table.
    pub(in crate::config) name: &'static str,
    /// `client.tls`; a key of a `[[table]]` has the name of the table before it, without a number.
    pub(in crate::config) path: &'static str,
    #[cfg(test)]
    pub(in crate::config) kind: Kind,
    pub(in crate::config) value: Value,
    pub(in crate::config) takes_effect: TakesEffect,
    pub(in crate::config) sentence: &'static str,
}

impl Key {
    pub(in crate::config) fn is_required(&self) -> bool {
        matches!(self.value, Value::Required(_))
    }

    /// The default; `None`: without the key there is no value.
    pub(in crate::config) fn default(&self) -> Option<&'static str> {
        match self.value {
            Value::Default(text) => Some(text),
            Value::Example(_) | Value::Required(_) => None,
        }
    }
}

/// A table of the file.
#[derive(Debug)]
pub(in crate::config) struct Table {
    /// `client`; empty for the keys before the first table.
    pub(in crate::config) name: &'static str,
    /// Whether there may be many of it, written `[[name]]`.
    pub(in crate::config) is_list: bool,
    #[cfg(test)]
    pub(in crate::config) sentence: &'static str,
    pub(in crate::config) keys: &'static [Key],
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
pub(super) use keys;
