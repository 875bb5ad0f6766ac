//! No file is longer than 400 lines, and no function longer than 60.

use crate::exceptions::compare;
use crate::source::sources;
use std::collections::BTreeMap;

const FILE: usize = 400;
const FUNCTION: usize = 60;

/// The functions in `text`, as rustfmt writes them, and how many lines each has: from `fn` to the brace of the same indent.
fn functions(text: &str) -> Vec<(&str, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let indent = line.len() - code.len();
        let Some(name) = name(code) else {
            continue;
        };
        let mut opened = false;
        for (length, line) in (1..).zip(&lines[at..]) {
            let end =
                line.len() == indent + 1 && line.ends_with('}') && line.starts_with(&" ".repeat(indent));
            if end || line.ends_with("{}") {
                found.push((name, length));
                break;
            }
            opened |= line.ends_with('{');
            if !opened && line.ends_with(';') {
                break; // a method of a trait, without a body
            }
        }
    }
    found
}

/// The name of the function that begins in this line.
fn name(code: &str) -> Option<&str> {
    let mut rest = code;
    loop {
        let (word, after) = rest.split_once(' ')?;
        match word {
            "fn" => return after.split(['(', '<']).next(),
            "const" | "async" | "unsafe" | "extern" | "\"C\"" => rest = after,
            _ if word.starts_with("pub") => rest = after,
            _ => return None,
        }
    }
}

#[test]
fn files_are_short() {
    let long = sources().into_iter().filter_map(|file| {
        let lines = file.text.lines().count();
        (lines > FILE).then_some((file.path, lines))
    });
    compare("long_files", &long.collect());
}

#[test]
fn functions_are_short() {
    let mut long = BTreeMap::new();
    let mut count = 0;
    for file in sources() {
        for (name, lines) in functions(&file.text) {
            count += 1;
            if lines > FUNCTION {
                long.insert(format!("{}::{name}", file.path), lines);
            }
        }
    }
    assert!(count > 3000, "{count}");
    compare("long_functions", &long);
}

#[test]
fn lengths_are_counted_from_the_signature_to_the_brace() {
    let text = "pub(crate) async fn a(\n    x: u8,\n) {\n    b();\n}\ntrait T {\n    fn c(&self);\n    fn d(&self) {}\n}\n";
    assert_eq!(functions(text), [("a", 5), ("d", 1)]);
}
