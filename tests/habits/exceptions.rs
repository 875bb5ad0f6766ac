//! Lists of exceptions, which may only shrink.

use crate::source::root;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Compares what was `found` over a limit with the exceptions in `tests/habits/NAME.txt`.
pub(crate) fn compare(name: &str, found: &BTreeMap<String, usize>) {
    let path = root().join("tests/habits").join(format!("{name}.txt"));
    let list = std::fs::read_to_string(&path).unwrap_or_default();
    if std::env::var("SPOOL_HABITS").is_ok_and(|value| value == "write") {
        std::fs::write(&path, shrunk(&list, found)).unwrap();
        return;
    }
    let wrong = problems(&list, found);
    assert!(wrong.is_empty(), "{}:\n{}", path.display(), wrong.join("\n"));
}

/// The key, the number and the reason of each exception.
fn entries(list: &str) -> impl Iterator<Item = (&str, usize, &str)> {
    let lines = list.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| {
        let (left, reason) = line
            .split_once(" -- ")
            .unwrap_or_else(|| panic!("KEY NUMBER -- REASON: {line}"));
        let (key, number) = left.rsplit_once(' ').expect("KEY NUMBER -- REASON");
        (key, number.parse().unwrap(), reason.trim())
    })
}

/// What is over a limit without an exception, has grown, or has an exception that it does not need.
fn problems(list: &str, found: &BTreeMap<String, usize>) -> Vec<String> {
    let mut wrong = Vec::new();
    let known: BTreeMap<&str, usize> = entries(list).map(|(key, number, _)| (key, number)).collect();
    for (key, number) in found {
        match known.get(key.as_str()) {
            Some(most) if number <= most => {}
            Some(most) => wrong.push(format!("{key}: {number}, and the exception allows {most}")),
            None => wrong.push(format!("{key}: {number}, without an exception")),
        }
    }
    for (key, _, reason) in entries(list) {
        if !found.contains_key(key) {
            wrong.push(format!("{key}: the exception is not needed any more"));
        }
        if reason.is_empty() {
            wrong.push(format!("{key}: the exception has no reason"));
        }
    }
    wrong
}

/// The list without what is not needed, with lower numbers where they suffice.
fn shrunk(list: &str, found: &BTreeMap<String, usize>) -> String {
    let mut kept = String::new();
    for line in list.lines().filter(|line| line.starts_with('#')) {
        let _ = writeln!(kept, "{line}");
    }
    for (key, number, reason) in entries(list) {
        if let Some(now) = found.get(key) {
            let _ = writeln!(kept, "{key} {} -- {reason}", number.min(*now));
        }
    }
    kept
}

#[test]
fn exceptions_may_only_shrink() {
    let list = "# head\na.rs 500 -- a table\nb.rs 450 -- a table\n";
    let found = |pairs: &[(&str, usize)]| pairs.iter().map(|(k, n)| ((*k).to_owned(), *n)).collect();
    assert!(problems(list, &found(&[("a.rs", 500), ("b.rs", 449)])).is_empty());
    assert_eq!(problems(list, &found(&[("a.rs", 501), ("b.rs", 450)])).len(), 1);
    assert_eq!(problems(list, &found(&[("a.rs", 500)])).len(), 1);
    let more = found(&[("a.rs", 500), ("b.rs", 450), ("c.rs", 401)]);
    assert_eq!(problems(list, &more), ["c.rs: 401, without an exception"]);
    let less = found(&[("a.rs", 420), ("c.rs", 401)]);
    assert_eq!(shrunk(list, &less), "# head\na.rs 420 -- a table\n");
}
