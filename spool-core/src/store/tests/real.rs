//! The same on the disk of this machine: the lock, permissions, restarts.

use super::*;
use crate::store::fs::{Mode, RealFs};
use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

fn open_at(dir: &Path) -> Result<(Store, Recovery), OpenError> {
    Store::open(dir, &options())
}

#[test]
fn a_spool_survives_its_process() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("spool");
    let (store, _) = open_at(&dir).unwrap();
    let big = text(3, 500_000);
    all_ok(&store.commit(&mut [
        add(&[1, 2], text(1, 3000)),
        add(&[3], big.clone()),
        add(&[4], "x\r\n"),
    ]));
    all_ok(&store.commit(&mut [finish(1), defer(2, 5000), begin(3, 1)]));
    assert_eq!(count_from_disk(&dir).unwrap(), 3);
    drop(store);
    for _ in 0..3 {
        let (store, recovery) = open_at(&dir).unwrap();
        assert_eq!(recovery.messages.len(), 3);
        assert_eq!((recovery.torn_bytes, recovery.damage.len()), (0, 0));
        assert_eq!(store.body(id(2)).unwrap(), text(1, 3000));
        assert_eq!(store.body(id(3)).unwrap(), big);
        assert_eq!(store.load(id(2)).unwrap().state, state(2, 5000));
        let mut seen = 0;
        status_from_disk(&dir, &mut |_| seen += 1).unwrap();
        assert_eq!(seen, 3);
    }
}

#[test]
fn a_reservation_that_fails_says_why() {
    let temp = tempfile::tempdir().unwrap();
    let file = RealFs.open(&temp.path().join("file"), Mode::Create).unwrap();
    // What went wrong last in this thread is something else.
    std::fs::metadata(temp.path().join("nothing")).unwrap_err();
    let refused = file.allocate(1 << 62).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EFBIG), "{refused}");
    file.allocate(10_000).unwrap();
    assert_eq!(file.size().unwrap(), 10_000);
}

#[test]
fn a_spare_with_a_second_link_is_not_written() {
    let temp = tempfile::tempdir().unwrap();
    let (store, _) = open_at(temp.path()).unwrap();
    store.maintain();
    drop(store);
    // A copy of the spool made of links, say.
    let (spare, other) = (temp.path().join("journal/spare"), temp.path().join("other"));
    std::fs::hard_link(&spare, &other).unwrap();
    let (store, _) = open_at(temp.path()).unwrap();
    all_ok(&store.commit(&mut [add(&[1], "x\r\n")]));
    assert!(std::fs::read(&other).unwrap().iter().all(|byte| *byte == 0));
    assert_eq!(count_from_disk(temp.path()).unwrap(), 1);
}

#[test]
fn files_belong_to_their_owner_alone() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("spool");
    let (store, _) = open_at(&dir).unwrap();
    all_ok(&store.commit(&mut [add(&[1], "x\r\n")]));
    store.maintain();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    for name in ["journal/0000000001.log", "journal/spare", "lock", "FORMAT"] {
        assert_eq!(mode(&dir.join(name)), 0o600, "{name}");
    }
    assert_eq!(std::fs::read(dir.join("FORMAT")).unwrap(), b"spool 3\n");
}

#[test]
fn a_second_process_is_told_who_holds_the_spool() {
    let temp = tempfile::tempdir().unwrap();
    let (store, _) = open_at(temp.path()).unwrap();
    let listing = || walk(temp.path());
    let before = listing();
    match open_at(temp.path()) {
        Err(OpenError::Locked { pid, .. }) => assert_eq!(pid, Some(std::process::id())),
        other => panic!("{other:?}"),
    }
    assert_eq!(listing(), before);
    drop(store);
    open_at(temp.path()).unwrap();
}

fn walk(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.push((path.clone(), Vec::new()));
            all.extend(walk(&path));
        } else {
            let bytes = std::fs::read(&path).unwrap();
            all.push((path, bytes));
        }
    }
    all.sort();
    all
}

#[test]
fn what_is_no_spool_of_ours_is_left_as_it_is() {
    for (name, text, newer) in [
        ("letter.txt", "dear", false),
        ("FORMAT", "spool 4\n", true),
        ("FORMAT", "what", false),
    ] {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join(name), text).unwrap();
        let before = walk(temp.path());
        match open_at(temp.path()) {
            Err(OpenError::NotASpool(_)) if !newer => {}
            Err(OpenError::NewerFormat { found, known: 3, .. }) if newer => assert_eq!(found, "4"),
            other => panic!("{name}: {other:?}"),
        }
        assert!(count_from_disk(temp.path()).is_err());
        assert!(checkup(temp.path(), Timestamp(1), true, &mut || {}).is_err());
        assert_eq!(walk(temp.path()), before);
    }
}

#[test]
fn an_error_names_the_path_and_the_action() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = open_at(&file).unwrap_err().to_string();
    assert!(error.contains("cannot list") && error.contains("file"), "{error}");
    let error = open_at(&temp.path().join("a/b")).unwrap_err().to_string();
    assert!(error.contains("cannot make") && error.contains("a/b"), "{error}");
    let elsewhere = temp.path().join("elsewhere");
    std::fs::write(&elsewhere, "").unwrap();
    let dir = temp.path().join("spool");
    std::fs::create_dir(&dir).unwrap();
    std::os::unix::fs::symlink(&elsewhere, dir.join("lock")).unwrap();
    assert!(
        matches!(open_at(&dir), Err(OpenError::Io { .. })),
        "a link in the place of the lock"
    );
    std::fs::set_permissions(&dir, Permissions::from_mode(0o700)).unwrap();
}
