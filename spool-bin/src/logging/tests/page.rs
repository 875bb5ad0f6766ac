//! `docs/logs.md` lists exactly the lines that the code logs.

use super::samples::samples;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The rows of the tables under each heading of the page: the words in backticks of the first column, and the rest.
fn page() -> BTreeMap<String, Vec<Vec<String>>> {
    let text = include_str!("../../../../docs/logs.md");
    let (mut heading, mut rows) = (String::new(), BTreeMap::<_, Vec<_>>::new());
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ").or_else(|| line.strip_prefix("### ")) {
            title.trim_matches('`').clone_into(&mut heading);
        } else if let Some(row) = line.strip_prefix("| `") {
            let cells = row
                .trim_end_matches(" |")
                .split(" | ")
                .map(|cell| cell.trim_matches('`').trim().to_owned());
            rows.entry(heading.clone()).or_default().push(cells.collect());
        }
    }
    rows
}

#[test]
fn the_page_lists_the_fields_of_every_line_about_mail() {
    let mut emitted: BTreeMap<&'static str, BTreeSet<&'static str>> = BTreeMap::new();
    for record in samples() {
        record.lines(&mut |line| {
            let fields = line.fields.iter().map(|(key, _)| *key);
            emitted.entry(line.event).or_default().extend(fields);
        });
    }
    let page = page();
    for (event, fields) in &emitted {
        // The outcomes of a recipient share one table.
        let heading = match *event {
            "delivered" | "deferred" | "failed" => "delivered`, `deferred`, `failed`, `discharged",
            other => other,
        };
        let rows = page
            .get(heading)
            .unwrap_or_else(|| panic!("no heading for {event}"));
        let listed: BTreeSet<&str> = rows.iter().map(|row| row[0].as_str()).collect();
        let missing: Vec<_> = fields.iter().filter(|field| !listed.contains(**field)).collect();
        assert!(missing.is_empty(), "{event}: not on the page: {missing:?}");
        let of_heading = emitted.iter().filter(|(other, _)| {
            let outcome = |event: &str| ["delivered", "deferred", "failed"].contains(&event);
            *other == event || (outcome(other) && outcome(event))
        });
        let all: BTreeSet<&str> = of_heading.flat_map(|(_, fields)| fields).copied().collect();
        let gone: Vec<_> = listed.iter().filter(|field| !all.contains(**field)).collect();
        assert!(
            gone.is_empty(),
            "{event}: on the page, and never written: {gone:?}"
        );
    }
}

#[test]
fn the_page_lists_every_other_line_with_its_fields() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut files = Vec::new();
    for name in ["spool-core", "spool-smtp", "spool-actors", "spool-bin"] {
        sources(&root.join(name).join("src"), &mut files);
    }
    let mut emitted = BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        emitted.extend(lines_in(code));
    }
    let rows = page().remove("Other lines").unwrap();
    let listed: BTreeSet<String> = rows.into_iter().map(|row| row[..3].join(" | ")).collect();
    let missing: Vec<_> = emitted.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&emitted).collect();
    assert!(
        missing.is_empty(),
        "not in docs/logs.md:\n{missing:#?}\nlisted there, and gone:\n{gone:#?}"
    );
    assert!(gone.is_empty(), "in docs/logs.md, and never logged: {gone:#?}");
    assert!(listed.len() > 50, "{}", listed.len());
}

fn sources(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name == "tests" || name == "tests.rs" || name.ends_with("_tests.rs") {
            continue;
        } else if path.is_dir() {
            sources(&path, files);
        } else if name.ends_with(".rs") {
            files.push(path);
        }
    }
}

/// Each line that `code` logs at INFO or above: `message | LEVEL | fields`.
fn lines_in(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for level in ["info", "warn", "error"] {
        for (at, name) in code.match_indices(&format!("{level}!(")) {
            let before = code[..at].chars().next_back().unwrap_or(' ');
            if before.is_alphanumeric()
                || before == '_'
                || code[..at].rsplit('\n').next().unwrap().contains("//")
            {
                continue;
            }
            let (mut message, mut fields) = (None, Vec::new());
            for argument in arguments(&code[at + name.len()..]) {
                let argument = argument.trim();
                if message.is_some() || argument.starts_with("target:") {
                    continue;
                } else if let Some(text) = argument.strip_prefix('"') {
                    message = Some(text.strip_suffix('"').unwrap().replace("\\\"", "\""));
                } else {
                    let name = argument
                        .split('=')
                        .next()
                        .unwrap()
                        .trim()
                        .trim_start_matches(['%', '?']);
                    fields.push(name.to_owned());
                }
            }
            // A record has no message, and tables of its own.
            if let Some(message) = message {
                found.push(format!(
                    "{message} | {} | {}",
                    level.to_uppercase(),
                    fields.join(", ")
                ));
            }
        }
    }
    found
}

/// What stands between the commas up to the closing parenthesis.
fn arguments(code: &str) -> Vec<String> {
    let (mut depth, mut text, mut escaped) = (0, false, false);
    let (mut all, mut one) = (Vec::new(), String::new());
    for c in code.chars() {
        match c {
            '"' if !escaped => text = !text,
            '(' | '[' | '{' if !text => depth += 1,
            ')' | ']' | '}' if !text => depth -= 1,
            ',' if !text && depth == 0 => {
                all.push(std::mem::take(&mut one));
                continue;
            }
            _ => {}
        }
        if depth < 0 {
            break;
        }
        escaped = text && c == '\\' && !escaped;
        one.push(c);
    }
    all.push(one);
    all.retain(|argument| !argument.trim().is_empty());
    all
}
