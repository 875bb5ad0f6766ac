//! Directories and sockets.

use super::*;

#[test]
fn a_spool_directory_that_cannot_be_one_is_an_error() {
    let bench = Bench::new();
    bench.file("file", "x");
    std::fs::create_dir(bench.0.path().join("other")).unwrap();
    bench.file("other/letter.txt", "x");
    std::os::unix::fs::symlink("nowhere", bench.0.path().join("link")).unwrap();
    for (dir, why) in [
        ("file", "is not a directory"),
        ("file/spool", "Not a directory"),
        ("missing/spool", "No such file"),
        ("link", "No such file"),
        ("other", "not a spool"),
    ] {
        bench.finds(&format!("spool_dir = \"DIR/{dir}\"\n"), "1 spool_dir: DIR/", why);
    }
    std::fs::create_dir(bench.0.path().join("empty")).unwrap();
    assert_eq!(bench.found("spool_dir = \"DIR/empty\"\n"), [""; 0]);
    assert!(!bench.0.path().join("new").exists(), "nothing is made");
}

#[test]
fn unix_sockets_can_be_made_and_replace_nothing_else() {
    let bench = Bench::new();
    let listen = |paths: &str| format!("[listen]\nsmtp = [{paths}]\n");
    assert_eq!(bench.found(&listen("\"unix:DIR/new.sock\"")), [""; 0]);
    bench.file("taken", "text");
    bench.finds(
        &listen("\"unix:DIR/taken\""),
        "3 listen.smtp: DIR/taken: ",
        "something else than a socket",
    );
    bench.finds(
        &listen("\"unix:DIR/no/such.sock\""),
        "3 listen.smtp: DIR/no: ",
        "No such file",
    );
    bench.finds(
        &listen("\"unix:DIR/a.sock\", \"unix:DIR/a.sock\""),
        "3 listen.smtp: DIR/a.sock: ",
        "already",
    );
    for wrong in [
        "unix:a.sock".to_owned(),
        "unix:".to_owned(),
        format!("unix:/{}", "a".repeat(107)),
    ] {
        assert!(Config::parse(&listen(&format!("{wrong:?}"))).is_err(), "{wrong}");
    }
}

#[test]
fn the_drop_directory_can_be_made_and_entered() {
    let bench = Bench::new();
    let drop = |path: &str| format!("spool_dir = \"DIR/spool\"\n[relay]\ndrop_dir = \"{path}\"\n");
    assert_eq!(bench.found(&drop("DIR/drop")), [""; 0]);
    bench.file("file", "text");
    bench.finds(
        &drop("DIR/file"),
        "3 relay.drop_dir: DIR/file: ",
        "not a directory",
    );
    bench.finds(&drop("DIR/no/drop"), "3 relay.drop_dir: DIR/no: ", "No such file");
    bench.finds(
        &drop("DIR/spool/drop"),
        "3 relay.drop_dir: DIR/spool/drop: ",
        "spool_dir",
    );
    assert!(Config::parse("[relay]\ndrop_dir = \"drop\"\n").is_err());
}
