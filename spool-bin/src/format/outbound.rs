//! Destinations and connections as tables.

use super::cell::Cell;
use super::grid::{Column, Shrinks, print};
use super::units::{age, hops};
use spool_actors::{Circuit, DestinationState};
use spool_core::{Timestamp, harmless};
use spool_smtp::client::{DestinationSessions, PoolSnapshot};
use std::io::{self, Write};

const DESTINATION: [Column; 6] = [
    Column::new("destination", Shrinks::Second, 0),
    Column::new("messages", Shrinks::Never, 1),
    Column::new("due", Shrinks::Never, 2),
    Column::new("sessions", Shrinks::Never, 3),
    Column::new("rate", Shrinks::Never, 4),
    Column::new("state", Shrinks::First, 0),
];
const CONNECTION: [Column; 8] = [
    Column::new("next hop", Shrinks::Second, 0),
    Column::new("for", Shrinks::Second, 1),
    Column::new("open", Shrinks::Never, 2),
    Column::new("busy", Shrinks::Never, 3),
    Column::new("waiting", Shrinks::Never, 4),
    Column::new("most", Shrinks::Never, 5),
    Column::new("reused", Shrinks::Never, 6),
    Column::new("security", Shrinks::First, 0),
];

/// One line for each destination: its messages, its sessions, and what limits it.
pub(crate) fn destinations(
    all: &[DestinationState],
    now: Timestamp,
    width: usize,
    out: &mut impl Write,
) -> io::Result<()> {
    let rows: Vec<_> = all.iter().map(|state| destination(state, now)).collect();
    print(DESTINATION, &rows, width, out)
}

/// One line for each kind of session: the host, the number, and the security.
pub(crate) fn connections(pool: &PoolSnapshot, width: usize, out: &mut impl Write) -> io::Result<()> {
    let (open, limit) = (pool.open, pool.limit);
    writeln!(out, "{open} of at most {limit} connections are open")?;
    let rows: Vec<_> = pool.destinations.iter().map(connection).collect();
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    print(CONNECTION, &rows, width, out)
}

fn destination(state: &DestinationState, now: Timestamp) -> [Cell; 6] {
    let rate = state.rate_per_second.map_or_else(String::new, per_time);
    let (word, why) = standing(state, now);
    let why = format!("{word}{}{}", harmless(&why), path(state));
    [
        Cell::hops(&state.next_hops),
        Cell::whole(state.messages),
        Cell::whole(state.waiting),
        Cell::whole(format!("{} of {}", state.running, state.limit)),
        Cell::whole(rate),
        Cell::text(why, word.chars().count()),
    ]
}

/// The hosts by which its limits are counted, where these are not its next hops.
fn path(state: &DestinationState) -> String {
    match state.path.is_empty() || state.path == state.next_hops {
        true => String::new(),
        false => format!("; with the limits of {}", hops(&state.path)),
    }
}

fn per_time(per_second: f64) -> String {
    match per_second < 1.0 {
        true => format!("{:.1}/min", per_second * 60.0),
        false => format!("{per_second:.1}/s"),
    }
}

/// What had been learned of a destination before it was reset.
pub(crate) fn reset(before: &DestinationState, now: Timestamp, out: &mut impl Write) -> io::Result<()> {
    let window = before.limit_reason.as_ref().map(|reason| {
        let (limit, max) = (before.limit, before.max);
        format!("concurrency window: {limit} of {max} sessions ({reason})")
    });
    let rate = before.rate_per_second.zip(before.rate_reason.as_ref());
    let rate = rate.map(|(rate, reason)| format!("rate limit: {} ({reason})", per_time(rate)));
    let circuit = failing(&before.circuit, now).map(|(open, failures, reason)| {
        let state = open.map_or("half open".to_owned(), |span| format!("open for another {span}"));
        format!("circuit breaker: {state}, after {failures} failures ({reason})")
    });
    let learned: Vec<_> = [window, rate, circuit].into_iter().flatten().collect();
    let next_hops = hops(&before.next_hops);
    if learned.is_empty() {
        return writeln!(out, "{next_hops}: reset; nothing had been learned of it");
    }
    writeln!(out, "{next_hops}: reset; it had been learned:")?;
    learned
        .iter()
        .try_for_each(|line| writeln!(out, "  {}", harmless(line)))
}

/// Of a circuit that is not closed: how long it stays open (`None`: half open), the failures before, and their reason.
fn failing(circuit: &Circuit, now: Timestamp) -> Option<(Option<String>, u32, &str)> {
    match circuit {
        Circuit::Open {
            until,
            failures,
            reason,
        } => Some((Some(age(until.since(now))), *failures, reason)),
        Circuit::HalfOpen { failures, reason } => Some((None, *failures, reason)),
        Circuit::Closed | _ => None,
    }
}

/// The worst that is known of a destination: a few words, which are never cut, and details.
fn standing(state: &DestinationState, now: Timestamp) -> (String, String) {
    let narrowed = state.limit_reason.as_ref().filter(|_| state.limit < state.max);
    let (word, why) = if state.next_hops.is_empty() {
        ("no route", ": its messages wait for `spool reroute`".to_owned())
    } else if let Some((open, failures, reason)) = failing(&state.circuit, now) {
        let why = format!(", after {failures} failures: {reason}");
        match open {
            Some(span) => ("left alone", format!(" for {span}{why}")),
            None => ("one message tries", why),
        }
    } else if let Some(reason) = narrowed {
        ("fewer sessions", format!(": {reason}"))
    } else if let Some(reason) = &state.rate_reason {
        ("slower", format!(": {reason}"))
    } else if let Some((at, error)) = &state.last_error {
        return (format!("{} ago", age(now.since(*at))), format!(": {error}"));
    } else {
        ("well", String::new())
    };
    (word.to_owned(), why)
}

fn connection(sessions: &DestinationSessions) -> [Cell; 8] {
    let user = sessions.user.as_deref();
    let user = user.map_or_else(String::new, |user| format!("{user}@"));
    let port = format!(":{}", sessions.next_hop.port());
    let security = harmless(sessions.tls.as_deref().unwrap_or("plain"));
    let version = security.split(' ').next().map_or(0, |word| word.chars().count());
    [
        Cell::name(harmless(&format!("{user}{}", sessions.next_hop)), port.len()),
        sessions.route.as_deref().map_or_else(Cell::default, Cell::hops),
        Cell::whole(sessions.open),
        Cell::whole(sessions.in_use),
        Cell::whole(sessions.waiting),
        Cell::whole(sessions.limit),
        Cell::whole(sessions.reused),
        Cell::text(security, version),
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

    #[test]
    fn hosts_that_are_shared_are_named_where_they_are_not_the_next_hops() {
        let shared =
            state(json!({"next_hops": ["mx:a.example:25"], "path": ["mx1.example:25", "mx2.example:25"]}));
        let line = printed(&[shared, state(json!({"path": ["mx.example.net:25"]}))], 120);
        assert_eq!(
            line.matches("with the limits of mx1.example:25, mx2.example:25")
                .count(),
            1,
            "{line}"
        );
        assert_eq!(line.matches("with the limits of").count(), 1, "{line}");
    }

    fn printed(all: &[DestinationState], width: usize) -> String {
        let mut out = Vec::new();
        destinations(all, Timestamp(60_000), width, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_destination_shows_its_worst_state() {
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
                "left alone for 60s, after 4 failures: refused",
            ),
        ];
        for (change, told) in all {
            let text = printed(&[state(change)], 500);
            assert!(text.trim_end().ends_with(told), "{text}");
        }
    }

    #[test]
    fn a_reset_prints_what_had_been_learned() {
        let print = |change| {
            let mut out = Vec::new();
            reset(&state(change), Timestamp(60_000), &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            print(json!({"rate_per_second": 5.0})),
            "mx.example.net:25: reset; nothing had been learned of it\n",
            "a configured rate is not learned"
        );
        assert_eq!(
            print(json!({
                "next_hops": ["a.example:25", "b.example:25"],
                "limit_reason": "421 \u{1b}[31mtoo many", "rate_per_second": 0.5, "rate_reason": "450 slow down",
                "circuit": {"state": "open", "until": "1970-01-01T00:02:00.000Z", "failures": 4, "reason": "refused"},
            })),
            "a.example:25, b.example:25: reset; it had been learned:
  concurrency window: 4 of 10 sessions (421 \\u001b[31mtoo many)
  rate limit: 30.0/min (450 slow down)
  circuit breaker: open for another 60s, after 4 failures (refused)
"
        );
        let half = json!({"circuit": {"state": "half_open", "failures": 4, "reason": "refused"}});
        assert!(print(half).ends_with("  circuit breaker: half open, after 4 failures (refused)\n"));
    }

    #[test]
    fn at_80_columns_the_port_the_further_hops_and_the_state_stand() {
        let name = format!(
            "mx-17.{}.example.net",
            "long-name.".repeat(8).trim_end_matches('.')
        );
        let failing = json!({"state": "open", "until": "1970-01-01T00:02:00.000Z", "failures": 4, "reason": "x ".repeat(200)});
        let all = [
            state(json!({"next_hops": [format!("{name}:2525")], "circuit": failing})),
            state(json!({"next_hops": [format!("{name}:2526"), "b.example:25", "c.example:25"]})),
        ];
        for width in [80, 40] {
            let text = printed(&all, width);
            assert!(text.lines().all(|line| line.chars().count() <= width), "{text}");
            let lines: Vec<_> = text.lines().filter(|line| !line.starts_with("    ")).collect();
            assert!(lines[2].starts_with("mx-17.") || width < 80, "{text}");
            assert!(
                lines[2].contains(":2525 ") && lines[2].contains("  left alone"),
                "{text}"
            );
            assert!(
                lines[3].contains(":2526 +2 ") && lines[3].ends_with("  well"),
                "{text}"
            );
        }
    }

    #[test]
    fn sessions_of_different_routes_to_one_host_are_listed_apart() {
        let sessions = |route: &[&str], tls: &str| {
            json!({
                "next_hop": "mx.example.net:587", "route": route, "tls_policy": "verify", "user": "spool", "source": [],
                "limit": 500, "open": 12, "idle": 2, "in_use": 10, "waiting": 0, "opened": 40, "reused": 1000, "tls": tls,
            })
        };
        let long = format!("a.{}example:25", "very-long-name.".repeat(6));
        let pool = json!({"open": 12, "limit": 500, "destinations": [
            sessions(&[&long, "b.example:25"], "TLSv1.3 TLS_AES_256_GCM_SHA384, certificate not verified"),
            sessions(&["c.example:26"], "TLSv1.2"),
        ]});
        let pool: PoolSnapshot = serde_json::from_value(pool).unwrap();
        for width in [80, 40] {
            let mut out = Vec::new();
            connections(&pool, width, &mut out).unwrap();
            let text = String::from_utf8(out).unwrap();
            assert!(text.lines().all(|line| line.chars().count() <= width), "{text}");
            let rows = text.lines().skip(4).filter(|line| !line.starts_with("    "));
            let rows: Vec<_> = rows.collect();
            assert!(rows[0].contains(":587 ") && rows[0].contains(":25 +1 "), "{text}");
            assert!(
                rows[0].contains(" TLSv1.3") && rows[1].contains("c.example:26"),
                "{text}"
            );
        }
    }

    #[test]
    fn a_table_fits_its_terminal_and_keeps_the_destination() {
        let long = json!({"limit_reason": "x".repeat(200), "rate_per_second": 0.5});
        let text = printed(&[state(long)], 72);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines.iter().all(|line| line.chars().count() <= 72), "{text}");
        assert!(lines[2].starts_with("mx.example.net:25  12"), "{text}");
        assert!(
            lines[2].contains("2 of 4") && lines[2].contains("30.0/min"),
            "{text}"
        );
    }
}
