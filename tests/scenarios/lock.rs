//! One spool, one process; a directory that is not a spool of ours is not changed.

use spool_tests::process::{run, serve};
use std::path::Path;

fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<_> = walk(dir)
        .into_iter()
        .map(|file| (file.clone(), std::fs::read(&file).unwrap()))
        .collect();
    all.sort();
    all
}

fn walk(dir: &Path) -> Vec<String> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(walk(&path)),
            false => files.push(path.to_str().unwrap().to_owned()),
        }
    }
    files
}

fn refused(spool: &Path, code: i32) -> String {
    let before = files(spool);
    let spool_arg = spool.to_str().unwrap();
    let args = [
        "serve",
        "--spool",
        spool_arg,
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
        "--next-hop",
        "127.0.0.1:9",
    ];
    let output = run(&args);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{error}");
    assert_eq!(output.stdout, b"");
    assert!(files(spool) == before, "something was changed");
    error
}

#[test]
fn a_second_serve_is_told_who_holds_the_spool() {
    let dir = tempfile::tempdir().unwrap();
    let spool = dir.path().join("spool");
    let first = serve(&spool, &["127.0.0.1:9"], &[]);
    let error = refused(&spool, 3);
    assert!(error.contains(&first.pid().to_string()), "{error}");
}

#[test]
fn a_directory_with_something_else_in_it_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("thesis.tex"), "years of work").unwrap();
    let error = refused(dir.path(), 1);
    assert!(error.contains("not a spool"), "{error}");
}

#[test]
fn a_spool_of_a_newer_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let spool = dir.path().join("spool");
    assert!(serve(&spool, &["127.0.0.1:9"], &[]).terminate().success());
    let format = std::fs::read_to_string(spool.join("FORMAT")).unwrap();
    assert_eq!(format, "spool 3\n");
    std::fs::write(spool.join("FORMAT"), "spool 7\n").unwrap();
    let error = refused(&spool, 1);
    assert!(error.contains("format 7"), "{error}");
}
