//! What the end of an attempt says about its destination, as opposed to its message.

use spool_core::{
    AttemptReport, AttemptResult, EnhancedCode, Envelope, RecipientIndex, Reply, Stage, is_rate_limit,
    names_a_rate,
};
use std::hash::{DefaultHasher, Hash, Hasher};

/// The longest reason that is kept.
const MAX_REASON: usize = 200;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Signal {
    /// It answered. What it said was about the message.
    Fine,
    /// It answered that there are too many connections, or too many messages in a time.
    Throttled { of: Throttled, reason: String },
    /// It answered in words that may be about a limit of its own, or about the mailbox or the sender that they were said of.
    Suspected {
        /// A mark for each of them.
        whose: Vec<u64>,
        of: Throttled,
        reason: String,
    },
    /// There was no session, or it broke off: no name or address for now, no connection, a greeting that refused it.
    Unreachable { reason: String },
    /// Nothing was tried, for a reason that is not the destination's.
    Unused,
    /// Nothing: the attempt itself failed, or there is no way to it at all.
    Nothing,
}

/// What there is too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Throttled {
    Connections,
    Messages,
}

impl Throttled {
    /// What a peer says that there is too much of, in a `greeting` or later.
    fn by(reply: &Reply, greeting: bool) -> Self {
        let words = ["connections", "concurren", "sessions"];
        match greeting || words.iter().any(|word| speaks_of(reply, word)) {
            true => Self::Connections,
            false => Self::Messages,
        }
    }
}

impl Signal {
    /// Reads the report of an attempt at a message with `envelope`. What was said of one recipient and not of all says nothing about the
    /// destination.
    pub(crate) fn of(report: &AttemptReport, envelope: &Envelope) -> Self {
        let reason = || cut(&report.result.to_string());
        match &report.result {
            AttemptResult::Refused { stage, reply } => refused(*stage, reply, envelope),
            AttemptResult::Accepted(_) => Self::Fine,
            AttemptResult::AllRefused => all_refused(report, envelope),
            AttemptResult::NotBegun { .. } => Self::Unused,
            AttemptResult::NoConnection { .. } | AttemptResult::Broken { .. } => {
                Self::Unreachable { reason: reason() }
            }
            AttemptResult::Interrupted | AttemptResult::Panicked { .. } | _ => Self::Nothing,
        }
    }

    /// What went wrong, in the peer's words or the network's.
    pub(crate) fn reason(&self) -> Option<&str> {
        match self {
            Self::Throttled { reason, .. }
            | Self::Suspected { reason, .. }
            | Self::Unreachable { reason } => Some(reason),
            Self::Fine | Self::Unused | Self::Nothing => None,
        }
    }
}

fn refused(stage: Stage, reply: &Reply, envelope: &Envelope) -> Signal {
    let reason = cut(&format!("{stage}: {reply}"));
    if stage == Stage::Route {
        // Nobody was asked, and what holds for good is no outage.
        return match reply.is_permanent() {
            true => Signal::Nothing,
            false => Signal::Unreachable { reason },
        };
    }
    let greeting = matches!(stage, Stage::Connect | Stage::Hello | Stage::Tls | Stage::Auth);
    let limit = limit(stage, reply);
    let of = Throttled::by(reply, greeting);
    match limit {
        Limit::Certain => Signal::Throttled { of, reason },
        Limit::Possible if greeting => Signal::Throttled { of, reason },
        Limit::Possible => Signal::Suspected {
            whose: vec![if stage == Stage::Mail {
                mark(&envelope.reverse_path)
            } else {
                mark(&envelope.recipients.first().map(|recipient| &recipient.address))
            }],
            of,
            reason,
        },
        Limit::None if greeting => Signal::Unreachable { reason },
        Limit::None => Signal::Fine,
    }
}

/// Every recipient was refused by itself: a limit, if all of them were told of one.
fn all_refused(report: &AttemptReport, envelope: &Envelope) -> Signal {
    let limits = |reply: &Reply| limit(Stage::Rcpt, reply) != Limit::None;
    let Some(first) = report.refused.first() else {
        return Signal::Fine;
    };
    if !report.refused.iter().all(|refused| limits(&refused.reply)) {
        return Signal::Fine;
    }
    let address = |index: RecipientIndex| {
        let recipient = envelope.recipients.get(usize::try_from(index).ok()?)?;
        Some(&recipient.address)
    };
    Signal::Suspected {
        whose: report
            .refused
            .iter()
            .map(|refused| mark(&address(refused.recipient)))
            .collect(),
        of: Throttled::by(&first.reply, false),
        reason: cut(&format!("{}: {}", Stage::Rcpt, first.reply)),
    }
}

/// Names a mailbox or a sender.
fn mark(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

/// Whether a reply is about how much is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limit {
    None,
    /// Its words may be about one mailbox or sender.
    Possible,
    Certain,
}

/// 421 closes the session whatever was asked (RFC 5321 section 3.8): it is about the destination, unless its enhanced code says that it
/// is about an address or a mailbox (RFC 3463). Of these, 4.2.1 in the words of a limit may be meant for everybody. Too many recipients are
/// too many for one message (section 4.5.3.1.10). Words alone, and any reply to RCPT, may be meant for one mailbox.
fn limit(stage: Stage, reply: &Reply) -> Limit {
    let subject = reply.enhanced.map(|EnhancedCode(_, subject, _)| subject);
    let of_one = match stage {
        Stage::Mail => subject == Some(1),
        Stage::Rcpt | Stage::Data | Stage::Body | Stage::FinalReply => matches!(subject, Some(1 | 2)),
        Stage::Connect | Stage::Hello | Stage::Tls | Stage::Auth | Stage::Route | _ => false,
    };
    // Said of mailboxes by most, and of everybody by some.
    let busy = reply.enhanced == Some(EnhancedCode(4, 2, 1));
    let words = Reply {
        enhanced: None,
        ..reply.clone()
    };
    let recipients = reply.enhanced == Some(EnhancedCode(4, 5, 3)) || speaks_of(reply, "recipients");
    match reply.code {
        _ if of_one && busy && is_rate_limit(&words) => Limit::Possible,
        _ if of_one => Limit::None,
        421 => Limit::Certain,
        _ if recipients || !is_rate_limit(reply) => Limit::None,
        _ if names_a_rate(reply) && stage != Stage::Rcpt => Limit::Certain,
        _ => Limit::Possible,
    }
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
    use spool_core::{RefusedRecipient, ReversePath};

    fn envelope() -> Envelope {
        let to = ["a@x.example", "b@x.example", "c@x.example"].map(|to| to.parse().unwrap());
        Envelope::of(ReversePath::Null, to)
    }

    fn kind(report: &AttemptReport) -> &'static str {
        match Signal::of(report, &envelope()) {
            Signal::Suspected { .. } => "suspected",
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
            Signal::Unused => "unused",
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
            (refused(Stage::Mail, 450, "4.7.1 slow down"), "suspected"),
            (refused(Stage::Mail, 421, "4.1.8 sender unknown"), "fine"),
            (refused(Stage::FinalReply, 452, "4.2.2 too many messages"), "fine"),
            (
                refused(Stage::Rcpt, 421, "4.2.1 too many messages for this mailbox"),
                "suspected",
            ),
            (refused(Stage::Rcpt, 421, "4.7.0 too many errors"), "messages"),
            (
                refused(Stage::Connect, 421, "4.2.1 too many connections"),
                "connections",
            ),
            (refused(Stage::Connect, 554, "no service"), "unreachable"),
            (
                refused(Stage::Route, 451, "4.4.3 looking for x: SERVFAIL"),
                "unreachable",
            ),
            (refused(Stage::Route, 550, "5.1.2 no such domain"), "nothing"),
            (no_connection, "unreachable"),
            (AttemptResult::NotBegun { reason: "x".into() }, "unused"),
            (broken, "unreachable"),
            (panicked, "nothing"),
            (AttemptResult::Interrupted, "nothing"),
        ] {
            let report = AttemptReport::new(result);
            assert_eq!(kind(&report), expected, "{report:?}");
        }
    }

    #[test]
    fn what_is_said_of_one_recipient_is_not_said_of_the_destination() {
        let refused = |recipient, code, text: &str| RefusedRecipient {
            recipient,
            reply: Reply::new(code, text),
        };
        let slow = "4.7.1 slow down";
        let report = |result, refused: &[RefusedRecipient]| {
            let mut report = AttemptReport::new(result);
            report.refused = refused.to_vec();
            report
        };
        let accepted = AttemptResult::Accepted(Reply::new(250, "ok"));
        assert_eq!(kind(&report(accepted, &[refused(0, 450, slow)])), "fine");
        let all = |refused: &[RefusedRecipient]| kind(&report(AttemptResult::AllRefused, refused));
        assert_eq!(all(&[refused(0, 452, "4.2.2 too many messages")]), "fine");
        assert_eq!(
            all(&[refused(0, 450, slow), refused(1, 550, "5.1.1 gone")]),
            "fine"
        );
        assert_eq!(all(&[refused(0, 452, "4.5.3 too many recipients")]), "fine");
        assert_eq!(all(&[refused(0, 450, slow)]), "suspected");
        let two = report(
            AttemptResult::AllRefused,
            &[refused(0, 450, slow), refused(1, 450, slow)],
        );
        let Signal::Suspected { whose, .. } = Signal::of(&two, &envelope()) else {
            panic!("all of them were told so");
        };
        assert!(whose.len() == 2 && whose[0] != whose[1]);
    }
}
