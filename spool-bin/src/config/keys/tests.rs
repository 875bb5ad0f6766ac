//! The keys are those that the reader takes, with these kinds and defaults; and the documentation is generated from them.

use super::*;
use crate::config::{Config, sections};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use toml::Value as Toml;

/// Set to write the files of the documentation in place of comparing them.
const UPDATE: &str = "SPOOL_UPDATE_DOCS";

impl Key {
    fn example(&self) -> Toml {
        self.value
            .text()
            .parse()
            .unwrap_or_else(|error| panic!("{}: {error}", self.path))
    }
}

/// The column of the comments.
const COMMENTS: usize = 34;
/// The longest line with a comment behind its key.
const WIDTH: usize = 150;

/// A line of a configuration file with a comment, which stands above it when both are too long for one line.
fn line(mark: &str, text: &str, comment: &str) -> String {
    let one = format!("{:COMMENTS$}# {comment}", format!("{mark}{text} "));
    match one.chars().count() <= WIDTH {
        true => format!("{one}\n"),
        false => format!("{mark}# {comment}\n{mark}{text}\n"),
    }
}

/// `docs/spool.example.toml`, with `list_mark` before every line of a `[[table]]`.
fn example(list_mark: &str) -> String {
    let mut out = "# Every key with its default, generated from spool-bin/src/config/keys/table.rs. Spans: \"500ms\" \"90s\" \"15m\" \"2h\" \"3d\".\n\
                   # Sizes: \"1000B\" \"64KiB\" \"35MiB\". Rates: \"100/1m\". Tables in comments may be written several times.\n"
        .to_owned();
    for table in KEYS {
        let mark = if table.is_list { list_mark } else { "" };
        out.push('\n');
        match (table.name, table.is_list) {
            ("", _) => {}
            (name, true) => out += &line(mark, &format!("[[{name}]]"), &table.sentence.replace('`', "")),
            (name, false) => out += &line(mark, &format!("[{name}]"), table.sentence),
        }
        for key in table.keys {
            out += &line(
                mark,
                &format!("{} = {}", key.name, key.example()),
                &key.sentence.replace('`', ""),
            );
        }
    }
    out
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Flag => "`true` or `false`",
        Kind::Number => "whole number, 0 or more",
        Kind::Count => "whole number, 1 or more",
        Kind::Share => "number from 0 to 1",
        Kind::Span => "span",
        Kind::Timeout => "span above 0",
        Kind::Size => "size",
        Kind::Rate => "rate",
        Kind::Text => "text",
        Kind::Date => "date or time",
        Kind::List => "list",
    }
}

/// `docs/configuration.md`.
fn reference() -> String {
    let mut out = "# Configuration\n\n\
        Every key of the configuration file, generated from `spool-bin/src/config/keys/table.rs`.\n\
        [The example file](spool.example.toml) has the same keys with their defaults. The empty file is valid. An unknown key, and a\n\
        value that a key does not take, are refused with the line and the key; `spool check --config FILE` prints all of them. \n\
        `spool config --config FILE` prints the values in force and where each comes from.\n\n\
        The file is TOML. A span is written `\"500ms\"`, `\"90s\"`, `\"15m\"`, `\"2h\"` or `\"3d\"`, a size `\"1000B\"`, `\"64KiB\"`, `\"35MiB\"`,\n\
        `\"2GiB\"` or `\"1TiB\"`, a rate `\"100/1m\"` (messages and a span), a date `\"2026-12-01\"` or `\"2026-12-01T06:00:00Z\"`. A changed key\n\
        takes effect with a *reload* ([SIGHUP](operations.md#reload)) or a *restart*.\n"
        .replace(" \n", "\n");
    for table in KEYS {
        let heading = match (table.name, table.is_list) {
            ("", _) => "Keys before the first table".to_owned(),
            (name, true) => format!("`[[{name}]]`"),
            (name, false) => format!("`[{name}]`"),
        };
        let about = match table.sentence {
            "" => String::new(),
            sentence => format!("{sentence}\n\n"),
        };
        let list = if table.is_list {
            "; in *italics*: an example"
        } else {
            ""
        };
        let _ = write!(
            out,
            "\n## {heading}\n\n{about}| key | value | default{list} | takes effect | |\n|---|---|---|---|---|\n"
        );
        for key in table.keys {
            let value = match key.value {
                Value::Default(_) => format!("`{}`", key.example()),
                Value::Example(_) => format!("none, *`{}`*", key.example()),
                Value::Required(_) => format!("required, *`{}`*", key.example()),
            };
            let takes_effect = match key.takes_effect {
                TakesEffect::Reload => "reload",
                TakesEffect::Restart => "restart",
            };
            let (name, sentence) = (key.name, key.sentence);
            let _ = writeln!(
                out,
                "| `{name}` | {} | {value} | {takes_effect} | {sentence} |",
                kind(key.kind)
            );
        }
    }
    out
}

/// Compares a file of the documentation with what it must be, or writes it.
fn generated(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap();
    let different = found
        .lines()
        .zip(text.lines())
        .find(|(found, text)| found != text);
    assert!(
        found == text,
        "docs/{name} is not what config/keys says: {different:?}; {UPDATE}=1 cargo test -p spool-bin generated writes it"
    );
}

#[test]
fn the_example_file_is_generated() {
    generated("spool.example.toml", &example("# "));
}

#[test]
fn the_reference_page_is_generated() {
    generated("configuration.md", &reference());
}

#[test]
fn the_reader_takes_exactly_these_keys() {
    let asked = sections::asked(&example(""));
    let is_table = |path: &&String| asked.iter().any(|other| other.starts_with(&format!("{path}.")));
    let asked: BTreeSet<&str> = asked
        .iter()
        .filter(|path| !is_table(path))
        .map(String::as_str)
        .collect();
    let listed: BTreeSet<&str> = all().map(|key| key.path).collect();
    assert_eq!(listed.len(), all().count(), "a key is listed twice");
    let missing: Vec<_> = asked.difference(&listed).collect();
    assert!(missing.is_empty(), "not in config/keys: {missing:?}");
    let unread: Vec<_> = listed.difference(&asked).collect();
    assert!(unread.is_empty(), "in config/keys, and never read: {unread:?}");
}

#[test]
fn keys_are_described_in_short_sentences() {
    for key in all() {
        let sentence = key.sentence;
        assert!(
            sentence.ends_with('.') && sentence.chars().count() <= 140,
            "{}: {sentence}",
            key.path
        );
        assert!(
            !sentence.contains('|') && !sentence.contains('\n'),
            "{}: {sentence}",
            key.path
        );
    }
}

/// Values that a key of a kind takes, and some that it does not.
fn samples(key: &Key) -> (&'static [&'static str], &'static [&'static str]) {
    match key.kind {
        Kind::Flag => (&["true", "false"], &["0", "\"true\""]),
        Kind::Number => (&["0", "7"], &["-1", "1.5", "\"7\""]),
        Kind::Count => (&["1", "7"], &["0", "-1", "\"7\""]),
        Kind::Share => (&["0", "0.5", "1.0"], &["1.1", "-0.1", "\"0.5\""]),
        // Six days and more: some spans have to be longer than others.
        Kind::Span => (&["\"0s\"", "\"30d\""], &["\"7\"", "7", "\"64MiB\""]),
        Kind::Timeout => (&["\"30d\""], &["\"0s\"", "7", "\"64MiB\""]),
        Kind::Size => (&["\"64MiB\""], &["\"7\"", "7", "\"7m\""]),
        Kind::Rate => (&["\"5/1m\""], &["\"5\"", "5", "\"7m\""]),
        Kind::Date => (&["\"2026-12-01\"", "2026-12-01T06:00:00Z"], &["\"7m\"", "7"]),
        Kind::Text => (&[], &["7", "true", "[]"]),
        Kind::List => (&["[]"], &["\"7\"", "7"]),
    }
}

#[test]
fn the_reader_takes_values_of_these_kinds() {
    for table in KEYS {
        for key in table.keys {
            let heading = match (table.name, table.is_list) {
                ("", _) => String::new(),
                (name, true) => format!("[[{name}]]\n"),
                (name, false) => format!("[{name}]\n"),
            };
            // Beside it the keys that must be set, in a table of this kind.
            let others = table
                .keys
                .iter()
                .filter(|other| other.is_required() && other.path != key.path);
            let others: String = others
                .map(|other| format!("{} = {}\n", other.name, other.example()))
                .collect();
            let wrong = |value: &str| {
                let problems = Config::parse(&format!("{heading}{} = {value}\n{others}", key.name)).err();
                let mut problems = problems.into_iter().flatten();
                problems.any(|problem| problem.text.starts_with(&format!("{}: ", key.path)))
            };
            let (taken, refused) = samples(key);
            let empty = (key.default() == Some("\"\"")).then_some("\"\"");
            for value in taken.iter().copied().chain(empty).chain(key.default()) {
                assert!(!wrong(value), "{} = {value} is refused", key.path);
            }
            for value in refused {
                assert!(wrong(value), "{} = {value} is taken", key.path);
            }
        }
    }
}

#[test]
fn options_that_override_keys_show_their_defaults() {
    let help = option_help("listen.smtp");
    assert!(help.ends_with("[default: 127.0.0.1:2525]"), "{help}");
    assert!(!option_help("route.next_hops").contains("[default"));
}
