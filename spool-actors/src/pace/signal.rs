//! What the end of an attempt says about its destination, as opposed to its message.

use spool_core::{AttemptReport, AttemptResult, EnhancedCode, Reply, Stage, is_rate_limit};

/// The longest reason that is kept.
const MAX_REASON: usize = 200;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Signal {
    /// It answered. What it said was about the message.
    Fine,
    /// It answered that there are too many connections, or too many messages in a time.
    Throttled { of: Throttled, reason: String },
    /// There was no session: no name or address for now, no connection, or a greeting that refused it.
    Unreachable { reason: String },
    /// A host on the way has no connection left: nothing was tried.
    NotBegun { reason: String },
    /// The session broke off.
    Broken { reason: String },
    /// Nothing: the attempt itself failed, or there is no way to it at all.
    Nothing,
}

/// What there is too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Throttled {
    Connections,
    Messages,
}

impl Signal {
    /// Reads a report. A recipient that was refused with a rate limit speaks for the destination.
    pub(crate) fn of(report: &AttemptReport) -> Self {
        let reason = || cut(&report.result.to_string());
        match &report.result {
            AttemptResult::Refused { stage, reply } => refused(*stage, reply),
            AttemptResult::Accepted(_) | AttemptResult::AllRefused => {
                let throttles = report.refused.iter().find(|one| is_throttle(&one.reply));
                throttles.map_or(Self::Fine, |one| refused(Stage::Rcpt, &one.reply))
            }
            AttemptResult::NoConnection { .. } => Self::Unreachable { reason: reason() },
            AttemptResult::NotBegun { reason } => Self::NotBegun { reason: cut(reason) },
            AttemptResult::Broken { .. } => Self::Broken { reason: reason() },
            AttemptResult::Interrupted | AttemptResult::Panicked { .. } | _ => Self::Nothing,
        }
    }
}

impl Signal {
    /// What went wrong, in the peer's words or the network's.
    pub(crate) fn reason(&self) -> Option<&str> {
        match self {
            Self::Throttled { reason, .. } | Self::Unreachable { reason } | Self::Broken { reason } => {
                Some(reason)
            }
            Self::Fine | Self::NotBegun { .. } | Self::Nothing => None,
        }
    }
}

fn refused(stage: Stage, reply: &Reply) -> Signal {
    let reason = cut(&format!("{stage}: {reply}"));
    if stage == Stage::Route {
        // Nobody was asked, and what holds for good is no outage.
        return match reply.is_permanent() {
            true => Signal::Nothing,
            false => Signal::Unreachable { reason },
        };
    }
    let greeting = matches!(stage, Stage::Connect | Stage::Hello | Stage::Tls | Stage::Auth);
    if is_throttle(reply) {
        let of = if greeting || speaks_of_connections(reply) {
            Throttled::Connections
        } else {
            Throttled::Messages
        };
        return Signal::Throttled { of, reason };
    }
    if greeting {
        Signal::Unreachable { reason }
    } else {
        Signal::Fine
    }
}

/// 421 closes the session whatever was asked (RFC 5321 section 3.8): it is always about the destination. Too many
/// recipients are too many for one message (section 4.5.3.1.10).
fn is_throttle(reply: &Reply) -> bool {
    let recipients = reply.enhanced == Some(EnhancedCode(4, 5, 3)) || speaks_of(reply, "recipients");
    reply.code == 421 || (is_rate_limit(reply) && !recipients)
}

fn speaks_of_connections(reply: &Reply) -> bool {
    let words = ["connections", "concurren", "sessions"];
    words.iter().any(|word| speaks_of(reply, word))
}

fn speaks_of(reply: &Reply, word: &str) -> bool {
    reply.text.to_ascii_lowercase().contains(word)
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_REASON).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use spool_core::RefusedRecipient;

    fn kind(report: &AttemptReport) -> &'static str {
        match Signal::of(report) {
            Signal::Fine => "fine",
            Signal::Throttled {
                of: Throttled::Connections,
                ..
            } => "connections",
            Signal::Throttled {
                of: Throttled::Messages,
                ..
            } => "messages",
            Signal::Unreachable { .. } => "unreachable",
            Signal::NotBegun { .. } => "not begun",
            Signal::Broken { .. } => "broken",
            Signal::Nothing => "nothing",
        }
    }

    #[test]
    fn a_report_says_something_about_its_destination() {
        let refused = |stage, code, text: &str| AttemptResult::Refused {
            stage,
            reply: Reply::new(code, text),
        };
        let broken = AttemptResult::Broken {
            stage: Stage::Data,
            error: "timed out".into(),
            in_doubt: false,
        };
        let no_connection = AttemptResult::NoConnection {
            error: "refused".into(),
        };
        let panicked = AttemptResult::Panicked { text: "x".into() };
        for (result, expected) in [
            (AttemptResult::Accepted(Reply::new(250, "ok")), "fine"),
            (refused(Stage::Mail, 550, "5.7.1 no"), "fine"),
            (refused(Stage::FinalReply, 451, "4.3.0 later"), "fine"),
            (refused(Stage::Mail, 450, "4.2.0 greylisted"), "fine"),
            (refused(Stage::Connect, 421, "too busy"), "connections"),
            (
                refused(Stage::Mail, 421, "4.7.0 too many connections"),
                "connections",
            ),
            (refused(Stage::Mail, 450, "4.7.28 slow down"), "messages"),
            (refused(Stage::FinalReply, 421, "4.7.0 later"), "messages"),
            (refused(Stage::Connect, 554, "no service"), "unreachable"),
            (
                refused(Stage::Route, 451, "4.4.3 looking for x: SERVFAIL"),
                "unreachable",
            ),
            (refused(Stage::Route, 550, "5.1.2 no such domain"), "nothing"),
            (no_connection, "unreachable"),
            (AttemptResult::NotBegun { reason: "x".into() }, "not begun"),
            (broken, "broken"),
            (panicked, "nothing"),
            (AttemptResult::Interrupted, "nothing"),
        ] {
            let report = AttemptReport::new(result);
            assert_eq!(kind(&report), expected, "{report:?}");
        }
    }

    #[test]
    fn one_throttled_recipient_is_enough() {
        let mut report = AttemptReport::new(AttemptResult::Accepted(Reply::new(250, "ok")));
        let refused = |code, text: &str| RefusedRecipient {
            recipient: 0,
            reply: Reply::new(code, text),
        };
        report.refused = vec![
            refused(550, "5.1.1 gone"),
            refused(452, "4.5.3 too many recipients"),
        ];
        assert_eq!(kind(&report), "fine");
        report.refused.push(refused(450, "4.7.1 slow down"));
        assert_eq!(kind(&report), "messages");
    }
}
