//! Reads single values of the file.

use super::values::{parse_rate, parse_size, parse_span};
use spool_core::{DomainPattern, Rate};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use toml::de::DeValue;

/// A text.
pub(super) fn text(value: &DeValue<'_>) -> Result<String, String> {
    value
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| expected("a text", value))
}

pub(super) fn domain(value: &DeValue<'_>) -> Result<DomainPattern, String> {
    let text = text(value)?;
    DomainPattern::parse(&text).ok_or_else(|| format!("{text:?} is not a domain"))
}

/// A text that is parsed.
pub(super) fn parsed<T: FromStr<Err: std::fmt::Display>>(value: &DeValue<'_>) -> Result<T, String> {
    let text = text(value)?;
    text.parse().map_err(|error| format!("{text:?}: {error}"))
}

/// One of several words.
pub(super) fn choice<T: Copy>(words: &[(&str, T)]) -> impl Fn(&DeValue<'_>) -> Result<T, String> {
    move |value| {
        let text = text(value)?;
        let found = words.iter().find(|(word, _)| *word == text);
        found.map(|(_, meaning)| *meaning).ok_or_else(|| {
            let words: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
            format!("{text:?}: must be {}", words.join(" or "))
        })
    }
}

/// A value that is read by `read`; `None` for an empty text.
pub(super) fn or_empty<T>(
    read: impl Fn(&DeValue<'_>) -> Result<T, String>,
) -> impl Fn(&DeValue<'_>) -> Result<Option<T>, String> {
    move |value| match value.as_str() {
        Some("") => Ok(None),
        _ => read(value).map(Some),
    }
}

/// The path of a file.
pub(super) fn path(value: &DeValue<'_>) -> Result<PathBuf, String> {
    text(value).map(PathBuf::from)
}

pub(super) fn flag(value: &DeValue<'_>) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| expected("true or false", value))
}

pub(super) fn span(value: &DeValue<'_>) -> Result<Duration, String> {
    parse_span(&text(value)?)
}

/// A span of at least a millisecond.
pub(super) fn positive_span(value: &DeValue<'_>) -> Result<Duration, String> {
    match span(value)? {
        Duration::ZERO => Err("must be more than 0".to_owned()),
        span => Ok(span),
    }
}

pub(super) fn size(value: &DeValue<'_>) -> Result<u64, String> {
    parse_size(&text(value)?)
}

/// A size of at least `least`.
pub(super) fn size_from<T: TryFrom<u64>>(least: &str) -> impl Fn(&DeValue<'_>) -> Result<T, String> {
    move |value| {
        let size = size(value)?;
        let found = T::try_from(size)
            .ok()
            .filter(|_| size >= parse_size(least).unwrap_or(0));
        found.ok_or_else(|| format!("must be at least {least}"))
    }
}

/// A whole number from `least` up.
pub(super) fn number<T: TryFrom<u64>>(least: u64) -> impl Fn(&DeValue<'_>) -> Result<T, String> {
    move |value| {
        let integer = value
            .as_integer()
            .ok_or_else(|| expected("a whole number", value))?;
        let digits = integer.as_str().replace('_', "");
        let number = u64::from_str_radix(&digits, integer.radix())
            .ok()
            .filter(|number| *number >= least);
        number
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| format!("must be a whole number from {least} up"))
    }
}

pub(super) fn rate(value: &DeValue<'_>) -> Result<Rate, String> {
    parse_rate(&text(value)?)
}

/// A number from 0 to 1.
pub(super) fn share(value: &DeValue<'_>) -> Result<f64, String> {
    let number = match (value.as_float(), value.as_integer()) {
        (Some(float), _) => float.as_str().parse::<f64>().ok(),
        (None, Some(integer)) => integer.as_str().parse::<f64>().ok(),
        (None, None) => return Err(expected("a number from 0 to 1", value)),
    };
    number
        .filter(|number| (0.0..=1.0).contains(number))
        .ok_or_else(|| "must be a number from 0 to 1".to_owned())
}

fn expected(what: &str, value: &DeValue<'_>) -> String {
    format!("expected {what}, found a {}", value.type_str())
}
