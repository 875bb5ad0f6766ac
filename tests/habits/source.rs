//! The source text of the tree, as the other checks read it.

use std::path::{Path, PathBuf};

/// The crates of the workspace, by the name of their directory.
pub(crate) const CRATES: [&str; 5] = ["spool-core", "spool-smtp", "spool-actors", "spool-bin", "tests"];

/// A file of Rust.
pub(crate) struct Source {
    /// Its path from the root of the tree, with `/`.
    pub(crate) path: String,
    /// Its text.
    pub(crate) text: String,
}

impl Source {
    /// Its crate: the first part of its path.
    pub(crate) fn crate_name(&self) -> &str {
        self.path.split('/').next().unwrap()
    }

    /// Whether only tests, examples and fuzzing use it.
    pub(crate) fn is_test(&self) -> bool {
        let inside = self.path.split_once('/').unwrap().1;
        let name = inside.rsplit('/').next().unwrap();
        !inside.starts_with("src/")
            || self.crate_name() == "tests"
            || inside.contains("/tests/")
            || inside.contains("/histories/")
            || name.ends_with("tests.rs")
            || ["histories.rs", "testing.rs", "fuzzing.rs"].contains(&name)
    }

    /// Its lines without comments, up to the tests at its end. A string that has `//` in it loses its rest.
    pub(crate) fn code(&self) -> String {
        let mut code = String::new();
        let mut lines = self.text.lines().peekable();
        while let Some(line) = lines.next() {
            let inline = lines
                .peek()
                .is_some_and(|next| next.starts_with("mod ") && next.ends_with('{'));
            if line == "#[cfg(test)]" && inline {
                break;
            }
            code.push_str(line.split("//").next().unwrap());
            code.push('\n');
        }
        code
    }
}

/// The directory of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap()
}

/// Every file of Rust in the workspace, sorted by path.
pub(crate) fn sources() -> Vec<Source> {
    let root = root();
    let mut found = Vec::new();
    for name in CRATES {
        collect(&root, &root.join(name), &mut found);
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.len() > 400, "{}", found.len());
    found
}

fn collect(root: &Path, dir: &Path, found: &mut Vec<Source>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            collect(root, &path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let path = path
                .strip_prefix(root)
                .unwrap()
                .to_str()
                .unwrap()
                .replace('\\', "/");
            found.push(Source { path, text });
        }
    }
}
