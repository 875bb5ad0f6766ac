//! Clients and users as a table.

use super::cell::Cell;
use super::grid::{Column, Shrinks, print};
use super::units::{age, span};
use spool_core::{Timestamp, harmless};
use spool_smtp::server::{ClientState, Count};
use std::io::{self, Write};

const COLUMNS: [Column; 6] = [
    Column::new("client", Shrinks::Second, 0),
    Column::new("open", Shrinks::Never, 4),
    Column::new("messages", Shrinks::Never, 0),
    Column::new("recipients", Shrinks::Never, 3),
    Column::new("failed", Shrinks::Never, 2),
    Column::new("state", Shrinks::First, 1),
];

/// One line for each client: its counts, and its limits that are reached.
pub(crate) fn clients(
    all: &[ClientState],
    now: Timestamp,
    width: usize,
    out: &mut impl Write,
) -> io::Result<()> {
    let rows: Vec<_> = all.iter().map(|state| row(state, now)).collect();
    print(COLUMNS, &rows, width, out)
}

fn row(state: &ClientState, now: Timestamp) -> [Cell; 6] {
    let user = if state.user { "user " } else { "" };
    let (text, head) = standing(state, now);
    [
        Cell::name(harmless(&format!("{user}{}", state.client)), 0),
        Cell::whole(state.connections),
        Cell::whole(count(&state.messages)),
        Cell::whole(count(&state.recipients)),
        Cell::whole(count(&state.failed_logins)),
        Cell::text(text, head),
    ]
}

/// `120 in 1m`.
fn count(count: &Count) -> String {
    match count.count {
        0 => String::new(),
        some => format!("{some} in {}", span(count.in_ms)),
    }
}

/// The limits that are reached and for how long; and the length of the text that is never cut.
fn standing(state: &ClientState, now: Timestamp) -> (String, usize) {
    let limits = state.limited.iter();
    let mut all: Vec<String> = limits
        .map(|limited| format!("limited {}: {}", age(limited.until.since(now)), limited.reason))
        .collect();
    let delay = state.login_delayed_until.map(|until| until.since(now));
    all.extend(delay.map(|delay| format!("next login in {}", age(delay))));
    let head = all.first().and_then(|first| first.find(':'));
    (harmless(&all.join("; ")), head.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn state(change: &serde_json::Value) -> ClientState {
        let none = json!({"count": 0, "in_ms": 3_600_000, "limit": null});
        let mut state = json!({
            "client": "192.0.2.1", "user": false, "connections": 3, "new_connections": none, "messages": none,
            "recipients": none, "failed_logins": none, "login_delayed_until": null, "limited": [],
            "last_seen": "1970-01-01T00:00:00.000Z",
        });
        for (key, value) in change.as_object().unwrap() {
            state[key] = value.clone();
        }
        serde_json::from_value(state).unwrap()
    }

    fn printed(all: &[ClientState], width: usize) -> String {
        let mut out = Vec::new();
        clients(all, Timestamp(60_000), width, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_client_shows_its_counts_and_limits() {
        let limited = json!([{"what": "messages", "until": "1970-01-01T00:02:00.000Z", "reason": "messages_per_client: 100/1m"}]);
        let busy = json!({"messages": {"count": 100, "in_ms": 60_000, "limit": 100}, "limited": limited});
        let user = json!({"user": true, "client": "ada", "login_delayed_until": "1970-01-01T00:01:30.000Z"});
        let text = printed(&[state(&busy), state(&user)], 500);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[2].starts_with("192.0.2.1  3     100 in 1m"), "{text}");
        assert!(
            lines[2].ends_with("limited 60s: messages_per_client: 100/1m"),
            "{text}"
        );
        assert!(
            lines[3].starts_with("user ada ") && lines[3].ends_with("next login in 30s"),
            "{text}"
        );
        let long = json!({"client": "2001:db8:ffff:ffff::/64", "limited": limited});
        for width in [80, 40] {
            let text = printed(&[state(&long)], width);
            assert!(text.lines().all(|line| line.chars().count() <= width), "{text}");
            assert!(text.contains("limited 60s"), "{text}");
            assert!(width < 80 || text.contains("2001:db8:ffff:ffff::/64"), "{text}");
        }
    }
}
