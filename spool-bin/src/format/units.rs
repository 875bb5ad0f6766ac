//! Spans, ages, sizes, times and next hops in few characters.

pub(crate) use spool_core::span;
use spool_core::{NextHop, Timestamp};
use std::time::Duration;

/// Next hops in order; a message without any has no route in the process that answered.
pub(crate) fn hops(hops: &[NextHop]) -> String {
    if hops.is_empty() {
        return "(no route)".to_owned();
    }
    let hops: Vec<_> = hops.iter().map(ToString::to_string).collect();
    hops.join(", ")
}

/// `2026-11-24T03:39:12.042Z (in 90s)`.
pub(crate) fn when(at: Timestamp, now: Timestamp) -> String {
    if at > now {
        format!("{at} (in {})", age(at.since(now)))
    } else {
        format!("{at} ({} ago)", age(now.since(at)))
    }
}

/// `25m`, `3h`, `2d`: one number, one unit.
pub(super) fn age(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// `512`, `2.9K`, `12M`.
#[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
pub(super) fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["", "K", "M", "G"] {
        if value < 1000.0 || unit == "G" {
            let digits = if value < 10.0 && !unit.is_empty() { 1 } else { 0 };
            return format!("{value:.digits$}{unit}");
        }
        value /= 1024.0;
    }
    String::new()
}
