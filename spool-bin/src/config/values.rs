//! Spans, sizes, rates and host names as they are written.

use spool_core::{Rate, a_labels, valid_domain};
use std::time::Duration;

/// A whole number with one of several units, in the least of them.
fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at_checked(digits)?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// `500ms 90s 15m 2h 3d`.
pub(crate) fn parse_span(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, u64); 5] = [
        ("ms", 1),
        ("s", 1000),
        ("m", 60_000),
        ("h", 3_600_000),
        ("d", 86_400_000),
    ];
    quantity(text, &UNITS)
        .map(Duration::from_millis)
        .ok_or_else(|| format!("{text:?} is not a span; write 500ms, 90s, 15m, 2h or 3d"))
}

/// `1000B 64KiB 35MiB 2GiB`.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 5] = [
        ("B", 1),
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
    ];
    quantity(text, &UNITS).ok_or_else(|| format!("{text:?} is not a size; write 1000B, 64KiB, 35MiB or 2GiB"))
}

/// `100/1m`.
pub(crate) fn parse_rate(text: &str) -> Result<Rate, String> {
    let wrong = || format!("{text:?} is not a rate; write messages/span, as 100/1m");
    let (messages, per) = text.split_once('/').ok_or_else(wrong)?;
    let messages = messages.parse().map_err(|_| wrong())?;
    Rate::new(messages, parse_span(per)?).map_err(|error| format!("{text:?}: {error}"))
}

/// `name` as a host name in A-labels; `None`: it is none, or has no such form.
pub(crate) fn ascii_host_name(name: &str) -> Option<String> {
    let ascii = match name.is_ascii() {
        true => name.into(),
        false => a_labels(name),
    };
    (valid_domain(name) && ascii.is_ascii()).then(|| ascii.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_messages_in_a_span() {
        assert_eq!(
            parse_rate("100/1m"),
            Ok(Rate::new(100, Duration::from_secs(60)).unwrap())
        );
        for bad in [
            "", "100", "/1m", "100/", "100/m", "0/1m", "1/0s", "-1/1m", "1/1m/1m", "1.5/1s",
        ] {
            assert!(parse_rate(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn spans_and_sizes_need_their_units() {
        assert_eq!(parse_span("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_span("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_span("3d"), Ok(Duration::from_secs(259_200)));
        assert_eq!(parse_size("64KiB"), Ok(65_536));
        for bad in [
            "",
            "5",
            "s",
            "-1s",
            "1.5h",
            "1 h",
            "99999999999999999999d",
            "99999999999999999d",
            "1w",
        ] {
            assert!(parse_span(bad).is_err(), "{bad}");
        }
        for bad in ["", "5", "KiB", "5KB", "5 MiB", "99999999999999TiB"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }
}
