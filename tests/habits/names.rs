//! A type name has one meaning in a crate: no two types of a crate, or of a crate and what it takes from the workspace, have one name.

use crate::exceptions::compare;
use crate::source::{Source, sources};
use std::collections::{BTreeMap, BTreeSet};

/// A crate, and those of the workspace whose public types it sees.
const VIEWS: [(&str, &[&str]); 4] = [
    ("spool-core", &[]),
    ("spool-smtp", &["spool-core"]),
    ("spool-actors", &["spool-core"]),
    ("spool-bin", &["spool-core", "spool-smtp", "spool-actors"]),
];

/// The types that a file defines at its top level, and whether each is public.
fn types(code: &str) -> Vec<(&str, bool)> {
    let mut found = Vec::new();
    for line in code.lines() {
        let (public, rest) = match line.strip_prefix("pub ") {
            Some(rest) => (true, rest),
            None => (false, line.strip_prefix("pub(crate) ").unwrap_or(line)),
        };
        let rest = rest.strip_prefix("pub(super) ").unwrap_or(rest);
        let Some((keyword, after)) = rest.split_once(' ') else {
            continue;
        };
        if ["struct", "enum", "union", "trait", "type"].contains(&keyword) {
            let end = after.find(|c: char| !c.is_alphanumeric() && c != '_');
            found.push((&after[..end.unwrap_or(after.len())], public));
        }
    }
    found
}

/// The names that have two meanings in the view of `name`, with the number of their definitions.
fn repeated(name: &str, seen: &[&str], files: &[(Source, String)]) -> BTreeMap<String, usize> {
    let mut defined: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (file, code) in files {
        let own = file.crate_name() == name;
        if own || seen.contains(&file.crate_name()) {
            let types = types(code).into_iter().filter(|(_, public)| own || *public);
            for (type_name, _) in types {
                defined.entry(type_name).or_default().insert(&file.path);
            }
        }
    }
    let repeated = defined.into_iter().filter(|(_, files)| files.len() > 1);
    // One that is repeated among what it sees is theirs to answer for.
    let own = repeated.filter(|(_, files)| files.iter().any(|file| file.starts_with(&format!("{name}/"))));
    own.map(|(type_name, files)| (format!("{name} {type_name}"), files.len()))
        .collect()
}

#[test]
fn type_names_have_one_meaning_in_a_crate() {
    let files: Vec<(Source, String)> = sources()
        .into_iter()
        .filter(|file| !file.is_test())
        .map(|file| {
            let code = file.code();
            (file, code)
        })
        .collect();
    let mut all = BTreeMap::new();
    for (name, seen) in VIEWS {
        all.extend(repeated(name, seen, &files));
    }
    compare("names", &all);
}

#[test]
fn a_name_in_two_files_is_found() {
    let file = |path: &str, text: &str| {
        let (path, text) = (path.to_owned(), text.to_owned());
        (
            Source {
                path,
                text: text.clone(),
            },
            text,
        )
    };
    let files = [
        file(
            "spool-core/src/a.rs",
            "pub struct Mail;\npub(crate) enum Own<T> {}\n",
        ),
        file(
            "spool-smtp/src/b.rs",
            "struct Mail {\n}\nstruct Own;\nimpl X {\n    type Mail = ();\n}\n",
        ),
    ];
    let found = repeated("spool-smtp", &["spool-core"], &files);
    assert_eq!(
        found.into_iter().collect::<Vec<_>>(),
        [("spool-smtp Mail".to_owned(), 2)]
    );
}
