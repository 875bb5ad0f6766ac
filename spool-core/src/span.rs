//! Spans of time as the configuration writes them.

/// `250ms`, `90s`, `5m`, `2h`, `3d`: the largest unit that is exact.
#[must_use]
pub fn span(millis: u64) -> String {
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")];
    let exact = units
        .iter()
        .find(|(unit, _)| millis > 0 && millis.is_multiple_of(*unit));
    exact.map_or_else(
        || format!("{millis}ms"),
        |(unit, name)| format!("{}{name}", millis / unit),
    )
}
