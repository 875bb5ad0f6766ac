//! The programs that the documentation prints for embedding a spool, compiled with the manifest that it prints.
//!
//! Each page with a block ```` ```toml Cargo.toml ```` becomes a package of its own: the manifest as printed, with the path of the
//! checkout in place of the printed one, and each block ```` ```rust ```` as a program. A block without `fn main` is a fragment; it is
//! put into a function that has `spool` and `config`. Cargo works offline, with the versions of the workspace's `Cargo.lock`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The text before a fragment.
const BEFORE: &str = "\
#![allow(unused_mut, unused_variables, unused_imports, dead_code, reason = \"a fragment\")]
use spool_actors::prelude::*;
use std::time::Duration;
fn main() {}
async fn fragment(mut config: SpoolConfig, spool: Addr<SpoolActor>) -> Result<(), Box<dyn std::error::Error>> {
";
/// The text after it.
const AFTER: &str = "Ok(())\n}\n";
/// The path of `spool-actors` as the pages print it.
const PRINTED: &str = "\"../spool/spool-actors\"";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap()
}

/// The blocks of a page whose info string is `info`.
fn blocks(page: &str, info: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(found) = line.strip_prefix("```") else {
            continue;
        };
        let inside = lines.by_ref().take_while(|line| *line != "```");
        let text = inside.fold(String::new(), |text, line| text + line + "\n");
        if found == info {
            all.push(text);
        }
    }
    all
}

/// The manifest as it is printed, of a package that finds the checkout and belongs to no workspace.
fn manifest(printed: &str) -> String {
    assert_eq!(printed.matches(PRINTED).count(), 1, "{printed}");
    let path = format!("{:?}", root().join("spool-actors"));
    let mut manifest = printed.replace(PRINTED, &path);
    let _ = writeln!(manifest, "\n[workspace]");
    manifest
}

/// Writes the programs of `page` into a package, and has cargo check it; the number of its programs.
fn check(page: &str, name: &str) -> usize {
    let text = std::fs::read_to_string(root().join(page)).unwrap();
    let [printed] = &*blocks(&text, "toml Cargo.toml") else {
        panic!("{page} prints one manifest");
    };
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("embedding");
    let package = dir.join(name);
    let _ = std::fs::remove_dir_all(&package);
    std::fs::create_dir_all(package.join("src/bin")).unwrap();
    std::fs::write(package.join("Cargo.toml"), manifest(printed)).unwrap();
    std::fs::copy(root().join("Cargo.lock"), package.join("Cargo.lock")).unwrap();
    let programs = blocks(&text, "rust");
    for (number, program) in programs.iter().enumerate() {
        let program = match program.contains("fn main()") {
            true => program.clone(),
            false => format!("{BEFORE}{program}{AFTER}"),
        };
        std::fs::write(package.join(format!("src/bin/program{number}.rs")), program).unwrap();
    }
    let output = Command::new(env!("CARGO"))
        .args(["check", "--offline", "--quiet", "--bins", "--target-dir"])
        .arg(dir.join("target"))
        .current_dir(&package)
        .env("RUSTFLAGS", "-D warnings")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{page}: {errors}");
    programs.len()
}

#[test]
fn printed_programs_compile_with_the_printed_manifest() {
    assert_eq!(check("README.md", "readme"), 1);
    assert!(check("docs/embedding.md", "guide") >= 7);
}

#[test]
fn the_readme_prints_an_example_that_the_suite_runs() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let example = include_str!("../../spool-actors/examples/embed.rs");
    let example = example.split_once("\n\n").unwrap().1;
    assert_eq!(blocks(&readme, "rust"), [example]);
}
