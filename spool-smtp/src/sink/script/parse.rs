//! Parses a script. An error is reported with its line.

use super::{Condition, Flaw, Script, ScriptAction, ScriptRule, ScriptStage};
use crate::LineError;
use std::str::FromStr;
use std::time::Duration;

/// The most lines of a reply that `lines` makes.
const MAX_LINES: usize = 100_000;
/// How many bytes of an endless reply are sent at once: one system call for each byte would overload the sink.
const ENDLESS_CHUNK: usize = 16 * 1024;

const STAGES: [(&str, ScriptStage); 14] = [
    ("connect", ScriptStage::Connect),
    ("tls", ScriptStage::Tls),
    ("ehlo", ScriptStage::Ehlo),
    ("helo", ScriptStage::Helo),
    ("starttls", ScriptStage::StartTls),
    ("auth", ScriptStage::Auth),
    ("mail", ScriptStage::Mail),
    ("rcpt", ScriptStage::Rcpt),
    ("data", ScriptStage::Data),
    ("bdat", ScriptStage::Bdat),
    ("body", ScriptStage::Body),
    ("dot", ScriptStage::Dot),
    ("rset", ScriptStage::Rset),
    ("quit", ScriptStage::Quit),
];

impl FromStr for Script {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        let mut rules = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if !line.is_empty() && !line.starts_with('#') {
                rules.push(rule(line).map_err(|text| LineError {
                    line: number + 1,
                    text,
                })?);
            }
        }
        Ok(Self(rules))
    }
}

fn rule(line: &str) -> Result<ScriptRule, String> {
    let (name, mut rest) = word(line);
    let found = STAGES.iter().find(|(known, _)| *known == name);
    let (_, stage) = *found.ok_or_else(|| {
        let known: Vec<&str> = STAGES.iter().map(|(name, _)| *name).collect();
        format!("{name:?} is no stage: {}", known.join(" "))
    })?;
    let mut conditions = Vec::new();
    loop {
        let (next, after) = word(rest);
        let Some((name, value)) = next.split_once('=') else {
            break;
        };
        conditions.push(condition(name, value)?);
        rest = after;
    }
    conditions.sort_by_key(Condition::counts);
    let action = action(rest)?;
    let only = match word(rest).0 {
        "hide" | "offer" => ScriptStage::Ehlo,
        "slow" => ScriptStage::Body,
        "certificate" => ScriptStage::Tls,
        _ => stage,
    };
    if only != stage {
        let found = STAGES.iter().find(|(_, known)| *known == only);
        let name = found.map_or("", |(name, _)| name);
        return Err(format!("{} stands at {name} only", word(rest).0));
    }
    Ok(ScriptRule {
        stage,
        conditions,
        action,
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
        "from" => Condition::From(value.to_ascii_lowercase()),
        "to" => Condition::To(value.to_ascii_lowercase()),
        "nth" => Condition::Nth(number()?),
        "first" => Condition::First(number()?),
        "over" => Condition::Over(usize::try_from(number()?).unwrap_or(usize::MAX)),
        "rate" => Condition::Rate(number()?),
        "tls" => match value {
            "yes" => Condition::Tls(true),
            "no" => Condition::Tls(false),
            _ => return Err("tls= needs yes or no".to_owned()),
        },
        "share" => Condition::Share(
            value
                .parse()
                .map_err(|_| "share= needs a number from 0 to 1".to_owned())?,
        ),
        _ => {
            return Err(format!(
                "{name}= is no condition: from to nth first over rate share tls"
            ));
        }
    })
}

fn action(text: &str) -> Result<ScriptAction, String> {
    let (verb, rest) = word(text);
    let plain = |action| match rest {
        "" => Ok(action),
        more => Err(format!("{more:?} is too much: {verb} stands alone")),
    };
    Ok(match verb {
        "reply" => ScriptAction::Say(reply(rest)?),
        "reply-close" => ScriptAction::SayAndClose(reply(rest)?),
        "lines" => ScriptAction::Say(lines(rest)?),
        "raw" => ScriptAction::Say(unescape(rest)?),
        "endless" => ScriptAction::Endless(endless(rest)?),
        "drip" => {
            let (every, text) = word(rest);
            ScriptAction::Drip(reply(text)?, span(every)?)
        }
        "delay" => ScriptAction::Delay(span(rest)?),
        "slow" => ScriptAction::Slow(span(rest)?),
        "hang" => plain(ScriptAction::Hang)?,
        "close" => plain(ScriptAction::Close)?,
        "reset" => plain(ScriptAction::Reset)?,
        "hide" => extensions(rest, ""),
        "offer" => extensions("", rest),
        "certificate" => ScriptAction::Certificate(flaw(rest)?),
        other => {
            return Err(format!(
                "{other:?} is no action: reply reply-close lines raw endless drip delay hang close reset hide offer slow certificate"
            ));
        }
    })
}

fn extensions(hidden: &str, more: &str) -> ScriptAction {
    let words = |text: &str| text.split_whitespace().map(str::to_ascii_uppercase).collect();
    let (hidden, more) = (words(hidden), words(more));
    ScriptAction::Extensions { hidden, more }
}

fn span(word: &str) -> Result<Duration, String> {
    let millis = word.strip_suffix("ms").and_then(|n| n.parse().ok());
    let millis = millis.or_else(|| word.strip_suffix('s')?.parse::<u64>().ok()?.checked_mul(1000));
    millis
        .map(Duration::from_millis)
        .ok_or_else(|| format!("{word:?} is no span; write 500ms or 3s"))
}

fn flaw(word: &str) -> Result<Flaw, String> {
    match word {
        "expired" => Ok(Flaw::Expired),
        "self-signed" => Ok(Flaw::SelfSigned),
        "other-name" => Ok(Flaw::OtherName),
        other => Err(format!(
            "{other:?} is no certificate: expired self-signed other-name"
        )),
    }
}

/// `CODE TEXT`; lines are separated by `\n`.
fn reply(text: &str) -> Result<Vec<u8>, String> {
    let (code, text) = code(text)?;
    let lines: Vec<&str> = text.split("\\n").collect();
    Ok(joined(code, lines.len(), lines.into_iter()))
}

/// `N CODE TEXT`: the same text in N lines.
fn lines(text: &str) -> Result<Vec<u8>, String> {
    let (number, rest) = word(text);
    let number: Option<usize> = number.parse().ok().filter(|n| (1..=MAX_LINES).contains(n));
    let number = number.ok_or_else(|| format!("lines needs a number from 1 to {MAX_LINES}"))?;
    let (code, text) = code(rest)?;
    Ok(joined(code, number, std::iter::repeat_n(text, number)))
}

fn code(text: &str) -> Result<(&str, &str), String> {
    let (code, text) = word(text);
    if code.len() != 3 || !code.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("{code:?} is no reply code"));
    }
    Ok((code, text))
}

fn joined<'t>(code: &str, number: usize, lines: impl Iterator<Item = &'t str>) -> Vec<u8> {
    let mut out = Vec::new();
    for (place, line) in (1..).zip(lines) {
        let separator = if place < number { '-' } else { ' ' };
        out.extend_from_slice(format!("{code}{separator}{line}\r\n").as_bytes());
    }
    out
}

fn endless(text: &str) -> Result<Vec<u8>, String> {
    let bytes = unescape(text)?;
    if bytes.is_empty() {
        return Err("endless needs something to say".to_owned());
    }
    Ok(bytes.repeat((ENDLESS_CHUNK / bytes.len()).max(1)))
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
        let script: Script = "# comment\n\nrcpt to=*@full.example reply 452 4.2.2 full\ndot nth=3 close\nehlo hide PIPELINING size\ntls certificate expired\nbody slow 10ms\nauth lines 3 535 no\n".parse().unwrap();
        assert_eq!(script.0.len(), 6);
        for (text, line) in [
            ("frob reply 250 x", 1),
            ("\nrcpt reply abc x", 2),
            ("mail nth=x hang", 1),
            ("mail a=b hang", 1),
            ("mail tls=maybe hang", 1),
            ("mail", 1),
            ("mail raw \\q", 1),
            ("mail delay 3", 1),
            ("mail hang on", 1),
            ("mail hide SIZE", 1),
            ("mail offer CHUNKING", 1),
            ("data slow 1s", 1),
            ("connect certificate expired", 1),
            ("#\n\ntls certificate good", 3),
            ("ehlo lines 0 250 x", 1),
            ("ehlo lines 100001 250 x", 1),
            ("mail endless", 1),
        ] {
            assert_eq!(text.parse::<Script>().unwrap_err().line, line, "{text}");
        }
    }

    #[test]
    fn bytes_are_written_as_meant() {
        assert_eq!(unescape("250 \\xff\\r\\n").unwrap(), b"250 \xff\r\n");
        assert_eq!(reply("250 a\\nb").unwrap(), b"250-a\r\n250 b\r\n");
        assert_eq!(lines("3 250 a").unwrap(), b"250-a\r\n250-a\r\n250 a\r\n");
        assert_eq!(endless("ab").unwrap(), b"ab".repeat(8192));
    }

    #[test]
    fn the_manual_shows_scripts_and_names_every_stage() {
        let manual = include_str!("../../../../docs/sink-script.md");
        let example = manual
            .split("```text\n")
            .nth(2)
            .unwrap()
            .split("```")
            .next()
            .unwrap();
        let script: Script = example.parse().unwrap();
        assert!(script.0.len() > 10, "{example}");
        for (name, _) in STAGES {
            assert!(manual.contains(&format!("`{name}`")), "{name}");
        }
    }
}
