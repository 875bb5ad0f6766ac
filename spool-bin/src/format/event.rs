//! Events as lines of text.

use super::units::hops;
use spool_core::{Event, EventKind, harmless};

/// `2026-11-24T03:39:12.042Z 12 delivered 01M8… <ada@example.org> bob@example.net`; `None` for what says nothing to a
/// person.
pub(crate) fn line(event: &Event) -> Option<String> {
    let what = match &event.kind {
        EventKind::Ping => return None,
        EventKind::Spooled => "spooled".to_owned(),
        EventKind::Delivered => "delivered".to_owned(),
        EventKind::Frozen => {
            let reason = event
                .reason
                .as_ref()
                .map(|reason| format!(" ({})", harmless(reason)));
            format!("frozen{}", reason.unwrap_or_default())
        }
        EventKind::Removed => "removed".to_owned(),
        EventKind::Unfrozen => "unfrozen".to_owned(),
        EventKind::Recovered(from) => format!("recovered from {from}"),
        EventKind::Quarantined(reason) => format!("quarantined ({})", harmless(reason)),
        EventKind::Delayed(until) => format!("delayed until {until}"),
        EventKind::DelayedRateLimited(until) => format!("delayed until {until}, rate limited"),
        EventKind::Bounced => "bounced".to_owned(),
        EventKind::Expired => "expired".to_owned(),
        EventKind::InDoubt => "in doubt: the next hop may hold the message".to_owned(),
        EventKind::Presend(decision) => format!("presend: {decision}"),
        EventKind::Rerouted(next_hops) => format!("rerouted to {}", hops(next_hops)),
        EventKind::Notice { action, id } => match id {
            Some(id) => format!("{action}: a notice is returned as {id}"),
            None => format!("{action}: no notice is wanted"),
        },
        EventKind::Gap(missed) => format!("gap: {missed} events were missed here"),
        _ => "unknown to this program".to_owned(),
    };
    let mut text = format!("{} {} {what}", event.at, event.seq);
    if let Some(id) = event.id {
        text += &format!(" {id}");
    }
    if let Some(envelope) = &event.envelope {
        text += &format!(" <{}>", harmless(&envelope.sender));
        match envelope.recipients.as_slice() {
            [] => {}
            [one] => text += &format!(" {}", harmless(one)),
            [first, rest @ ..] => text += &format!(" {} +{}", harmless(first), rest.len()),
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use spool_core::{EnvelopeSummary, MessageId, Timestamp};
    use std::sync::Arc;

    fn event(kind: EventKind) -> Event {
        let mut event = Event::new(12, Timestamp(1_795_491_552_042), kind);
        event.id = Some(MessageId::from_u128(7));
        event.envelope = Some(Arc::new(EnvelopeSummary {
            sender: "ada@example.org".into(),
            recipients: vec!["b\u{1b}[31m@example.net".into(), "c@example.net".into()],
            size: 3,
        }));
        event
    }

    #[test]
    fn an_event_is_one_harmless_line() {
        assert_eq!(
            line(&event(EventKind::Delivered)).unwrap(),
            "2026-11-24T03:39:12.042Z 12 delivered 00000000000000000000000007 <ada@example.org> b\\u001b[31m@example.net +1"
        );
        let reason = line(&event(EventKind::Quarantined("a\r\nb".into()))).unwrap();
        assert!(reason.contains("quarantined (a\\r\\nb)"), "{reason}");
        let hops = ["a:25", "mx:b.example:25"].map(|hop| hop.parse().unwrap());
        let notice = |id| {
            let action = spool_core::bounce::Action::Failed;
            line(&event(EventKind::Notice { action, id })).unwrap()
        };
        let told = notice(Some(MessageId::from_u128(9)));
        assert!(
            told.contains(" failed: a notice is returned as 00000000000000000000000009 "),
            "{told}"
        );
        assert!(notice(None).contains(" failed: no notice is wanted "));
        let rerouted = line(&event(EventKind::Rerouted(hops.into()))).unwrap();
        assert!(
            rerouted.contains(" rerouted to a:25, mx:b.example:25 "),
            "{rerouted}"
        );
        assert_eq!(line(&event(EventKind::Ping)), None);
        assert!(line(&event(EventKind::Gap(9))).unwrap().contains("9 events"));
    }
}
