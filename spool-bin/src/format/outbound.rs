//! Destinations and connections as tables.

use super::grid::Grid;
use super::{age, hops, when};
use spool_actors::{Circuit, DestinationState};
use spool_core::{Timestamp, harmless};
use spool_smtp::client::{DestinationSessions, PoolSnapshot};
use std::io::{self, Write};

const DESTINATION: [&str; 6] = ["destination", "messages", "due", "sessions", "rate", "state"];
const CONNECTION: [&str; 7] = [
    "next hop", "open", "busy", "waiting", "most", "reused", "security",
];

/// One line a destination: how many messages and sessions it has, and what holds it back.
pub(crate) fn destinations(
    all: &[DestinationState],
    now: Timestamp,
    width: usize,
    out: &mut impl Write,
) -> io::Result<()> {
    let rows: Vec<_> = all.iter().map(|state| destination(state, now)).collect();
    table(&DESTINATION, &rows, width, out)
}

/// One line for each kind of session: to whom, how many, and over what.
pub(crate) fn connections(pool: &PoolSnapshot, width: usize, out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "{} of at most {} connections are open",
        pool.open, pool.limit
    )?;
    let rows: Vec<_> = pool.destinations.iter().map(connection).collect();
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    table(&CONNECTION, &rows, width, out)
}

fn table<const N: usize>(
    head: &[&str; N],
    rows: &[[String; N]],
    width: usize,
    out: &mut impl Write,
) -> io::Result<()> {
    let grid = Grid::new(head, rows, 0, width);
    grid.head(head, width, out)?;
    rows.iter().try_for_each(|row| {
        grid.line(row, out)?;
        writeln!(out)
    })
}

fn destination(state: &DestinationState, now: Timestamp) -> [String; 6] {
    let rate = state
        .rate_per_second
        .map_or_else(String::new, |rate| match rate < 1.0 {
            true => format!("{:.1}/min", rate * 60.0),
            false => format!("{rate:.1}/s"),
        });
    [
        hops(&state.next_hops),
        state.messages.to_string(),
        state.waiting.to_string(),
        format!("{} of {}", state.running, state.limit),
        rate,
        harmless(&standing(state, now)),
    ]
}

/// The worst that is known of a destination, in words.
fn standing(state: &DestinationState, now: Timestamp) -> String {
    if state.next_hops.is_empty() {
        return "no route: its messages wait for `spool reroute`".to_owned();
    }
    match (
        &state.circuit,
        &state.limit_reason,
        &state.rate_reason,
        &state.last_error,
    ) {
        (
            Circuit::Open {
                until,
                failures,
                reason,
            },
            ..,
        ) => {
            format!(
                "left alone until {} after {failures} failures: {reason}",
                when(*until, now)
            )
        }
        (Circuit::HalfOpen { failures, reason }, ..) => {
            format!("one message tries, after {failures} failures: {reason}")
        }
        (_, Some(reason), ..) if state.limit < state.max => format!("fewer sessions: {reason}"),
        (_, _, Some(reason), _) => format!("slower: {reason}"),
        (_, _, _, Some((at, error))) => format!("{} ago: {error}", age(now.since(*at))),
        (_, _, _, None) => "well".to_owned(),
    }
}

fn connection(sessions: &DestinationSessions) -> [String; 7] {
    let route = sessions
        .route
        .as_deref()
        .map_or_else(String::new, |route| format!(" (for {})", hops(route)));
    let user = sessions
        .user
        .as_deref()
        .map_or_else(String::new, |user| format!("{user}@"));
    [
        harmless(&format!("{user}{}{route}", sessions.next_hop)),
        sessions.open.to_string(),
        sessions.in_use.to_string(),
        sessions.waiting.to_string(),
        sessions.limit.to_string(),
        sessions.reused.to_string(),
        harmless(sessions.tls.as_deref().unwrap_or("plain")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn state(change: serde_json::Value) -> DestinationState {
        let mut state = json!({
            "next_hops": ["mx.example.net:25"], "messages": 12, "waiting": 3, "running": 2, "limit": 4, "max": 10,
            "limit_reason": null, "rate_per_second": null, "rate_reason": null,
            "circuit": {"state": "closed"}, "last_error": null,
        });
        for (key, value) in change.as_object().unwrap() {
            state[key] = value.clone();
        }
        serde_json::from_value(state).unwrap()
    }

    fn print(all: &[DestinationState], width: usize) -> String {
        let mut out = Vec::new();
        destinations(all, Timestamp(60_000), width, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_destination_tells_the_worst_that_is_known_of_it() {
        let closed = json!({"last_error": ["1970-01-01T00:00:00.000Z", "450 \u{1b}[31mlater"]});
        let all = [
            (json!({}), "well"),
            (
                json!({"next_hops": []}),
                "no route: its messages wait for `spool reroute`",
            ),
            (closed, "60s ago: 450 \\u001b[31mlater"),
            (
                json!({"limit_reason": "421 too many"}),
                "fewer sessions: 421 too many",
            ),
            (
                json!({"rate_per_second": 0.5, "rate_reason": "450 slow down"}),
                "slower: 450 slow down",
            ),
            (
                json!({"circuit": {"state": "half_open", "failures": 4, "reason": "refused"}}),
                "one message tries, after 4 failures: refused",
            ),
            (
                json!({"circuit": {"state": "open", "until": "1970-01-01T00:02:00.000Z", "failures": 4, "reason": "refused"}}),
                "left alone until 1970-01-01T00:02:00.000Z (in 60s) after 4 failures: refused",
            ),
        ];
        for (change, told) in all {
            let text = print(&[state(change)], 500);
            assert!(text.trim_end().ends_with(told), "{text}");
        }
    }

    #[test]
    fn a_table_fits_its_terminal_and_keeps_the_destination() {
        let long = json!({"limit_reason": "x".repeat(200), "rate_per_second": 0.5});
        let text = print(&[state(long)], 72);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines.iter().all(|line| line.chars().count() <= 72), "{text}");
        assert!(lines[2].starts_with("mx.example.net:25  12"), "{text}");
        assert!(
            lines[2].contains("2 of 4") && lines[2].contains("30.0/min"),
            "{text}"
        );
    }
}
