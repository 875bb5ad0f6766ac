//! Every configuration in the documentation can be used as it is.

use crate::config::Config;
use crate::inspect::inspect;
use std::path::{Path, PathBuf};

/// The info string of a block that is shown and is not to be used: ```` ```toml wrong ````.
const WRONG: &str = "toml wrong";
/// The info string of the manifest of an embedding program, which `tests/scenarios/embedding.rs` uses.
const MANIFEST: &str = "toml Cargo.toml";

/// A block of TOML: its line and its text.
fn blocks(page: &str) -> Vec<(usize, String)> {
    let mut all = Vec::new();
    let mut lines = page.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let Some(info) = line
            .trim_start()
            .strip_prefix("```")
            .filter(|info| !info.is_empty())
        else {
            continue;
        };
        let inside: Vec<&str> = lines
            .by_ref()
            .map(|(_, line)| line)
            .take_while(|line| line.trim() != "```")
            .collect();
        if info.starts_with("toml") && info != WRONG && info != MANIFEST {
            assert_eq!(info, "toml", "line {}", at + 1);
            all.push((at + 1, inside.join("\n")));
        }
    }
    all
}

fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let docs = std::fs::read_dir(root.join("docs")).unwrap();
    let pages = docs.map(|entry| entry.unwrap().path());
    let pages = pages.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    pages.chain([root.join("README.md")]).collect()
}

#[test]
fn every_configuration_in_the_documentation_is_valid() {
    let mut seen = 0;
    for page in pages() {
        for (line, text) in blocks(&std::fs::read_to_string(&page).unwrap()) {
            let at = format!("{}:{line}", page.display());
            let config = Config::parse(&text).unwrap_or_else(|problems| panic!("{at}: {problems:?}"));
            // The files that it names are those of another machine.
            let elsewhere = |text: &str| text.contains("No such file") || text.contains("may not");
            let errors: Vec<String> = inspect(&config)
                .iter()
                .filter(|finding| finding.is_error && !elsewhere(&finding.text))
                .map(ToString::to_string)
                .collect();
            assert_eq!(errors, [""; 0], "{at}");
            seen += 1;
        }
    }
    assert!(seen >= 3, "{seen}");
}
