//! What the pages of the documentation name exists: files, functions beside a file, and tests.

use crate::source::root;
use regex::Regex;
use std::path::{Path, PathBuf};

/// The pages, each with its text.
fn pages() -> Vec<(PathBuf, String)> {
    let root = root();
    let named = ["README.md", "CONTRIBUTING.md", "SECURITY.md"].map(|name| root.join(name));
    let listed = ["docs", "docs/adr"].map(|dir| std::fs::read_dir(root.join(dir)).unwrap());
    let listed = listed.into_iter().flatten().map(|entry| entry.unwrap().path());
    named
        .into_iter()
        .chain(listed.filter(|path| path.extension().is_some_and(|kind| kind == "md")))
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            (path, text)
        })
        .collect()
}

/// The text of a file of Rust, or of all that are directly in a directory.
fn sources(path: &Path) -> String {
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    if path.is_file() {
        return read(path);
    }
    let files = std::fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|kind| kind == "rs"));
    files.map(|path| read(&path)).collect()
}

/// Reports all that is missing at once.
fn check(missing: &[String], named: usize, least: usize) {
    assert!(
        missing.is_empty(),
        "the pages name what is not there:\n{}",
        missing.join("\n")
    );
    assert!(named > least, "{named}: is the documentation still read?");
}

#[test]
fn files_that_the_pages_name_exist() {
    let file = Regex::new(r"`((?:spool-\w+|tests|docs|packaging)/[\w./-]*)[`:]").unwrap();
    let (mut missing, mut named) = (Vec::new(), 0);
    for (page, text) in pages() {
        for path in file.captures_iter(&text).map(|found| found[1].to_owned()) {
            named += 1;
            if !root().join(&path).exists() {
                missing.push(format!("{}: {path}", page.display()));
            }
        }
    }
    check(&missing, named, 300);
}

/// As in `path/file.rs` (`function`, `Type::method`).
#[test]
fn functions_that_the_pages_name_beside_a_file_exist() {
    let beside = Regex::new(r"`(spool-\w+/[\w./-]+)` \(((?:`[\w:]+`(?:, )?)+)\)").unwrap();
    let (mut missing, mut named) = (Vec::new(), 0);
    for (page, text) in pages() {
        for found in beside.captures_iter(&text) {
            let source = sources(&root().join(&found[1]));
            for item in found[2].split(", ").map(|item| item.trim_matches('`')) {
                named += 1;
                let name = item.rsplit("::").next().unwrap();
                let defined = Regex::new(&format!(r"\b(fn|struct|enum|trait) {name}\b")).unwrap();
                if !defined.is_match(&source) {
                    missing.push(format!("{}: {} in {}", page.display(), item, &found[1]));
                }
            }
        }
    }
    check(&missing, named, 15);
}

/// As `path/file.rs::test`, or `module::test` for the tests of the contract.
#[test]
fn tests_that_the_pages_name_exist() {
    let test = Regex::new(r"`([\w./-]+)::([a-z0-9_]+)`").unwrap();
    let (mut missing, mut named) = (Vec::new(), 0);
    for (page, text) in pages() {
        for found in test.captures_iter(&text) {
            let (file, name) = (&found[1], &found[2]);
            let path = match file.ends_with(".rs") {
                true => root().join(file),
                false
                    if file.starts_with("spool_") || file.starts_with(|first: char| first.is_uppercase()) =>
                {
                    continue;
                }
                false => root().join(format!("spool-actors/tests/contract/{file}.rs")),
            };
            named += 1;
            if !std::fs::read_to_string(&path).is_ok_and(|text| text.contains(&format!("fn {name}("))) {
                missing.push(format!("{}: {file}::{name}", page.display()));
            }
        }
    }
    check(&missing, named, 300);
}
