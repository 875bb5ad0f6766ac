//! The words of the glossary: what `docs/glossary.md` says not to use is used nowhere.

use crate::exceptions::compare;
use crate::source::root;
use std::collections::BTreeMap;
use std::path::Path;

/// The kinds of file that are read.
const EXTENSIONS: [&str; 4] = ["rs", "md", "toml", "sh"];
/// Where the words stand because they are told not to be used.
const EXCEPT: [&str; 2] = ["docs/glossary.md", "tests/habits/words.rs"];

/// The words in the last column of the tables.
fn unwanted(glossary: &str) -> Vec<String> {
    let rows = glossary.lines().filter(|line| line.starts_with('|'));
    let last = rows.filter_map(|row| row.trim_end_matches('|').rsplit('|').next());
    let words = last.flat_map(|column| column.split(','));
    words
        .map(|word| word.trim().to_lowercase())
        .filter(|word| !word.is_empty() && word != "do not use" && !word.starts_with('-'))
        .collect()
}

/// How often `word` stands in `text`, which is in lower case, as a whole word. A name such as `a_word` has no whole words in it.
fn count(text: &str, word: &str) -> usize {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word)
        .filter(|(at, _)| {
            let before = text[..*at].chars().next_back();
            let after = text[at + word.len()..].chars().next();
            !before.is_some_and(part) && !after.is_some_and(part)
        })
        .count()
}

fn read(dir: &Path, each: &mut impl FnMut(&Path, &str)) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let known = path
            .extension()
            .is_some_and(|extension| EXTENSIONS.iter().any(|known| extension == *known));
        if path.is_dir() && name != "target" && !name.starts_with(".git") {
            read(&path, each);
        } else if path.is_file() && known {
            each(&path, &std::fs::read_to_string(&path).unwrap().to_lowercase());
        }
    }
}

#[test]
fn words_that_are_not_to_be_used_are_not_used() {
    let root = root();
    let words = unwanted(&std::fs::read_to_string(root.join("docs/glossary.md")).unwrap());
    assert!(words.len() > 15, "{words:?}");
    let (mut found, mut files) = (BTreeMap::new(), 0);
    read(&root, &mut |path, text| {
        let path = path.strip_prefix(&root).unwrap().to_str().unwrap();
        files += 1;
        if EXCEPT.contains(&path) {
            return;
        }
        for word in &words {
            let times = count(text, word);
            if times > 0 {
                found.insert(format!("{path} {word}"), times);
            }
        }
    });
    assert!(files > 500, "{files}");
    compare("words", &found);
}

#[test]
fn whole_words_are_counted() {
    assert_eq!(count("a hole, the_hole, holes. hole", "hole"), 2);
    assert_eq!(count("was taken away", "taken away"), 1);
    let table =
        "| term | meaning | do not use |\n| --- | --- | --- |\n| gap | x | hole, Holes |\n| y | z | |\n";
    assert_eq!(unwanted(table), ["hole", "holes"]);
}
