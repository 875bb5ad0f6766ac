//! Writes the first inputs of both targets into `corpus/`, from the fixture of format 1.

use spool_core::store::fuzzing::pack;
use std::path::{Path, PathBuf};

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let fixture = root.join("../fixtures/format-1");
    let mut files: Vec<(PathBuf, Vec<u8>)> = Vec::new();
    for dir in ["journal", "events", "keys", "removed", "quarantine"] {
        for entry in std::fs::read_dir(fixture.join(dir)).unwrap() {
            let path = entry.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            files.push((path.strip_prefix(&fixture).unwrap().to_owned(), bytes));
        }
    }
    for target in ["frames", "recovery"] {
        std::fs::create_dir_all(root.join("corpus").join(target)).unwrap();
    }
    let put = |name: &str, bytes: &[u8]| std::fs::write(root.join("corpus").join(name), bytes).unwrap();
    put("recovery/all", &pack(&files));
    let journal: Vec<_> = files
        .iter()
        .filter(|(path, _)| path.starts_with("journal"))
        .cloned()
        .collect();
    put("recovery/journal", &pack(&journal));
    for (number, (_, bytes)) in journal
        .iter()
        .enumerate()
        .filter(|(_, (_, bytes))| bytes.len() < 20_000)
    {
        for how in 0..4 {
            put(
                &format!("frames/{number}-{how}"),
                &[&[how], bytes.as_slice()].concat(),
            );
        }
    }
}
