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
