//! The contract of the spool, through its public address. docs/delivery-semantics.md says which test holds which line.

#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests panic"
)]

mod adds;
mod archives;
mod attempt;
mod bounces;
mod bounces_by_hand;
mod bounces_cut;
mod bounces_late;
mod bounces_limits;
mod bounces_signed;
mod circuits;
mod clock;
mod destinations;
mod events;
mod faults;
mod full_disk;
mod hooks;
mod lifecycle;
mod memory;
mod operations;
mod pulse;
mod reasons;
mod reroute;
mod routes;
mod routes_divided;
mod starts;
mod support;

/// The documentation shows its claims and bounds by tests: `path/file.rs::test`, or `module::test` for those of this directory.
#[test]
fn the_documentation_names_tests_that_exist() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let pages = std::fs::read_dir(root.join("docs")).unwrap();
    let pages = pages
        .map(|page| page.unwrap().path())
        .chain([root.join("README.md")]);
    let mut named = 0;
    for page in pages.filter(|page| page.extension().is_some_and(|kind| kind == "md")) {
        let text = std::fs::read_to_string(&page).unwrap();
        let names = text.split('`').filter_map(|text| text.split_once("::"));
        for (file, test) in
            names.filter(|(file, test)| is_name(test) && (is_name(file) || file.ends_with(".rs")))
        {
            let path = match file.ends_with(".rs") {
                true => root.join(file),
                false => root.join(format!("spool-actors/tests/contract/{file}.rs")),
            };
            let source = std::fs::read_to_string(&path)
                .unwrap_or_else(|error| panic!("{}: {}: {error}", page.display(), path.display()));
            assert!(
                source.contains(&format!("fn {test}(")),
                "{}: {file} has no test {test}",
                page.display()
            );
            named += 1;
        }
    }
    assert!(named > 300, "{named}");
}

/// Whether it is the name of a function or of a module.
fn is_name(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}
