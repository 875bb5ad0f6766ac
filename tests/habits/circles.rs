//! No circle of files: no file uses, by way of others, a file that uses it.
//!
//! A file uses the file that defines a name which it imports or writes as a path; re-exports are followed to the definition, and are no use
//! by themselves. The file of a module may use the files inside that module, which extend its types: that is no edge here.

use crate::exceptions::compare;
use crate::source::{CRATES, Source, sources};
use std::collections::{BTreeMap, BTreeSet};

/// A path in the source, as its segments.
type Segments = Vec<String>;

/// A file as a module.
struct Module {
    path: String,
    /// The names defined at its top level.
    defined: BTreeSet<String>,
    /// What it imports: the name in this module, and the path.
    imported: BTreeMap<String, Segments>,
    /// The paths that it uses: its imports that are no re-exports, and those in the code.
    used: Vec<Segments>,
}

/// The modules of a crate, by their place.
type Modules = BTreeMap<Segments, Module>;

/// The place of a file in its crate: `src/a/mod.rs` and `src/a.rs` are `[a]`.
fn place(path: &str) -> Segments {
    let inside = path.split_once("/src/").unwrap().1.trim_end_matches(".rs");
    let parts = inside
        .split('/')
        .filter(|part| !["mod", "lib", "main"].contains(part));
    parts.map(str::to_owned).collect()
}

/// `a::{b, c::{d, e as f}}` as its paths, each with the name that it has here.
fn expand(tree: &str, before: &[String], found: &mut Vec<(String, Segments)>) {
    let tree = tree.trim();
    if let Some((head, inner)) = tree.split_once('{') {
        let head = head.split("::").map(str::trim).filter(|part| !part.is_empty());
        let before: Segments = before.iter().cloned().chain(head.map(str::to_owned)).collect();
        let inner = inner.trim_end().strip_suffix('}').unwrap_or(inner);
        let (mut depth, mut start) = (0, 0);
        for (at, c) in inner.char_indices() {
            depth += i32::from(c == '{') - i32::from(c == '}');
            if c == ',' && depth == 0 {
                expand(&inner[start..at], &before, found);
                start = at + 1;
            }
        }
        expand(&inner[start..], &before, found);
    } else if !tree.is_empty() {
        let (path, name) = tree.split_once(" as ").unwrap_or((tree, ""));
        let mut path: Segments = before
            .iter()
            .cloned()
            .chain(path.split("::").map(|part| part.trim().to_owned()))
            .collect();
        if path.last().is_some_and(|last| last == "self") && path.len() > 1 {
            path.pop();
        }
        let own = path.last().unwrap().clone();
        found.push((
            if name.is_empty() {
                own
            } else {
                name.trim().to_owned()
            },
            path,
        ));
    }
}

/// The names defined at the top level of `code`.
fn definitions(code: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for line in code.lines() {
        let mut words = line
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .filter(|word| !word.is_empty());
        if line.starts_with(' ') {
            continue;
        }
        let kinds = [
            "struct",
            "enum",
            "union",
            "trait",
            "type",
            "fn",
            "const",
            "static",
            "macro_rules",
        ];
        if words.by_ref().any(|word| kinds.contains(&word)) {
            let name = words.find(|word| !kinds.contains(word) && *word != "mut");
            names.extend(name.map(str::to_owned));
        }
    }
    names
}

/// The paths from `crate`, `super` and `self` in code.
fn paths(code: &str) -> Vec<Segments> {
    let mut found = Vec::new();
    for start in ["crate::", "super::", "self::"] {
        for (at, _) in code.match_indices(start) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':' || c == '$') {
                continue;
            }
            let rest = &code[at..];
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
            let path = rest[..end.unwrap_or(rest.len())].trim_end_matches(':');
            found.push(path.split("::").map(str::to_owned).collect());
        }
    }
    found
}

fn module(file: &Source) -> Module {
    let code = file.code();
    let (mut imported, mut used, mut rest) = (BTreeMap::new(), Vec::new(), String::new());
    for statement in code.split_inclusive(';') {
        let begin = statement.rfind("use ").filter(|at| {
            let line = statement[..*at].rsplit('\n').next().unwrap();
            line.is_empty() || (line.starts_with("pub") && !line.contains('{'))
        });
        let Some(begin) = begin else {
            rest.push_str(statement);
            continue;
        };
        rest.push_str(&statement[..begin]);
        let public = statement[..begin].rsplit('\n').next().unwrap().starts_with("pub");
        let mut trees = Vec::new();
        expand(statement[begin + 4..].trim_end_matches(';'), &[], &mut trees);
        for (name, path) in trees {
            if !public {
                used.push(path.clone());
            }
            imported.insert(name, path);
        }
    }
    used.extend(paths(&rest));
    let (path, defined) = (file.path.clone(), definitions(&code));
    Module {
        path,
        defined,
        imported,
        used,
    }
}

/// The place of the module that defines what `path` names, seen from `from`; `None`: nothing of this crate.
fn resolve(modules: &Modules, from: &[String], path: &[String], depth: usize) -> Option<Segments> {
    let (mut here, mut rest) = (from.to_vec(), path);
    match rest.first()?.as_str() {
        "crate" => (here, rest) = (Vec::new(), &rest[1..]),
        "self" => rest = &rest[1..],
        "super" => {}
        first => {
            let mut child = here.clone();
            child.push(first.to_owned());
            if !modules.contains_key(&child) {
                let imported = modules[&here]
                    .imported
                    .get(first)
                    .filter(|import| *import != path)?;
                let path: Segments = imported.iter().chain(&rest[1..]).cloned().collect();
                return (depth > 0)
                    .then(|| resolve(modules, from, &path, depth - 1))
                    .flatten();
            }
        }
    }
    while rest.first().is_some_and(|part| part == "super") {
        here.pop();
        rest = &rest[1..];
    }
    while let Some(part) = rest.first() {
        let mut child = here.clone();
        child.push(part.clone());
        if !modules.contains_key(&child) {
            break;
        }
        (here, rest) = (child, &rest[1..]);
    }
    let module = modules.get(&here)?;
    let Some(name) = rest.first().filter(|name| !module.defined.contains(*name)) else {
        return Some(here);
    };
    match module.imported.get(name) {
        Some(path) if depth > 0 => resolve(modules, &here, path, depth - 1),
        Some(_) | None => Some(here),
    }
}

/// Which modules each module uses.
fn edges(modules: &Modules) -> BTreeMap<&Segments, BTreeSet<Segments>> {
    let uses = |(place, module): (&Segments, &Module)| {
        let targets = module
            .used
            .iter()
            .filter_map(|path| resolve(modules, place, path, 8));
        targets.filter(|target| !target.starts_with(place)).collect()
    };
    modules
        .iter()
        .map(|(place, module)| (place, uses((place, module))))
        .collect()
}

/// Everything that can be reached from `start` along `edges`.
fn reached(edges: &BTreeMap<&Segments, BTreeSet<Segments>>, start: &Segments) -> BTreeSet<Segments> {
    let (mut seen, mut next) = (BTreeSet::new(), vec![start.clone()]);
    while let Some(place) = next.pop() {
        for target in edges.get(&place).into_iter().flatten() {
            if seen.insert(target.clone()) {
                next.push(target.clone());
            }
        }
    }
    seen
}

/// The files that are in a circle, with how many there are in it.
fn circles(files: &[&Source]) -> BTreeMap<String, usize> {
    let modules: Modules = files
        .iter()
        .map(|file| (place(&file.path), module(file)))
        .collect();
    let edges = edges(&modules);
    let reach: BTreeMap<&Segments, BTreeSet<Segments>> = modules
        .keys()
        .map(|place| (place, reached(&edges, place)))
        .collect();
    let mut found = BTreeMap::new();
    for (place, module) in &modules {
        let circle: Vec<&Segments> = reach[place]
            .iter()
            .filter(|other| reach[other].contains(place))
            .collect();
        if circle.contains(&place) {
            for target in edges[place].iter().filter(|target| circle.contains(target)) {
                println!("{} uses {}", module.path, modules[target].path);
            }
            found.insert(module.path.clone(), circle.len());
        }
    }
    found
}

#[test]
fn no_file_is_in_a_circle() {
    let all = sources();
    let mut found = BTreeMap::new();
    for name in CRATES.iter().filter(|name| **name != "tests") {
        let files: Vec<&Source> = all
            .iter()
            .filter(|file| file.crate_name() == *name && !file.is_test())
            .collect();
        found.extend(circles(&files));
    }
    compare("circles", &found);
}

#[test]
fn circles_are_found_through_imports_paths_and_re_exports() {
    let file = |path: &str, text: &str| Source {
        path: path.to_owned(),
        text: text.to_owned(),
    };
    let files = [
        file(
            "x/src/lib.rs",
            "mod a;\nmod b;\nmod c;\npub use a::{A, Other as Name};\n",
        ),
        file(
            "x/src/a.rs",
            "use crate::b::B;\npub struct A(B);\npub struct Other;\n",
        ),
        file("x/src/b.rs", "pub struct B;\nfn f(c: crate::c::C) {}\n"),
        file("x/src/c/mod.rs", "mod d;\nuse d::D;\npub struct C(D);\n"),
        file(
            "x/src/c/d.rs",
            "use super::C;\nuse crate::{Name, std::fmt};\npub struct D;\n",
        ),
    ];
    // c uses d inside it: no edge. d uses a, by its re-export, and c; so d is in no circle.
    assert!(circles(&files.iter().collect::<Vec<_>>()).is_empty());
    let closing = file("x/src/c/mod.rs", "use crate::A;\npub struct C(A);\n");
    let files = [&files[0], &files[1], &files[2], &closing];
    let found = circles(&files);
    let expected = ["x/src/a.rs", "x/src/b.rs", "x/src/c/mod.rs"].map(|path| (path.to_owned(), 3));
    assert_eq!(found, expected.into());
}
