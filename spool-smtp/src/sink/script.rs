//! The sink's script: lines of `STAGE CONDITION... ACTION`, the first that matches wins. See `docs/sink-script.md`.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use thiserror::Error;

/// The most pairs of sender and recipient that `first=` remembers.
const MAX_PAIRS: usize = 1_000_000;

/// What is wrong with a script, and where.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: {text}")]
pub struct ScriptError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub text: String,
}

/// Where in a session a rule applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Connect,
    Ehlo,
    Helo,
    Mail,
    Rcpt,
    Data,
    Dot,
    Rset,
    Quit,
}

/// What a rule does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// These bytes, CRLF included.
    Say(Vec<u8>),
    /// These bytes, one at a time.
    Drip(Vec<u8>, Duration),
    /// The same line over and over.
    Endless(Vec<u8>),
    /// These bytes, then the end of the connection.
    SayAndClose(Vec<u8>),
    /// What would be done anyhow, later.
    Delay(Duration),
    /// Nothing, for ever.
    Hang,
    /// The end of the connection.
    Close,
    /// The end of it with RST.
    Reset,
    /// What would be done anyhow, without these words in the reply to EHLO.
    Hide(Vec<String>),
}

#[derive(Debug, Clone, PartialEq)]
enum Condition {
    From(String),
    To(String),
    Nth(u64),
    First(u64),
    Over(usize),
    Rate(u64),
    Share(f64),
}

#[derive(Debug, Clone, PartialEq)]
struct Rule {
    stage: Stage,
    conditions: Vec<Condition>,
    action: Action,
}

/// A whole script. The empty one takes everything.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Script(Vec<Rule>);

/// What the rules are asked about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment<'m> {
    pub(super) stage: Stage,
    pub(super) from: &'m str,
    pub(super) to: &'m str,
    /// Connections open, this one included.
    pub(super) open: usize,
}

/// What conditions remember over all sessions.
#[derive(Debug, Default)]
pub(super) struct Memory {
    messages: AtomicU64,
    dice: AtomicU64,
    pairs: Mutex<HashMap<(String, String), u64>>,
    second: Mutex<Option<(Instant, u64)>>,
}

impl Script {
    /// Whether every message is taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The action for a moment, if a rule speaks of it.
    pub(super) fn action(&self, moment: Moment<'_>, memory: &Memory) -> Option<&Action> {
        if self.0.is_empty() {
            return None;
        }
        if moment.stage == Stage::Mail {
            memory.messages.fetch_add(1, Ordering::Relaxed);
        }
        let applies = |rule: &&Rule| {
            rule.stage == moment.stage
                && rule
                    .conditions
                    .iter()
                    .all(|condition| condition.holds(moment, memory))
        };
        self.0.iter().find(applies).map(|rule| &rule.action)
    }
}

impl Condition {
    fn holds(&self, moment: Moment<'_>, memory: &Memory) -> bool {
        match self {
            Self::From(glob) => matches_glob(glob.as_bytes(), moment.from.as_bytes()),
            Self::To(glob) => matches_glob(glob.as_bytes(), moment.to.as_bytes()),
            Self::Nth(n) => memory.messages.load(Ordering::Relaxed) == *n,
            Self::Over(limit) => moment.open > *limit,
            Self::First(n) => {
                let mut pairs = memory.pairs.lock().unwrap_or_else(PoisonError::into_inner);
                if pairs.len() >= MAX_PAIRS {
                    pairs.clear();
                }
                let seen = pairs
                    .entry((moment.from.to_owned(), moment.to.to_owned()))
                    .or_default();
                *seen += 1;
                *seen <= *n
            }
            Self::Rate(limit) => {
                let mut second = memory.second.lock().unwrap_or_else(PoisonError::into_inner);
                let (start, seen) = second.get_or_insert_with(|| (Instant::now(), 0));
                if start.elapsed() >= Duration::from_secs(1) {
                    (*start, *seen) = (Instant::now(), 0);
                }
                *seen += 1;
                *seen > *limit
            }
            Self::Share(share) => memory.roll() < *share,
        }
    }
}

impl Memory {
    /// From 0 to 1, the same sequence in every run (splitmix64).
    #[allow(clippy::cast_precision_loss, reason = "53 bits are kept")]
    fn roll(&self) -> f64 {
        let mut z = self.dice.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// `*` stands for anything, without regard to case.
fn matches_glob(glob: &[u8], text: &[u8]) -> bool {
    let (mut g, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match glob.get(g) {
            Some(b'*') => {
                star = Some((g + 1, t));
                g += 1;
            }
            Some(byte) if text.get(t).is_some_and(|c| c.eq_ignore_ascii_case(byte)) => {
                (g, t) = (g + 1, t + 1)
            }
            Some(_) | None => match star {
                Some((after, from)) => {
                    (g, t) = (after, from + 1);
                    star = Some((after, from + 1));
                }
                None => return false,
            },
        }
    }
    glob.get(g..).unwrap_or_default().iter().all(|byte| *byte == b'*')
}

impl FromStr for Script {
    type Err = ScriptError;

    fn from_str(text: &str) -> Result<Self, ScriptError> {
        let mut rules = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if !line.is_empty() && !line.starts_with('#') {
                rules.push(rule(line).map_err(|text| ScriptError {
                    line: number + 1,
                    text,
                })?);
            }
        }
        Ok(Self(rules))
    }
}

fn rule(line: &str) -> Result<Rule, String> {
    let (stage, mut rest) = word(line);
    let stage = match stage {
        "connect" => Stage::Connect,
        "ehlo" => Stage::Ehlo,
        "helo" => Stage::Helo,
        "mail" => Stage::Mail,
        "rcpt" => Stage::Rcpt,
        "data" => Stage::Data,
        "dot" => Stage::Dot,
        "rset" => Stage::Rset,
        "quit" => Stage::Quit,
        other => {
            return Err(format!(
                "{other:?} is no stage: connect ehlo helo mail rcpt data dot rset quit"
            ));
        }
    };
    let mut conditions = Vec::new();
    loop {
        let (next, after) = word(rest);
        let Some((name, value)) = next.split_once('=') else {
            break;
        };
        conditions.push(condition(name, value)?);
        rest = after;
    }
    Ok(Rule {
        stage,
        conditions,
        action: action(rest)?,
    })
}

fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    text.split_once(char::is_whitespace)
        .map_or((text, ""), |(word, rest)| (word, rest.trim_start()))
}

fn condition(name: &str, value: &str) -> Result<Condition, String> {
    let number = || value.parse().map_err(|_| format!("{name}= needs a number"));
    Ok(match name {
        "from" => Condition::From(value.to_owned()),
        "to" => Condition::To(value.to_owned()),
        "nth" => Condition::Nth(number()?),
        "first" => Condition::First(number()?),
        "over" => Condition::Over(usize::try_from(number()?).unwrap_or(usize::MAX)),
        "rate" => Condition::Rate(number()?),
        "share" => Condition::Share(
            value
                .parse()
                .map_err(|_| "share= needs a number from 0 to 1".to_owned())?,
        ),
        _ => {
            return Err(format!(
                "{name}= is no condition: from to nth first over rate share"
            ));
        }
    })
}

fn action(text: &str) -> Result<Action, String> {
    let (verb, rest) = word(text);
    let span = |word: &str| {
        let millis = word.strip_suffix("ms").and_then(|n| n.parse().ok());
        let millis = millis.or_else(|| word.strip_suffix('s')?.parse::<u64>().ok()?.checked_mul(1000));
        millis
            .map(Duration::from_millis)
            .ok_or_else(|| format!("{word:?} is no span; write 500ms or 3s"))
    };
    Ok(match verb {
        "reply" => Action::Say(reply(rest)?),
        "reply-close" => Action::SayAndClose(reply(rest)?),
        "raw" => Action::Say(unescape(rest)?),
        "endless" => Action::Endless(unescape(rest)?),
        "drip" => {
            let (every, text) = word(rest);
            Action::Drip(reply(text)?, span(every)?)
        }
        "delay" => Action::Delay(span(rest)?),
        "hang" => Action::Hang,
        "close" => Action::Close,
        "reset" => Action::Reset,
        "hide" => Action::Hide(rest.split_whitespace().map(str::to_ascii_uppercase).collect()),
        other => {
            return Err(format!(
                "{other:?} is no action: reply reply-close raw endless drip delay hang close reset hide"
            ));
        }
    })
}

/// `CODE TEXT`; lines are separated by `\n`.
fn reply(text: &str) -> Result<Vec<u8>, String> {
    let (code, text) = word(text);
    if code.len() != 3 || !code.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("{code:?} is no reply code"));
    }
    let lines: Vec<&str> = text.split("\\n").collect();
    let mut out = Vec::new();
    for (place, line) in lines.iter().enumerate() {
        let separator = if place + 1 < lines.len() { '-' } else { ' ' };
        out.extend_from_slice(format!("{code}{separator}{line}\r\n").as_bytes());
    }
    Ok(out)
}

/// Bytes with `\r`, `\n`, `\\` and `\xHH`.
fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.extend_from_slice(rest.get(..at).unwrap_or_default().as_bytes());
        let tail = rest.get(at + 1..).unwrap_or_default();
        let (byte, taken) = match tail.as_bytes() {
            [b'r', ..] => (b'\r', 1),
            [b'n', ..] => (b'\n', 1),
            [b'\\', ..] => (b'\\', 1),
            [b'x', ..] => {
                let digits = tail
                    .get(1..3)
                    .and_then(|digits| u8::from_str_radix(digits, 16).ok());
                (digits.ok_or("\\x needs two hexadecimal digits")?, 3)
            }
            _ => return Err("a backslash stands before r, n, x or another backslash".to_owned()),
        };
        out.push(byte);
        rest = tail.get(taken..).unwrap_or_default();
    }
    out.extend_from_slice(rest.as_bytes());
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_read_or_refused_with_their_line() {
        let script: Script = "# comment\n\nrcpt to=*@full.example reply 452 4.2.2 full\ndot nth=3 close\nehlo hide PIPELINING size\n".parse().unwrap();
        assert_eq!(script.0.len(), 3);
        for (text, line) in [
            ("frob reply 250 x", 1),
            ("\nrcpt reply abc x", 2),
            ("mail nth=x hang", 1),
            ("mail a=b hang", 1),
            ("mail", 1),
            ("mail raw \\q", 1),
            ("mail delay 3", 1),
        ] {
            assert_eq!(text.parse::<Script>().unwrap_err().line, line, "{text}");
        }
    }

    #[test]
    fn conditions_hold_when_they_should() {
        let script: Script = "rcpt first=1 from=*@a.example reply 451 later\nrcpt to=B@* reply 550 no"
            .parse()
            .unwrap();
        let memory = Memory::default();
        let ask = |from, to| {
            script
                .action(
                    Moment {
                        stage: Stage::Rcpt,
                        from,
                        to,
                        open: 1,
                    },
                    &memory,
                )
                .is_some()
        };
        assert!(
            ask("x@a.example", "y@c") && !ask("x@a.example", "y@c"),
            "greylisted once"
        );
        assert!(ask("x@z", "b@c") && !ask("x@z", "bb@c"));
        assert!(
            matches_glob(b"*a*b", b"xxaybzb") && !matches_glob(b"*a*b", b"xxaybz") && matches_glob(b"*", b"")
        );
    }

    #[test]
    fn bytes_are_written_as_meant() {
        assert_eq!(unescape("250 \\xff\\r\\n").unwrap(), b"250 \xff\r\n");
        assert_eq!(reply("250 a\\nb").unwrap(), b"250-a\r\n250 b\r\n");
    }
}
