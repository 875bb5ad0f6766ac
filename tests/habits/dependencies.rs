//! What the tree is built on: licences, sources and bans by `deny.toml`, and how many crates are in the shipped program.
//!
//! `cargo deny check licenses bans sources` checks the same where it is installed; `.ci/run` runs it then.

use crate::source::root;
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::Command;

/// Runs cargo on the workspace as it is locked, and gives what it prints.
fn cargo(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(args)
        .args(["--locked", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {args:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// The system that the figures are for; crates for other systems need not be at hand.
const SYSTEM: &str = "x86_64-unknown-linux-gnu";

fn packages() -> Vec<Value> {
    let metadata = cargo(&["metadata", "--format-version", "1", "--filter-platform", SYSTEM]);
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    let packages = metadata["packages"].as_array().unwrap().clone();
    assert!(packages.len() > 100, "{}", packages.len());
    packages
}

fn deny() -> toml::Table {
    let text = std::fs::read_to_string(root().join("deny.toml")).unwrap();
    text.parse().unwrap()
}

/// The strings of `deny.toml` at `section.key`.
fn listed(deny: &toml::Table, section: &str, key: &str) -> BTreeSet<String> {
    let list = deny[section][key].as_array().unwrap();
    let text = |value: &toml::Value| {
        value
            .as_str()
            .or_else(|| value["crate"].as_str())
            .unwrap()
            .to_owned()
    };
    list.iter().map(text).collect()
}

/// Whether an SPDX expression can be satisfied with the allowed licences. `/` is an old way to write OR.
fn allowed(expression: &str, licences: &BTreeSet<String>) -> bool {
    let expression = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let words: Vec<&str> = expression.split_whitespace().collect();
    let (result, rest) = any_of(&words, licences);
    assert!(rest.is_empty(), "{expression}");
    result
}

fn any_of<'a>(words: &'a [&'a str], licences: &BTreeSet<String>) -> (bool, &'a [&'a str]) {
    let (mut result, mut rest) = all_of(words, licences);
    while let Some((&"OR", after)) = rest.split_first() {
        let (next, left) = all_of(after, licences);
        (result, rest) = (result | next, left);
    }
    (result, rest)
}

fn all_of<'a>(words: &'a [&'a str], licences: &BTreeSet<String>) -> (bool, &'a [&'a str]) {
    let (mut result, mut rest) = one(words, licences);
    while let Some((&"AND", after)) = rest.split_first() {
        let (next, left) = one(after, licences);
        (result, rest) = (result & next, left);
    }
    (result, rest)
}

fn one<'a>(words: &'a [&'a str], licences: &BTreeSet<String>) -> (bool, &'a [&'a str]) {
    match words {
        ["(", rest @ ..] => {
            let (result, rest) = any_of(rest, licences);
            assert_eq!(rest.first(), Some(&")"));
            (result, &rest[1..])
        }
        [licence, "WITH", exception, rest @ ..] => {
            (licences.contains(&format!("{licence} WITH {exception}")), rest)
        }
        [licence, rest @ ..] => (licences.contains(*licence), rest),
        [] => (false, words),
    }
}

#[test]
fn licences_and_sources_are_allowed_and_nothing_is_banned() {
    let deny = deny();
    let (licences, banned) = (listed(&deny, "licenses", "allow"), listed(&deny, "bans", "deny"));
    let mut wrong = Vec::new();
    for package in packages() {
        let name = package["name"].as_str().unwrap();
        let licence = package["license"].as_str().unwrap_or("none");
        if !allowed(licence, &licences) {
            wrong.push(format!("{name}: licence {licence}"));
        }
        let source = package["source"].as_str();
        if source.is_some_and(|source| source != "registry+https://github.com/rust-lang/crates.io-index") {
            wrong.push(format!("{name}: from {}", source.unwrap()));
        }
        if banned.contains(name) {
            wrong.push(format!("{name}: banned"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_readme_states_how_many_crates_are_in_the_program() {
    let tree = [
        "tree",
        "-p",
        "spool-bin",
        "-e",
        "normal",
        "--prefix",
        "none",
        "--target",
        SYSTEM,
    ];
    let tree = cargo(&tree);
    let crates: BTreeSet<&str> = tree
        .lines()
        .map(|line| line.trim_end_matches(" (*)").trim_end_matches(" (proc-macro)"))
        .filter(|line| !line.is_empty())
        .collect();
    let foreign = crates.iter().find(|name| name.starts_with("aws-lc"));
    assert_eq!(
        foreign, None,
        "ring is the one provider of cryptography in the program"
    );
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let stated = readme
        .split(" crates are in the program")
        .next()
        .and_then(|before| before.rsplit(char::is_whitespace).next())
        .and_then(|number| number.parse::<usize>().ok());
    assert_eq!(
        stated,
        Some(crates.len()),
        "README.md states the number of crates"
    );
}

#[test]
fn licence_expressions_are_read() {
    let licences = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"]
        .map(str::to_owned)
        .into();
    for good in [
        "MIT",
        "GPL-2.0 OR MIT",
        "MIT/GPL-2.0",
        "(MIT OR GPL-2.0) AND Apache-2.0",
        "Apache-2.0 WITH LLVM-exception OR GPL-2.0",
    ] {
        assert!(allowed(good, &licences), "{good}");
    }
    for bad in [
        "GPL-2.0",
        "MIT AND GPL-2.0",
        "(MIT OR GPL-2.0) AND GPL-3.0",
        "none",
    ] {
        assert!(!allowed(bad, &licences), "{bad}");
    }
}
