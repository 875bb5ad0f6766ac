//! The contract of the spool, through its public address. docs/delivery-semantics.md says which test holds which line.

#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests panic"
)]

mod archives;
mod attempt;
mod bounces;
mod bounces_cut;
mod bounces_signed;
mod circuits;
mod clock;
mod destinations;
mod events;
mod faults;
mod full_disk;
mod lifecycle;
mod memory;
mod operations;
mod pulse;
mod reasons;
mod routes;
mod starts;
mod support;

/// docs/delivery-semantics.md maps each row of the contract to its tests, docs/faults.md each fault: none of them may be gone.
#[test]
fn the_documentation_names_tests_that_exist() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (page, least) in [("delivery-semantics.md", 60), ("faults.md", 35)] {
        let page = std::fs::read_to_string(root.join("docs").join(page)).unwrap();
        let mut named = 0;
        let tests = page.split('`').filter_map(|text| text.split_once("::"));
        for (file, test) in tests.filter(|(_, test)| *test != "…") {
            let path = if file.contains('/') {
                root.join(file)
            } else {
                root.join(format!("spool-actors/tests/contract/{file}.rs"))
            };
            let source =
                std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert!(
                source.contains(&format!("fn {test}(")),
                "{file} has no test {test}"
            );
            named += 1;
        }
        assert!(named > least, "{named}");
    }
}

/// Every line of `use` in the files under `dir`, with its file.
fn imports(dir: &std::path::Path, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let for_tests = ["histories", "histories.rs", "testing.rs", "tests.rs"].contains(&name.as_str());
        if path.is_dir() && !for_tests {
            imports(&path, found);
        } else if path.is_file() && !for_tests {
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap().to_owned();
            found.push((name, code));
        }
    }
}

/// The engine is told what happened and what time it is: it knows no actor, no runtime, no clock, no thread and no store.
#[test]
fn the_engine_knows_nothing_of_the_world_outside() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    for part in ["engine", "pace"] {
        imports(&root.join(part), &mut files);
    }
    assert!(files.len() > 30, "{}", files.len());
    let foreign = [
        "actix",
        "tokio",
        "std::fs",
        "std::net",
        "std::thread",
        "Instant",
        "SystemTime",
        "dyn Clock",
    ];
    let inside = ["engine", "pace", "errors", "outcome", "supervision::Ending"];
    for (file, code) in files {
        let code: String = code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .collect::<Vec<_>>()
            .join("\n");
        for word in foreign {
            assert!(!code.contains(word), "{file} has {word}");
        }
        for path in code.split("crate::").skip(1) {
            assert!(
                inside.iter().any(|known| path.starts_with(known)),
                "{file} has crate::{:.40}",
                path
            );
        }
        // The store's values, and not the store.
        assert!(
            !code.contains("Store,") && !code.contains("Arc<Store>"),
            "{file} has the store"
        );
    }
}
